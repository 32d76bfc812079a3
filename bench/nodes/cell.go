package main

import (
	"fmt"
	"slices"

	"github.com/qsfs/qsfs/bench/daemon"
	"github.com/qsfs/qsfs/bench/report"
)

// cell is one thing that is measured on each program.
type cell struct {
	verb       string // "SET" or "GET"
	valueBytes int
	conns      int
	depth      int // requests in flight on each connection
	network    string
	sync       string
}

const (
	verbSet = "SET"
	verbGet = "GET"
)

func (c cell) name() string {
	return fmt.Sprintf("%s %s %dx%d %s %s", c.verb, sizeText(c.valueBytes), c.conns, c.depth, c.network, c.sync)
}

func (c cell) workload() report.Workload {
	what := "new keys"
	if c.verb == verbGet {
		what = "keys there are, each read once before"
	}
	return report.Workload{Name: c.name(), Unit: "requests/s", Text: fmt.Sprintf(
		"%s of %s values, %s; %d connections over %s with %d requests in flight on each; durability %s",
		c.verb, sizeText(c.valueBytes), what, c.conns, c.network, c.depth, c.sync)}
}

func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// choices are the values that cells are made of, in the order that they are reported.
type choices struct {
	verbs    []string
	sizes    []int
	conns    []int
	depths   []int
	networks []string
	syncs    []string
}

func (c choices) check() error {
	for _, v := range c.verbs {
		if v != verbSet && v != verbGet {
			return fmt.Errorf("--verbs: %q is neither %s nor %s", v, verbSet, verbGet)
		}
	}
	for _, n := range c.networks {
		if n != daemon.TCP && n != daemon.Unix {
			return fmt.Errorf("--network: %q is neither %s nor %s", n, daemon.TCP, daemon.Unix)
		}
	}
	for _, s := range c.syncs {
		if s != daemon.SyncNone && s != daemon.SyncGroup {
			return fmt.Errorf("--sync: %q is neither %s nor %s", s, daemon.SyncNone, daemon.SyncGroup)
		}
	}
	for _, n := range c.sizes {
		if n < stampBytes || n > maxValueBytes {
			return fmt.Errorf("--sizes: %d is not between %d and %d", n, stampBytes, maxValueBytes)
		}
	}
	for _, n := range slices.Concat(c.conns, c.depths) {
		if n < 1 || n > 1000 {
			return fmt.Errorf("--conns, --depth: %d is not between 1 and 1000", n)
		}
	}
	return nil
}

func (c choices) cells() (cells []cell) {
	for _, sync := range c.syncs {
		for _, network := range c.networks {
			for _, verb := range c.verbs {
				for _, size := range c.sizes {
					for _, conns := range c.conns {
						for _, depth := range c.depths {
							cells = append(cells, cell{verb, size, conns, depth, network, sync})
						}
					}
				}
			}
		}
	}
	return cells
}
