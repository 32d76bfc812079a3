package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// When files are cleaned in the background. At worst a cleaning moves three bytes for each
// that it gives back, and a quarter of the data files is dead.
const (
	deadShareFile  = 4  // one in so many bytes of the file
	deadShareAll   = 5  // and of all files
	deadShareShort = 20 // of the file, when the disk is nearly full
	shortBytes     = 64 << 20

	moveRecords   = 256
	moveBytes     = 1 << 20
	forgetRecords = 512

	// Between two moves the compactor rests so many times as long as the last one took.
	restFactor = 3
	maxRest    = time.Second
	retryAfter = 10 * time.Second
)

// compactor gives the space of dead records back, one data file at a time:
//
//  1. records that count are appended to the active file, unchanged, and the index follows;
//  2. the file is condemned: until it is gone no other one is removed;
//  3. the index forgets its stale records, and with the last one of a deleted key the marker;
//  4. all that is on disk, index included, and the file is removed.
//
// A crash between any two of these leaves a store that is whole, and the work is begun anew.
// A condemned file has to go before any other, because markers that kept its records out may
// have been forgotten: were they removed first and the index then lost, deleted keys came back.
// A file with damage in it is left alone.
type compactor struct {
	wake   chan struct{} // capacity 1
	ended  chan struct{}
	cancel context.CancelFunc

	mu        sync.Mutex // held while a file is cleaned
	skip      map[fileID]bool
	condemned fileID // 0: none

	statMu    sync.Mutex
	running   bool
	reclaimed Reclaimed
}

// Reclaimed is what compaction gave back.
type Reclaimed struct {
	Files int   // data files removed
	Bytes int64 // by which the data files shrank
}

// errDamagedFile: the file stays as it is.
var errDamagedFile = fmt.Errorf("data file is damaged: %w", zdb.ErrCorrupt)

// errBlocked: another file has to go first.
var errBlocked = errors.New("the end of the file before this one is only known here")

func (s *Store) startCompactor() {
	ctx, cancel := context.WithCancel(context.Background())
	s.compactor.cancel = cancel
	s.compactor.ended = make(chan struct{})
	go s.compactLoop(ctx)
	s.compactor.poke()
}

func (c *compactor) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (s *Store) stopCompactor() {
	if s.compactor.cancel != nil {
		s.compactor.cancel()
		<-s.compactor.ended
	}
}

func (s *Store) compactLoop(ctx context.Context) {
	defer close(s.compactor.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.compactor.wake:
		}
		if _, err := s.compactAll(ctx, s.victim, true); err != nil && ctx.Err() == nil {
			s.opts.Log.Warn("compaction interrupted", "dir", s.dir, "err", err)
			if rest(ctx, retryAfter) == nil {
				s.compactor.poke()
			}
		}
	}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Compact gives back what dead records take, as far as it can, and returns when that is done.
// Without it the same happens by and by in the background, once it pays.
func (s *Store) Compact(ctx context.Context) (Reclaimed, error) {
	err := s.onCommitter(ctx, func() error {
		if s.space.of(s.activeID).deadBytes() > 0 {
			return s.beginFile()
		}
		return nil
	})
	if err != nil {
		return Reclaimed{}, err
	}
	last := fileID(s.highest.Load())
	return s.compactAll(ctx, func() (fileID, bool) {
		return s.firstVictim(func(u usage) bool { return u.id <= last && u.deadBytes() > 0 })
	}, false)
}

// victim gives the file that is to be cleaned now, if any.
func (s *Store) victim() (fileID, bool) {
	_, total, dead := s.space.totals()
	short := s.room.isShort()
	return s.firstVictim(func(u usage) bool {
		d := u.deadBytes()
		return u.liveBytes == 0 || d*deadShareFile >= u.endBytes && dead*deadShareAll >= total ||
			short && d*deadShareShort >= u.endBytes
	})
}

// firstVictim gives the file with the greatest dead share of those that pay. One whose live
// records the disk has no room for now has to wait for the others.
func (s *Store) firstVictim(pays func(usage) bool) (fileID, bool) {
	for _, u := range s.space.ended(fileID(s.highest.Load())) {
		if pays(u) && !s.compactor.skip[u.id] && s.room.fitsMove(u.liveBytes) {
			return u.id, true
		}
	}
	return 0, false
}

// compactDue says cheaply whether the compactor may have something to do.
func (s *Store) compactDue() bool {
	_, total, dead := s.space.totals()
	return dead > minFileBytes/4 && dead*deadShareAll >= total
}

// compactAll cleans the files that next names until it names none.
func (s *Store) compactAll(ctx context.Context, next func() (fileID, bool), paced bool) (sum Reclaimed, err error) {
	c := &s.compactor
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setRunning(true)
	defer c.setRunning(false)
	clear(c.skip)
	for {
		id, ok := c.condemned, c.condemned != 0
		if !ok {
			id, ok = next()
		}
		if !ok {
			return sum, nil
		}
		p := &pass{Store: s, ctx: ctx, id: id, paced: paced, index: s.indexBuilds.Load()}
		moved, freed, err := p.run()
		switch {
		case errors.Is(err, errIndexExchanged):
			c.condemned = 0 // and so is the mark
		case errors.Is(err, errDamagedFile), errors.Is(err, errBlocked):
			if c.condemned == id {
				return sum, err
			}
			s.opts.Log.Warn("data file not compacted", "dir", s.dir, "file", id, "err", err)
			c.skip[id] = true
		case err != nil:
			return sum, err
		default:
			r := Reclaimed{Files: 1, Bytes: freed - moved}
			s.opts.Log.Info("data file compacted", "dir", s.dir, "file", id, "bytes", freed, "moved", moved)
			sum.add(r)
			c.note(r)
		}
	}
}

func (r *Reclaimed) add(o Reclaimed) { r.Files += o.Files; r.Bytes += o.Bytes }

func (c *compactor) setRunning(b bool) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	c.running = b
}

func (c *compactor) note(r Reclaimed) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	c.reclaimed.add(r)
}

func (c *compactor) figures() (running bool, sum Reclaimed) {
	c.statMu.Lock()
	defer c.statMu.Unlock()
	return c.running, c.reclaimed
}
