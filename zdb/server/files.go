package server

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

// Of the files of a namespace clients see what they would of the C server's: data files
// count from 0, where the store's count from 1, and the first record is at 28, the
// length of its file header, where the store's is behind a longer one. The index is
// derived and has no files with ids: where the C server speaks of an index file, it is
// the data file of that id.
const (
	firstStoreFile   = 1
	firstStoreOffset = store.FirstRecord
	firstWireOffset  = 28
)

func wireFile(id uint32) uint32 { return id - firstStoreFile }

// dataFile is the path of a data file, see package store.
func (ns *namespace) dataFile(id uint32) string {
	return filepath.Join(ns.storeDir(), fmt.Sprintf("%08x.qzd", id))
}

// noteDirty keeps what a store that is being closed has written. The caller holds opening.
func (ns *namespace) noteDirty(ids []uint32) {
	if ns.dirty == nil && len(ids) > 0 {
		ns.dirty = make(map[uint32]struct{})
	}
	for _, id := range ids {
		ns.dirty[id] = struct{}{}
	}
}

// dirtyFiles gives the data files written since they were last reset, ascending.
func (ns *namespace) dirtyFiles() []uint32 {
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if ns.store != nil {
		ns.noteDirty(ns.store.Dirty())
	}
	return slices.Sorted(maps.Keys(ns.dirty))
}

func (ns *namespace) resetDirty(ids []uint32) {
	ns.opening.Lock()
	defer ns.opening.Unlock()
	if ns.store != nil {
		ns.noteDirty(ns.store.Dirty())
		ns.store.ResetDirty()
	}
	for _, id := range ids {
		delete(ns.dirty, id)
	}
}

// wireList is a list of file ids as hooks get it.
func wireList(ids []uint32) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.FormatUint(uint64(wireFile(id)), 10)
	}
	return strings.Join(words, " ")
}

// jumped tells the hooks that a data file was ended and the next begun. It comes from
// the store's committer and does not wait. A jump-index that ends well has saved the
// files of its list: they are dirty no more.
func (n *namespaces) jumped(ns *namespace, closed, opened uint32) {
	index := filepath.Join(ns.storeDir(), "index")
	var ids []uint32
	n.hooks.queue(&hook{
		name: "jump-index", args: []string{index, index},
		last: func() string { ids = ns.dirtyFiles(); return wireList(ids) },
		done: func(status int) {
			if status == 0 {
				ns.resetDirty(slices.DeleteFunc(ids, func(id uint32) bool { return id >= opened }))
			}
		},
	})
	n.hooks.start("jump-data", ns.dataFile(closed), ns.dataFile(opened))
}

// closing tells the hooks of the namespaces that were used: what is in their files now stays.
func (n *namespaces) closing() {
	for _, ns := range n.all() {
		ns.opening.Lock()
		st, opened := ns.store, ns.opened
		var figures store.Stats
		if st != nil {
			figures = st.Stats()
		}
		ns.opening.Unlock()
		if opened {
			n.hooks.start("namespace-closing", ns.name, filepath.Join(ns.storeDir(), "index"), figures.DataActive, wireList(ns.dirtyFiles()))
		}
	}
}

// missing tells the hooks of a data file that is not there, so that somebody brings it back.
func (n *namespaces) missing(err error) {
	var path *fs.PathError
	if errors.Is(err, fs.ErrNotExist) && errors.As(err, &path) {
		n.hooks.queue(&hook{name: "missing-data", args: []string{path.Path}, once: true})
	}
}

// nsjump ends the data file and begins the next.
func (c *conn) nsjump(*resp.Request) error {
	return c.withStore(func(st *store.Store) []byte {
		if _, _, err := st.Jump(c.ctx); err != nil {
			return resp.AppendError(nil, c.writeErrorText(err, false))
		}
		return resp.AppendStatus(nil, "OK")
	})
}

