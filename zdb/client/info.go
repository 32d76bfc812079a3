package client

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Modes of a namespace, as NSINFO names them.
const (
	ModeUserKey    = "userkey"
	ModeSequential = "sequential"
)

// NamespaceInfo is what NSINFO tells. Fields a server leaves out are zero.
type NamespaceInfo struct {
	Name               string
	Entries            int64
	Public             bool
	Worm               bool
	Locked             bool
	Password           bool // there is one
	Mode               string
	DataBytes          int64 // live payload
	LimitBytes         int64 // 0 means none
	IndexBytes         int64
	DataDiskFreeBytes  int64
	IndexDiskFreeBytes int64
	DataErrors         int64
	IndexErrors        int64
	DataFaults         int64
	IndexFaults        int64
	Fields             map[string]string // all lines, these included
}

// ServerInfo is what INFO tells. Fields a server leaves out are zero.
type ServerInfo struct {
	Name             string // such as "0-db (zdb)"
	Revision         string
	EngineRevision   string
	InstanceID       string
	Uptime           time.Duration
	Clients          int64
	CommandsExecuted int64
	CommandsFailed   int64
	Fields           map[string]string // all lines, these included
}

// Bounds of an INFO or NSINFO text. Upstream's have about 50 lines and 2 KiB.
const (
	maxInfoBytes = 64 << 10
	maxInfoLines = 1024
)

// parseFields reads lines of "name: value". Empty lines and those with # are skipped.
func parseFields(text []byte) (map[string]string, error) {
	if len(text) > maxInfoBytes {
		return nil, fmt.Errorf("%w: info of %d bytes", zdb.ErrNotZDB, len(text))
	}
	fields := make(map[string]string)
	lines := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if lines++; lines > maxInfoLines {
			return nil, fmt.Errorf("%w: info of more than %d lines", zdb.ErrNotZDB, maxInfoLines)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("%w: info line without a name", zdb.ErrNotZDB)
		}
		fields[name] = strings.TrimSpace(value)
	}
	return fields, nil
}

// reader takes typed values out of fields and keeps the first error.
type reader struct {
	fields map[string]string
	err    error
}

// number takes a count or size; required says that it must be there.
func (r *reader) number(name string, required bool) int64 {
	text, ok := r.fields[name]
	if !ok {
		if required {
			r.fail(name, "missing")
		}
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.fail(name, "not a number")
		return 0
	}
	return int64(min(n, math.MaxInt64)) // upstream prints unsigned numbers
}

func (r *reader) yes(name string) bool {
	switch r.fields[name] {
	case "yes":
		return true
	case "no", "":
		return false
	}
	r.fail(name, "neither yes nor no")
	return false
}

func (r *reader) fail(name, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: info field %s is %s", zdb.ErrNotZDB, name, what)
	}
}

func parseNamespaceInfo(text []byte) (NamespaceInfo, error) {
	fields, err := parseFields(text)
	if err != nil {
		return NamespaceInfo{}, err
	}
	r := reader{fields: fields}
	info := NamespaceInfo{
		Name:               fields["name"],
		Entries:            r.number("entries", true),
		Public:             r.yes("public"),
		Worm:               r.yes("worm"),
		Locked:             r.yes("locked"),
		Password:           r.yes("password"),
		Mode:               fields["mode"],
		DataBytes:          r.number("data_size_bytes", true),
		LimitBytes:         r.number("data_limits_bytes", true),
		IndexBytes:         r.number("index_size_bytes", false),
		DataDiskFreeBytes:  r.number("data_disk_freespace_bytes", false),
		IndexDiskFreeBytes: r.number("index_disk_freespace_bytes", false),
		DataErrors:         r.number("stats_data_io_errors", false),
		IndexErrors:        r.number("stats_index_io_errors", false),
		DataFaults:         r.number("stats_data_faults", false),
		IndexFaults:        r.number("stats_index_faults", false),
		Fields:             fields,
	}
	if info.Mode != ModeUserKey && info.Mode != ModeSequential {
		r.fail("mode", "unknown")
	}
	if r.err != nil {
		return NamespaceInfo{}, r.err
	}
	return info, nil
}

func parseServerInfo(text []byte) (ServerInfo, error) {
	fields, err := parseFields(text)
	if err != nil {
		return ServerInfo{}, err
	}
	r := reader{fields: fields}
	const century = 100 * 365 * 24 * 3600
	info := ServerInfo{
		Name:             fields["server_name"],
		Revision:         fields["server_revision"],
		EngineRevision:   fields["engine_revision"],
		InstanceID:       fields["instance_id"],
		Uptime:           time.Duration(min(r.number("uptime", false), century)) * time.Second,
		Clients:          r.number("clients_lifetime", false),
		CommandsExecuted: r.number("commands_executed", false),
		CommandsFailed:   r.number("commands_failed", false),
		Fields:           fields,
	}
	if info.Name == "" {
		r.fail("server_name", "missing")
	}
	if r.err != nil {
		return ServerInfo{}, r.err
	}
	return info, nil
}
