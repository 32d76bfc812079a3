// Package detach runs this program again as a daemon, and waits until it is ready.
//
// The daemon is a second process of the same program with the same arguments, in a session of its own, with standard input
// from /dev/null and standard output and error in a log file. It inherits two pipes:
//
//	descriptor 3  from the daemon: one line of JSON, then end of file
//	              {"ready":"volume home on /mnt/home (6 of 6 nodes)"}
//	              {"code":13,"message":"too few nodes: 3 of 6","hint":"..."}
//	descriptor 4  to the daemon: the secret it works with, raw bytes, then end of file
//
// The variable QSFS_DETACHED=1 tells the daemon so; it takes the variable out of its environment first of all. The secret
// is never an argument, a variable or a file.
package detach

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	variable       = "QSFS_DETACHED"
	readyFD        = 3
	secretFD       = 4
	maxReportBytes = 64 << 10
	maxSecretBytes = 4096
)

// ErrDied means the daemon ended and did not say why; its log may.
var ErrDied = errors.New("the daemon ended before it was ready")

// Failure is why a daemon could not start, in its own words.
type Failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Error gives the message.
func (f *Failure) Error() string { return f.Message }

type report struct {
	Ready string `json:"ready,omitempty"`
	Failure
}

// Options says what to run.
type Options struct {
	Args   []string // the whole argument list, the program's name first
	Log    *os.File // standard output and error of the daemon
	Secret []byte   // given to the daemon; wiping it stays with the caller
	Binary string   // empty means this program
}

// Start runs the daemon and returns what it says when it is ready. A daemon that fails gives its *Failure, or ErrDied.
// When ctx ends first, the daemon is told to end, and has ended when Start returns.
func Start(ctx context.Context, o Options) (ready string, err error) {
	if o.Binary == "" {
		o.Binary = "/proc/self/exe"
	}
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("detach: %w", err)
	}
	defer reportR.Close()
	secretR, secretW, err := os.Pipe()
	if err != nil {
		reportW.Close()
		return "", fmt.Errorf("detach: %w", err)
	}
	// The secret is far smaller than a pipe's buffer (64 KiB, pipe(7)): this does not wait for a reader.
	_, err = secretW.Write(o.Secret)
	err = errors.Join(err, secretW.Close())
	command := &exec.Cmd{
		Path:        o.Binary,
		Args:        o.Args,
		Env:         append(os.Environ(), variable+"=1"),
		Stdout:      o.Log,
		Stderr:      o.Log,
		ExtraFiles:  []*os.File{reportW, secretR},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err == nil {
		err = command.Start()
	}
	reportW.Close()
	secretR.Close()
	if err != nil {
		return "", fmt.Errorf("detach: %w", err)
	}

	told := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(reportR, maxReportBytes)).ReadString('\n')
		told <- line
	}()
	var line string
	select {
	case line = <-told:
	case <-ctx.Done():
		command.Process.Signal(syscall.SIGTERM)
		command.Wait()
		return "", ctx.Err()
	}
	var r report
	if json.Unmarshal([]byte(line), &r) != nil || r.Ready == "" && r.Message == "" {
		state := "it let go of us"
		command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			state = err.Error()
		}
		return "", fmt.Errorf("%w (%s)", ErrDied, state)
	}
	if r.Ready == "" {
		command.Wait()
		return "", &r.Failure
	}
	return r.Ready, command.Process.Release()
}

// Daemon is this process, when Start of another one has started it.
type Daemon struct {
	Secret []byte
	report *os.File // nil once told
}

// Inherited gives what Start handed over, or nil when this process was started by somebody else.
func Inherited() (*Daemon, error) {
	if os.Getenv(variable) == "" {
		return nil, nil
	}
	os.Unsetenv(variable)
	for _, fd := range []int{readyFD, secretFD} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, fmt.Errorf("detach: %s is set and descriptor %d is no pipe", variable, fd)
		}
		unix.CloseOnExec(fd)
	}
	source := os.NewFile(secretFD, "secret")
	defer source.Close()
	secret, err := io.ReadAll(io.LimitReader(source, maxSecretBytes))
	if err != nil {
		return nil, fmt.Errorf("detach: %w", err)
	}
	return &Daemon{Secret: secret, report: os.NewFile(readyFD, "ready")}, nil
}

// Ready tells who waits that all is well. After it the daemon is on its own.
func (d *Daemon) Ready(line string) { d.tell(report{Ready: line}) }

// Failed tells who waits what went wrong. After Ready it does nothing.
func (d *Daemon) Failed(f Failure) { d.tell(report{Failure: f}) }

func (d *Daemon) tell(r report) {
	if d == nil || d.report == nil {
		return
	}
	var line []byte
	if r.Ready != "" {
		line, _ = json.Marshal(map[string]string{"ready": r.Ready})
	} else {
		line, _ = json.Marshal(r.Failure)
	}
	d.report.Write(append(line, '\n'))
	d.report.Close()
	d.report = nil
}
