package conformance

import (
	"strings"

	"github.com/qsfs/qsfs/zdb"
)

const (
	whyFraming = "framing is checked to the byte, and the connection is closed"
	whyWedged  = "the connection is closed: the original's session is out of step behind it"
	wrongHash  = "0123456789012345678901234567890123456789"
)

// sessionStories are about who may do what.
func sessionStories() []story {
	private := []row{
		q("AUTH", adminPassword).via("admin").is(ok),
		q("NSSET", inNamespace, "password", "secret").via("admin").is(ok),
		q("NSSET", inNamespace, "public", "0").via("admin").is(ok),
	}
	withAdmin := config{Admin: true}
	return []story{
		{name: "an administrator's commands", server: withAdmin, rows: []row{
			q("NSNEW", "mine").is(fails(zdb.TextPermissionDenied)),
			q("NSNEW").is(fails(zdb.TextPermissionDenied)), // said before the arguments are looked at
			q("NSDEL", "default").is(fails(zdb.TextPermissionDenied)),
			q("NSSET", inNamespace, "worm", "1").is(fails(zdb.TextPermissionDenied)),
			q("NSJUMP").is(fails(zdb.TextPermissionDenied)),
			q("RELOAD", inNamespace).is(fails(zdb.TextPermissionDenied)),
			q("HOOKS").is(fails(zdb.TextPermissionDenied)),
			q("INDEX", "DIRTY").is(fails(zdb.TextPermissionDenied)),
			q("DATA", "RAW", "0", "28").is(fails(zdb.TextPermissionDenied)),
			q("MIRROR").is(fails(zdb.TextPermissionDenied)),
			q("MASTER").is(fails(zdb.TextPermissionDenied)),
			q("SET", "a", "1", "1234567890").is(fails(zdb.TextPermissionDenied)),
			q("DEL", "a", "1234567890").is(fails(zdb.TextPermissionDenied)),
			q("STOP").is(fails(zdb.TextUnauthorized)),
			q("SET", "a", "1").is(bulk("a")), // and what everybody may
			q("DEL", "a").is(ok),
			q("PING").is(status("PONG")),
			q("TIME").is(list("${n}\r\n{time}\r\n", "${n}\r\n{n}\r\n")),
			q("INFO").is(infoText),
			q("NSLIST").is("*{rest}"),
			q("NSINFO", inNamespace).is(nsinfoLines(inNamespace, "0", "yes", "no", "no", "no", "0", "0", "userkey") + "\r\n"),
		}},
		{name: "AUTH", server: withAdmin, rows: []row{
			q("AUTH").is(fails(zdb.TextUnexpectedArguments)),
			q("AUTH", "a", "b", "c").is(fails(zdb.TextUnexpectedArguments)),
			q("AUTH", "").is(fails(zdb.TextInvalidArgument)),
			q("AUTH", "guess").is(fails(zdb.TextAccessDenied)),
			q("AUTH", adminPassword+" ").is(fails(zdb.TextAccessDenied)),
			q("AUTH", strings.Repeat("x", 129)).is(fails(zdb.TextPasswordTooLong)),
			q("NSJUMP").is(fails(zdb.TextPermissionDenied)),
			q("AUTH", adminPassword).is(ok),
			q("NSJUMP").is(ok),
			q("AUTH", "guess").is(fails(zdb.TextAccessDenied)), // and stays what it is
			q("NSJUMP").is(ok),
		}},
		{name: "AUTH SECURE", server: withAdmin, rows: []row{
			q("AUTH", "SECURE", wrongHash).is(fails(zdb.TextNoChallenge)),
			q("AUTH", "PLAIN", "x").is(fails(zdb.TextOnlySecure)),
			q("AUTH", "SECURE", "").is(fails(zdb.TextInvalidArgument)),
			q("auth", "secure", "challenge").is("+{h16:one}\r\n"),
			q("AUTH", "SECURE", "short").is(fails(zdb.TextHashLength)), // burns nothing
			q("AUTH", "SECURE", wrongHash).is(fails(zdb.TextAccessDenied)),
			q("AUTH", "SECURE", "{sha1:one:"+adminPassword+"}").is(fails(zdb.TextNoChallenge)), // but a wrong guess does
			q("AUTH", "SECURE", "CHALLENGE").is("+{h16:two}\r\n"),
			q("AUTH", "SECURE", "{sha1:one:"+adminPassword+"}").is(fails(zdb.TextAccessDenied)),
			q("AUTH", "SECURE", "CHALLENGE").is("+{h16:three}\r\n"),
			q("NSJUMP").is(fails(zdb.TextPermissionDenied)),
			q("AUTH", "SECURE", "{sha1:three:"+adminPassword+"}").is(ok),
			q("NSJUMP").is(ok),
			q("AUTH", "SECURE", "{sha1:three:"+adminPassword+"}").is(fails(zdb.TextNoChallenge)),
		}},
		{name: "AUTH without an administrator's password", rows: []row{
			q("AUTH", "x").is(fails(zdb.TextAuthDisabled)),
			q("AUTH", "").is(fails(zdb.TextAuthDisabled)),
			q("AUTH", "SECURE", wrongHash).is(fails(zdb.TextAuthDisabled)),
			q("AUTH", "SECURE", "CHALLENGE").is("+{h16:c}\r\n"), // SELECT needs it
			q("AUTH", "SECURE", wrongHash).is(fails(zdb.TextAuthDisabled)),
			q("AUTH", "PLAIN", "x").is(fails(zdb.TextOnlySecure)),
		}},
		{name: "SELECT", rows: []row{
			q("SELECT").is(fails(zdb.TextInvalidArgument)),
			q("SELECT", "absent").is(fails(zdb.TextNamespaceAbsent)),
			q("SELECT", "").is(fails(zdb.TextNamespaceAbsent)),
			q("SELECT", nameTooLong).is(fails(zdb.TextNamespaceTooLong)),
			q("SELECT", inNamespace, "needless").is(ok),
			q("SELECT", inNamespace, "SECURE", "needless").is(ok),
			q("SELECT", inNamespace, "a", "b", "c").is(ok),
			q("SET", "a", "1").is(bulk("a")),
			q("SELECT", "absent").is(fails(zdb.TextNamespaceAbsent)),
			q("GET", "a").is(bulk("1")), // it stayed
		}},
		{name: "a private namespace", server: withAdmin, rows: append(append([]row{}, private...),
			q("SELECT", inNamespace).via("outside").is(fails(zdb.TextPrivate)),
			q("SELECT", inNamespace, "guess").via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, "").via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, strings.Repeat("x", 255)).via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, strings.Repeat("x", 256)).via("outside").is(fails(zdb.TextPasswordTooLong)),
			q("SELECT", inNamespace, "a", "b", "c").via("outside").is(fails(zdb.TextTooManyArguments)),
			q("SELECT", inNamespace, "secret").via("outside").is(ok),
			q("SET", "a", "1").via("outside").is(bulk("a")),
			q("SET", "b", "1").via("outside2").is(bulk("b")), // that is the default namespace
			q("SELECT", inNamespace).via("outside2").is(fails(zdb.TextPrivate)),
			q("GET", "b").via("outside2").is(bulk("1")), // and stayed there
			q("SELECT", inNamespace).via("admin").is(fails(zdb.TextPrivate)),
			q("NSINFO", inNamespace).via("outside2").is(nsinfoLines(inNamespace, "1", "no", "no", "no", "yes", "1", "0", "userkey")+"\r\n"),
		)},
		{name: "SELECT SECURE", server: withAdmin, rows: append(append([]row{}, private...),
			q("SELECT", inNamespace, "SECURE", wrongHash).via("outside").is(fails(zdb.TextNoChallenge)),
			q("SELECT", inNamespace, "PLAIN", wrongHash).via("outside").is(fails(zdb.TextOnlySecure)),
			q("AUTH", "SECURE", "CHALLENGE").via("outside").is("+{h16:c}\r\n"),
			q("SELECT", inNamespace, "SECURE", "short").via("outside").is(fails(zdb.TextHashLength)),
			q("SELECT", inNamespace, "SECURE", wrongHash).via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, "SECURE", "{sha1:c:guess}").via("outside").is(fails(zdb.TextAccessDenied)),
			q("select", inNamespace, "secure", "{sha1:c:secret}").via("outside").is(ok),
			q("SET", "a", "1").via("outside").is(bulk("a")),
			q("SELECT", "default").via("outside").is(ok),
			q("SELECT", inNamespace, "SECURE", "{sha1:c:secret}").via("outside").is(ok), // SELECT does not burn it
		)},
		{name: "a public namespace with a password", server: withAdmin, rows: []row{
			q("AUTH", adminPassword).via("admin").is(ok),
			q("NSSET", inNamespace, "password", "secret").via("admin").is(ok),
			q("SELECT", inNamespace).via("outside").is(ok),
			q("SET", "a", "1").via("outside").is(fails(zdb.TextReadOnly)),
			q("SET", "", "1").via("outside").is(fails(zdb.TextReadOnly)),
			q("DEL", "a").via("outside").is(fails(zdb.TextReadOnly)),
			q("GET", "a").via("outside").is(null),
			q("SELECT", inNamespace, "guess").via("outside").is(fails(zdb.TextAccessDenied)),
			q("SELECT", inNamespace, "secret").via("outside").is(ok),
			q("SET", "a", "1").via("outside").is(bulk("a")),
			q("SELECT", inNamespace).via("outside").is(ok), // without it, read-only again
			q("SET", "a", "2").via("outside").is(fails(zdb.TextReadOnly)),
			q("GET", "a").via("outside").is(bulk("1")),
			q("NSSET", inNamespace, "password", "*").via("admin").is(ok),
			q("SET", "a", "2").via("outside").is(fails(zdb.TextReadOnly)), // until it selects anew
			q("SELECT", inNamespace).via("outside").is(ok),
			q("SET", "a", "2").via("outside").is(bulk("a")),
		}},
		{name: "private without a password", rows: []row{
			q("NSSET", inNamespace, "public", "0").is(ok),
			q("SELECT", inNamespace).via("outside").is(ok),
			q("SET", "a", "1").via("outside").is(bulk("a")),
		}},
		{name: "--protect", server: config{Admin: true, Protect: true}, fresh: true, inside: "-", rows: []row{
			q("SET", "a", "1").is(fails(zdb.TextReadOnly)),
			q("DEL", "a").is(fails(zdb.TextReadOnly)),
			q("GET", "a").is(null),
			q("SELECT", "default").is(ok),
			q("SET", "a", "1").is(fails(zdb.TextReadOnly)),
			q("SELECT", "default", "guess").is(fails(zdb.TextAccessDenied)),
			q("SELECT", "default", adminPassword).is(ok),
			q("SET", "a", "1").is(bulk("a")),
			q("AUTH", "SECURE", "CHALLENGE").via("other").is("+{h16:c}\r\n"),
			q("SELECT", "default", "SECURE", "{sha1:c:"+adminPassword+"}").via("other").is(ok),
			q("GET", "a").via("other").is(bulk("1")),
			q("NSINFO", "default").is(nsinfoLines("default", "1", "yes", "no", "no", "yes", "1", "0", "userkey") + "\r\n"),
			q("NSNEW", "mine").is(fails(zdb.TextPermissionDenied)), // a password of a namespace makes nobody an administrator
		}},
		{name: "too many clients", server: config{MaxClients: 1}, fresh: true, inside: "-", ourOnly: "the original takes any number", rows: []row{
			q("PING").is(status("PONG")),
			later("second", fails(zdb.TextTooManyClients)).ends(),
			q("PING").is(status("PONG")),
		}},
		{name: "--protect, other namespaces", server: config{Admin: true, Protect: true}, rows: []row{
			q("SET", "a", "1").is(bulk("a")),
			q("FLUSH").is(fails(zdb.TextFlushDenied)),
		}},
	}
}

