package conformance

import "github.com/qsfs/qsfs/zdb"

const whySecondWait = "a second WAIT of a session answers the first, which the original forgets"

func waitStories() []story {
	return []story{
		{name: "WAIT", rows: []row{
			q("WAIT", "SET", "5000").via("waiting").is(""),
			q("PING").via("waiting").is(status("PONG")), // it does not stop the pipeline, and shows that WAIT has begun
			q("GET", "a").is(null),
			q("SET", "a", "1").is(bulk("a")),
			later("waiting", status("SET")),
			q("wait", "*", "5000").via("waiting").is(""),
			q("PING").via("waiting").is(status("PONG")),
			q("get", "a").is(bulk("1")),
			later("waiting", status("GET")),
			q("WAIT", "DEL").via("waiting").is(""),
			q("PING").via("waiting").is(status("PONG")),
			q("DEL", "never").is(fails(zdb.TextKeyNotFound)), // well or not
			later("waiting", status("DEL")),
			q("WAIT", "SETX", "5000").via("waiting").is(""),
			q("PING").via("waiting").is(status("PONG")),
			q("SETX", "a", "2").is(bulk("a")),
			later("waiting", status("SETX")),
		}},
		{name: "WAIT in vain", rows: []row{
			q("WAIT", "SET", "100").via("waiting").is(fails(zdb.TextTimeout)),
			q("WAIT", "SET", "2000").via("waiting").is(""),
			q("PING").via("waiting").is(status("PONG")),
			q("SET", "a", "1").via("outside").is(bulk("a")), // in another namespace
			q("SET", "a", "1").via("waiting").is(bulk("a")), // its own
			later("waiting", fails(zdb.TextTimeout)),
		}},
		{name: "WAIT is refused", rows: []row{
			q("WAIT").is(fails(zdb.TextInvalidArguments)),
			q("WAIT", "SET", "100", "x").is(fails(zdb.TextInvalidArguments)),
			q("WAIT", "NOPE").is(fails(zdb.TextUnknownWatch)),
			q("WAIT", "SET", "99").is(fails(zdb.TextInvalidTimeout)),
			q("WAIT", "SET", "1800001").is(fails(zdb.TextInvalidTimeout)),
			q("WAIT", "SET", "soon").is(fails(zdb.TextInvalidTimeout)),
			q("WAIT", "SET", "00000000000000100").is(fails(zdb.TextInvalidTimeout)),
		}},
		{name: "WAIT for part of a name", rows: []row{
			q("WAIT", "SE", "100").is(fails(zdb.TextTimeout)).but(fails(zdb.TextUnknownWatch), whyPrefix),
			q("WAIT", "SET", "100x").is(fails(zdb.TextTimeout)).but(fails(zdb.TextInvalidTimeout), whyStrict),
		}},
		{name: "a second WAIT", rows: []row{
			q("WAIT", "SET", "5000").via("waiting").is(""),
			q("WAIT", "GET", "5000").via("waiting").is("").but(fails(zdb.TextTimeout), whySecondWait),
			q("PING").via("waiting").is(status("PONG")),
			q("GET", "a").is(null),
			later("waiting", status("GET")),
		}},
	}
}
