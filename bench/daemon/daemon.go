// Package daemon runs the storage nodes that are measured: our zdbd and the original
// 0-db, each as a process of its own with a new, empty data directory.
//
// A daemon lives wholly below the base folder it is given. Close ends the process,
// by force in the end, and removes its files.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// OriginalVariable is the environment variable with the path of the original's program.
const OriginalVariable = "QSFS_ZDB_ORIGINAL"

const (
	readyTimeout = 60 * time.Second // from the start of a process to its first connection
	stopTimeout  = 60 * time.Second // from SIGTERM to its end
	pollEvery    = 5 * time.Millisecond
)

// Program is what is run.
type Program struct {
	Name     string // for the report
	Path     string
	Original bool     // the original's flags, not ours
	Args     []string // further arguments
}

// Networks and kinds of durability that a daemon is started with.
const (
	TCP  = "tcp"
	Unix = "unix"

	SyncNone  = "none"  // a write is answered when the operating system has it
	SyncGroup = "group" // on disk; the original does not share an fsync
)

// Options say how a program is started.
type Options struct {
	Base    string // folder below which its data is
	Network string // TCP or Unix
	Sync    string // SyncNone or SyncGroup
}

// Daemon is a running process.
type Daemon struct {
	Network, Address string

	program Program
	opts    Options
	root    string
	cmd     *exec.Cmd
	done    chan struct{} // closed when the process has ended; then ended says how
	ended   error
}

// Start runs a program with a new data directory and returns when it takes connections.
func Start(ctx context.Context, p Program, o Options) (_ *Daemon, err error) {
	base, err := filepath.Abs(o.Base)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(base, "zdb-bench-")
	if err != nil {
		return nil, fmt.Errorf("daemon %s: %w", p.Name, err)
	}
	d := &Daemon{Network: o.Network, program: p, opts: o, root: root}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("daemon %s: %w", p.Name, err), d.Close())
	}
	return d, nil
}

// Restart ends the process and starts it on the same data with another durability.
func (d *Daemon) Restart(ctx context.Context, sync string) error {
	if err := d.Stop(); err != nil {
		return err
	}
	d.opts.Sync = sync
	return d.Resume(ctx)
}

// Resume starts a process that was stopped or killed on the same data, and returns when it
// takes connections.
func (d *Daemon) Resume(ctx context.Context) error {
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("restart of daemon %s: %w", d.program.Name, err)
	}
	return nil
}

// Kill ends the process as kill -9 does, without a chance to write anything.
func (d *Daemon) Kill() error {
	if err := d.Err(); err != nil {
		return err
	}
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.done
	d.cmd = nil
	return nil
}

func (d *Daemon) start(ctx context.Context) error {
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if d.Address = d.path("sock"); d.Network == TCP {
		if d.Address, err = freeAddress(); err != nil {
			return err
		}
	}
	args, err := d.arguments()
	if err != nil {
		return err
	}
	// Not bound to ctx: it is ended in order by Close.
	d.cmd = exec.Command(d.program.Path, args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for us, and we end it in order.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		d.cmd = nil
		return err
	}
	d.done = make(chan struct{})
	go func() {
		d.ended = d.cmd.Wait()
		close(d.done)
	}()
	return d.ready(ctx)
}

// DataDir is the folder of the data.
func (d *Daemon) DataDir() string { return d.path("data") }

func (d *Daemon) path(name string) string { return filepath.Join(d.root, name) }

// arguments are the flags of either program for the same thing.
func (d *Daemon) arguments() ([]string, error) {
	var args []string
	switch {
	case !d.program.Original:
		args = []string{"--data", d.path("data"), "--sync", d.opts.Sync}
		if d.Network == TCP {
			args = append(args, "--listen", d.Address)
		} else {
			args = append(args, "--listen", "", "--socket", d.Address)
		}
	default:
		args = []string{"--data", d.path("data"), "--index", d.path("index")}
		if d.Network == TCP {
			host, port, err := net.SplitHostPort(d.Address)
			if err != nil {
				return nil, err
			}
			args = append(args, "--listen", host, "--port", port)
		} else {
			args = append(args, "--socket", d.Address)
		}
		if d.opts.Sync != SyncNone {
			args = append(args, "--sync")
		}
	}
	return append(args, d.program.Args...), nil
}

// freeAddress gives a port of this machine that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready waits for the first connection that is taken.
func (d *Daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if nc, err := net.DialTimeout(d.Network, d.Address, time.Second); err == nil {
			return nc.Close()
		}
		select {
		case <-d.done:
			return fmt.Errorf("ended before it took a connection: %v: %s", d.ended, d.tail())
		case <-ctx.Done():
			return fmt.Errorf("takes no connection: %w: %s", ctx.Err(), d.tail())
		case <-tick.C:
		}
	}
}

// tail gives the end of the log.
func (d *Daemon) tail() string {
	b, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// Err says how the process ended; nil while it runs.
func (d *Daemon) Err() error {
	select {
	case <-d.done:
		return fmt.Errorf("daemon %s ended: %v: %s", d.program.Name, d.ended, d.tail())
	default:
		return nil
	}
}

// Log is what the process wrote.
func (d *Daemon) Log() string {
	b, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Close ends the process and removes its files.
func (d *Daemon) Close() error {
	return errors.Join(d.Stop(), os.RemoveAll(d.root))
}

// Stop asks the process to end, then makes it. Its data stays.
func (d *Daemon) Stop() error {
	if d.cmd == nil {
		return nil
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	killed := false
	select {
	case <-d.done:
	case <-timer.C:
		killed = true
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	code := d.cmd.ProcessState.ExitCode() // -1: by a signal
	d.cmd = nil
	switch {
	case killed:
		return fmt.Errorf("daemon %s did not end within %s and was killed: %s", d.program.Name, stopTimeout, d.tail())
	case code > 0 && !d.program.Original: // which has exit codes of its own for SIGTERM
		return fmt.Errorf("daemon %s: %w: %s", d.program.Name, d.ended, d.tail())
	}
	return nil
}
