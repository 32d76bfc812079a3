// Package secret reads what must never be a flag's value, an environment variable's value or a log line: the phrase and
// passphrases. There is one function, and it asks the sources in one order:
//
//  1. a file (--phrase-file F, - for standard input)
//  2. the output of a command (--key-command CMD, run by /bin/sh)
//  3. a file descriptor (--phrase-fd N)
//  4. a systemd credential ($CREDENTIALS_DIRECTORY/qsfs.phrase, see systemd.exec(5), LoadCredential=)
//  5. the terminal, without echo
//
// The first source that is given decides: when it fails, the next ones are not asked. Whoever reads a secret wipes it.
package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// MaxBytes is the longest secret read. 24 words are about 200 bytes.
const MaxBytes = 4096

// ErrNone means no source is given and there is no terminal to ask.
var ErrNone = errors.New("no way to ask for it")

// ErrRefused means a source gave nothing that can be used: nothing at all, too much, or two entries that differ.
var ErrRefused = errors.New("secret not usable")

// Request says which secret is wanted and where it may come from. Zero fields are sources not given.
type Request struct {
	What       string // for prompts and messages: "phrase of volume home"
	File       string // "-" is Stdin
	Command    string
	FD         int    // 0 is not given
	Credential string // name in $CREDENTIALS_DIRECTORY
	NoTerminal bool   // do not ask
	Twice      bool   // on the terminal ask again and compare

	Env    func(string) string // nil means os.Getenv
	Stdin  *os.File            // nil means os.Stdin
	Stderr io.Writer           // prompts and warnings; nil means os.Stderr
}

// Given tells whether a source other than the terminal and the credential is named.
func (r Request) Given() bool { return r.File != "" || r.Command != "" || r.FD != 0 }

// Read gives the secret without surrounding white space.
func Read(ctx context.Context, r Request) ([]byte, error) {
	if r.Env == nil {
		r.Env = os.Getenv
	}
	if r.Stdin == nil {
		r.Stdin = os.Stdin
	}
	if r.Stderr == nil {
		r.Stderr = os.Stderr
	}
	text, err := r.ask(ctx)
	if err != nil {
		Wipe(text)
		return nil, fmt.Errorf("%s: %w", r.What, err)
	}
	trimmed := bytes.Clone(bytes.TrimSpace(text))
	Wipe(text)
	if len(trimmed) == 0 {
		return nil, fmt.Errorf("%s: %w: it is empty", r.What, ErrRefused)
	}
	return trimmed, nil
}

func (r Request) ask(ctx context.Context) ([]byte, error) {
	switch {
	case r.File == "-":
		return readAll(ctx, r.Stdin)
	case r.File != "":
		return r.fromFile(ctx, r.File)
	case r.Command != "":
		return r.fromCommand(ctx)
	case r.FD != 0:
		return r.fromDescriptor(ctx)
	}
	if dir := r.Env("CREDENTIALS_DIRECTORY"); dir != "" && r.Credential != "" {
		text, err := r.fromFile(ctx, filepath.Join(dir, r.Credential))
		if !errors.Is(err, os.ErrNotExist) {
			return text, err
		}
	}
	if r.NoTerminal || !term.IsTerminal(int(r.Stdin.Fd())) {
		return nil, ErrNone
	}
	return r.fromTerminal(ctx)
}

func (r Request) fromFile(ctx context.Context, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(r.Stderr, "qsfs: warning: %s can be read by other users (mode %04o): chmod 600 %s\n", path, info.Mode().Perm(), path)
	}
	return readAll(ctx, file)
}

func (r Request) fromCommand(ctx context.Context) ([]byte, error) {
	command := exec.CommandContext(ctx, "/bin/sh", "-c", r.Command)
	command.Stderr = r.Stderr
	command.WaitDelay = time.Second
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("key command: %w", err)
	}
	text, readErr := readBounded(output)
	if readErr != nil {
		command.Process.Kill()
	}
	waitErr := command.Wait()
	switch {
	case ctx.Err() != nil:
		return text, ctx.Err()
	case readErr != nil:
		return text, fmt.Errorf("key command: %w", readErr)
	case waitErr != nil:
		return text, fmt.Errorf("key command: %w", waitErr)
	}
	return text, nil
}

func (r Request) fromDescriptor(ctx context.Context) ([]byte, error) {
	if r.FD < 0 {
		return nil, fmt.Errorf("file descriptor %d: %w", r.FD, syscall.EBADF)
	}
	file := os.NewFile(uintptr(r.FD), "phrase-fd")
	if file == nil {
		return nil, fmt.Errorf("file descriptor %d: %w", r.FD, syscall.EBADF)
	}
	defer file.Close()
	text, err := readAll(ctx, file)
	if err != nil {
		return text, fmt.Errorf("file descriptor %d: %w", r.FD, err)
	}
	return text, nil
}

func (r Request) fromTerminal(ctx context.Context) ([]byte, error) {
	first, err := r.prompt(ctx, r.What+": ")
	if err != nil || !r.Twice {
		return first, err
	}
	second, err := r.prompt(ctx, r.What+", again: ")
	defer Wipe(second)
	if err == nil && !bytes.Equal(bytes.TrimSpace(first), bytes.TrimSpace(second)) {
		err = fmt.Errorf("%w: the two entries differ", ErrRefused)
	}
	return first, err
}

// prompt asks one line without echo, which is off before the prompt shows. Whatever happens, the terminal gets it back.
func (r Request) prompt(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(r.Stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	defer func() {
		unix.IoctlSetTermios(fd, unix.TCSETS, before)
		fmt.Fprintln(r.Stderr)
	}()
	fmt.Fprint(r.Stderr, prompt)
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answered <- answer{line, err}
	}()
	select {
	case a := <-answered:
		return a.line, a.err
	case <-ctx.Done():
		return nil, ctx.Err() // the read can't be woken; the process is about to end
	}
}

// readAll reads a source that may be a pipe nobody writes to: ctx ends the wait.
func readAll(ctx context.Context, source io.Reader) ([]byte, error) {
	type answer struct {
		text []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := readBounded(source)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readBounded reads into one buffer, so that no copies of the secret are left behind.
func readBounded(source io.Reader) ([]byte, error) {
	buffer := make([]byte, MaxBytes+1)
	n, err := io.ReadFull(source, buffer)
	switch {
	case err == nil:
		Wipe(buffer)
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrRefused, MaxBytes)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return buffer[:n], nil
	}
	Wipe(buffer)
	return nil, err
}

// Wipe zeroes a secret.
func Wipe(text []byte) { clear(text[:cap(text)]) }
