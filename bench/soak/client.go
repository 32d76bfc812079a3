package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/qsfs/qsfs/bench/report"
	"github.com/qsfs/qsfs/bench/session"
)

// shared is what all clients have in common.
type shared struct {
	network, address string
	pool             pool
	maxValueBytes    int
	keys             int // of a client
	stop             atomic.Bool
	left             atomic.Int64 // bytes that may still be written
	written          atomic.Int64
	latency          []report.Latencies // of each of verbs
}

// space is a namespace of the run.
type space struct {
	name       string
	sequential bool
}

// client works alone on keys of its own, so it knows what must be under each.
type client struct {
	*shared
	id    uint32
	space space
	rng   *rand.Rand
	s     *session.Session

	names    [][]byte // of its keys; in a sequential namespace empty until the server has given one
	values   []value
	versions uint32
}

// verbs are what a client does, and how often.
var verbs = [...]struct {
	name   string
	weight int
	do     func(c *client, k int) error
	writes bool // left out when no more may be written
}{
	{"SET", 28, (*client).set, true},
	{"GET", 32, (*client).get, false},
	{"MGET", 4, (*client).mget, false},
	{"EXISTS", 8, (*client).exists, false},
	{"LENGTH", 6, (*client).length, false},
	{"CHECK", 4, (*client).check, false},
	{"KEYTIME", 3, (*client).keytime, false},
	{"DEL", 8, (*client).del, true},
	{"SCAN", 3, (*client).scan, false},
	{"DBSIZE", 1, (*client).dbsize, false},
	{"NSINFO", 1, (*client).nsinfo, false},
	{"PING", 1, (*client).ping, false},
	{"reconnect", 1, (*client).reconnect, false},
}

func newClient(sh *shared, id int, sp space, seed uint64) *client {
	c := &client{
		shared: sh, id: uint32(id), space: sp, rng: rand.New(rand.NewPCG(seed, uint64(id)+1)),
		names: make([][]byte, sh.keys), values: make([]value, sh.keys),
	}
	if !sp.sequential {
		for k := range c.names {
			c.names[k] = fmt.Appendf(nil, "client %d key %d", id, k)
		}
	}
	return c
}

// run works until it is told to stop, then reads all of its keys once more.
func (c *client) run(ctx context.Context) (err error) {
	if err := c.connect(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.s.Close()) }()
	total := 0
	for _, v := range verbs {
		total += v.weight
	}
	for !c.stop.Load() && ctx.Err() == nil {
		n := c.rng.IntN(total)
		i := 0
		for ; n >= verbs[i].weight; i++ {
			n -= verbs[i].weight
		}
		if verbs[i].writes && c.left.Load() < 0 {
			continue
		}
		k := c.rng.IntN(c.keys)
		start := time.Now()
		if err := verbs[i].do(c, k); err != nil {
			return fmt.Errorf("client %d, %s of key %d in %s: %w", c.id, verbs[i].name, k, c.space.name, err)
		}
		c.latency[i].Add(time.Since(start))
	}
	for k := range c.names {
		if err := c.get(k); err != nil {
			return fmt.Errorf("client %d, last GET of key %d in %s: %w", c.id, k, c.space.name, err)
		}
	}
	return nil
}

func (c *client) connect() (err error) {
	if c.s, err = session.Open(c.network, c.address); err != nil {
		return err
	}
	if err = c.s.Send([]byte("SELECT"), []byte(c.space.name)); err == nil {
		_, err = c.s.Expect('+')
	}
	if err != nil {
		return errors.Join(err, c.s.Close())
	}
	return nil
}

func (c *client) reconnect(int) error {
	if err := c.s.Close(); err != nil {
		return err
	}
	return c.connect()
}

// request sends a verb with a key.
func (c *client) request(verb string, k int) error {
	key := c.names[k]
	if len(key) == 0 {
		key = []byte("\xff\xff\xff\xff\xff\xff\xff\x7f") // an id that was never given
	}
	return c.s.Send([]byte(verb), key)
}

func (c *client) set(k int) error {
	v := value{client: c.id, version: c.versions + 1, sizeBytes: randomSize(c.rng, c.maxValueBytes)}
	c.left.Add(-int64(v.sizeBytes))
	c.versions++
	stamp, body := c.pool.parts(v)
	name, isNew := c.names[k], c.space.sequential && c.values[k].version == 0
	if isNew {
		name = nil // an id is given once: not the one that was deleted
	}
	if err := c.s.SendParts(body, []byte("SET"), name, stamp[:]); err != nil {
		return err
	}
	key, err := c.s.Bulk(nil, 255)
	if err != nil {
		return err
	}
	if same := bytes.Equal(key, c.names[k]); isNew && (same || len(key) != 8) || !isNew && !same {
		return fmt.Errorf("%w: key %q, %q before", session.ErrWrong, key, c.names[k])
	}
	c.names[k] = key
	c.values[k] = v
	c.written.Add(int64(v.sizeBytes))
	return nil
}

