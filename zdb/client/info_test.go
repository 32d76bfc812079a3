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
		IndexBytes: 65, DataDiskFreeBytes: 83735322624, IndexDiskFreeBytes: 83735322624, DataErrors: 2,
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
		Name: "0-db (zdb)", Revision: "2.0.7", EngineRevision: "2.0.7", InstanceID: "544574955", Uptime: time.Second,
		Clients: 1, CommandsExecuted: 12, CommandsFailed: 3,
	}
	if diff := cmp.Diff(wantServer, server, cmpopts.IgnoreFields(ServerInfo{}, "Fields")); diff != "" {
		t.Error(diff)
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
		if info.Entries < 0 || info.DataBytes < 0 || info.LimitBytes < 0 || info.DataDiskFreeBytes < 0 {
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
		if info.Uptime < 0 {
			t.Fatalf("negative: %+v", info)
		}
	})
}
