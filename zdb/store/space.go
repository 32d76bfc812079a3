package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// space knows for each data file where it ends and how many bytes of it count: records of
// live keys, and delete markers that are still needed. All else in it is dead.
type space struct {
	mu    sync.Mutex
	files map[fileID]fileSpace
}

type fileSpace struct{ endBytes, liveBytes int64 }

func (f fileSpace) deadBytes() int64 { return max(0, f.endBytes-fileHeaderBytes-f.liveBytes) }

func (p *space) live(id fileID) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[id].liveBytes
}

func (p *space) of(id fileID) fileSpace {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[id]
}

// end is where a file ends; 0 where there is none.
func (p *space) end(id fileID) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.files[id].endBytes
}

func (p *space) change(live map[fileID]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, n := range live {
		f := p.files[id]
		f.liveBytes += n
		p.set(id, f)
	}
}

// ends notes where a file ends.
func (p *space) ends(id fileID, endBytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.files[id]
	f.endBytes = endBytes
	p.set(id, f)
}

// drop takes files out that are gone.
func (p *space) drop(gone func(fileID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.files {
		if gone(id) {
			delete(p.files, id)
		}
	}
}

// set is called with mu held.
func (p *space) set(id fileID, f fileSpace) {
	if p.files == nil {
		p.files = make(map[fileID]fileSpace)
	}
	p.files[id] = f
}

// recount begins to count anew what the files have; where they end stays.
func (p *space) recount() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, f := range p.files {
		p.files[id] = fileSpace{endBytes: f.endBytes}
	}
}

func (p *space) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files = nil
}

// totals gives the number of data files that are there, their bytes and the dead ones of these.
func (p *space) totals() (files int, bytes, dead int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		if f.endBytes > 0 {
			files++
			bytes += f.endBytes
			dead += f.deadBytes()
		}
	}
	return files, bytes, dead
}

// usage is a file and its figures.
type usage struct {
	id fileID
	fileSpace
}

// ended gives the files but the active one, the one with the greatest dead share first.
func (p *space) ended(active fileID) []usage {
	p.mu.Lock()
	var all []usage
	for id, f := range p.files {
		if id != active && f.endBytes > 0 {
			all = append(all, usage{id, f})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b usage) int {
		// a.dead/a.end > b.dead/b.end, without division
		if c := cmp.Compare(b.deadBytes()*a.endBytes, a.deadBytes()*b.endBytes); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	return all
}

// load reads the figures that the index keeps.
func (ix *index) loadSpace(p *space) error {
	it, err := ix.db.NewIter(prefixRange(prefixLive))
	if err != nil {
		return asDamage(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != 5 || len(it.Value()) != 8 {
			return fmt.Errorf("figures of a data file: %w", errIndexDamaged)
		}
		p.change(map[fileID]int64{
			fileID(binary.BigEndian.Uint32(it.Key()[1:])): int64(binary.LittleEndian.Uint64(it.Value())),
		})
	}
	return asDamage(it.Error())
}

// forgetFiles takes data files that are gone out of the figures. It runs on the committer.
func (s *Store) forgetFiles(gone func(fileID) bool) error {
	b := s.ix.db.NewBatch()
	defer b.Close()
	for _, prefix := range []byte{prefixLive, prefixCondemned} {
		it, err := s.ix.db.NewIter(prefixRange(prefix))
		if err != nil {
			return asDamage(err)
		}
		for ok := it.First(); ok; ok = it.Next() {
			if len(it.Key()) != 5 {
				it.Close()
				return fmt.Errorf("figures of a data file: %w", errIndexDamaged)
			}
			id := fileID(binary.BigEndian.Uint32(it.Key()[1:]))
			if gone(id) {
				if err := b.Delete(it.Key(), nil); err != nil {
					it.Close()
					return err
				}
			} else if prefix == prefixCondemned {
				s.compactor.condemned = id
			}
		}
		if err := it.Close(); err != nil {
			return asDamage(err)
		}
	}
	s.space.drop(gone)
	return diskErrorOrNil(s.ix.db.Apply(b, pebble.NoSync))
}
