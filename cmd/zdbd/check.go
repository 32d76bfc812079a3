package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/store"
)

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Verify every record of a data directory that no server uses",
		Long: `check reads every record of every namespace below a data directory (or of one
embedded node's folder) and verifies headers, keys and values against their
checksums. It changes nothing. Each damaged place is named by namespace, data
file and offset, with the key where that can still be read.

A torn end of the newest data file is what a crash leaves of writes that were
never acknowledged: it is reported, and no damage.

With --json: one object a line, of type "problem", "namespace" and, last, "result".

EXIT STATUS
  0 clean, 2 usage, 10 no such directory, 11 in use by a server, 14 damage found,
  17 data newer than this program, 130 interrupted, 1 other error`,
		Example: "  zdbd check /srv/zdb1\n  zdbd check /srv/zdb1 --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return check(cmd, args[0]) },
	}
}

// checkSchema is the version of the JSON that check writes.
const checkSchema = 1

type checkProblem struct {
	Type      string `json:"type"`
	Namespace string `json:"namespace"`
	File      string `json:"file"`
	Offset    int64  `json:"offset"`
	Bytes     int64  `json:"bytes"`
	KeyHex    string `json:"key_hex,omitempty"`
	Live      bool   `json:"live"`
	What      string `json:"what"`
}

type checkNamespace struct {
	Type      string `json:"type"`
	Namespace string `json:"namespace"`
	Files     int    `json:"files"`
	Records   int64  `json:"records"`
	LiveKeys  int64  `json:"live_keys"` // -1: not known
	DataBytes int64  `json:"data_bytes"`
	TornBytes int64  `json:"torn_bytes"`
	Problems  int    `json:"problems"`
	Error     string `json:"error,omitempty"`
}

type checkResult struct {
	Type       string `json:"type"`
	Schema     int    `json:"schema"`
	Directory  string `json:"directory"`
	Namespaces int    `json:"namespaces"`
	Records    int64  `json:"records"`
	Problems   int    `json:"problems"`
	Unchecked  int    `json:"unchecked"` // namespaces that could not be read
}

// checker sums up what is found.
type checker struct {
	*console
	result checkResult
	errs   []error // what kept a namespace from being checked
}

func check(cmd *cobra.Command, dir string) (err error) {
	ctx, stop := interruptible(cmd)
	defer stop()
	places, done, err := placesIn(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	c := &checker{console: newConsole(cmd), result: checkResult{Type: "result", Schema: checkSchema, Directory: dir}}
	for i := range places {
		if err := c.place(ctx, &places[i]); err != nil {
			return classify(err)
		}
	}
	c.result.Namespaces = len(places)
	if c.asJSON {
		c.event(c.result)
	} else {
		c.say("%s, %s, %s", plural(len(places), "namespace"), plural(c.result.Records, "record"), plural(c.result.Problems, "damaged place"))
	}
	if c.result.Problems > 0 {
		return &failure{exitDamage, fmt.Errorf("%s: %s", dir, plural(c.result.Problems, "damaged place")),
			"what is whole is served; values lost here have to come from other nodes or a backup. Older records that are damaged go with the next compaction"}
	}
	return errors.Join(c.errs...)
}

// place checks one namespace. Only what stops the whole check is an error.
func (c *checker) place(ctx context.Context, p *place) error {
	n := checkNamespace{Type: "namespace", Namespace: p.namespace}
	defer func() {
		c.result.Records += n.Records
		c.result.Problems += n.Problems
	}()
	if p.err != nil {
		n.Error = p.err.Error()
		if !errors.Is(p.err, zdb.ErrCorrupt) {
			c.unchecked(p, &n, p.err)
			return nil
		}
		n.Problems++
		c.problem(p, checkProblem{File: filepath.Join(p.folder, "descriptor"), What: n.Error})
	}
	if p.used() {
		meter := c.meter()
		r, err := store.Verify(ctx, p.dir, store.VerifyOptions{
			Progress: func(doneBytes, totalBytes int64) { meter.Update(p.name(), doneBytes, totalBytes) },
			Problem: func(found store.Problem) {
				meter.Clear()
				c.problem(p, checkProblem{
					File: filepath.Join(p.dir, fmt.Sprintf("%08x.qzd", found.File)), Offset: found.Offset, Bytes: found.Bytes,
					KeyHex: hex.EncodeToString(found.Key), Live: found.Live, What: found.What,
				})
			},
		})
		meter.Clear()
		n.Files, n.Records, n.LiveKeys, n.DataBytes, n.TornBytes = r.Files, r.Records, r.LiveKeys, r.DataBytes, r.TornBytes
		n.Problems += r.Problems
		switch {
		case errors.Is(err, context.Canceled), errors.Is(err, zdb.ErrLocked):
			return err
		case err != nil:
			n.Error = err.Error()
			c.unchecked(p, &n, err)
			return nil
		}
	}
	if c.asJSON {
		c.event(n)
		return nil
	}
	state := "whole"
	if n.Problems > 0 {
		state = plural(n.Problems, "damaged place")
	}
	if n.TornBytes > 0 {
		state += fmt.Sprintf(", torn end of %s (never acknowledged)", bytesize.Format(n.TornBytes))
	}
	live := "live keys not known"
	if n.LiveKeys >= 0 {
		live = plural(n.LiveKeys, "live key")
	}
	c.say("%s: %s; %s, %s, %s, %s", p.name(), state, plural(n.Files, "file"), plural(n.Records, "record"), live, bytesize.Format(n.DataBytes))
	return nil
}

func (c *checker) unchecked(p *place, n *checkNamespace, err error) {
	c.result.Unchecked++
	c.errs = append(c.errs, classify(fmt.Errorf("%s not checked: %w", p.name(), err)))
	if c.asJSON {
		c.event(n)
		return
	}
	c.say("%s: NOT CHECKED: %v", p.name(), err)
}

func (c *checker) problem(p *place, found checkProblem) {
	if c.asJSON {
		found.Type, found.Namespace = "problem", p.namespace
		c.event(found)
		return
	}
	key := ""
	if raw, err := hex.DecodeString(found.KeyHex); err == nil && len(raw) > 0 {
		key = ", an older value of key " + keyText(raw, p.sequential)
		if found.Live {
			key = ", the value of key " + keyText(raw, p.sequential)
		}
	}
	c.say("%s: DAMAGED: %s at %d, %s: %s%s", p.name(), found.File, found.Offset, plural(found.Bytes, "byte"), found.What, key)
}

// keyText shows a key to a person.
func keyText(key []byte, sequential bool) string {
	if sequential && len(key) == 8 {
		return strconv.FormatUint(binary.LittleEndian.Uint64(key), 10)
	}
	return strconv.Quote(string(key))
}

// printable shows a name as it is, or quoted when it would not print.
func printable(name string) string {
	for _, r := range name {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.Quote(name)
		}
	}
	return name
}
