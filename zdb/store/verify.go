package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// VerifyOptions of Verify. The zero value is good.
type VerifyOptions struct {
	FS       vfs.FS                            // the disk; nil means the operating system's
	Progress func(doneBytes, totalBytes int64) // called now and then
	Problem  func(Problem)                     // called for each damaged place
}

// Problem is a damaged place.
type Problem struct {
	File          uint32
	Offset, Bytes int64
	Key           []byte // nil where it can't be read
	Live          bool   // the value of Key is lost; false: an older record, or not known
	What          string
}

// VerifyResult is what Verify found.
type VerifyResult struct {
	Files     int
	Records   int64
	LiveKeys  int64 // -1: not known, because the index is damaged or behind
	DataBytes int64
	TornBytes int64 // at the end of the last file, of writes that were never acknowledged
	Problems  int
}

// Verify reads every record of a store that nobody has open and checks headers, keys and
// values. It changes nothing. It is zdb.ErrLocked when somebody uses the store; damage is no
// error but a Problem.
func Verify(ctx context.Context, dir string, o VerifyOptions) (VerifyResult, error) {
	opts := Options{FS: o.FS}
	opts.setDefaults()
	v := verifier{ctx: ctx, o: o, r: recovery{Store: &Store{opts: opts, dir: dir}}, result: VerifyResult{LiveKeys: -1}}
	if _, err := opts.FS.Stat(dir); err != nil {
		return v.result, fmt.Errorf("store %s: %w", dir, err)
	}
	lock, err := lockDir(opts.FS, dir)
	if err != nil {
		return v.result, fmt.Errorf("store %s: %w", dir, err)
	}
	defer lock.Close()
	if err := v.run(); err != nil {
		return v.result, fmt.Errorf("store %s: %w", dir, err)
	}
	return v.result, nil
}

type verifier struct {
	ctx    context.Context
	o      VerifyOptions
	r      recovery
	ix     *pebble.DB // nil: damaged, or there is none
	known  position   // what is before was durable: the index had it
	result VerifyResult
	total  int64
}

func (v *verifier) run() error {
	ids, err := listFiles(v.r.opts.FS, v.r.dir)
	if err != nil {
		return diskError(err)
	}
	for _, id := range ids {
		f, err := v.r.readHeader(id)
		if err != nil {
			return err
		}
		if f.header.Flags&fileFloor != 0 {
			v.r.found, v.total, v.r.id = nil, 0, storeID{} // what is before is void
		}
		if v.r.id == (storeID{}) {
			v.r.id = f.header.Store
		}
		v.r.found = append(v.r.found, f)
		v.total += f.sizeBytes
	}
	// A crash while a file was created leaves one without a header and without records.
	if n := len(v.r.found); n > 0 && v.r.found[n-1].damaged && v.r.found[n-1].sizeBytes <= fileHeaderBytes {
		v.result.TornBytes += v.r.found[n-1].sizeBytes
		v.r.found = v.r.found[:n-1]
	}
	v.openIndex()
	if v.ix != nil {
		defer v.ix.Close()
	}
	for i := range v.r.found {
		if err := v.file(i); err != nil {
			return err
		}
	}
	return nil
}

// openIndex opens the index for reading, if it is whole and not behind the data.
func (v *verifier) openIndex() {
	n := len(v.r.found)
	if n == 0 {
		v.result.LiveKeys = 0
		return
	}
	if _, err := v.r.opts.FS.Stat(v.r.indexDir()); err != nil {
		return
	}
	db, err := pebble.Open(v.r.indexDir(), &pebble.Options{FS: v.r.opts.FS, ReadOnly: true, Logger: indexLog{v.r.opts.Log},
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}})
	if err != nil {
		return
	}
	m, ok, err := (&index{db: db}).meta()
	last := v.r.found[n-1]
	if err == nil && ok && m.Store == v.r.id {
		v.known = m.Reached
	}
	atEnd := v.known == position{File: last.id, Offset: uint32(last.sizeBytes)} ||
		last.sizeBytes == fileHeaderBytes && v.known == position{File: last.header.Previous, Offset: uint32(last.header.PreviousEnd)}
	if !atEnd {
		db.Close()
		return
	}
	v.ix, v.result.LiveKeys = db, m.Entries
}

func (v *verifier) file(i int) error {
	f := v.r.found[i]
	v.result.Files++
	v.result.DataBytes += f.sizeBytes
	if f.damaged || f.header.Store != v.r.id {
		v.problem(Problem{File: uint32(f.id), Bytes: min(f.sizeBytes, fileHeaderBytes), What: "header of the data file"})
		if f.sizeBytes <= fileHeaderBytes {
			return nil
		}
	}
	file, err := v.r.opts.FS.Open(v.r.opts.FS.PathJoin(v.r.dir, fileName(f.id)), vfs.SequentialReadsOption)
	if err != nil {
		return diskError(err)
	}
	defer file.Close()
	last, end := i == len(v.r.found)-1, v.r.endOf(i)
	if !last {
		if next := v.r.found[i+1].header; next.Previous == f.id && int64(next.PreviousEnd) > end {
			v.problem(Problem{File: uint32(f.id), Offset: end, Bytes: int64(next.PreviousEnd) - end, What: "data file is cut short"})
		}
	}
	w := walker{file: file, seed: newSeed(v.r.id, f.id), end: end, values: true}
	var suspects []Problem // in the last file: a torn write, unless a later record proves it was durable
	durable := int64(0)
	if v.known.File == f.id {
		durable = int64(v.known.Offset)
	}
	off := int64(fileHeaderBytes)
	for off < end {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		r, ok := w.next(off)
		if w.err != nil {
			return diskError(w.err)
		}
		if !ok {
			suspects = append(suspects, Problem{File: uint32(f.id), Offset: off, Bytes: end - off, What: "no whole record follows"})
			break
		}
		switch {
		case r.Key == nil:
			suspects = append(suspects, Problem{File: uint32(f.id), Offset: off, Bytes: r.End - off, What: "header or key of a record"})
		case r.ValueBad:
			suspects = append(suspects, Problem{File: uint32(f.id), Offset: off, Bytes: r.End - off, Key: bytes.Clone(r.Key),
				Live: v.isLive(r.Key, f.id, off), What: "value of a record"})
		default:
			v.result.Records++
		}
		if r.Key != nil {
			durable = max(durable, int64(r.Header.Synced))
		}
		off = r.End
		if v.o.Progress != nil {
			v.o.Progress(v.result.DataBytes-f.sizeBytes+off, v.total)
		}
	}
	for n, p := range suspects {
		if last && p.Offset >= durable {
			v.result.TornBytes += end - suspects[n].Offset
			break
		}
		v.problem(p)
	}
	return nil
}

func (v *verifier) problem(p Problem) {
	v.result.Problems++
	if v.o.Problem != nil {
		v.o.Problem(p)
	}
}

func (v *verifier) isLive(key []byte, id fileID, offset int64) bool {
	if v.ix == nil {
		return false
	}
	e, ok, err := find(v.ix, key)
	return err == nil && ok && !e.Deleted && e.File == id && int64(e.Offset) == offset
}