func (c *client) get(k int) error {
	if err := c.request("GET", k); err != nil {
		return err
	}
	return readValue(c.s, c.pool, c.values[k])
}

// mget asks for a few keys, of the smaller ones: the reply is as long as all together.
func (c *client) mget(k int) error {
	args := [][]byte{[]byte("MGET")}
	var want []value
	for i := range c.keys {
		if j := (k + i) % c.keys; c.values[j].version > 0 && c.values[j].sizeBytes <= 64<<10 && len(want) < 8 {
			args, want = append(args, c.names[j]), append(want, c.values[j])
		}
	}
	if len(want) == 0 {
		return c.get(k)
	}
	if err := c.s.Send(args...); err != nil {
		return err
	}
	re, err := c.s.Expect('*')
	if err != nil {
		return err
	}
	if re.N != int64(len(want)) {
		return fmt.Errorf("%w: %d values instead of %d", session.ErrWrong, re.N, len(want))
	}
	for _, v := range want {
		if err := readValue(c.s, c.pool, v); err != nil {
			return err
		}
	}
	return nil
}

// number asks for something whose answer is a number, or nil where none is stored.
func (c *client) number(verb string, k int) (n int64, found bool, err error) {
	if err := c.request(verb, k); err != nil {
		return 0, false, err
	}
	re, err := c.s.Reply()
	if err == nil && re.Kind != ':' && (re.Kind != '$' || re.N != -1) {
		err = fmt.Errorf("%w: %c%s", session.ErrWrong, re.Kind, re.Text)
	}
	return re.N, re.Kind == ':', err
}

// answer compares a number with what it must be; nil where the key is not there.
func (c *client) answer(verb string, k int, want int64) error {
	n, found, err := c.number(verb, k)
	if err == nil && (found != (c.values[k].version > 0) || found && n != want) {
		err = fmt.Errorf("%w: %d %v instead of %d", session.ErrWrong, n, found, want)
	}
	return err
}

func (c *client) length(k int) error { return c.answer("LENGTH", k, int64(c.values[k].sizeBytes)) }
func (c *client) check(k int) error  { return c.answer("CHECK", k, 1) }

func (c *client) exists(k int) error {
	n, found, err := c.number("EXISTS", k)
	if err == nil && (!found || (n == 1) != (c.values[k].version > 0)) {
		err = fmt.Errorf("%w: %d", session.ErrWrong, n)
	}
	return err
}

func (c *client) keytime(k int) error {
	n, found, err := c.number("KEYTIME", k)
	if age := time.Now().Unix() - n; err == nil && (found != (c.values[k].version > 0) || found && (age < -2 || age > 86400)) {
		err = fmt.Errorf("%w: %d %v", session.ErrWrong, n, found)
	}
	return err
}

func (c *client) del(k int) error {
	if err := c.request("DEL", k); err != nil {
		return err
	}
	re, err := c.s.Reply()
	if c.values[k].version == 0 {
		if !errors.Is(err, session.ErrServer) || re.Text != "Key not found" {
			return fmt.Errorf("%w: %c%s for a key that is not there, %v", session.ErrWrong, re.Kind, re.Text, err)
		}
		return nil
	}
	if err == nil && re.Kind != '+' {
		err = fmt.Errorf("%w: %c%s", session.ErrWrong, re.Kind, re.Text)
	}
	c.values[k] = value{}
	return err
}

func (c *client) ping(int) error {
	if err := c.s.Send([]byte("PING")); err != nil {
		return err
	}
	_, err := c.s.Expect('+')
	return err
}

func (c *client) dbsize(int) error {
	if err := c.s.Send([]byte("DBSIZE")); err != nil {
		return err
	}
	_, err := c.s.Expect(':')
	return err
}

func (c *client) nsinfo(int) error {
	if err := c.s.Send([]byte("NSINFO"), []byte(c.space.name)); err != nil {
		return err
	}
	text, err := c.s.Bulk(nil, 64<<10)
	if err == nil && !bytes.Contains(text, []byte("name: "+c.space.name+"\n")) {
		err = fmt.Errorf("%w: %q", session.ErrWrong, text)
	}
	return err
}

// scan reads a page from the start. Keys of others come and go meanwhile, its own do not.
func (c *client) scan(int) error {
	_, items, err := c.page(nil)
	if errors.Is(err, session.ErrNoMore) {
		return nil
	}
	if err != nil {
		return err
	}
	for k, name := range c.names {
		if n, listed := items[string(name)]; listed && n != int64(c.values[k].sizeBytes) {
			return fmt.Errorf("%w: %q listed with %d bytes, %d stored", session.ErrWrong, name, n, c.values[k].sizeBytes)
		}
	}
	return nil
}
