package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is the longest that a well program may take for anything but the copying of a big tree.
const patience = 3 * time.Minute

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// process is a program in front that runs until it is told to end.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
	code           int // once ended; -1 when a signal ended it
}

// start runs a command. It is killed when the test ends, if it still runs.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	must(t, cmd.Start())
	go func() {
		cmd.Wait()
		p.code = cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s (process %d, ended with %d) wrote:\n%s%s", name, cmd.Process.Pid, p.code, tail(p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

func tail(text string) string {
	const most = 6000
	if len(text) > most {
		return "...\n" + text[len(text)-most:]
	}
	return text
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill is kill -9: the process learns nothing of it.
func (p *process) kill() {
	p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

// signal asks the process to end, waits until it has, and gives its exit code.
func (p *process) signal(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && p.running() {
		t.Fatal(err)
	}
	return p.wait(t)
}

// wait waits for the process to end by itself.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.code
	case <-time.After(patience):
		p.cmd.Process.Signal(syscall.SIGQUIT) // a Go program says what it was doing
		time.Sleep(time.Second)
		p.kill()
		t.Fatalf("%s did not end within %v", p.name, patience)
		return -1
	}
}

// outcome is how a command that ends by itself ended.
type outcome struct {
	args           []string
	code           int
	stdout, stderr string
	took           time.Duration
}

// run runs a command to its end. A command that hangs is killed, and fails the test.
func run(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	must(t, cmd.Start())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		cmd.Process.Kill()
	})
	err := cmd.Wait()
	stop()
	o := outcome{args: cmd.Args[1:], code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began)}
	if ctx.Err() != nil {
		t.Fatalf("%v did not end within %v: %s", cmd.Args, patience, tail(o.stderr))
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return o
}

// tool runs a command of the system that must succeed.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if o := run(t, exec.Command(name, args...)); o.code != 0 {
		t.Fatalf("%s %v: exit code %d: %s", name, args, o.code, tail(o.stderr))
	}
}
