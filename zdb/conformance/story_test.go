package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// story is a few rows that belong together. They run in a namespace of their own,
// unless pinned to the default one, on a server that other stories have used.
type story struct {
	name    string
	server  config
	fresh   bool   // on a server of its own
	inside  string // "user" or "seq": the mode of its namespace; "-": the default namespace
	rows    []row
	asAdmin bool   // its connections give the administrator's password
	ourOnly string // why it runs on ours only

	originalOnly string // why it runs on the original only
}

// row is one request and its reply.
type row struct {
	on     string   // which connection; each is made when it is first named
	send   []string // a request; {name} is what an earlier reply was captured as
	raw    string   // or bytes as they are
	want   string   // the reply; "" where none is waited for
	ours   string   // our reply, where it is another one on purpose
	why    string   // the reason
	closes bool     // the original closes behind it
	weEnd  bool     // we close behind it
	wedges bool     // the original's session is of no use any more, ours goes on
	do     func(t *testing.T, p *peer, n names)
	boots  bool // the server is stopped and started; connections are made anew
}

// q is a row with a request.
func q(args ...string) row { return row{send: args} }

// raw is a row with bytes that are no request.
func raw(s string) row { return row{raw: s} }

// later is a row that waits for one more reply on a connection.
func later(on, want string) row { return row{on: on, want: want} }

// beside is a row that does something that is not on the wire.
func beside(do func(t *testing.T, p *peer, n names)) row { return row{do: do} }

// restart is a row that stops the server and starts it on the same data.
func restart() row { return row{boots: true} }

func (r row) is(want string) row { r.want = want; return r }
func (r row) via(on string) row  { r.on = on; return r }

// but gives our reply where it differs, and why.
func (r row) but(ours, why string) row { r.ours, r.why = ours, why; return r }

// ends says that both close behind the reply.
func (r row) ends() row { r.closes, r.weEnd = true, true; return r }

// oursEnds says that we close, where the original stays open and is of no use any more.
func (r row) oursEnds(why string) row { r.weEnd, r.why = true, why; return r }

// breaksOriginal says that the original's session is of no use any more.
func (r row) breaksOriginal() row { r.wedges = true; return r }

// quiet is a row that gets no reply.
func (r row) quiet() row { r.want = ""; return r }

func decimal[T int | int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// on gives stories that run on another server too, as its administrator.
func on(server config, name string, all []story) []story {
	for i := range all {
		all[i].name += name
		all[i].server, all[i].asAdmin = server, server.Admin
	}
	return all
}

// inNamespace is how rows name the namespace of their story.
const inNamespace = "{ns}"

// TestWire runs all stories against each server.
func TestWire(t *testing.T) {
	overAll(t, func(t *testing.T, k kind) {
		running := map[config]*peer{}
		for i, s := range stories() {
			if k.original && s.ourOnly != "" || !k.original && s.originalOnly != "" {
				continue
			}
			p := running[s.server]
			if p == nil && !s.fresh {
				p = k.start(t, s.server)
				running[s.server] = p
			}
			t.Run(s.name, func(t *testing.T) {
				if s.fresh {
					p = k.start(t, s.server)
				}
				s.run(t, p, fmt.Sprint("story", i))
			})
		}
	})
}

func (s *story) run(t *testing.T, p *peer, namespace string) {
	n := names{"ns": namespace}
	if s.inside == "-" {
		n["ns"] = "default"
	} else {
		root := dial(t, p)
		s.prepare(t, root, n, p)
	}
	sessions := map[string]*session{}
	var order []string
	for i, r := range s.rows {
		if r.do != nil {
			r.do(t, p, n)
			continue
		}
		if r.boots {
			p.stop()
			p.start(t)
			clear(sessions)
			order = nil
			continue
		}
		c := sessions[r.on]
		if c == nil {
			c = dial(t, p)
			if s.asAdmin {
				exchange(t, c, n, "AUTH", adminPassword)
			}
			if s.inside != "-" && !strings.HasPrefix(r.on, "outside") {
				exchange(t, c, n, "SELECT", n["ns"])
			}
			sessions[r.on] = c
			order = append(order, r.on)
		}
		if !r.run(t, c, n, p.original, i) {
			return
		}
	}
	for _, on := range order { // what came is what was asked for
		if c := sessions[on]; !c.closed {
			exchange(t, c, n, "PING")
		}
	}
}

// prepare makes the namespace of the story.
func (s *story) prepare(t *testing.T, root *session, n names, p *peer) {
	t.Helper()
	if p.Admin {
		exchange(t, root, n, "AUTH", adminPassword)
	}
	exchange(t, root, n, "NSNEW", n["ns"])
	if s.inside != "" {
		exchange(t, root, n, "NSSET", n["ns"], "mode", s.inside)
	}
}

// exchange sends what can only go well.
func exchange(t *testing.T, c *session, n names, args ...string) {
	t.Helper()
	want := ok
	if args[0] == "PING" {
		want = status("PONG")
	}
	if err := c.send(request(args)); err != nil {
		t.Fatal(err)
	}
	reply, err := c.reply()
	if err == nil {
		err = n.match(want, reply)
	}
	if err != nil {
		t.Fatalf("%q: got %q: %v", args, reply, err)
	}
}

// run sends a row and compares; false when the story can't go on.
func (r *row) run(t *testing.T, c *session, n names, original bool, i int) bool {
	t.Helper()
	want, closes := r.want, r.closes
	if !original {
		closes = r.weEnd
		if r.ours != "" {
			want = r.ours
		}
	}
	what := fmt.Sprintf("row %d %.80q", i, slices.Concat(r.send, []string{r.raw}))
	bytes := r.raw
	if r.send != nil {
		filled := make([]string, len(r.send))
		for j, arg := range r.send {
			var err error
			if filled[j], err = n.fill(arg); err != nil {
				t.Errorf("%s: %v", what, err)
				return false
			}
		}
		bytes = request(filled)
	}
	if bytes != "" {
		if err := c.send(bytes); err != nil {
			t.Errorf("%s: %v", what, err)
			return false
		}
	}
	if want != "" {
		tries := 1
		if original && len(r.send) > 0 && strings.Contains(r.send[0], "SCAN") {
			tries = 20 // its pages end after 2 ms, on a busy machine with few entries
		}
		for ; tries > 0; tries-- {
			reply, err := c.reply()
			if err != nil {
				t.Errorf("%s: got %.200q and then %v, want %.200q", what, reply, err, want)
				return false
			}
			kept := maps.Clone(n)
			if err = kept.match(want, reply); err == nil {
				maps.Copy(n, kept)
				break
			}
			if tries == 1 {
				t.Errorf("%s: got %.1000q, want %.1000q: %v", what, reply, want, err)
				break
			}
			if err := c.send(bytes); err != nil {
				t.Errorf("%s: %v", what, err)
				return false
			}
		}
	}
	if closes {
		c.closed = true
		if err := c.ended(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	} else if original && r.weEnd && want == "" {
		c.closed = true // it waits for more
	} else if original && r.weEnd {
		c.closed = true
		// It is out of step: whatever comes is answered with the same error.
		err := c.send(request([]string{"PING"}))
		if err == nil {
			var reply string
			if reply, err = c.reply(); err == nil {
				err = n.match(want, reply)
			}
		}
		if err != nil {
			t.Errorf("%s: is the original's session in step by now? %v", what, err)
		}
	} else if original && r.wedges {
		c.closed = true // nothing more is asked of it
	}
	return true
}
