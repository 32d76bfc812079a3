package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// killSpace is a namespace of TestKill9, and all that is known of it.
type killSpace struct {
	name, password string
	sequential     bool
	writers        []*killWriter

	mu    sync.Mutex
	given map[string]bool // ids since the last FLUSH
	gone  map[string]bool // of them, those that were deleted
}

// killWriter works on slots of its own over one connection.
type killWriter struct {
	slots    []slot
	flushing bool // a FLUSH was sent and not answered
	versions int
	id       uint32

	writtenBytes int64 // acknowledged
}

// slot is a key: what is stored under it, "" for nothing, and what else may be, after
// requests that were sent and not answered.
type slot struct {
	key   string // in a sequential namespace "" until there is an id
	acked string
	open  []string
}

const killSlots = 24

var killWriters uint32

func makeWriters(n int, sequential bool) (ws []*killWriter) {
	for range n {
		killWriters++
		w := &killWriter{slots: make([]slot, killSlots), id: killWriters}
		for i := range w.slots {
			if !sequential {
				w.slots[i].key = fmt.Sprintf("%d/%d", w.id, i)
			}
		}
		ws = append(ws, w)
	}
	return ws
}

func (sp *killSpace) make(t *testing.T, d *daemon) {
	t.Helper()
	l, err := dialSpace(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.nc.Close()
	requests := [][]string{{"NSNEW", sp.name}}
	if sp.sequential {
		requests = append(requests, []string{"NSSET", sp.name, "mode", "seq"})
	}
	if sp.password != "" {
		requests = append(requests, []string{"NSSET", sp.name, "password", sp.password}, []string{"NSSET", sp.name, "public", "0"})
	}
	for _, args := range requests {
		if got, err := l.ask(args...); err != nil || got != "OK" {
			t.Fatalf("%v: %v, %v", args, got, err)
		}
	}
	sp.forget()
}

// forget is a FLUSH: ids start anew.
func (sp *killSpace) forget() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.given, sp.gone = make(map[string]bool), make(map[string]bool)
}

// give notes a new id.
func (sp *killSpace) give(id string) error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if len(id) != 8 || sp.given[id] {
		return fmt.Errorf("id %x is given twice", id)
	}
	sp.given[id] = true
	return nil
}

func (sp *killSpace) bury(id string) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.gone[id] = true
}

// request is one of a pipeline; taken is told its reply.
type request struct {
	args  []string
	taken func(got any) error
}

// work sends pipelines of random requests until the connection breaks.
func (w *killWriter) work(d *daemon, sp *killSpace, rng *rand.Rand, acked func()) error {
	l, err := dialSpace(d, sp)
	if err != nil {
		return nil // killed already
	}
	defer l.nc.Close()
	for {
		var pipeline []request
		if sp.password != "" && rng.IntN(60) == 0 {
			pipeline = []request{w.flush(sp)}
		} else {
			used := make(map[int]bool)
			for range 1 + rng.IntN(8) {
				if r, ok := w.random(sp, rng, used); ok {
					pipeline = append(pipeline, r)
				}
			}
		}
		var b bytes.Buffer
		for _, r := range pipeline {
			appendRequest(&b, r.args...)
		}
		if _, err := l.nc.Write(b.Bytes()); err != nil {
			return nil
		}
		for _, r := range pipeline {
			got, err := readReply(l.r)
			if err != nil {
				return nil
			}
			if err := r.taken(got); err != nil {
				return fmt.Errorf("%s %q: %w", r.args[0], r.args[min(1, len(r.args)-1)], err)
			}
			acked()
		}
	}
}

func (w *killWriter) flush(sp *killSpace) request {
	w.flushing = true
	return request{[]string{"FLUSH"}, func(got any) error {
		if got != "OK" {
			return fmt.Errorf("%v", got)
		}
		w.flushed(sp)
		return nil
	}}
}

func (w *killWriter) flushed(sp *killSpace) {
	w.flushing = false
	sp.forget()
	for i := range w.slots {
		w.slots[i] = slot{key: w.slots[i].key}
		if sp.sequential {
			w.slots[i].key = ""
		}
	}
}

// random makes a request, and notes what it may change. A slot whose id is not known yet, or
// is just being deleted, is not used again in the same pipeline.
func (w *killWriter) random(sp *killSpace, rng *rand.Rand, used map[int]bool) (request, bool) {
	k := rng.IntN(len(w.slots))
	s := &w.slots[k]
	isNew := sp.sequential && s.key == ""
	if used[k] {
		return request{}, false
	}
	// now is what the requests ahead in the pipeline make of it.
	now := s.acked
	if len(s.open) > 0 {
		now = s.open[len(s.open)-1]
	}
	switch n := rng.IntN(10); {
	case n == 0 && now != "":
		used[k] = sp.sequential
		s.open = append(s.open, "")
		return request{[]string{"DEL", s.key}, func(got any) error {
			if got != "OK" {
				return fmt.Errorf("%v", got)
			}
			s.acked, s.open = "", s.open[1:]
			if sp.sequential {
				sp.bury(s.key)
				s.key = ""
			}
			return nil
		}}, true
	case n <= 2 && !isNew:
		return request{[]string{"GET", s.key}, func(got any) error { return same(got, now) }}, true
	}
	used[k] = isNew
	w.versions++
	value := killValue(w.id, w.versions, rng)
	s.open = append(s.open, value)
	return request{[]string{"SET", s.key, value}, func(got any) error {
		key, ok := got.(string)
		switch {
		case ok && isNew:
			if err := sp.give(key); err != nil {
				return err
			}
			s.key = key
		case !ok || key != s.key:
			return fmt.Errorf("%v", got)
		}
		s.acked, s.open = value, s.open[1:]
		w.writtenBytes += int64(len(value))
		return nil
	}}, true
}

