package conformance

import "github.com/qsfs/qsfs/zdb"

const whyOutlives = "lock and freeze outlive a restart"

// restartStories are about what is there after a server was stopped and started.
func restartStories() []story {
	return []story{
		{name: "data after a restart", fresh: true, rows: []row{
			q("SET", "a", "one", "1000000001").is(bulk("a")),
			q("SET", "a", "two", "1000000002").is(bulk("a")),
			q("SET", "b", "", "1000000003").is(bulk("b")),
			q("SET", "c", "x", "1000000004").is(bulk("c")),
			q("DEL", "c").is(ok),
			q("KEYCUR", "a").is("$17\r\n{b17:a}\r\n"),
			q("HISTORY", "a").is(list("$8\r\n{b8:first}\r\n", bulk("1000000002"), bulk("two"))),
			restart(),
			q("MGET", "a", "b", "c").is(list(bulk("two"), bulk(""), null)),
			q("DBSIZE").is(integer(2)),
			q("KEYTIME", "a").is(integer(1000000002)),
			q("SCAN").is(page("end", list(bulk("a"), integer(3), integer(1000000002)), list(bulk("b"), integer(0), integer(1000000003)))),
			q("SCAN", "{a}").is(page("end", list(bulk("b"), integer(0), integer(1000000003)))),
			q("HISTORY", "a", "{first}").is(list(null, bulk("1000000001"), bulk("one"))),
			q("SET", "c", "again").is(bulk("c")),
			q("GET", "c").is(bulk("again")),
		}},
		{name: "ids after a restart", fresh: true, inside: "seq", rows: []row{
			q("SET", "", "zero").is(bulk(id(0))),
			q("SET", "", "one").is(bulk(id(1))),
			q("SET", id(0), "zero!").is(bulk(id(0))),
			q("DEL", id(1)).is(ok),
			restart(),
			q("SET", "", "three").is(bulk(id(3))),
			q("SET", id(1), "x").is(fails(zdb.TextUpdateOnly)),
			q("MGET", id(0), id(1), id(3)).is(list(bulk("zero!"), null, bulk("three"))),
		}},
		{name: "settings after a restart", fresh: true, rows: []row{
			q("NSSET", inNamespace, "maxsize", "5").is(ok),
			q("NSSET", inNamespace, "worm", "1").is(ok),
			q("NSSET", inNamespace, "password", "secret").is(ok),
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("SET", "a", "1").is(bulk("a")),
			restart(),
			q("SELECT", inNamespace).via("outside").is(fails(zdb.TextPrivate)),
			q("SELECT", inNamespace, "guess").via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, "secret").via("outside").is(ok),
			q("SET", "a", "2").via("outside").is(fails(zdb.TextWorm)),
			q("SET", "b", "12345").via("outside").is(fails(zdb.TextNoSpace)),
			q("GET", "a").via("outside").is(bulk("1")),
			q("NSINFO", inNamespace).via("outside").is(nsinfoLines(inNamespace, "1", "no", "yes", "no", "yes", "1", "5", "userkey") + nsinfoAdmin),
		}},
		{name: "locked and frozen after a restart", fresh: true, rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("NSSET", inNamespace, "lock", "1").is(ok),
			restart(),
			q("SET", "a", "2").is(bulk("a")).but(fails(zdb.TextLocked), whyOutlives),
			q("NSSET", inNamespace, "freeze", "1").is(ok),
			restart(),
			q("GET", "a").is(bulk("2")).but(fails(zdb.TextFrozen), whyOutlives),
			q("NSSET", inNamespace, "freeze", "0").is(ok),
			q("GET", "a").is(bulk("2")).but(bulk("1"), whyOutlives),
		}},
	}
}
