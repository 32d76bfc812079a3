package conformance

import "github.com/qsfs/qsfs/zdb"

// id is a key of a sequential namespace: 8 bytes, little endian.
func id(n byte) string { return string([]byte{n, 0, 0, 0, 0, 0, 0, 0}) }

// sequentialRows are the same whether the namespace or the whole server is sequential.
func sequentialRows() []row {
	return []row{
		q("SET", "", "zero").is(bulk(id(0))),
		q("SET", "", "one").is(bulk(id(1))),
		q("SET", id(0), "zero!").is(bulk(id(0))),
		q("SET", id(0), "zero!").is(null),
		q("SET", "", "three").is(bulk(id(3))), // the overwrite took an id
		q("SET", "", "three").is(bulk(id(4))), // a new one each time
		q("SETX", "", "").is(bulk(id(5))),
		q("GET", id(0)).is(bulk("zero!")),
		q("GET", id(1)).is(bulk("one")),
		q("GET", id(2)).is(null),
		q("GET", id(5)).is(bulk("")),
		q("GET", "\x01").is(null),
		q("GET", "\x01\x00\x00\x00").is(null),
		q("GET", id(1)+"\x00").is(null),
		q("GET", "").is(fails(zdb.TextInvalidArgument)),
		q("GET", tooLong).is(fails(zdb.TextInvalidKey)),
		q("SET", id(99), "v").is(fails(zdb.TextUpdateOnly)),
		q("SET", id(2), "v").is(fails(zdb.TextUpdateOnly)),
		q("SET", "name", "v").is(fails(zdb.TextUpdateOnly)),
		q("SET", tooLong, "v").is(fails(zdb.TextKeyTooLarge)),
		q("SET", "", "timed", "1234567890").is(bulk(id(6))),
		q("KEYTIME", id(6)).is(integer(1234567890)),
		q("DBSIZE").is(integer(6)),
		q("MGET", id(0), id(2), id(5), "x").is(list(bulk("zero!"), null, bulk(""), null)),
		q("EXISTS", id(1)).is(integer(1)),
		q("EXISTS", id(2)).is(integer(0)),
		q("LENGTH", id(3)).is(integer(5)),
		q("LENGTH", id(9)).is(null),
		q("CHECK", id(3)).is(integer(1)),
		q("CHECK", id(9)).is(null),
		q("DEL", id(1)).is(ok),
		q("DEL", id(1)).is(fails(zdb.TextKeyNotFound)),
		q("DEL", "x").is(fails(zdb.TextKeyNotFound)),
		q("GET", id(1)).is(null),
		q("EXISTS", id(1)).is(integer(0)),
		q("SET", id(1), "again").is(fails(zdb.TextUpdateOnly)),
		q("DBSIZE").is(integer(5)),
		q("SET", "", "seven").is(bulk(id(7))), // a delete takes none
		q("SCAN").is(list("$17\r\n{b17:end}\r\n", list(
			entry(id(0), 5), entry(id(3), 5), entry(id(4), 5), entry(id(5), 0),
			list(bulk(id(6)), integer(5), integer(1234567890)), entry(id(7), 5)))),
		q("SCAN", "{end}").is(fails(zdb.TextNoMoreData)),
		q("KEYCUR", id(5)).is("$17\r\n{b17:five}\r\n"),
		q("SCAN", "{five}").is(page("end", list(bulk(id(6)), integer(5), integer(1234567890)), entry(id(7), 5))),
		q("RSCAN", "{five}").is(page("start", entry(id(4), 5), entry(id(3), 5), entry(id(0), 5))),
		q("RSCAN").is(list("$17\r\n{b17:start}\r\n", list(
			entry(id(7), 5), list(bulk(id(6)), integer(5), integer(1234567890)), entry(id(5), 0), entry(id(4), 5), entry(id(3), 5), entry(id(0), 5)))),
		q("KEYCUR", id(1)).is(fails(zdb.TextKeyNotFound)),
		q("KEYCUR", id(9)).is(fails(zdb.TextKeyNotFound)),
		q("KSCAN", "x").is(fails(zdb.TextKScanDisabled)).but(fails(zdb.TextNotInThisMode), whyKScan),
		q("HISTORY", id(0)).is(list("$8\r\n{b8:old}\r\n", "${n}\r\n{time}\r\n", bulk("zero!"))),
		q("HISTORY", id(0), "{old}").is(list(null, "${n}\r\n{time}\r\n", bulk("zero"))),
		q("HISTORY", id(1)).is(fails(zdb.TextKeyNotFound)),
		q("HISTORY", id(3), "{old}").is(fails(zdb.TextHistoryKey)),
		q("NSJUMP").is(ok),
		q("SET", "", "later").is(bulk(id(8))),
		q("GET", id(0)).is(bulk("zero!")),
		q("GET", id(8)).is(bulk("later")),
		q("DBSIZE").is(integer(7)),
	}
}

