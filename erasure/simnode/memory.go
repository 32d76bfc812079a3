// Package simnode is storage nodes for tests: one in memory, and a wrapper that
// makes any node fail, stall or lie on demand.
//
// A [Memory] is an honest node that keeps its values in memory. A [Node] wraps any
// [Backend] and applies the faults injected into it; which requests a fault with a
// probability meets is decided by the seed alone, so a run repeats. Both offer what
// erasure, zdb clients and the embedded store offer, so one conformance suite runs
// over all of them. Values are copied on the way in and on the way out.
package simnode

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/qsfs/qsfs/zdb"
)

// Backend is what a Node wraps: the small interface of a storage node.
type Backend interface {
	Get(ctx context.Context, key []byte) ([]byte, error)
	Set(ctx context.Context, key, value []byte) error
	Del(ctx context.Context, key []byte) error
}

// Memory is a node that keeps its values in memory. The zero value is an empty
// node without a limit.
type Memory struct {
	// LimitBytes is the most bytes of values it takes; 0 means no limit.
	LimitBytes int64
	// DiskFreeBytes and Device are what Space reports.
	DiskFreeBytes int64
	Device        string

	mu     sync.RWMutex
	values map[string][]byte
	used   int64
}

// Get returns a copy of the value under key, or zdb.ErrNotFound.
func (m *Memory) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	m.mu.RLock()
	value, ok := m.values[string(key)]
	m.mu.RUnlock()
	if !ok {
		return nil, zdb.ErrNotFound
	}
	return bytes.Clone(value), nil // values are replaced, never changed
}

// Set keeps a copy of value under key.
func (m *Memory) Set(ctx context.Context, key, value []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	if len(value) > zdb.MaxValueBytes {
		return zdb.ErrValueTooLarge
	}
	value = append([]byte{}, value...)
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.used + int64(len(value)-len(m.values[string(key)]))
	if m.LimitBytes > 0 && used > m.LimitBytes {
		return zdb.ErrNoSpace
	}
	if m.values == nil {
		m.values = make(map[string][]byte)
	}
	m.values[string(key)], m.used = value, used
	return nil
}

// Del removes key, or returns zdb.ErrNotFound.
func (m *Memory) Del(ctx context.Context, key []byte) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.values[string(key)]
	if !ok {
		return zdb.ErrNotFound
	}
	delete(m.values, string(key))
	m.used -= int64(len(value))
	return nil
}

// Exists says whether key is there.
func (m *Memory) Exists(ctx context.Context, key []byte) (bool, error) {
	if err := check(ctx, key); err != nil {
		return false, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.values[string(key)]
	return ok, nil
}

// Space reports how full the node is.
func (m *Memory) Space(ctx context.Context) (zdb.Space, error) {
	if err := ctx.Err(); err != nil {
		return zdb.Space{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return zdb.Space{UsedBytes: m.used, LimitBytes: m.LimitBytes, DiskFreeBytes: m.DiskFreeBytes, Device: m.Device}, nil
}

// Ping answers.
func (m *Memory) Ping(ctx context.Context) error { return ctx.Err() }

// Keys returns the keys in order.
func (m *Memory) Keys() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := make([]string, 0, len(m.values))
	for key := range m.values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func check(ctx context.Context, key []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case len(key) == 0:
		return zdb.ErrKeyEmpty
	case len(key) > zdb.MaxKeyBytes:
		return fmt.Errorf("key of %d bytes: %w", len(key), zdb.ErrKeyTooLarge)
	}
	return nil
}
