package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

const (
	// stampBytes at the start of each value make it differ from all others: an equal value
	// would not be stored again.
	stampBytes = 8
	keyBytes   = 16
	nilBytes   = len("$-1\r\n")
	// maxValueBytes is the protocol's.
	maxValueBytes = 8 << 20

	// Requests are laid out next to each other up to this size, and sent with one system call.
	sendBytes = 256 << 10
	readBytes = 256 << 10
)

var errReply = errors.New("unexpected reply")

// client is one connection with requests in flight. What it sends is laid out once; for a
// request only key and stamp are changed in place. It allocates nothing while it runs.
type client struct {
	sock  socket
	cell  cell
	slots []byte // requests, back to back
	slot  int    // bytes of one
	keyAt int    // of the key in it
	valAt int    // of the value; 0 for GET
	many  int    // requests in slots

	// expected are the numbers of the keys in flight, oldest first, in a ring.
	expected []uint64
	oldest   int

	head       []byte // what each good reply begins with
	buf        []byte
	start, end int
}

func newClient(s socket, c cell, rng *rand.Rand) *client {
	var request []byte
	cl := &client{sock: s, cell: c, expected: make([]uint64, c.depth), buf: make([]byte, readBytes)}
	if c.verb == verbSet {
		request = append(request, "*3\r\n$3\r\nSET\r\n"...)
		cl.head = fmt.Appendf(nil, "$%d\r\n", keyBytes)
	} else {
		request = append(request, "*2\r\n$3\r\nGET\r\n"...)
		cl.head = fmt.Appendf(nil, "$%d\r\n", c.valueBytes)
	}
	request = fmt.Appendf(request, "$%d\r\n", keyBytes)
	cl.keyAt = len(request)
	request = append(append(request, make([]byte, keyBytes)...), "\r\n"...)
	if c.verb == verbSet {
		request = fmt.Appendf(request, "$%d\r\n", c.valueBytes)
		cl.valAt = len(request)
		for len(request) < cl.valAt+c.valueBytes { // does not compress
			request = binary.LittleEndian.AppendUint64(request, rng.Uint64())
		}
		request = append(request[:cl.valAt+c.valueBytes], "\r\n"...)
	}
	cl.slot = len(request)
	cl.many = max(1, min(c.depth, sendBytes/cl.slot))
	cl.slots = bytes.Repeat(request, cl.many)
	return cl
}

const hexDigits = "0123456789abcdef"

func putKey(key []byte, n uint64) {
	for i := keyBytes - 1; i >= 0; i-- {
		key[i] = hexDigits[n&15]
		n >>= 4
	}
}

// keys hands out the numbers of keys; all clients of a cell share it.
type keys struct {
	next  atomic.Uint64
	count uint64 // a power of 2: GET goes through so many keys again and again; 0 for SET, which takes ever new ones
	left  atomic.Int64
	stop  atomic.Bool // sends nothing more
}

// take gives the numbers of n requests from first on; fewer when the cell is at its end.
func (k *keys) take(n int) (first uint64, got int) {
	if k.stop.Load() {
		return 0, 0
	}
	if left := k.left.Add(int64(-n)); left < 0 {
		n = max(0, n+int(left))
	}
	return k.next.Add(uint64(n)) - uint64(n), n
}

// number is the i-th key: for GET in an order that is not the one they were stored in, each
// once before any comes again, because the factor is odd.
func (k *keys) number(i uint64) uint64 {
	if k.count == 0 {
		return i
	}
	return (i * 0x9e3779b97f4a7c15) & (k.count - 1)
}

// run keeps the connection's requests in flight until the keys end, and gives the number
// of requests that were answered.
func (c *client) run(k *keys) (answered int64, err error) {
	flying, err := c.send(k, c.cell.depth, 0)
	for err == nil && flying > 0 {
		var n, more int
		if n, err = c.receive(flying); err != nil {
			break
		}
		answered += int64(n)
		flying -= n
		more, err = c.send(k, n, flying)
		flying += more
	}
	return answered, err
}

