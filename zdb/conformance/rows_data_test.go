package conformance

import (
	"strings"

	"github.com/qsfs/qsfs/zdb"
)

var (
	longest = strings.Repeat("k", zdb.MaxKeyBytes)
	tooLong = longest + "k"
	largest = strings.Repeat("value 16 bytes..", zdb.MaxValueBytes/16)
)

// Reasons of rows where the two servers differ.
const (
	whyPrefix = "a name is matched whole: the original compares as many bytes as the client sent"
	whyStrict = "numbers and flags are parsed strictly: the original takes nonsense for 0"
	whyCursor = "a cursor that was not given out is refused: the original reads whatever lies there"
)

func dataStories() []story {
	return []story{
		{name: "SET and GET", rows: []row{
			q("GET", "key").is(null),
			q("SET", "key", "value").is(bulk("key")),
			q("GET", "key").is(bulk("value")),
			q("SET", "key", "value").is(null), // the same again
			q("SET", "key", "other").is(bulk("key")),
			q("get", "key").is(bulk("other")),
			q("SETX", "x", "1").is(bulk("x")),
			q("SETX", "x", "1").is(null),
			q("SET", "empty", "").is(bulk("empty")),
			q("GET", "empty").is(bulk("")),
			q("SET", "empty", "").is(null),
			q("SET", "bin\x00\r\n\xff", "$5\r\n\x00").is(bulk("bin\x00\r\n\xff")),
			q("GET", "bin\x00\r\n\xff").is(bulk("$5\r\n\x00")),
			q("SET", longest, "v").is(bulk(longest)),
			q("GET", longest).is(bulk("v")),
		}},
		{name: "SET is refused", rows: []row{
			q("SET").is(fails(zdb.TextUnexpectedArguments)),
			q("SET", "key").is(fails(zdb.TextUnexpectedArguments)),
			q("SET", "key", "value", "1", "2").is(fails(zdb.TextUnexpectedArguments)),
			q("SET", "", "value").is(fails(zdb.TextKeyNeeded)),
			q("SET", tooLong, "value").is(fails(zdb.TextKeyTooLarge)),
			q("DBSIZE").is(integer(0)),
		}},
		{name: "the largest value", rows: []row{
			q("SET", "large", largest).is(bulk("large")),
			q("LENGTH", "large").is(integer(zdb.MaxValueBytes)),
			q("CHECK", "large").is(integer(1)),
			q("GET", "large").is(bulk(largest)),
			q("SET", "large", largest).is(null),
			q("DEL", "large").is(ok),
		}},
		{name: "GET is refused", rows: []row{
			q("GET").is(fails(zdb.TextUnexpectedArguments)),
			q("GET", "a", "b").is(fails(zdb.TextUnexpectedArguments)),
			q("GET", "").is(fails(zdb.TextInvalidArgument)),
			q("GET", tooLong).is(fails(zdb.TextInvalidKey)),
		}},
		{name: "MGET", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "b", "").is(bulk("b")),
			q("MGET", "a").is(list(bulk("1"))),
			q("MGET", "a", "nope", "b", "a").is(list(bulk("1"), null, bulk(""), bulk("1"))),
			q("MGET", "a", "").is(list(bulk("1"), null)),
			q("MGET").is(fails(zdb.TextInvalidArguments)),
			q("MGET", "a", tooLong).is(fails(zdb.TextInvalidKey)),
			q(append([]string{"MGET"}, strings.Split(strings.Repeat("a ", zdb.MaxArguments-1), " ")[:zdb.MaxArguments-1]...)...).
				is(list(strings.Split(strings.Repeat(bulk("1")+"|", zdb.MaxArguments-1), "|")[:zdb.MaxArguments-1]...)),
		}},
		{name: "DEL", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "b", "2").is(bulk("b")),
			q("DEL", "a").is(ok),
			q("DEL", "a").is(fails(zdb.TextKeyNotFound)),
			q("GET", "a").is(null),
			q("EXISTS", "a").is(integer(0)),
			q("LENGTH", "a").is(null),
			q("KEYTIME", "a").is(null),
			q("CHECK", "a").is(null),
			q("DBSIZE").is(integer(1)),
			q("SET", "a", "1").is(bulk("a")), // the same value as before its end
			q("GET", "a").is(bulk("1")),
			q("DEL").is(fails(zdb.TextUnexpectedArguments)),
			q("DEL", "a", "1", "2").is(fails(zdb.TextUnexpectedArguments)),
			q("DEL", "").is(fails(zdb.TextInvalidArgument)),
			q("DEL", tooLong).is(fails(zdb.TextInvalidKey)),
			q("DEL", "never").is(fails(zdb.TextKeyNotFound)),
		}},
		{name: "with a timestamp", rows: []row{
			q("SET", "a", "1", "1234567890").is(bulk("a")),
			q("KEYTIME", "a").is(integer(1234567890)),
			q("SET", "a", "1", "1234567899").is(null), // nothing is written, the time stays
			q("KEYTIME", "a").is(integer(1234567890)),
			q("SETX", "a", "2", "7").is(bulk("a")),
			q("KEYTIME", "a").is(integer(7)),
			q("SET", "b", "1", "soon").is(bulk("b")).but(fails(zdb.TextInvalidArgument), whyStrict),
			q("DEL", "a", "1234567891").is(ok),
			q("DEL", "a", "1234567891").is(fails(zdb.TextKeyNotFound)),
			q("DEL", "", "1").is(fails(zdb.TextKeyNotFound)),
			q("SET", "", "v", "1").is(fails(zdb.TextKeyNeeded)),
			q("SET", "c", "1").is(bulk("c")),
			q("DEL", "c", "soon").is(ok).but(fails(zdb.TextInvalidArgument), whyStrict),
		}},
		{name: "EXISTS, CHECK, LENGTH and KEYTIME", rows: []row{
			q("SET", "a", "12345").is(bulk("a")),
			q("EXISTS", "a").is(integer(1)),
			q("EXISTS", "b").is(integer(0)),
			q("CHECK", "a").is(integer(1)),
			q("CHECK", "b").is(null),
			q("LENGTH", "a").is(integer(5)),
			q("LENGTH", "b").is(null),
			q("KEYTIME", "a").is(":{time}\r\n"),
			q("KEYTIME", "b").is(null),
			q("EXISTS").is(fails(zdb.TextUnexpectedArguments)),
			q("CHECK", "a", "b").is(fails(zdb.TextUnexpectedArguments)),
			q("LENGTH").is(fails(zdb.TextUnexpectedArguments)),
			q("KEYTIME").is(fails(zdb.TextUnexpectedArguments)),
			q("EXISTS", "").is(fails(zdb.TextInvalidArgument)),
			q("CHECK", "").is(fails(zdb.TextInvalidArgument)),
			q("LENGTH", "").is(fails(zdb.TextInvalidArgument)),
			q("KEYTIME", "").is(fails(zdb.TextInvalidArgument)),
			q("EXISTS", tooLong).is(fails(zdb.TextInvalidKey)),
			q("CHECK", tooLong).is(fails(zdb.TextInvalidKey)),
			q("LENGTH", tooLong).is(fails(zdb.TextInvalidKey)),
			q("KEYTIME", tooLong).is(fails(zdb.TextInvalidKey)),
			q("SET", "e", "").is(bulk("e")),
			q("LENGTH", "e").is(integer(0)),
			q("CHECK", "e").is(integer(1)),
		}},
		{name: "DBSIZE", rows: []row{
			q("DBSIZE").is(integer(0)),
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "a", "2").is(bulk("a")),
			q("SET", "b", "2").is(bulk("b")),
			q("DBSIZE").is(integer(2)),
			q("DEL", "b").is(ok),
			q("DBSIZE", "what").is(integer(1)),
		}},
		{name: "maxsize", rows: []row{
			q("NSSET", inNamespace, "maxsize", "10").is(ok),
			q("SET", "a", "12345").is(bulk("a")),
			q("SET", "b", "123456").is(fails(zdb.TextNoSpace)),
			q("SET", "b", "12345").is(bulk("b")),
			q("SET", "c", "").is(bulk("c")), // a key takes none of it
			q("SET", "c", "1").is(fails(zdb.TextNoSpace)),
			q("SET", "a", "12345").is(null),
			q("SET", "a", "54321").is(bulk("a")), // in place of as much
			q("SET", "a", "123456").is(fails(zdb.TextNoSpace)),
			q("GET", "a").is(bulk("54321")),
			q("DEL", "b").is(ok),
			q("SET", "a", "1234567890").is(bulk("a")),
			q("NSSET", inNamespace, "maxsize", "5").is(ok), // below what is there
			q("SET", "d", "1").is(fails(zdb.TextNoSpace)),
			q("GET", "a").is(bulk("1234567890")),
			q("NSSET", inNamespace, "maxsize", "0").is(ok),
			q("SET", "d", "1").is(bulk("d")),
		}},
		{name: "write-once", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("SET", "gone", "1").is(bulk("gone")),
			q("DEL", "gone").is(ok),
			q("NSSET", inNamespace, "worm", "1").is(ok),
			q("SET", "b", "1").is(bulk("b")),
			q("SET", "a", "2").is(fails(zdb.TextWorm)),
			q("SET", "a", "1").is(fails(zdb.TextWorm)), // not even the same
			q("DEL", "a").is(fails(zdb.TextWormDelete)),
			q("DEL", "never").is(fails(zdb.TextKeyNotFound)),
			q("GET", "a").is(bulk("1")),
			q("NSSET", inNamespace, "worm", "0").is(ok),
			q("SET", "a", "2").is(bulk("a")),
			q("DEL", "a").is(ok),
		}},
		{name: "locked", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("NSSET", inNamespace, "lock", "1").is(ok),
			q("SET", "a", "2").is(fails(zdb.TextLocked)),
			q("SET", "a", "1").is(fails(zdb.TextLocked)),
			q("DEL", "a").is(fails(zdb.TextLocked)),
			q("DEL", "never").is(fails(zdb.TextLocked)),
			q("GET", "a").is(bulk("1")),
			q("SCAN").is(page("a", entry("a", 1))),
			q("NSSET", inNamespace, "lock", "0").is(ok),
			q("SET", "a", "2").is(bulk("a")),
		}},
		{name: "frozen", rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("KEYCUR", "a").is("$17\r\n{b17:c}\r\n"),
			q("NSSET", inNamespace, "freeze", "1").is(ok),
			q("SET", "a", "2").is(fails(zdb.TextFrozen)),
			q("DEL", "a").is(fails(zdb.TextFrozen)),
			q("GET", "a").is(fails(zdb.TextFrozen)),
			q("MGET", "a").is(fails(zdb.TextFrozen)),
			q("EXISTS", "a").is(fails(zdb.TextFrozen)),
			q("CHECK", "a").is(fails(zdb.TextFrozen)),
			q("LENGTH", "a").is(fails(zdb.TextFrozen)),
			q("KEYTIME", "a").is(fails(zdb.TextFrozen)),
			q("SCAN").is(fails(zdb.TextFrozen)),
			q("SCANX", "{c}").is(fails(zdb.TextFrozen)),
			q("RSCAN").is(fails(zdb.TextFrozen)),
			q("KEYCUR", "a").is(fails(zdb.TextFrozen)),
			q("HISTORY", "a").is(fails(zdb.TextFrozen)),
			q("DBSIZE").is(integer(1)),
			q("NSSET", inNamespace, "lock", "1").is(ok), // one state of the two
			q("GET", "a").is(bulk("1")),
			q("NSSET", inNamespace, "freeze", "0").is(ok),
			q("SET", "a", "2").is(bulk("a")),
		}},
		{name: "names of commands", rows: []row{
			q("NOPE").is(fails(zdb.TextNotSupported)),
			q("HELLO", "3").is(fails(zdb.TextNotSupported)),
			q("COMMAND").is(fails(zdb.TextNotSupported)),
			q("GETX", "a").is(fails(zdb.TextNotSupported)),
			q("Set", "a", "1").is(bulk("a")),
			q("GE", "a").is(bulk("1")).but(fails(zdb.TextNotSupported), whyPrefix),
			q("").is(fails(zdb.TextNotACommand)).but(fails(zdb.TextNotSupported), whyPrefix),
			q("*").is(fails(zdb.TextNotACommand)),
			q("STOP").is(fails(zdb.TextUnauthorized)),
		}},
	}
}
