package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/qsfs/qsfs/zdb/server"
	"github.com/qsfs/qsfs/zdb/store"
)

// place is a store in a data directory, or one alone as embedded nodes have it (dir://).
type place struct {
	namespace  string // empty for one alone, or when its descriptor can't be read
	folder     string
	dir        string
	sequential bool
	maxBytes   int64
	err        error // of the descriptor
}

// isStoreAlone says whether dir is an embedded node's folder and no data directory.
func isStoreAlone(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "namespaces")); err == nil {
		return false
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.qzd"))
	return err == nil && len(files) > 0
}

// placesIn gives the stores of a directory that nobody uses, and keeps servers out of it
// until done. Errors are failures.
func placesIn(dir string) (list []place, done func() error, err error) {
	if isStoreAlone(dir) {
		return []place{{folder: dir, dir: dir}}, func() error { return nil }, nil // the store has a lock of its own
	}
	o, err := server.OpenOffline(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &failure{exitNotFound, err, `a data directory of zdbd has a folder "namespaces" in it, an embedded node's has *.qzd files`}
	}
	if err != nil {
		return nil, nil, classify(err)
	}
	for _, ns := range o.Namespaces {
		list = append(list, placeOf(ns))
	}
	return list, o.Close, nil
}

func placeOf(ns server.OfflineNamespace) place {
	return place{namespace: ns.Name, folder: ns.Folder, dir: ns.StoreDir, sequential: ns.Sequential, maxBytes: ns.MaxBytes, err: ns.Err}
}

// name is how messages call it.
func (p *place) name() string {
	switch {
	case p.namespace != "":
		return "namespace " + printable(p.namespace)
	case p.err != nil:
		return "folder " + filepath.Base(p.folder)
	}
	return "store"
}

// used says whether anything was ever stored there.
func (p *place) used() bool {
	_, err := os.Stat(p.dir)
	return !errors.Is(err, fs.ErrNotExist)
}

// open opens the store. The mode of one alone is that of its data: embedded nodes have
// user keys.
func (p *place) open(log *slog.Logger) (*store.Store, error) {
	return store.Open(p.dir, store.Options{Log: log, Sequential: p.sequential, MaxBytes: p.maxBytes})
}

// openUnsynced is open for an import, which makes all durable at its end.
func (p *place) openUnsynced(log *slog.Logger) (*store.Store, error) {
	return store.Open(p.dir, store.Options{Log: log, Sequential: p.sequential, MaxBytes: p.maxBytes, NoSync: true})
}
