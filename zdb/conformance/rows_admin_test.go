package conformance

import (
	"os/exec"
	"strings"

	"github.com/qsfs/qsfs/zdb"
)

// hookProgram does nothing, and well.
var hookProgram = func() string {
	path, err := exec.LookPath("true")
	if err != nil {
		return "/bin/true"
	}
	return path
}()

var (
	longestName = strings.Repeat("n", zdb.MaxNamespaceBytes)
	nameTooLong = longestName + "n"
)

const (
	whyFlush   = "FLUSH empties the namespace: the original looks for files of an older format and removes nothing"
	whyProved  = "FLUSH needs a session that gave the password"
	whyOffsets = "our records have a longer header"
	whyDirty   = "files are only appended to, and a dirty one was written: the original's are dirty when an entry was changed in place"
	whyMirror  = "there is no replication: the original's is half made"
)

// nsinfoLines is what everybody is told of a namespace without a limit.
func nsinfoLines(name, entries, public, worm, locked, password, bytes, limit, mode string) string {
	space := ""
	if limit != "0" {
		space = "space_available: {n}\n"
	}
	return "${n}\r\n# namespace\nname: " + name + "\nentries: " + entries + "\npublic: " + public + "\nworm: " + worm +
		"\nlocked: " + locked + "\npassword: " + password + "\ndata_size_bytes: " + bytes + "\ndata_size_mb: {w}\ndata_limits_bytes: " + limit +
		"\nindex_size_bytes: {n}\nindex_size_kb: {w}\nnext_internal_id: 0x{w}\nmode: " + mode +
		"\nstats_index_io_errors: 0\nstats_index_io_error_last: 0\nstats_index_faults: 0\nstats_data_io_errors: 0\nstats_data_io_error_last: 0\nstats_data_faults: 0\n" +
		space + "index_disk_freespace_bytes: {n}\nindex_disk_freespace_mb: {w}\ndata_disk_freespace_bytes: {n}\ndata_disk_freespace_mb: {w}\n"
}

// counted is that of a namespace in which each value is one byte.
func counted(name, entries, next string) string {
	return strings.Replace(nsinfoLines(name, entries, "yes", "no", "no", "no", entries, "0", "userkey"), "0x{w}", next, 1) + nsinfoAdmin
}

const (
	nsinfoAdmin = "data_path: {w}\ndata_active: {w}\nindex_path: {w}\nindex_active: {w}\ndata_current_id: {n}\ndata_current_offset: {n}\n\r\n"
	infoText    = "${n}\r\n# server\nserver_name: 0-db (zdb)\nserver_revision: {w}\nengine_revision: {w}\ninstance_id: {n}\nboot_time: {time}\nuptime: {n}\n" +
		"\n# clients\nclients_lifetime: {n}\n" +
		"\n# internals\nsequential_key_size: 8\ndata_version: 3\nindex_version: 4\n" +
		"\n# stats\ncommands_executed: {n}\ncommands_failed: {n}\ncommands_unauthorized: {n}\n" +
		"index_disk_read_failed: {n}\nindex_disk_write_failed: {n}\ndata_disk_read_failed: {n}\ndata_disk_write_failed: {n}\n" +
		"index_disk_read_bytes: {n}\nindex_disk_read_mb: {w}\nindex_disk_write_bytes: {n}\nindex_disk_write_mb: {w}\n" +
		"data_disk_read_bytes: {n}\ndata_disk_read_mb: {w}\ndata_disk_write_bytes: {n}\ndata_disk_write_mb: {w}\n" +
		"network_rx_bytes: {n}\nnetwork_rx_mb: {w}\nnetwork_tx_bytes: {n}\nnetwork_tx_mb: {w}\n\r\n"
)

