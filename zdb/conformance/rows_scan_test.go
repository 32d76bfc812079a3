package conformance

import (
	"strings"

	"github.com/qsfs/qsfs/zdb"
)

const whyKScan = "KSCAN works: the original has it in debug builds only"

func scanStories() []story {
	zeros := strings.Repeat("\x00", 17)
	return []story{
		{name: "SCAN", rows: []row{
			q("SCAN").is(fails(zdb.TextNoMoreData)),
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "b", "22").is(bulk("b")),
			q("SET", "c", "").is(bulk("c")),
			q("SCAN").is(page("end", entry("a", 1), entry("b", 2), entry("c", 0))),
			q("SCANX").is(page("end", entry("a", 1), entry("b", 2), entry("c", 0))),
			q("SCAN", "{end}").is(fails(zdb.TextNoMoreData)),
			q("SET", "d", "4444").is(bulk("d")),
			q("SCAN", "{end}").is(page("d", entry("d", 4))),
			q("SCAN", "{end}", "more").is(page("d", entry("d", 4))),
			q("SET", "a", "changed").is(bulk("a")), // an overwrite moves to the end
			q("SCAN").is(page("end2", entry("b", 2), entry("c", 0), entry("d", 4), entry("a", 7))),
			q("DEL", "c").is(ok),
			q("SCAN").is(page("end2", entry("b", 2), entry("d", 4), entry("a", 7))),
			q("SCAN", "{end}").is(page("end2", entry("d", 4), entry("a", 7))), // its entry is gone, it still holds
			q("SET", "a", "changed").is(null),                                 // nothing was written
			q("SCAN", "{d}").is(page("end2", entry("a", 7))),
			q("SET", "old", "x", "1234567890").is(bulk("old")),
			q("SCAN", "{end2}").is(page("old", list(bulk("old"), integer(1), integer(1234567890)))),
		}},
		{name: "SCAN is refused", rows: []row{
			q("SCAN", "cursor").is(fails(zdb.TextInvalidCursor)),
			q("SCAN", "").is(fails(zdb.TextInvalidCursor)),
			q("SCAN", strings.Repeat("x", 18)).is(fails(zdb.TextInvalidCursor)),
			q("RSCAN", "cursor").is(fails(zdb.TextInvalidCursor)),
			q("SCAN", strings.Repeat("\xff", 17)).is(fails(zdb.TextInvalidCursor)),
			q("SET", "a", "1").is(bulk("a")),
			q("SCAN", zeros).is("{rest}").but(fails(zdb.TextInvalidCursor), whyCursor),
			q("RSCAN", zeros).is("{rest}").but(fails(zdb.TextInvalidCursor), whyCursor),
		}},
		{name: "a cursor of another namespace", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("KEYCUR", "a").is("$17\r\n{b17:c}\r\n"),
			q("NSNEW", inNamespace+"-other").is(ok),
			q("SELECT", inNamespace+"-other").is(ok),
			q("SET", "xy", "12").is(bulk("xy")),
			q("SET", "z", "1").is(bulk("z")),
			q("SCAN", "{c}").is(fails(zdb.TextInvalidCursor)),
		}},
		{name: "RSCAN", rows: []row{
			q("RSCAN").is(fails(zdb.TextNoMoreData)),
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "b", "22").is(bulk("b")),
			q("SET", "c", "333").is(bulk("c")),
			q("RSCAN").is(page("start", entry("c", 3), entry("b", 2), entry("a", 1))),
			q("RSCAN", "{start}").is(fails(zdb.TextNoMoreData)),
			q("KEYCUR", "b").is("$17\r\n{b17:b}\r\n"),
			q("RSCAN", "{b}").is(page("start", entry("a", 1))),
			q("SCAN", "{b}").is(page("end", entry("c", 3))),
			q("SET", "a", "4444").is(bulk("a")),
			q("RSCAN").is(page("start2", entry("a", 4), entry("c", 3), entry("b", 2))),
			q("DEL", "a").is(ok),
			q("RSCAN").is(page("start2", entry("c", 3), entry("b", 2))),
		}},
		{name: "SCAN over data files", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("NSJUMP").is(ok),
			q("SET", "b", "2").is(bulk("b")),
			q("NSJUMP").is(ok),
			q("SET", "c", "3").is(bulk("c")),
			q("SCAN").is(page("end", entry("a", 1), entry("b", 1), entry("c", 1))),
			q("RSCAN").is(page("start", entry("c", 1), entry("b", 1), entry("a", 1))),
			q("KEYCUR", "a").is("$17\r\n{b17:a}\r\n"),
			q("SCAN", "{a}").is(page("end", entry("b", 1), entry("c", 1))),
		}},
		{name: "KEYCUR", rows: []row{
			q("SET", "hello", "world").is(bulk("hello")),
			q("KEYCUR", "hello").is("$17\r\n{b17:c}\r\n"),
			q("KEYCUR", "nope").is(fails(zdb.TextKeyNotFound)),
			q("KEYCUR").is(fails(zdb.TextUnexpectedArguments)),
			q("KEYCUR", "").is(fails(zdb.TextInvalidArgument)),
			q("SCAN", "{c}").is(fails(zdb.TextNoMoreData)),
			q("DEL", "hello").is(ok),
			q("KEYCUR", "hello").is(fails(zdb.TextKeyNotFound)),
		}},
		{name: "KSCAN", rows: []row{
			q("SET", "ab2", "1").is(bulk("ab2")),
			q("SET", "ab1", "1").is(bulk("ab1")),
			q("SET", "x", "1").is(bulk("x")),
			q("SET", "ab3", "1").is(bulk("ab3")),
			q("DEL", "ab3").is(ok),
			q("KSCAN", "ab").is(fails(zdb.TextKScanDisabled)).but(list(bulk("0"), list(bulk("ab1"), bulk("ab2"))), whyKScan),
			q("KSCAN", "y").is(fails(zdb.TextKScanDisabled)).but(fails(zdb.TextNoKeysMatch), whyKScan),
			q("KSCAN").is(fails(zdb.TextKScanDisabled)).but(fails(zdb.TextUnexpectedArguments), whyKScan),
			q("KSCAN", "").is(fails(zdb.TextKScanDisabled)).but(fails(zdb.TextInvalidArgument), whyKScan),
		}},
		{name: "HISTORY", rows: []row{
			q("HISTORY", "k").is(fails(zdb.TextKeyNotFound)),
			q("SET", "k", "one", "1000000001").is(bulk("k")),
			q("HISTORY", "k").is(list(null, bulk("1000000001"), bulk("one"))),
			q("SET", "k", "two", "1000000002").is(bulk("k")),
			q("SET", "k", "", "1000000003").is(bulk("k")),
			q("SET", "j", "other", "1000000004").is(bulk("j")),
			q("HISTORY", "k").is(list("$8\r\n{b8:second}\r\n", bulk("1000000003"), bulk(""))),
			q("HISTORY", "k", "{second}").is(list("$8\r\n{b8:first}\r\n", bulk("1000000002"), bulk("two"))),
			q("HISTORY", "k", "{first}").is(list(null, bulk("1000000001"), bulk("one"))),
			q("HISTORY", "j", "{first}").is(fails(zdb.TextHistoryKey)),
			q("HISTORY", "k", strings.Repeat("\x00", 8)).is(fails(zdb.TextNoMoreHistory)),
			q("HISTORY", "k", strings.Repeat("\xff", 8)).is(fails(zdb.TextHistoryQuery)),
			q("HISTORY", "k", "short").is(fails(zdb.TextInvalidArguments)),
			q("HISTORY").is(fails(zdb.TextInvalidArguments)),
			q("HISTORY", "k", "{first}", "x").is(fails(zdb.TextInvalidArguments)),
			q("DEL", "k").is(ok),
			q("HISTORY", "k").is(fails(zdb.TextKeyNotFound)),
		}},
		{name: "HISTORY of a removed key", rows: []row{
			q("SET", "k", "one", "1000000001").is(bulk("k")),
			q("DEL", "k").is(ok),
			q("SET", "k", "two", "1000000002").is(bulk("k")),
			q("HISTORY", "k").is(list(null, bulk("1000000002"), bulk("two"))).
				but(list("$8\r\n{b8:first}\r\n", bulk("1000000002"), bulk("two")), "the history of a removed key that is set again goes on"),
		}},
		{name: "HISTORY over data files", rows: []row{
			q("SET", "k", "one", "1000000001").is(bulk("k")),
			q("NSJUMP").is(ok),
			q("SET", "k", "two", "1000000002").is(bulk("k")),
			q("HISTORY", "k").is(list("$8\r\n{b8:first}\r\n", bulk("1000000002"), bulk("two"))),
			q("HISTORY", "k", "{first}").is(list(null, bulk("1000000001"), bulk("one"))),
		}},
	}
}