// pipeline is rows whose requests go in one write; the replies come in their order.
func pipeline(rounds int) []row {
	var sent strings.Builder
	var rows []row
	expect := func(want string, args ...string) {
		sent.WriteString(request(args))
		rows = append(rows, later("", want))
	}
	for i := range rounds {
		key := "key " + decimal(i%7)
		expect(bulk(key), "SET", key, decimal(i))
		expect(null, "SET", key, decimal(i))
		expect(bulk(decimal(i)), "GET", key)
		expect(fails(zdb.TextNotSupported), "NOPE", key)
		expect(status("PONG"), "PING")
		expect(ok, "DEL", key)
		expect(fails(zdb.TextKeyNotFound), "DEL", key)
		expect(null, "GET", key)
	}
	return append([]row{raw(sent.String()).quiet()}, rows...)
}

// protocolStories are about bytes that are no request.
func protocolStories() []story {
	many := make([]string, zdb.MaxArguments+1)
	for i := range many {
		many[i] = "a"
	}
	return []story{
		{name: "inline", rows: []row{raw("PING\r\n").is(fails(zdb.TextMalformedRequest)).ends()}},
		{name: "a string for a request", rows: []row{raw("$4\r\nPING\r\n").is(fails(zdb.TextMalformedRequest)).ends()}},
		{name: "no arguments", rows: []row{raw("*0\r\n").is(fails(zdb.TextMissingArguments)).oursEnds(whyWedged)}},
		{name: "a negative count", rows: []row{raw("*-1\r\n").is(fails(zdb.TextInternalMemory)).ends()}},
		{name: "too many arguments", rows: []row{raw("*1025\r\n").is(fails(zdb.TextTooManyArguments)).oursEnds(whyWedged)}},
		{name: "far too many arguments", rows: []row{q(many...).is(fails(zdb.TextTooManyArguments)).oursEnds(whyWedged)}},
		{name: "an integer for an argument", rows: []row{raw("*1\r\n:4\r\n").is(fails(zdb.TextMalformedQuery)).oursEnds(whyWedged)}},
		{name: "a count that is none", rows: []row{
			raw("*x\r\n").is(fails(zdb.TextMissingArguments)).but(fails(zdb.TextMalformedQuery), whyFraming).oursEnds(whyFraming)}},
		{name: "lines that end in a newline alone", rows: []row{
			raw("*1\n$4\nPING\r\n").is(status("PONG")).but(fails(zdb.TextMalformedQuery), whyFraming).oursEnds(whyFraming)}},
		{name: "a string longer than announced", rows: []row{
			raw("*1\r\n$4\r\nPINGxx").is(status("PONG")).but(fails(zdb.TextMalformedQuery), whyFraming).oursEnds(whyFraming)}},
		{name: "nil for an argument", rows: []row{
			raw("*2\r\n$3\r\nGET\r\n$-1\r\n").is("").but(fails(zdb.TextMalformedQuery), whyFraming).oursEnds(whyFraming)}},
		{name: "a pipeline", rows: pipeline(500)},
		{name: "a value too large", rows: []row{raw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n").is(fails(zdb.TextPayloadTooBig)).ends()}},
		{name: "a string in pieces and a pipeline", rows: []row{
			raw("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nva").quiet(),
			raw("lue\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPI").is(bulk("k")),
			later("", bulk("value")),
			raw("NG\r\n").is(status("PONG")),
		}},
	}
}
