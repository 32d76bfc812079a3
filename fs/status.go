package fs

import (
	"context"
	"encoding/hex"
	"time"
)

// Status is what "qsfs status" shows. Field names are a promise.
type Status struct {
	Name                string       `json:"name"`
	VolumeID            string       `json:"volume_id"`
	Mountpoint          string       `json:"mountpoint"`
	Generation          uint64       `json:"generation"`
	Epoch               uint32       `json:"epoch"`
	Data                int          `json:"data"`
	Parity              int          `json:"parity"`
	Nodes               []NodeStatus `json:"nodes"`
	NodesUp             int          `json:"nodes_up"`
	StagedBytes         int64        `json:"staged_bytes"` // not yet on the nodes
	OldestStagedSeconds int64        `json:"oldest_staged_seconds"`
	StagedError         string       `json:"staged_error"` // what keeps the oldest of them here
	Stripes             int64        `json:"stripes"`
	DegradedStripes     int64        `json:"degraded_stripes"`
	UsedBytes           int64        `json:"used_bytes"`
	FreeBytes           int64        `json:"free_bytes"`
	Inodes              int64        `json:"inodes"`
	ReadOnly            bool         `json:"read_only"`
	ReadOnlyReason      string       `json:"read_only_reason"`
}

// NodeStatus is one node of a Status.
type NodeStatus struct {
	ID        uint16 `json:"id"`
	URL       string `json:"url"`
	Group     string `json:"group"`
	Up        bool   `json:"up"`
	LastError string `json:"last_error"`
	UsedBytes int64  `json:"used_bytes"`
	FreeBytes int64  `json:"free_bytes"` // -1 when the node did not tell
}

// Status never waits for a node.
func (v *Volume) Status(context.Context) Status {
	used, inodes := v.usage()
	s := Status{
		Name: v.name, VolumeID: hex.EncodeToString(v.o.Keys.ID[:]), Generation: v.generation.Load(), Epoch: v.lease.Epoch,
		Data: v.geometry.Data, Parity: v.geometry.Parity, StagedBytes: v.StagedBytes(),
		UsedBytes: used, Inodes: inodes, FreeBytes: v.freeGridBytes(),
	}
	if m := v.mountpoint.Load(); m != nil {
		s.Mountpoint = *m
	}
	if r := v.readOnly.Load(); r != nil {
		s.ReadOnly, s.ReadOnlyReason = true, *r
	}
	if t := v.uploads.oldest(); !t.IsZero() {
		s.OldestStagedSeconds = int64(time.Since(t).Seconds())
	}
	if err := v.uploads.blocked(); err != nil {
		s.StagedError = err.Error()
	}
	s.Stripes, s.DegradedStripes = v.debts.counts()
	s.DegradedStripes += v.degraded.Load()
	for _, n := range v.cluster.Status() {
		ns := NodeStatus{ID: uint16(n.ID), URL: n.Name, Group: n.Group, Up: n.Up, UsedBytes: n.Space.UsedBytes, FreeBytes: -1}
		if !n.Up {
			ns.LastError = n.LastError
		} else {
			s.NodesUp++
		}
		if n.SpaceKnown {
			ns.FreeBytes = n.Space.DiskFreeBytes
			if n.Space.LimitBytes > 0 {
				ns.FreeBytes = min(ns.FreeBytes, max(n.Space.LimitBytes-n.Space.UsedBytes, 0))
			}
		}
		s.Nodes = append(s.Nodes, ns)
	}
	return s
}

// usage returns the bytes that files hold, with what is dirty, and the inodes.
func (v *Volume) usage() (usedBytes, inodes int64) {
	u, i := v.store.Usage()
	return int64(u) + v.inodes.dirtyBytes.Load(), int64(i)
}

// freeGridBytes is what still fits on the nodes, less what is on its way there.
// While too few nodes have told, it is what the local disk can stage.
func (v *Volume) freeGridBytes() int64 {
	sp := v.cluster.Space(v.geometry)
	if !sp.Known {
		return max(min(v.o.disk().freeBytes(v.o.StateDir)-minFreeBytes, v.o.MaxStagedBytes), 0)
	}
	return max(sp.FreeBytes-v.StagedBytes(), 0)
}
