package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/client"
	"github.com/qsfs/qsfs/zdb/endpoint"
	"github.com/qsfs/qsfs/zdb/server"
	"github.com/qsfs/qsfs/zdb/transfer"
)

// end is one end of an export or import: a directory that no server uses, or a server.
type end struct {
	where     string // as given
	namespace string // empty for a store alone
	adminFile string
	log       *slog.Logger
}

// opened is an end that is open.
type opened struct {
	source     transfer.Source
	target     transfer.Target
	live       *transfer.Client // nil for a directory
	sequential bool
	namespace  string
	close      func() error
}

// open opens an end. With create, a missing namespace is made, in the mode given.
func (e *end) open(ctx context.Context, create, sequential bool) (*opened, error) {
	if strings.Contains(e.where, "://") && !strings.HasPrefix(e.where, endpoint.SchemeDir+"://") {
		return e.openServer(ctx, create, sequential)
	}
	dir := e.where
	if strings.Contains(dir, "://") {
		at, err := endpoint.Parse(dir)
		if err != nil {
			return nil, &failure{exitUsage, err, ""}
		}
		dir = at.Dir
		return e.openAlone(dir, create, sequential)
	}
	if isStoreAlone(dir) {
		return e.openAlone(dir, false, sequential)
	}
	return e.openData(dir, create, sequential)
}

// openAlone opens an embedded node's folder.
func (e *end) openAlone(dir string, create, sequential bool) (*opened, error) {
	if e.namespace != "" {
		return nil, usage("%s is an embedded node's folder, which has no namespaces: leave --namespace out", dir)
	}
	if !create && !isStoreAlone(dir) {
		return nil, &failure{exitNotFound, fmt.Errorf("%s: %w", dir, fs.ErrNotExist), "an embedded node's folder has *.qzd files in it"}
	}
	return e.openStore(&place{folder: dir, dir: dir, sequential: create && sequential}, func() error { return nil })
}

// openData opens a namespace of a data directory.
func (e *end) openData(dir string, create, sequential bool) (*opened, error) {
	if e.namespace == "" {
		e.namespace = zdb.DefaultNamespace
	}
	o, err := server.OpenOffline(dir, create)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{exitNotFound, err, `a data directory of zdbd has a folder "namespaces" in it; a server is named by its URL, as zdb://HOST:PORT/NAMESPACE`}
	}
	if err != nil {
		return nil, classify(err)
	}
	ns, err := o.Namespace(e.namespace)
	if errors.Is(err, zdb.ErrNamespaceNotFound) && create {
		ns, err = o.Create(e.namespace, sequential)
	}
	if err != nil {
		return nil, classify(errors.Join(err, o.Close()))
	}
	p := placeOf(ns)
	return e.openStore(&p, o.Close)
}

func (e *end) openStore(p *place, done func() error) (*opened, error) {
	st, err := p.openUnsynced(e.log)
	if err != nil {
		return nil, classify(errors.Join(fmt.Errorf("%s: %w", p.name(), err), done()))
	}
	s := transfer.Store{Store: st}
	return &opened{
		source: s, target: s, sequential: p.sequential, namespace: p.namespace,
		close: func() error { return errors.Join(st.Close(), done()) },
	}, nil
}

// openServer connects to a namespace of a server.
func (e *end) openServer(ctx context.Context, create, sequential bool) (*opened, error) {
	at, err := e.parse()
	if err != nil {
		return nil, &failure{exitUsage, err, ""}
	}
	o := endpoint.OpenOptions{NoCreate: true, AnyMode: true, Log: e.log}
	if e.adminFile != "" {
		if o.AdminPassword, err = readAdminPassword(e.adminFile, e.log); err != nil {
			return nil, err
		}
	}
	c, err := openClient(ctx, at, o)
	if errors.Is(err, zdb.ErrNamespaceNotFound) && create {
		c, err = createNamespace(ctx, at, o, sequential)
	}
	if err != nil {
		return nil, classify(err)
	}
	info, err := c.NSInfo(ctx, at.Namespace)
	if err != nil {
		return nil, classify(errors.Join(err, c.Close()))
	}
	live := &transfer.Client{Client: c, Namespace: at.Namespace}
	return &opened{
		source: live, target: live, live: live, sequential: info.Mode == client.ModeSequential, namespace: at.Namespace, close: c.Close,
	}, nil
}

func openClient(ctx context.Context, at endpoint.Endpoint, o endpoint.OpenOptions) (*client.Client, error) {
	conn, err := endpoint.Open(ctx, at, o)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*client.Client)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no server", at), conn.Close())
	}
	return c, nil
}

// createNamespace makes a namespace from a session in the default one. Its mode comes before
// anything is written. A namespace with a password is made by who may set it.
func createNamespace(ctx context.Context, at endpoint.Endpoint, o endpoint.OpenOptions, sequential bool) (*client.Client, error) {
	if at.PasswordFile != "" {
		return nil, fmt.Errorf("namespace %s: %w: it is not made here, because it is to have a password", at.Namespace, zdb.ErrNamespaceNotFound)
	}
	first := at
	first.Namespace = zdb.DefaultNamespace
	c, err := openClient(ctx, first, o)
	if err != nil {
		return nil, err
	}
	if err = c.NSNew(ctx, at.Namespace); err == nil && sequential {
		err = c.NSSet(ctx, at.Namespace, client.PropertyMode, "seq")
		if err != nil {
			err = errors.Join(fmt.Errorf("mode of namespace %s: %w", at.Namespace, err), c.NSDel(ctx, at.Namespace))
		}
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", at.Namespace, err)
	}
	return openClient(ctx, at, o)
}

// parse reads the URL; the namespace may be in it, or given apart.
func (e *end) parse() (endpoint.Endpoint, error) {
	at, err := endpoint.Parse(e.where)
	switch {
	case e.namespace == "":
		return at, err
	case err == nil && at.Namespace != e.namespace:
		return at, fmt.Errorf("the URL names namespace %q and --namespace %q", at.Namespace, e.namespace)
	case err == nil:
		return at, nil
	}
	base, query, _ := strings.Cut(e.where, "?")
	if strings.HasPrefix(base, endpoint.SchemeUnix+"://") {
		query = strings.TrimPrefix(query+"&ns="+url.QueryEscape(e.namespace), "&")
	} else {
		base = strings.TrimSuffix(base, "/") + "/" + url.PathEscape(e.namespace)
	}
	if query != "" {
		query = "?" + query
	}
	if with, err := endpoint.Parse(base + query); err == nil {
		return with, nil
	}
	return at, err
}