func sequentialStories() []story {
	return []story{
		{name: "sequential", inside: "seq", rows: sequentialRows()},
		{name: "sequential, the server pinned", server: config{Mode: "seq"}, rows: sequentialRows()},
		{name: "sequential, the default namespace of a pinned server", server: config{Mode: "seq"}, fresh: true, inside: "-", rows: sequentialRows()},
		{name: "sequential and write-once", inside: "seq", rows: []row{
			q("SET", "", "zero").is(bulk(id(0))),
			q("NSSET", inNamespace, "worm", "1").is(ok),
			q("SET", "", "one").is(bulk(id(1))),
			q("SET", id(0), "x").is(fails(zdb.TextWorm)),
			q("SET", id(9), "x").is(fails(zdb.TextUpdateOnly)),
			q("DEL", id(0)).is(fails(zdb.TextWormDelete)),
		}},
		{name: "sequential and limited", inside: "seq", rows: []row{
			q("NSSET", inNamespace, "maxsize", "10").is(ok),
			q("SET", "", "12345").is(bulk(id(0))),
			q("SET", "", "123456").is(fails(zdb.TextNoSpace)),
			q("SET", "", "12345").is(bulk(id(1))), // the refused one took no id
			q("SET", id(0), "54321").is(bulk(id(0))),
			q("SET", id(0), "123456").is(fails(zdb.TextNoSpace)),
		}},
		{name: "sequential, locked and frozen", inside: "seq", rows: []row{
			q("SET", "", "zero").is(bulk(id(0))),
			q("NSSET", inNamespace, "lock", "1").is(ok),
			q("SET", "", "x").is(fails(zdb.TextLocked)),
			q("GET", id(0)).is(bulk("zero")),
			q("NSSET", inNamespace, "freeze", "1").is(ok),
			q("SET", "", "x").is(fails(zdb.TextFrozen)),
			q("GET", id(0)).is(fails(zdb.TextFrozen)),
			q("NSSET", inNamespace, "freeze", "0").is(ok),
			q("SET", "", "one").is(bulk(id(1))),
		}},
		{name: "pinned to one mode", server: config{Mode: "seq"}, rows: []row{
			q("NSSET", inNamespace, "mode", "user").is(fails(zdb.TextSingleMode)),
			q("NSSET", inNamespace, "mode", "seq").is(fails(zdb.TextSingleMode)),
			q("NSSET", inNamespace, "mode", "x").is(fails(zdb.TextSingleMode)),
		}},
		{name: "pinned to user keys", server: config{Mode: "user"}, rows: []row{
			q("NSSET", inNamespace, "mode", "seq").is(fails(zdb.TextSingleMode)),
			q("NSSET", "default", "mode", "seq").is(fails(zdb.TextSingleMode)),
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "", "1").is(fails(zdb.TextKeyNeeded)),
			q("GET", "a").is(bulk("1")),
			q("SCAN").is(page("c", entry("a", 1))),
		}},
		{name: "changing the mode", rows: []row{
			q("NSSET", inNamespace, "mode", "both").is(fails(zdb.TextInvalidMode)),
			q("NSSET", inNamespace, "mode", "seq").is(ok),
			q("NSSET", inNamespace, "mode", "user").is(ok),
			q("NSSET", inNamespace, "mode", "seq").is(ok),
			q("SET", "", "zero").is(bulk(id(0))),
			q("NSSET", inNamespace, "mode", "user").is(fails(zdb.TextModeInUse)),
			q("NSSET", inNamespace, "mode", "seq").is(fails(zdb.TextModeInUse)),
			q("NSSET", inNamespace, "mode", "both").is(fails(zdb.TextModeInUse)),
			q("DEL", id(0)).is(ok),
			q("NSSET", inNamespace, "mode", "user").is(fails(zdb.TextModeInUse)),
		}},
		{name: "changing the mode behind a jump", rows: []row{
			q("NSJUMP").is(ok),
			q("NSSET", inNamespace, "mode", "seq").is(fails(zdb.TextModeInUse)),
		}},
		{name: "the mode of the default namespace", fresh: true, inside: "-", rows: []row{
			q("NSSET", "default", "mode", "seq").is(ok),
			q("SET", "", "zero").is(bulk(id(0))),
		}},
	}
}
