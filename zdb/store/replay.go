package store

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// replay reads the data files from a position on and brings the index up to date.
// With until given, the last file is that position's and ends there, all of it durable.
func (r *recovery) replay(from position, until *position) error {
	a := applier{Store: r.Store, tx: r.beginTx(true), last: r.lastRecord}
	defer func() { a.tx.discard() }()
	r.activeID, r.end = from.File, int64(from.Offset)
	r.lastRecord = a.last
	for i, f := range r.found {
		if f.id < from.File || (until != nil && f.id > until.File) {
			continue
		}
		start, end, last := int64(fileHeaderBytes), f.sizeBytes, i == len(r.found)-1
		if f.id == from.File {
			start = max(start, int64(from.Offset))
		} else {
			a.last = 0
		}
		proven := start
		switch {
		case until != nil && f.id == until.File:
			end, proven = int64(until.Offset), int64(until.Offset)
		case !last:
			if next := r.found[i+1].header; next.Previous == f.id {
				end = int64(next.PreviousEnd)
			}
			proven = end
		}
		if f.sizeBytes < max(proven, min(start, end)) {
			r.damage("data file is cut short", "file", f.id, "size", f.sizeBytes, "wanted", max(proven, start))
		}
		end = min(end, f.sizeBytes)
		stop, err := r.replayFile(&a, f.id, start, end, proven, last && until == nil)
		if err != nil {
			return err
		}
		r.activeID, r.end, r.lastRecord = f.id, max(stop, start), a.last
	}
	if r.activeID != 0 {
		a.reached = position{File: r.activeID, Offset: uint32(r.end)}
		if err := a.flush(); err != nil {
			return err
		}
	}
	return nil
}

// replayFile reads one file; it gives the end of what counts.
func (r *recovery) replayFile(a *applier, id fileID, start, end, proven int64, mayBeTorn bool) (int64, error) {
	file, err := r.opts.FS.Open(r.files.path(id), vfs.SequentialReadsOption)
	if err != nil {
		return 0, diskError(err)
	}
	defer file.Close()
	w := walker{file: file, seed: newSeed(r.id, id), end: end}
	if mayBeTorn {
		// What the records themselves prove to have been durable.
		for off := start; ; {
			f, ok := w.next(off)
			if !ok {
				break
			}
			if f.Key != nil {
				proven = max(proven, int64(f.Header.Synced))
			}
			off = f.End
		}
		w.values = true
	}
	off := start
	for {
		f, ok := w.next(off)
		if !ok {
			break
		}
		bad := f.Key == nil || f.ValueBad
		if bad && mayBeTorn && f.Offset >= proven {
			r.keepBehind(&w, id, f)
			break
		}
		if bad {
			r.damage("damaged record", "file", id, "offset", f.Offset, "bytes", f.End-f.Offset)
		}
		if f.Key != nil {
			if err := a.apply(id, &f); err != nil {
				return 0, err
			}
		}
		off = f.End
	}
	if w.err != nil {
		return 0, diskError(w.err)
	}
	switch {
	case off >= end:
	case off < proven:
		r.damage("end of data file damaged", "file", id, "offset", off, "bytes", end-off)
		off = max(off, min(proven, end))
	case mayBeTorn:
		r.opts.Log.Warn("torn tail cut", "dir", r.dir, "file", id, "offset", off, "bytes", end-off)
	}
	return off, nil
}

// keepBehind remembers the whole records behind a tear: they were not acknowledged
// (that would have made the torn place durable) unless the tear is rot.
func (r *recovery) keepBehind(w *walker, id fileID, tear found) {
	for off := tear.End; ; {
		f, ok := w.next(off)
		if !ok {
			return
		}
		if f.Key != nil && !f.ValueBad {
			r.torn = append(r.torn, keptRecord{offset: f.Offset, header: f.Header})
		}
		off = f.End
	}
}

// applier brings records into the index, in batches.
type applier struct {
	*Store
	tx      *indexTx
	reached position
	last    uint32 // offset of the last record
	records int
}

func (a *applier) apply(id fileID, f *found) error {
	key := bytes.Clone(f.Key)
	old, ok, err := find(a.tx.batch, key)
	if err != nil {
		return err
	}
	h := &f.Header
	a.tx.meta.NextSequence = max(a.tx.meta.NextSequence, h.nextSequence())
	if ok || !h.Delete { // a delete marker of what is not there keeps nothing out
		e := entry{File: id, Offset: uint32(f.Offset), Deleted: h.Delete, ValueBytes: h.ValueBytes, ValueCRC: h.ValueCRC,
			UnixTime: h.UnixTime, Sequence: h.Sequence}
		var replaced *entry
		if ok {
			replaced = &old
		}
		if err := a.tx.replace(key, &e, replaced); err != nil {
			return err
		}
	}
	a.last = uint32(f.Offset)
	a.reached = position{File: id, Offset: uint32(f.End)}
	if a.records++; a.records >= replayBatchRecords {
		return a.flush()
	}
	return nil
}

func (a *applier) flush() error {
	a.tx.meta.Reached, a.tx.meta.LastRecord = a.reached, a.last
	if err := a.tx.commit(); err != nil {
		return diskError(err)
	}
	a.records = 0
	a.tx.discard()
	a.tx = a.beginTx(true)
	return nil
}
