package server

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fields gives the names of an INFO text in order.
func fields(text string) (names []string) {
	for l := range strings.Lines(text) {
		if name, _, ok := strings.Cut(l, ": "); ok {
			names = append(names, name)
		}
	}
	return names
}

// INFO and NSINFO have all the lines that clients parse.
func TestInfo(t *testing.T) {
	_, addr := run(t, Options{AdminPassword: "root", Version: "v1"})
	c := dial(t, addr)
	c.want("k", "SET", "k", "value")
	base := []string{"name", "entries", "public", "worm", "locked", "password", "data_size_bytes", "data_size_mb", "data_limits_bytes",
		"index_size_bytes", "index_size_kb", "next_internal_id", "mode", "stats_index_io_errors", "stats_index_io_error_last", "stats_index_faults",
		"stats_data_io_errors", "stats_data_io_error_last", "stats_data_faults", "index_disk_freespace_bytes", "index_disk_freespace_mb",
		"data_disk_freespace_bytes", "data_disk_freespace_mb"}
	text := c.do("NSINFO", "default")
	if diff := cmp.Diff(fields(text), base); diff != "" {
		t.Fatal(diff)
	}
	for _, line := range []string{"# namespace", "name: default", "entries: 1", "public: yes", "password: no", "data_size_bytes: 5", "mode: userkey", "next_internal_id: 0x100000000000000"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in %s", line, text)
		}
	}
	c.want("+OK", "AUTH", "root")
	admin := append(base, "data_path", "data_active", "index_path", "index_active", "data_current_id", "data_current_offset")
	if diff := cmp.Diff(fields(c.do("NSINFO", "default")), admin); diff != "" {
		t.Fatal(diff)
	}
	c.want("+OK", "NSNEW", "limited")
	c.want("+OK", "NSSET", "limited", "maxsize", "100")
	if text := c.do("NSINFO", "limited"); !strings.Contains(text, "space_available: 100\n") {
		t.Fatal(text)
	}
	c.do("NOPE")
	text = c.do("INFO")
	for _, want := range []string{"# server\nserver_name: 0-db (zdb)\nserver_revision: v1\n", "\n# clients\nclients_lifetime: 1\n",
		"sequential_key_size: 8\n", "data_version: 3\n", "index_version: 4\n", "commands_failed: 1\n", "network_rx_bytes: ", "data_disk_write_mb: 0.00\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}
