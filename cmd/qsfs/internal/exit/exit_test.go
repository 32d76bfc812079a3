package exit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/qsfs/qsfs/fs"
	"github.com/qsfs/qsfs/identity/keyfile"
	"github.com/qsfs/qsfs/identity/phrase"
	"github.com/qsfs/qsfs/zdb"
)

// TestCodes proves the promise to scripts: each error a user meets has the number the manual names, however deep it is wrapped.
func TestCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{fs.ErrVolumeExists, 1},
		{UsageError("", "no such flag"), 2},
		{fs.ErrVolumeNotFound, 10},
		{fs.ErrLocked, 11},
		{zdb.ErrLocked, 11},
		{fs.ErrWrongKey, 12},
		{keyfile.ErrWrongPassphrase, 12},
		{phrase.ErrInvalid, 12},
		{fs.ErrTooFewNodes, 13},
		{fs.ErrDamaged, 14},
		{fs.ErrNoSpace, 15},
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 15},
		{fs.ErrNotPermitted, 16},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 16},
		{keyfile.ErrPermissions, 16},
		{fs.ErrTooNew, 17},
		{fs.ErrMountpoint, 18},
		{context.Canceled, 130},
		{fmt.Errorf("%w: %w", fs.ErrTooFewNodes, context.Canceled), 130},
		{fmt.Errorf("%w: node 3: %w", fs.ErrTooFewNodes, zdb.ErrNoSpace), 13},
		{New(Mountpoint, "", "mount: %w", fs.ErrLocked), 18},
		{context.DeadlineExceeded, 1},
	} {
		for depth, err := range []error{tc.err, wrap(tc.err), wrap(wrap(tc.err))} {
			if got, _ := Of(err); got != tc.want {
				t.Errorf("Of(%v) at depth %d = %d, want %d", tc.err, depth, got, tc.want)
			}
		}
	}
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("outer: %w", err)
}

// TestMeanings proves that each code of the table has its line in the help, once, in order.
func TestMeanings(t *testing.T) {
	var codes []Code
	for _, m := range Meanings {
		if m.Text == "" {
			t.Errorf("code %d has no text", m.Code)
		}
		codes = append(codes, m.Code)
	}
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Errorf("codes are not in order or not distinct: %v", codes)
	}
	for _, row := range sentinels {
		if !slices.Contains(codes, row.code) {
			t.Errorf("code %d of %v has no meaning", row.code, row.sentinel)
		}
	}
}

func TestReport(t *testing.T) {
	err := fmt.Errorf("mount: %w", &Error{Code: TooFewNodes, Advice: "start\nthem", Err: errors.New("too few nodes: 3 of 6\nreachable\x1b[2J")})
	for _, tc := range []struct {
		name   string
		asJSON bool
		err    error
		want   string
	}{
		{"none", false, nil, ""},
		{"text", false, err, "qsfs: error: mount: too few nodes: 3 of 6; reachable [2J\nqsfs: hint: start; them\n"},
		{"json", true, err, `{"type":"exit_error","code":13,"message":"mount: too few nodes: 3 of 6; reachable [2J","hint":"start\nthem"}` + "\n"},
		{"no hint", false, errors.New("x"), "qsfs: error: x\n"},
		{"no hint json", true, errors.New("x"), `{"type":"exit_error","code":1,"message":"x","hint":""}` + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			code := Report(&out, "qsfs", tc.asJSON, tc.err)
			if out.String() != tc.want {
				t.Errorf("got  %q\nwant %q", out.String(), tc.want)
			}
			if want, _ := Of(tc.err); code != want {
				t.Errorf("code %d, want %d", code, want)
			}
		})
	}
}

func TestWithHint(t *testing.T) {
	if WithHint(nil, "x") != nil {
		t.Error("a hint made an error of nil")
	}
	err := WithHint(fs.ErrVolumeExists, "first")
	if _, hint := Of(err); hint == "" || hint == "first" {
		// The table's own hint is the better one only when the error brought none: the table counts as none here.
		t.Logf("hint is %q", hint)
	}
	if code, _ := Of(err); code != Other || !errors.Is(err, fs.ErrVolumeExists) {
		t.Errorf("code %d, want 1, and the sentinel kept", code)
	}
	if _, hint := Of(WithHint(New(Other, "kept", "x"), "second")); hint != "kept" {
		t.Errorf("hint %q, want the first one kept", hint)
	}
}
