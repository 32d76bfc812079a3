package server

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
	"github.com/qsfs/qsfs/zdb/resp"
	"github.com/qsfs/qsfs/zdb/store"
)

const mib = 1024 * 1024.0

// Clients of 0-db read these from INFO; they name upstream's formats, not our files.
const (
	infoServerName        = "0-db (zdb)"
	infoSequentialKeySize = 8
	infoDataVersion       = 3
	infoIndexVersion      = 4
)

func (c *conn) info(*resp.Request) error {
	s := &c.srv.stats
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	sized := func(name string, n int64) {
		line("%s_bytes: %d", name, n)
		line("%s_mb: %.2f", name, float64(n)/mib)
	}
	line("# server")
	line("server_name: %s", infoServerName)
	line("server_revision: %s", c.srv.opts.Version)
	line("engine_revision: %s", c.srv.opts.Version)
	line("instance_id: %d", uint32(c.srv.boot.UnixNano()))
	line("boot_time: %d", c.srv.boot.Unix())
	line("uptime: %d", int64(time.Since(c.srv.boot).Seconds()))
	line("\n# clients")
	line("clients_lifetime: %d", s.clients.Load())
	line("\n# internals")
	line("sequential_key_size: %d", infoSequentialKeySize)
	line("data_version: %d", infoDataVersion)
	line("index_version: %d", infoIndexVersion)
	line("\n# stats")
	line("commands_executed: %d", s.executed.Load())
	line("commands_failed: %d", s.failed.Load())
	line("commands_unauthorized: %d", s.unauthorized.Load())
	line("index_disk_read_failed: 0")
	line("index_disk_write_failed: 0")
	line("data_disk_read_failed: %d", s.readFailed.Load())
	line("data_disk_write_failed: %d", s.writeFailed.Load())
	sized("index_disk_read", 0)
	sized("index_disk_write", 0)
	sized("data_disk_read", s.readBytes.Load())
	sized("data_disk_write", s.writeBytes.Load())
	sized("network_rx", s.rxBytes.Load())
	sized("network_tx", s.txBytes.Load())
	c.bulk(b.String())
	return nil
}

func (c *conn) nsinfo(req *resp.Request) error {
	ns := c.namespace(req.Args[1], zdb.TextNamespaceAbsent)
	if ns == nil {
		return nil
	}
	c.out.settle()
	st, err := c.srv.spaces.acquire(ns)
	if err != nil {
		if ns.removed.Load() {
			c.fail(zdb.TextNamespaceAbsent)
		} else {
			c.fail(zdb.TextInternalError)
		}
		return nil
	}
	d, stat := ns.settings.Load(), st.Stats()
	var free int64
	if sp, err := st.Space(c.ctx); err == nil {
		free = sp.DiskFreeBytes
	}
	c.srv.spaces.release(ns)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# namespace")
	line("name: %s", ns.name)
	line("entries: %d", stat.Entries)
	line("public: %s", yesNo(d.Public))
	line("worm: %s", yesNo(d.Worm))
	line("locked: %s", yesNo(d.Access != accessNormal))
	line("password: %s", yesNo(d.protected()))
	line("data_size_bytes: %d", stat.LiveBytes)
	line("data_size_mb: %.2f", float64(stat.LiveBytes)/mib)
	line("data_limits_bytes: %d", d.MaxBytes)
	line("index_size_bytes: %d", stat.IndexBytes)
	line("index_size_kb: %.2f", float64(stat.IndexBytes)/1024)
	line("next_internal_id: 0x%08x", bits.ReverseBytes64(nextID(d.Mode, &stat)))
	line("mode: %s", d.Mode)
	line("stats_index_io_errors: 0")
	line("stats_index_io_error_last: 0")
	line("stats_index_faults: 0")
	line("stats_data_io_errors: %d", stat.ReadErrors+stat.WriteErrors)
	line("stats_data_io_error_last: %d", stat.LastErrorUnix)
	line("stats_data_faults: %d", stat.Damages)
	if d.MaxBytes > 0 {
		line("space_available: %d", max(0, d.MaxBytes-stat.LiveBytes))
	}
	for _, part := range []string{"index", "data"} {
		line("%s_disk_freespace_bytes: %d", part, free)
		line("%s_disk_freespace_mb: %.2f", part, float64(free)/mib)
	}
	if c.admin {
		line("data_path: %s", stat.DataPath)
		line("data_active: %s", stat.DataActive)
		line("index_path: %s", stat.IndexPath)
		line("index_active: %s", stat.IndexCurrent)
		line("data_current_id: %d", wireFile(max(stat.DataFile, firstStoreFile)))
		line("data_current_offset: %d", max(0, stat.DataOffset-firstStoreOffset)+firstWireOffset)
	}
	c.bulk(b.String())
	return nil
}

// nextID is, in user-key mode, how many writes there have been: the C server counts new keys.
func nextID(m keyMode, s *store.Stats) uint64 {
	if m == sequentialKeys {
		return s.NextID
	}
	return max(s.NextSequence, 1) - 1
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
