package client

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/qsfs/qsfs/zdb"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/v1/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The texts of a 0-db 2.0.7 are understood field by field.
func TestParseGolden(t *testing.T) {
	space, err := parseNamespaceInfo(golden(t, "nsinfo.txt"))
	if err != nil {
		t.Fatal(err)
	}
	wantSpace := NamespaceInfo{
		Name: "home", Entries: 5, Locked: true, Password: true, Mode: ModeUserKey, DataBytes: 1234, LimitBytes: 1 << 20,
		SpaceBytes: 1047342, IndexBytes: 65, NextID: 1, DataDiskFreeBytes: 83735322624, IndexDiskFreeBytes: 83735322624, DataErrors: 2,
		DataPath: "d/home", DataActive: "d/home/d0", IndexPath: "i/home", IndexActive: "i/home/i0", DataOffset: 28,
	}
	if diff := cmp.Diff(wantSpace, space, cmpopts.IgnoreFields(NamespaceInfo{}, "Fields")); diff != "" {
		t.Error(diff)
	}
	if got := space.Fields["next_internal_id"]; got != "0x100000000000000" {
		t.Errorf("fields: got %q", got)
	}
	server, err := parseServerInfo(golden(t, "info.txt"))
	if err != nil {
		t.Fatal(err)
	}
	wantServer := ServerInfo{
		Name: "0-db (zdb)", Revision: "2.0.7", EngineRevision: "2.0.7", InstanceID: "544574955",
		Boot: time.Unix(1795472897, 0), Uptime: time.Second, Clients: 1,
		SequentialKeyBytes: 8, DataVersion: 3, IndexVersion: 4, CommandsExecuted: 12, CommandsFailed: 3,
		IndexWrittenBytes: 58, DataWrittenBytes: 28, ReceivedBytes: 43,
	}
	if diff := cmp.Diff(wantServer, server, cmpopts.IgnoreFields(ServerInfo{}, "Fields")); diff != "" {
		t.Error(diff)
	}
}

// What a server leaves out, or prints oddly, is no error.
func TestParseInfoTolerates(t *testing.T) {
	const least = "entries: 1\ndata_size_bytes: 20\ndata_limits_bytes: 10\nmode: sequential\n"
	for name, c := range map[string]struct {
		text string
		want NamespaceInfo
	}{
		"as little as is needed":      {least, NamespaceInfo{}},
		"a limit below what is there": {least + "space_available: 18446744073709551606\n", NamespaceInfo{}},
		"an id":                       {least + "next_internal_id: 0xe201000000000000\n", NamespaceInfo{NextID: 0x1e2}},
		"no id yet":                   {least + "next_internal_id: 0x00000000\n", NamespaceInfo{}},
		"an error's time":             {least + "stats_data_io_error_last: 1795472897\n", NamespaceInfo{LastDataError: time.Unix(1795472897, 0)}},
		"a field of tomorrow":         {least + "colour: blue\n", NamespaceInfo{}},
	} {
		c.want.Entries, c.want.DataBytes, c.want.LimitBytes, c.want.Mode = 1, 20, 10, ModeSequential
		got, err := parseNamespaceInfo([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(NamespaceInfo{}, "Fields")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestParseInfoRefuses(t *testing.T) {
	good := string(golden(t, "nsinfo.txt"))
	for name, text := range map[string]string{
		"empty":        "",
		"no colon":     good + "hello\n",
		"no name":      good + ": 1\n",
		"no entries":   strings.Replace(good, "entries:", "entrees:", 1),
		"word":         strings.Replace(good, "data_size_bytes: 1234", "data_size_bytes: many", 1),
		"negative":     strings.Replace(good, "data_size_bytes: 1234", "data_size_bytes: -1", 1),
		"unknown mode": strings.Replace(good, "userkey", "direct", 1),
		"neither":      strings.Replace(good, "worm: no", "worm: 0", 1),
		"id":           strings.Replace(good, "0x100000000000000", "100000000000000", 1),
		"endless id":   strings.Replace(good, "0x100000000000000", "0x10000000000000000", 1),
		"offset":       strings.Replace(good, "data_current_offset: 28", "data_current_offset: 0x28", 1),
		"last error":   strings.Replace(good, "stats_data_io_error_last: 0", "stats_data_io_error_last: never", 1),
		"endless":      good + strings.Repeat("#\n", maxInfoBytes),
		"many lines":   good + strings.Repeat("a:\n", maxInfoLines),
	} {
		if _, err := parseNamespaceInfo([]byte(text)); !errors.Is(err, zdb.ErrNotZDB) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzNamespaceInfo(f *testing.F) {
	f.Add(golden(f, "nsinfo.txt"))
	f.Add([]byte("entries: 18446744073709551615\ndata_size_bytes:0\ndata_limits_bytes:0\nmode:userkey\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := parseNamespaceInfo(text)
		if err != nil {
			if !errors.Is(err, zdb.ErrNotZDB) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		if info.Entries < 0 || info.DataBytes < 0 || info.LimitBytes < 0 || info.DataDiskFreeBytes < 0 ||
			info.SpaceBytes < 0 || info.SpaceBytes > info.LimitBytes || info.DataOffset < 0 || info.DataFile < 0 {
			t.Fatalf("negative: %+v", info)
		}
	})
}

func FuzzServerInfo(f *testing.F) {
	f.Add(golden(f, "info.txt"))
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := parseServerInfo(text)
		if err != nil {
			if !errors.Is(err, zdb.ErrNotZDB) {
				t.Fatalf("not our error: %v", err)
			}
			return
		}
		if info.Uptime < 0 || info.Boot.Year() > 9999 || info.SentBytes < 0 {
			t.Fatalf("negative: %+v", info)
		}
	})
}