func adminStories() []story {
	other := inNamespace + "-other"
	return []story{
		{name: "system", rows: []row{
			q("PING").is(status("PONG")),
			q("ping", "x").is(status("PONG")),
			q("TIME").is(list("${n}\r\n{time}\r\n", "${n}\r\n{n}\r\n")),
			q("INFO").is(infoText),
			q("INFO", "stats").is(infoText),
			q("STOP").is(fails(zdb.TextUnauthorized)),
			q("HOOKS").is(list()),
		}},
		{name: "NSNEW", rows: []row{
			q("NSNEW", other).is(ok),
			q("NSNEW", other).is(fails(zdb.TextNamespaceExists)),
			q("NSNEW", "default").is(fails(zdb.TextNameNotAllowed)),
			q("NSNEW", ".").is(fails(zdb.TextNameNotAllowed)),
			q("NSNEW", "..").is(fails(zdb.TextNameNotAllowed)),
			q("NSNEW", "a/b").is(fails(zdb.TextNameNotAllowed)),
			q("NSNEW", nameTooLong).is(fails(zdb.TextNamespaceTooLong)),
			q("NSNEW").is(fails(zdb.TextUnexpectedArguments)),
			q("NSNEW", "a", "b").is(fails(zdb.TextUnexpectedArguments)),
			q("NSNEW", "").is(fails(zdb.TextInvalidArgument)),
			q("NSNEW", longestName).is(ok),
			q("SELECT", longestName).is(ok),
			q("SET", "a", "1").is(bulk("a")),
			q("SELECT", inNamespace).is(ok),
			q("NSDEL", longestName).is(ok),
		}},
		{name: "NSDEL", rows: []row{
			q("NSDEL", "default").is(fails(zdb.TextCannotDelDefault)),
			q("NSDEL", "absent").is(fails(zdb.TextNamespaceNotExist)),
			q("NSDEL", inNamespace).is(fails(zdb.TextCannotDelActive)),
			q("NSDEL", nameTooLong).is(fails(zdb.TextNamespaceTooLong)),
			q("NSDEL").is(fails(zdb.TextUnexpectedArguments)),
			q("NSDEL", "").is(fails(zdb.TextInvalidArgument)),
			q("NSNEW", other).is(ok),
			q("SELECT", other).via("user").is(ok),
			q("SET", "a", "1").via("user").is(bulk("a")),
			q("NSDEL", other).is(ok),
			q("GET", "a").via("user").is(fails(zdb.TextNamespaceGone)).ends(),
			q("SELECT", other).is(fails(zdb.TextNamespaceAbsent)),
			q("NSNEW", other).is(ok), // and it is empty
			q("SELECT", other).is(ok),
			q("DBSIZE").is(integer(0)),
			q("GET", "a").is(null),
		}},
		{name: "NSLIST", fresh: true, rows: []row{
			q("NSNEW", "zzz").is(ok),
			q("NSLIST").is(list(bulk("default"), "${n}\r\n{ns}\r\n", bulk("zzz"))),
			q("NSLIST", "x").is(list(bulk("default"), "${n}\r\n{ns}\r\n", bulk("zzz"))),
		}},
		{name: "NSINFO", rows: []row{
			q("NSINFO", inNamespace).is(nsinfoLines(inNamespace, "0", "yes", "no", "no", "no", "0", "0", "userkey") + nsinfoAdmin),
			q("SET", "a", "12345").is(bulk("a")),
			q("SET", "b", "12345").is(bulk("b")),
			q("SET", "b", "1").is(bulk("b")),
			q("NSSET", inNamespace, "maxsize", "100").is(ok),
			q("NSSET", inNamespace, "worm", "1").is(ok),
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("NSSET", inNamespace, "lock", "1").is(ok),
			q("NSINFO", inNamespace).is(nsinfoLines(inNamespace, "2", "no", "yes", "yes", "yes", "6", "100", "userkey") + nsinfoAdmin),
			q("NSINFO", "absent").is(fails(zdb.TextNamespaceAbsent)),
			q("NSINFO", nameTooLong).is(fails(zdb.TextNamespaceTooLong)),
			q("NSINFO").is(fails(zdb.TextUnexpectedArguments)),
			q("NSINFO", "").is(fails(zdb.TextInvalidArgument)),
		}},
		{name: "NSINFO counts", rows: []row{
			q("NSINFO", inNamespace).is(counted(inNamespace, "0", "0x00000000")),
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "b", "1").is(bulk("b")),
			q("SET", "b", "2").is(bulk("b")),
			q("NSINFO", inNamespace).is(counted(inNamespace, "2", "0x200000000000000")).
				but(counted(inNamespace, "2", "0x300000000000000"), "next_internal_id counts writes: the original's counts new keys"),
		}},
		{name: "NSINFO of a sequential namespace", inside: "seq", rows: []row{
			q("SET", "", "v").is(bulk(id(0))),
			q("NSINFO", inNamespace).is(strings.Replace(nsinfoLines(inNamespace, "1", "yes", "no", "no", "no", "1", "0", "sequential"),
				"0x{w}", "0x100000000000000", 1) + nsinfoAdmin),
		}},
		{name: "NSSET", rows: []row{
			q("NSSET", "absent", "maxsize", "1").is(fails(zdb.TextNamespaceAbsent)),
			q("NSSET", nameTooLong, "maxsize", "1").is(fails(zdb.TextNamespaceTooLong)),
			q("NSSET", inNamespace, strings.Repeat("p", 257), "1").is(fails(zdb.TextArgumentTooLong)),
			q("NSSET", inNamespace, "password", strings.Repeat("p", 64)).is(fails(zdb.TextArgumentTooLong)),
			q("NSSET", inNamespace, "password", strings.Repeat("p", 63)).is(ok),
			q("NSSET", inNamespace, "password", "*").is(ok),
			q("NSSET", inNamespace, "colour", "1").is(fails(zdb.TextInvalidProperty)),
			q("NSSET", inNamespace, "maxsize").is(fails(zdb.TextUnexpectedArguments)),
			q("NSSET", inNamespace, "maxsize", "").is(fails(zdb.TextInvalidArgument)),
			q("NSSET", "default", "maxsize", "1").is(fails(zdb.TextCannotSetDefault)),
			q("NSSET", "default", "password", "x").is(fails(zdb.TextCannotSetDefault)),
			q("NSSET", "default", "public", "0").is(fails(zdb.TextCannotSetDefault)),
			q("NSSET", "default", "worm", "1").is(fails(zdb.TextCannotSetDefault)),
			q("NSSET", "default", "colour", "1").is(fails(zdb.TextCannotSetDefault)),
			q("NSSET", inNamespace, "maxsize", "many").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("NSSET", inNamespace, "maxsize", "-1").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("NSSET", inNamespace, "public", "yes").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("NSSET", inNamespace, "worm", "10").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("NSSET", inNamespace, "worm", "0").is(ok),
			q("NSSET", inNamespace, "lock", "on").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("NSSET", inNamespace, "freeze", "on").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
		}},
		{name: "the default namespace locked", fresh: true, inside: "-", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("NSSET", "default", "lock", "1").is(ok),
			q("SET", "b", "1").is(fails(zdb.TextLocked)),
			q("NSSET", "default", "freeze", "1").is(ok),
			q("GET", "a").is(fails(zdb.TextFrozen)),
			q("NSSET", "default", "freeze", "0").is(ok),
			q("GET", "a").is(bulk("1")),
		}},
		{name: "NSJUMP and RELOAD", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("NSJUMP").is(ok),
			q("NSJUMP", "x").is(ok),
			q("SET", "b", "2").is(bulk("b")),
			q("MGET", "a", "b").is(list(bulk("1"), bulk("2"))),
			q("RELOAD", inNamespace).is(ok),
			q("MGET", "a", "b").is(list(bulk("1"), bulk("2"))),
			q("DBSIZE").is(integer(2)),
			q("SET", "c", "3").is(bulk("c")),
			q("GET", "c").is(bulk("3")),
			q("RELOAD", "absent").is(fails(zdb.TextNamespaceAbsent)),
			q("RELOAD", nameTooLong).is(fails(zdb.TextNamespaceTooLong)),
			q("RELOAD").is(fails(zdb.TextUnexpectedArguments)),
			q("RELOAD", "").is(fails(zdb.TextInvalidArgument)),
			q("RELOAD", "default").is(ok),
		}},
		{name: "FLUSH", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("FLUSH").is(fails(zdb.TextFlushDenied)),
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("FLUSH").is(fails(zdb.TextFlushDenied)), // still public
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("FLUSH").is(ok).but(fails(zdb.TextFlushDenied), whyProved),
			q("SELECT", inNamespace, "secret").is(ok),
			q("DBSIZE").is(integer(1)),
			q("FLUSH").is(ok),
			q("DBSIZE").is(integer(1)).but(integer(0), whyFlush),
			q("GET", "a").is(bulk("1")).but(null, whyFlush),
			q("SET", "b", "2").is(bulk("b")),
			q("GET", "b").is(bulk("2")),
		}},
		{name: "FLUSH of what takes no writes", rows: []row{
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("SELECT", inNamespace, "secret").is(ok),
			q("SET", "a", "1").is(bulk("a")),
			q("NSSET", inNamespace, "lock", "1").is(ok),
			q("FLUSH").is(ok).but(fails(zdb.TextLocked), whyFlush),
			q("NSSET", inNamespace, "freeze", "1").is(ok),
			q("FLUSH").is(ok).but(fails(zdb.TextFrozen), whyFlush),
			q("NSSET", inNamespace, "freeze", "0").is(ok),
			q("NSSET", inNamespace, "worm", "1").is(ok),
			q("FLUSH").is(ok).but(fails(zdb.TextWormDelete), whyFlush),
			q("GET", "a").is(bulk("1")),
		}},
		{name: "FLUSH of a sequential namespace", inside: "seq", rows: []row{
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("SELECT", inNamespace, "secret").is(ok),
			q("SET", "", "zero").is(bulk(id(0))),
			q("FLUSH").is(ok),
			q("SET", "", "first").is(bulk(id(1))).but(bulk(id(0)), whyFlush),
		}},
		{name: "INDEX", rows: []row{
			q("INDEX", "DIRTY", "RESET").is(ok),
			q("INDEX", "DIRTY").is(list()),
			q("SET", "a", "1").is(bulk("a")),
			q("INDEX", "dirty").is(list()).but(list(integer(0)), whyDirty),
			q("SET", "a", "2").is(bulk("a")),
			q("INDEX", "DIRTY").is(list(integer(0))),
			q("NSJUMP").is(ok),
			q("SET", "b", "1").is(bulk("b")),
			q("DEL", "b").is(ok),
			q("INDEX", "DIRTY").is(list(integer(0), integer(1))),
			q("INDEX", "DIRTY", "reset").is(ok),
			q("INDEX", "DIRTY").is(list()),
			q("DEL", "a").is(ok),
			q("INDEX", "DIRTY").is(list(integer(0))).but(list(integer(1)), whyDirty),
			q("INDEX", "DIRTY", "clean").is(fails(zdb.TextUnknownDirty)),
			q("INDEX", "DIRTY", strings.Repeat("x", 257)).is(fails(zdb.TextArgumentTooLong)),
			q("INDEX", "CLEAN").is(fails(zdb.TextUnknownIndex)),
			q("INDEX").is(fails(zdb.TextMissingArguments)),
			q("INDEX", "").is(fails(zdb.TextInvalidArgument)),
			q("INDEX", strings.Repeat("x", 257)).is(fails(zdb.TextArgumentTooLong)),
		}},
		{name: "DATA", rows: []row{
			q("SET", "rawk", "rawv").is(bulk("rawk")),
			q("SET", "next", "1234", "1234567890").is(bulk("next")),
			q("DATA", "RAW", "0", "28").is(list(bulk("rawk"), integer(0), bulk("0x3bed9e44"), integer(0), ":{time}\r\n", bulk("rawv"))),
			q("data", "raw", "0", "54").is(list(bulk("next"), integer(28), "$10\r\n0x{h8:crc}\r\n", integer(0), integer(1234567890), bulk("1234"))).
				but(fails(zdb.TextUnexpectedInternal), whyOffsets),
			q("DATA", "RAW", "0", "76").is("{rest}").
				but(list(bulk("next"), integer(28), "$10\r\n0x{h8:crc}\r\n", integer(0), integer(1234567890), bulk("1234")), whyOffsets),
			q("DATA", "RAW", "0", "5000").is(fails(zdb.TextEOF)),
			q("DATA", "RAW", "0", "99999999").is(fails(zdb.TextEOF)),
			q("DATA", "RAW", "9", "28").is(fails(zdb.TextInvalidRequest)),
			q("DATA", "RAW", "x", "28").is(list(bulk("rawk"), integer(0), bulk("0x3bed9e44"), integer(0), ":{time}\r\n", bulk("rawv"))).
				but(fails(zdb.TextInvalidRequest), whyStrict),
			q("DATA", "RAW", "0").is(fails(zdb.TextMissingArguments)),
			q("DATA", "COOKED").is(fails(zdb.TextUnknownData)),
			q("DATA").is(fails(zdb.TextMissingArguments)),
			q("DATA", "").is(fails(zdb.TextInvalidArgument)),
			q("DATA", strings.Repeat("x", 257)).is(fails(zdb.TextArgumentTooLong)),
		}},
		{name: "DATA RAW of an empty value", rows: []row{
			q("SET", "k", "", "1234567890").is(bulk("k")),
			q("DATA", "RAW", "0", "28").is(fails(zdb.TextInvalidRequest)).
				but(list(bulk("k"), integer(0), bulk("0x00000000"), integer(0), integer(1234567890), bulk("")), "an empty value is one"),
		}},
		{name: "DATA RAW of a delete marker", rows: []row{
			q("SET", "k", "v").is(bulk("k")),
			q("NSJUMP").is(ok),
			q("DEL", "k", "1234567890").is(ok),
			q("DATA", "RAW", "1", "28").is(fails(zdb.TextUnexpectedInternal)).
				but(list(bulk("k"), integer(0), bulk("0x00000000"), integer(1), integer(1234567890), null), "a delete marker is told as the original means to"),
		}},
		{name: "HOOKS", server: config{Hook: hookProgram}, rows: []row{
			q("HOOKS").is("*{n}\r\n*6\r\n${n}\r\n{w}\r\n*{rest}"),
		}},
		{name: "MIRROR", fresh: true, rows: []row{
			q("MIRROR").via("mirror").is(status("Starting mirroring")).but(fails(zdb.TextNoReplication), whyMirror).breaksOriginal(),
		}},
		{name: "MASTER", fresh: true, rows: []row{
			q("MASTER").via("master").is(status("Hello, master")).but(fails(zdb.TextNoReplication), whyMirror).breaksOriginal(),
		}},
		{name: "--maxsize and other namespaces", server: config{MaxBytes: 10}, rows: []row{
			q("SET", "a", "12345678901").is(bulk("a")).but(fails(zdb.TextNoSpace), "the limit is that of new namespaces too: the original's is of the default one alone"),
		}},
		{name: "--maxsize", server: config{MaxBytes: 10}, fresh: true, inside: "-", rows: []row{
			q("SET", "a", "12345").is(bulk("a")),
			q("SET", "b", "123456").is(fails(zdb.TextNoSpace)),
			q("SET", "b", "12345").is(bulk("b")),
			q("NSINFO", "default").is(nsinfoLines("default", "2", "yes", "no", "no", "no", "10", "10", "userkey") + nsinfoAdmin),
		}},
	}
}