// index is INDEX DIRTY [RESET].
func (c *conn) index(req *resp.Request) error {
	if !c.subcommandGood(req) {
		return nil
	}
	if !strings.EqualFold(string(req.Args[1]), "DIRTY") {
		c.fail(zdb.TextUnknownIndex)
		return nil
	}
	c.out.settle()
	if len(req.Args) == 3 {
		switch {
		case len(req.Args[2]) > maxSubcommandBytes:
			c.fail(zdb.TextArgumentTooLong)
		case strings.EqualFold(string(req.Args[2]), "RESET"):
			c.ns.resetDirty(c.ns.dirtyFiles())
			c.status("OK")
		default:
			c.fail(zdb.TextUnknownDirty)
		}
		return nil
	}
	ids := c.ns.dirtyFiles()
	b := resp.AppendArray(nil, len(ids))
	for _, id := range ids {
		b = resp.AppendInt(b, int64(wireFile(id)))
	}
	c.encoded(b)
	return nil
}

const maxSubcommandBytes = 256

// subcommandGood checks INDEX and DATA; else it has answered.
func (c *conn) subcommandGood(req *resp.Request) bool {
	if len(req.Args) < 2 {
		c.fail(zdb.TextMissingArguments)
		return false
	}
	for _, a := range req.Args {
		if len(a) == 0 {
			c.fail(zdb.TextInvalidArgument)
			return false
		}
	}
	if len(req.Args[1]) > maxSubcommandBytes {
		c.fail(zdb.TextArgumentTooLong)
		return false
	}
	return true
}

// data is DATA RAW file offset.
func (c *conn) data(req *resp.Request) error {
	switch {
	case !c.subcommandGood(req):
		return nil
	case !strings.EqualFold(string(req.Args[1]), "RAW"):
		c.fail(zdb.TextUnknownData)
		return nil
	case len(req.Args) < 4:
		c.fail(zdb.TextMissingArguments)
		return nil
	}
	file, err := strconv.ParseUint(string(req.Args[2]), 10, 31)
	offset, err2 := strconv.ParseUint(string(req.Args[3]), 10, 62)
	if err != nil || err2 != nil || offset < firstWireOffset {
		c.fail(zdb.TextInvalidRequest)
		return nil
	}
	var raw store.RawRecord
	mem, err := c.fetch(func(st *store.Store, alloc func(int) []byte) (err error) {
		raw, err = st.Raw(c.ctx, uint32(file)+firstStoreFile, int64(offset)-firstWireOffset+firstStoreOffset, alloc)
		return err
	})
	switch {
	case err == nil:
		c.rawRecord(raw, mem)
		return nil
	case errors.Is(err, io.EOF):
		c.fail(zdb.TextEOF)
	case errors.Is(err, zdb.ErrNotFound):
		c.fail(zdb.TextInvalidRequest)
	case errors.Is(err, zdb.ErrCorrupt): // or no record begins there at all
		c.fail(zdb.TextUnexpectedInternal)
	default:
		return c.notRead(err, zdb.TextUnexpectedInternal)
	}
	return nil
}

// rawRecord replies with the value of a record behind all else, so that it goes to the
// connection from where it was read to.
func (c *conn) rawRecord(raw store.RawRecord, mem resp.Buffer) {
	var flags, previous int64
	if raw.Deleted {
		flags = 1
	}
	if raw.Previous > 0 {
		previous = raw.Previous - firstStoreOffset + firstWireOffset
	}
	b := resp.AppendBulk(resp.AppendArray(make([]byte, 0, 384), 6), raw.Key)
	b = resp.AppendInt(b, previous)
	b = resp.AppendBulk(b, fmt.Sprintf("0x%08x", wireCRC(raw.Value)))
	b = resp.AppendInt(b, flags)
	b = resp.AppendInt(b, raw.UnixTime)
	if raw.Deleted {
		mem.Release()
		c.encoded(resp.AppendNil(b))
		return
	}
	c.srv.stats.readBytes.Add(int64(len(raw.Value)))
	c.out.push(reply{head: resp.AppendBulkHead(b, len(raw.Value)), body: raw.Value, mem: mem})
}

// wireCRC is the C server's checksum of a value: CRC-32C from 0, and not inverted.
func wireCRC(value []byte) uint32 { return ^crc32.Update(0xffffffff, castagnoli, value) }
