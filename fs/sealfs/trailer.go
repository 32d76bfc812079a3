package sealfs

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
)

const (
	maxRuns          = 1024 // further runs of a fixed file
	runBytes         = 16
	trailerFixed     = 12
	lengthBytes      = 4
	minSealedTrailer = trailerFixed + tagBytes
	maxSealedTrailer = trailerFixed + maxRuns*runBytes + tagBytes
)

// run is where a sequence of full frames starts.
type run struct {
	plain, sealed int64
}

// trailer tells the size of a fixed file and where its runs start; runs[0] is {0, headerBytes}.
type trailer struct {
	sizePlain int64
	runs      []run
}

func (t *trailer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(t.sizePlain))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.runs)-1))
	for _, r := range t.runs[1:] {
		b = binary.LittleEndian.AppendUint64(b, uint64(r.plain))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.sealed))
	}
	return b
}

// sealedBytes is the sealed size of a run of n plaintext bytes.
func sealedBytes(n int64) int64 {
	frames := (n + frameBytes - 1) / frameBytes
	return n + frames*tagBytes
}

// decodeTrailer checks the plaintext of a trailer that was found at sealed offset at.
// The runs must cover the file without overlap and end where the trailer starts.
func decodeTrailer(b []byte, at int64) (trailer, error) {
	bad := func(what string) (trailer, error) {
		return trailer{}, fmt.Errorf("%w: trailer: %s", ErrCorrupt, what)
	}
	if len(b) < trailerFixed {
		return bad("short")
	}
	size := binary.LittleEndian.Uint64(b)
	count := binary.LittleEndian.Uint32(b[8:])
	if count > maxRuns || len(b) != trailerFixed+int(count)*runBytes {
		return bad("run count")
	}
	if size > uint64(at) {
		return bad("size")
	}
	t := trailer{sizePlain: int64(size), runs: make([]run, 1, 1+count)}
	t.runs[0] = run{plain: 0, sealed: headerBytes}
	for b = b[trailerFixed:]; len(b) > 0; b = b[runBytes:] {
		plain, sealed := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		last := t.runs[len(t.runs)-1]
		empty := int64(plain) == last.plain // only of the first run: a file synced before anything was written
		if plain >= size || sealed >= uint64(at) || int64(plain) < last.plain || (empty && len(t.runs) > 1) ||
			int64(sealed) < last.sealed+sealedBytes(int64(plain)-last.plain)+minSealedTrailer+lengthBytes {
			return bad("run order")
		}
		t.runs = append(t.runs, run{plain: int64(plain), sealed: int64(sealed)})
	}
	last := t.runs[len(t.runs)-1]
	if last.sealed+sealedBytes(t.sizePlain-last.plain) != at {
		return bad("last run does not end here")
	}
	return t, nil
}

// readTrailer finds and opens the trailer of a fixed file of rawSize bytes.
func readTrailer(r io.ReaderAt, rawSize int64, c *fileCipher) (trailer, error) {
	if rawSize < headerBytes+minSealedTrailer+lengthBytes {
		return trailer{}, fmt.Errorf("%w: %d bytes hold no trailer", ErrCorrupt, rawSize)
	}
	// One read brings the usual trailer, which has no further runs, and its length.
	var tail [minSealedTrailer + lengthBytes]byte
	if err := readFull(r, tail[:], rawSize-int64(len(tail))); err != nil {
		return trailer{}, err
	}
	length := int64(binary.LittleEndian.Uint32(tail[minSealedTrailer:]))
	if length < minSealedTrailer || length > maxSealedTrailer || length > rawSize-headerBytes-lengthBytes {
		return trailer{}, fmt.Errorf("%w: not complete: no trailer at its end", ErrCorrupt)
	}
	at := rawSize - lengthBytes - length
	sealed := tail[:minSealedTrailer]
	if length != minSealedTrailer {
		sealed = make([]byte, length)
		if err := readFull(r, sealed, at); err != nil {
			return trailer{}, err
		}
	}
	var n nonce
	plain, err := c.open(&n, sealed[:0], sealed, at, kindTrailer, 0)
	if err != nil {
		return trailer{}, fmt.Errorf("not complete: %w", err)
	}
	return decodeTrailer(plain, at)
}

// place is where a plaintext offset is stored: in which frame, and at which offset in it.
type place struct {
	sealed  int64 // offset of the frame
	plain   int   // size of the frame's plaintext
	inFrame int
}

// locate finds the frame that holds off, which must be in [0, sizePlain).
func (t *trailer) locate(off int64) place {
	i := 0
	if len(t.runs) > 1 {
		i = sort.Search(len(t.runs), func(i int) bool { return t.runs[i].plain > off }) - 1
	}
	end := t.sizePlain
	if i+1 < len(t.runs) {
		end = t.runs[i+1].plain
	}
	in := off - t.runs[i].plain
	frame := in >> frameBits
	return place{
		sealed:  t.runs[i].sealed + frame*fullSealed,
		plain:   int(min(frameBytes, end-t.runs[i].plain-frame<<frameBits)),
		inFrame: int(in & (frameBytes - 1)),
	}
}