// send sends up to n requests behind the flying ones.
func (c *client) send(k *keys, n, flying int) (int, error) {
	first, n := k.take(n)
	for done := 0; done < n; {
		batch := min(n-done, c.many)
		for i := range batch {
			number := k.number(first + uint64(done+i))
			request := c.slots[i*c.slot : (i+1)*c.slot]
			putKey(request[c.keyAt:c.keyAt+keyBytes], number)
			if c.valAt > 0 {
				binary.LittleEndian.PutUint64(request[c.valAt:], number)
			}
			c.expected[(c.oldest+flying+done+i)%len(c.expected)] = number
		}
		if _, err := c.sock.Write(c.slots[:batch*c.slot]); err != nil {
			return done, fmt.Errorf("send: %w", err)
		}
		done += batch
	}
	return n, nil
}

// receive waits for a reply and takes those that have come with it, flying at most.
func (c *client) receive(flying int) (n int, err error) {
	for n < flying {
		if n > 0 && c.end-c.start < c.replyBytes() {
			break
		}
		if err := c.reply(c.expected[c.oldest]); err != nil {
			return n, err
		}
		c.oldest = (c.oldest + 1) % len(c.expected)
		n++
	}
	return n, nil
}

func (c *client) replyBytes() int {
	if c.cell.verb == verbSet {
		return len(c.head) + keyBytes + 2
	}
	return len(c.head) + c.cell.valueBytes + 2
}

// reply reads one reply and compares it with the key it must be for.
func (c *client) reply(number uint64) error {
	first := len(c.head) + stampBytes
	if c.cell.verb == verbSet {
		first = len(c.head) + keyBytes
	}
	// The shortest reply, nil, is shorter than the head of a good one: no more is waited for
	// before it is known that more will come.
	for _, n := range []int{min(nilBytes, len(c.head)), len(c.head)} {
		if err := c.fill(n); err != nil {
			return err
		}
		if !bytes.Equal(c.buf[c.start:c.start+n], c.head[:n]) {
			return c.surprise()
		}
	}
	if err := c.fill(first); err != nil {
		return err
	}
	got := c.buf[c.start+len(c.head) : c.start+first]
	if c.cell.verb == verbSet {
		var key [keyBytes]byte
		putKey(key[:], number)
		if !bytes.Equal(got, key[:]) {
			return fmt.Errorf("%w: %q instead of key %q", errReply, got, key[:])
		}
	} else if stamp := binary.LittleEndian.Uint64(got); stamp != number {
		return fmt.Errorf("%w: the value of key %x for key %x", errReply, stamp, number)
	}
	return c.skip(c.replyBytes())
}

// surprise makes an error of a reply that is not the expected one.
func (c *client) surprise() error {
	got := c.buf[c.start:c.end]
	if line, _, ok := bytes.Cut(got, []byte("\r\n")); ok {
		got = line
	}
	return fmt.Errorf("%w: %s", errReply, strconv.Quote(string(got[:min(len(got), 200)])))
}

// fill makes at least n bytes be in the buffer.
func (c *client) fill(n int) error {
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	if len(c.buf)-c.start < n {
		c.end = copy(c.buf, c.buf[c.start:c.end])
		c.start = 0
	}
	for c.end-c.start < n {
		m, err := c.sock.Read(c.buf[c.end:])
		if errors.Is(err, io.EOF) && c.end > c.start {
			return c.surprise() // short, and then the server hung up
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		c.end += m
	}
	return nil
}

// skip reads n bytes.
func (c *client) skip(n int) error {
	for {
		have := min(n, c.end-c.start)
		c.start += have
		if n -= have; n == 0 {
			return nil
		}
		if err := c.fill(1); err != nil {
			return err
		}
	}
}
