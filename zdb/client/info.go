package client

import (
	"fmt"
	"math"
	"math/bits"
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

// NamespaceInfo is what NSINFO tells. Fields a server leaves out are zero. Sizes that it
// gives a second time, in KiB or MiB, are in Fields only.
type NamespaceInfo struct {
	Name       string
	Entries    int64
	Public     bool
	Worm       bool
	Locked     bool // or frozen
	Password   bool // there is one
	Mode       string
	DataBytes  int64 // live payload
	LimitBytes int64 // 0 means none
	SpaceBytes int64 // left below the limit; 0 where there is none
	IndexBytes int64
	NextID     uint64 // of a sequential namespace: the next id; else a count, see the server

	DataErrors     int64 // that the disk reported
	IndexErrors    int64
	LastDataError  time.Time // zero: there was none
	LastIndexError time.Time
	DataFaults     int64 // that the server found
	IndexFaults    int64

	DataDiskFreeBytes  int64
	IndexDiskFreeBytes int64

	// What follows is told to an administrator only.

	DataPath    string // folder of the data files
	DataActive  string // the file that is being written
	IndexPath   string
	IndexActive string
	DataFile    int64 // id of the file that is being written
	DataOffset  int64 // where its next record goes

	Fields map[string]string // all lines, these included
}

// ServerInfo is what INFO tells. Fields a server leaves out are zero. Sizes that it
// gives a second time, in MiB, are in Fields only.
type ServerInfo struct {
	Name           string // such as "0-db (zdb)"
	Revision       string
	EngineRevision string
	InstanceID     string
	Boot           time.Time
	Uptime         time.Duration
	Clients        int64 // connections since the start

	SequentialKeyBytes int64
	DataVersion        int64 // of the original's file formats
	IndexVersion       int64

	CommandsExecuted     int64
	CommandsFailed       int64 // that the server does not know
	CommandsUnauthorized int64

	DataReadsFailed   int64
	DataWritesFailed  int64
	IndexReadsFailed  int64
	IndexWritesFailed int64
	DataReadBytes     int64
	DataWrittenBytes  int64
	IndexReadBytes    int64
	IndexWrittenBytes int64
	ReceivedBytes     int64
	SentBytes         int64

	Fields map[string]string // all lines, these included
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

// moment takes a unix time; 0 is none.
func (r *reader) moment(name string) time.Time {
	return unixOrZero(min(r.number(name, false), maxUnixTime))
}

// maxUnixTime is the last second of the year 9999, which is as far as times are printed.
const maxUnixTime = 253402300799

// swapped takes a number that upstream prints with its bytes in reverse, in hex without
// all of its leading zeros: 1 is 0x100000000000000.
func (r *reader) swapped(name string) uint64 {
	text, ok := r.fields[name]
	if !ok {
		return 0
	}
	digits, isHex := strings.CutPrefix(text, "0x")
	n, err := strconv.ParseUint(digits, 16, 64)
	if !isHex || err != nil {
		r.fail(name, "not a hexadecimal number")
		return 0
	}
	return bits.ReverseBytes64(n)
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
		SpaceBytes:         r.number("space_available", false),
		IndexBytes:         r.number("index_size_bytes", false),
		NextID:             r.swapped("next_internal_id"),
		DataErrors:         r.number("stats_data_io_errors", false),
		IndexErrors:        r.number("stats_index_io_errors", false),
		LastDataError:      r.moment("stats_data_io_error_last"),
		LastIndexError:     r.moment("stats_index_io_error_last"),
		DataFaults:         r.number("stats_data_faults", false),
		IndexFaults:        r.number("stats_index_faults", false),
		DataDiskFreeBytes:  r.number("data_disk_freespace_bytes", false),
		IndexDiskFreeBytes: r.number("index_disk_freespace_bytes", false),
		DataPath:           fields["data_path"],
		DataActive:         fields["data_active"],
		IndexPath:          fields["index_path"],
		IndexActive:        fields["index_active"],
		DataFile:           r.number("data_current_id", false),
		DataOffset:         r.number("data_current_offset", false),
		Fields:             fields,
	}
	if info.SpaceBytes > info.LimitBytes {
		info.SpaceBytes = 0 // upstream's is unsigned, and wraps when the limit was lowered
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
		Name:                 fields["server_name"],
		Revision:             fields["server_revision"],
		EngineRevision:       fields["engine_revision"],
		InstanceID:           fields["instance_id"],
		Boot:                 r.moment("boot_time"),
		Uptime:               time.Duration(min(r.number("uptime", false), century)) * time.Second,
		Clients:              r.number("clients_lifetime", false),
		SequentialKeyBytes:   r.number("sequential_key_size", false),
		DataVersion:          r.number("data_version", false),
		IndexVersion:         r.number("index_version", false),
		CommandsExecuted:     r.number("commands_executed", false),
		CommandsFailed:       r.number("commands_failed", false),
		CommandsUnauthorized: r.number("commands_unauthorized", false),
		DataReadsFailed:      r.number("data_disk_read_failed", false),
		DataWritesFailed:     r.number("data_disk_write_failed", false),
		IndexReadsFailed:     r.number("index_disk_read_failed", false),
		IndexWritesFailed:    r.number("index_disk_write_failed", false),
		DataReadBytes:        r.number("data_disk_read_bytes", false),
		DataWrittenBytes:     r.number("data_disk_write_bytes", false),
		IndexReadBytes:       r.number("index_disk_read_bytes", false),
		IndexWrittenBytes:    r.number("index_disk_write_bytes", false),
		ReceivedBytes:        r.number("network_rx_bytes", false),
		SentBytes:            r.number("network_tx_bytes", false),
		Fields:               fields,
	}
	if info.Name == "" {
		r.fail("server_name", "missing")
	}
	if r.err != nil {
		return ServerInfo{}, r.err
	}
	return info, nil
}
