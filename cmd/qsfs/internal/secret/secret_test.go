package secret

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// pipe gives the reading end of a pipe that holds text. An empty text leaves the pipe open and silent.
func pipe(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if text != "" {
		w.WriteString(text)
		w.Close()
	}
	return r
}

// TestOrder proves that the sources are asked in the order of the manual.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	os.Mkdir(credentials, 0o700)
	file(t, credentials, "qsfs.phrase", " of the credential\n", 0o400)
	env := func(key string) string { return map[string]string{"CREDENTIALS_DIRECTORY": credentials}[key] }
	noEnv := func(string) string { return "" }

	all := Request{What: "phrase", File: file(t, dir, "f", "of the file\n", 0o600), Command: "echo of the command", Credential: "qsfs.phrase", Env: env}
	for _, tc := range []struct {
		name   string
		change func(*Request)
		want   string
	}{
		{"file", func(r *Request) {}, "of the file"},
		{"stdin", func(r *Request) { r.File = "-"; r.Stdin = pipe(t, "of\tstdin\n\n") }, "of\tstdin"},
		{"command", func(r *Request) { r.File = "" }, "of the command"},
		{"descriptor", func(r *Request) { r.File, r.Command = "", ""; r.FD = dupFD(t, pipe(t, "of the descriptor")) }, "of the descriptor"},
		{"credential", func(r *Request) { r.File, r.Command = "", "" }, "of the credential"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := all
			var warned bytes.Buffer
			r.Stderr = &warned
			tc.change(&r)
			got, err := Read(t.Context(), r)
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
			if warned.Len() != 0 {
				t.Errorf("warned: %s", &warned)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := Read(t.Context(), Request{What: "phrase", Credential: "qsfs.phrase", Env: noEnv, Stdin: pipe(t, "x")})
		if !errors.Is(err, ErrNone) {
			t.Errorf("got %v, want ErrNone", err)
		}
	})
	t.Run("credentials without ours", func(t *testing.T) {
		_, err := Read(t.Context(), Request{What: "phrase", Credential: "other", Env: env, Stdin: pipe(t, "x")})
		if !errors.Is(err, ErrNone) {
			t.Errorf("got %v, want ErrNone", err)
		}
	})
}

func TestWarnsOfReadableFile(t *testing.T) {
	var warned bytes.Buffer
	path := file(t, t.TempDir(), "words", "secret words", 0o644)
	got, err := Read(t.Context(), Request{What: "phrase", File: path, Stderr: &warned})
	if err != nil || string(got) != "secret words" {
		t.Fatalf("got %q, %v", got, err)
	}
	if !strings.Contains(warned.String(), "0644") || strings.Contains(warned.String(), "secret") {
		t.Errorf("warning: %s", &warned)
	}
}

// TestFailuresStayWithTheirSource proves that a source which fails is an error, not a reason to ask the next one.
func TestFailuresStayWithTheirSource(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		r    Request
		want error
	}{
		{"no file", Request{File: filepath.Join(dir, "none"), Command: "echo next"}, os.ErrNotExist},
		{"empty file", Request{File: file(t, dir, "e", " \n", 0o600), Command: "echo next"}, ErrRefused},
		{"long file", Request{File: file(t, dir, "l", strings.Repeat("x", MaxBytes+1), 0o600)}, ErrRefused},
		{"long command", Request{Command: "yes"}, ErrRefused},
		{"silent command", Request{Command: "true"}, ErrRefused},
		{"failing command", Request{Command: "echo half; exit 3"}, nil},
		{"bad descriptor", Request{FD: -4}, nil},
		{"closed descriptor", Request{FD: 987}, nil},
		{"folder", Request{File: dir}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.r.What, tc.r.Stderr = "phrase", new(bytes.Buffer)
			got, err := Read(t.Context(), tc.r)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %q, %v; want %v", got, err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "half") && !strings.Contains(tc.r.Command, "exit 3") || strings.Contains(err.Error(), "xxx")) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

// TestCancel proves that Ctrl-C ends the wait for a source that gives nothing.
func TestCancel(t *testing.T) {
	for name, r := range map[string]Request{
		"stdin":   {File: "-", Stdin: pipe(t, "")},
		"command": {Command: "sleep 60"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			r.What = "phrase"
			if _, err := Read(ctx, r); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}