// killValue is a value that no other request stores, short ones as often as long ones.
func killValue(writer uint32, version int, rng *rand.Rand) string {
	head := fmt.Sprintf("%d.%d.", writer, version)
	return head + strings.Repeat(fmt.Sprintf("%016x", rng.Uint64()), 1<<rng.IntN(12))
}

func same(got any, want string) error {
	text, ok := got.(string)
	if want == "" && got == nil || want != "" && ok && text == want {
		return nil
	}
	return fmt.Errorf("got %.60v (%d), want %.60s (%d)", got, len(text), want, len(want))
}

// verify compares what is stored with what may be, and makes that what is known.
func (sp *killSpace) verify(d *daemon) error {
	l, err := dialSpace(d, sp)
	if err != nil {
		return err
	}
	defer l.nc.Close()
	listed, err := l.list()
	if err != nil {
		return err
	}
	for _, w := range sp.writers {
		if w.flushing && len(listed) == 0 {
			w.flushed(sp)
		}
		w.flushing = false // or nothing of it has been done, which is what follows
		for k := range w.slots {
			if err := sp.verifySlot(l, &w.slots[k], listed); err != nil {
				return fmt.Errorf("key %q: %w", w.slots[k].key, err)
			}
		}
	}
	// What is left was stored by requests whose id was not answered.
	for id, n := range listed {
		if err := sp.adopt(l, id, n); err != nil {
			return err
		}
	}
	for _, w := range sp.writers {
		for k := range w.slots {
			w.slots[k].open = nil // it is decided: they were not stored
		}
	}
	return nil
}

// verifySlot takes its key off the listing.
func (sp *killSpace) verifySlot(l *link, s *slot, listed map[string]int64) error {
	if s.key == "" {
		return nil
	}
	got, err := l.ask("GET", s.key)
	if err != nil {
		return err
	}
	text, ok := got.(string)
	if got != nil && !ok {
		return fmt.Errorf("%v", got)
	}
	if text != s.acked && !slices.Contains(s.open, text) {
		return fmt.Errorf("got %.40q (%d), acknowledged %.40q (%d), %d sent after that", text, len(text), s.acked, len(s.acked), len(s.open))
	}
	n, isListed := listed[s.key]
	if isListed != (text != "") || n != int64(len(text)) {
		return fmt.Errorf("value of %d bytes, listed: %v, %d bytes", len(text), isListed, n)
	}
	delete(listed, s.key)
	s.acked, s.open = text, nil
	if text == "" && sp.sequential {
		sp.bury(s.key)
		s.key = ""
	}
	return nil
}

// adopt finds the slot whose new value is stored under an id that was not answered.
func (sp *killSpace) adopt(l *link, id string, sizeBytes int64) error {
	got, err := l.ask("GET", id)
	if err != nil {
		return err
	}
	text, _ := got.(string)
	if !sp.sequential || sp.gone[id] || int64(len(text)) != sizeBytes {
		return fmt.Errorf("key %q is listed with %d bytes, deleted: %v, got %.40v", id, sizeBytes, sp.gone[id], got)
	}
	for _, w := range sp.writers {
		for k := range w.slots {
			if s := &w.slots[k]; s.key == "" && slices.Contains(s.open, text) {
				*s = slot{key: id, acked: text}
				return sp.give(id)
			}
		}
	}
	return fmt.Errorf("id %x holds %.40q, which nobody stored", id, text)
}

// list is the whole listing: keys and the lengths of their values.
func (l *link) list() (map[string]int64, error) {
	listed := make(map[string]int64)
	args := []string{"SCAN"}
	for {
		got, err := l.ask(args...)
		if err != nil {
			return nil, err
		}
		if got == errorText("No more data") {
			return listed, nil
		}
		page, ok := got.([]any)
		if !ok || len(page) != 2 {
			return nil, fmt.Errorf("SCAN: %v", got)
		}
		items := make(map[string]int64)
		for _, item := range page[1].([]any) {
			fields := item.([]any)
			items[fields[0].(string)] = fields[1].(int64)
		}
		if len(items) != len(page[1].([]any)) {
			return nil, errors.New("SCAN: a key twice")
		}
		maps.Copy(listed, items)
		args = []string{"SCAN", page[0].(string)}
	}
}

// readReply reads any reply: string, nil, int64, errorText or a list of them.
func readReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	kind, text := line[0], line[1:]
	switch kind {
	case '+':
		return text, nil
	case '-':
		return errorText(text), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(r, b)
		return string(b[:n]), err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = readReply(r); err != nil {
			return nil, err
		}
	}
	return list, nil
}
