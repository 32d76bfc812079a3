package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/qsfs/qsfs/zdb/resp"
)

// hooks run the program that is told what happens in the server: its arguments are the
// name of the hook, the instance id, and what the hook is about. One runs at a time, in
// the order of the events; nobody waits for one but the boot for "ready" and the end
// for "close".
type hooks struct {
	program  string // empty: there are none
	instance string
	timeout  time.Duration
	log      *slog.Logger

	mu     sync.Mutex
	idle   sync.Cond     // a hook has ended
	list   []*hook       // waiting, running and the ended of late, oldest first
	wake   chan struct{} // capacity 1: there is something to do, or all is to end
	ending bool          // the runner ends when nothing waits
	ended  chan struct{} // closed when the runner has ended
	cancel context.CancelFunc
	ctx    context.Context // of the running hook; its end kills it
}

// hook is one run of the program, for HOOKS.
type hook struct {
	name string
	args []string
	last func() string    // makes a last argument when the hook starts, or nil
	done func(status int) // called behind it, or nil
	once bool             // not taken while the same one waits

	pid               int
	started, finished time.Time
	status            int // exit code; 128 and the number of the signal that killed it
}

const (
	maxWaitingHooks  = 128
	maxEndedHooks    = 128
	endedHookKept    = 5 * time.Minute // as the C server keeps them
	defaultHookTime  = 10 * time.Minute
	waitedHookTime   = time.Minute // for ready and close
	hookOutputKept   = 2048
	hookOutputGrace  = time.Second // for what a hook left behind to close its output
	textUnknownID    = "unknown-id"
	statusNotStarted = 1
	statusSignal     = 128
)

func newHooks(o *Options) *hooks {
	h := &hooks{
		program: o.Hook, instance: o.InstanceID, timeout: o.HookTimeout, log: o.Log,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	h.idle.L = &h.mu
	if h.instance == "" {
		h.instance = textUnknownID
	}
	if h.timeout <= 0 {
		h.timeout = defaultHookTime
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if h.program == "" {
		close(h.ended)
		return h
	}
	go h.loop()
	return h
}

// start lets a hook run when those ahead of it have ended.
func (h *hooks) start(name string, args ...string) {
	h.queue(&hook{name: name, args: args})
}

// queue takes a hook; it never waits. One that does not fit is dropped and logged.
func (h *hooks) queue(k *hook) {
	if h.program == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting := 0
	for _, other := range h.list {
		if !other.started.IsZero() {
			continue
		}
		if waiting++; k.once && k.name == other.name && slices.Equal(k.args, other.args) {
			return
		}
	}
	if waiting >= maxWaitingHooks || h.ending {
		h.log.Error("hook not run, too many wait", "hook", k.name, "args", k.args, "waiting", waiting)
		return
	}
	h.list = append(h.list, k)
	h.signal()
}

func (h *hooks) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooks) loop() {
	defer close(h.ended)
	for {
		h.mu.Lock()
		i := slices.IndexFunc(h.list, func(k *hook) bool { return k.started.IsZero() })
		ending := h.ending
		var k *hook
		if i >= 0 {
			k = h.list[i]
		}
		h.mu.Unlock()
		switch {
		case k != nil:
			h.run(h.ctx, k, h.timeout)
		case ending:
			return
		default:
			<-h.wake
		}
	}
}

// wait runs a hook and gives its exit code. Those ahead of it end first, unless they take
// half of the time that one waits.
func (h *hooks) wait(ctx context.Context, name string, args ...string) int {
	if h.program == "" {
		return 0
	}
	limit := min(h.timeout, waitedHookTime)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	h.settle(ctx, limit/2)
	k := &hook{name: name, args: args, started: time.Now()} // not the runner's
	h.mu.Lock()
	h.list = append(h.list, k)
	h.mu.Unlock()
	return h.run(ctx, k, limit)
}

// settle waits until no hook waits or runs, for the limit at most.
func (h *hooks) settle(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.idle.Broadcast()
	})()
	h.mu.Lock()
	defer h.mu.Unlock()
	for ctx.Err() == nil && slices.ContainsFunc(h.list, func(k *hook) bool { return k.finished.IsZero() }) {
		h.idle.Wait()
	}
}

// run runs the program and waits for its end, for the timeout at most.
func (h *hooks) run(ctx context.Context, k *hook, timeout time.Duration) int {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args := k.args
	if k.last != nil {
		args = append(slices.Clone(args), k.last())
	}
	var out tail
	cmd := exec.CommandContext(ctx, h.program, append([]string{k.name, h.instance}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = hookOutputGrace
	err := cmd.Start()
	h.mu.Lock()
	k.started, k.args = time.Now(), args
	if err == nil {
		k.pid = cmd.Process.Pid
	}
	h.mu.Unlock()
	status := statusNotStarted
	if err == nil {
		err = cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) { // it ended, only something of it holds its output
			err = nil
		}
		status = cmd.ProcessState.ExitCode()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			status = statusSignal + int(ws.Signal())
		}
	}
	if err != nil || status != 0 {
		h.log.Warn("hook failed", "hook", k.name, "args", args, "status", status, "err", err, "output", out.String())
	}
	h.mu.Lock()
	k.finished, k.status = time.Now(), status
	h.forget()
	h.idle.Broadcast()
	h.mu.Unlock()
	if k.done != nil {
		k.done(status)
	}
	return status
}

// forget drops ended hooks that are old or too many. The caller holds mu.
func (h *hooks) forget() {
	old := time.Now().Add(-endedHookKept)
	ended := 0
	for _, k := range h.list {
		if !k.finished.IsZero() {
			ended++
		}
	}
	h.list = slices.DeleteFunc(h.list, func(k *hook) bool {
		if k.finished.IsZero() || (ended <= maxEndedHooks && k.finished.After(old)) {
			return false
		}
		ended--
		return true
	})
}

// end lets those that wait run, until ctx ends or for the time that one waits for a
// hook; then what still runs is killed and the rest dropped.
func (h *hooks) end(ctx context.Context) {
	if h.program == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(h.timeout, waitedHookTime))
	defer cancel()
	h.mu.Lock()
	h.ending = true
	h.mu.Unlock()
	h.signal()
	select {
	case <-h.ended:
	case <-ctx.Done():
		h.mu.Lock()
		dropped := len(h.list)
		h.list = slices.DeleteFunc(h.list, func(k *hook) bool { return k.started.IsZero() })
		dropped -= len(h.list)
		h.mu.Unlock()
		h.log.Warn("hooks ended before they were done", "not run", dropped)
		h.cancel()
		<-h.ended
	}
	h.cancel()
}

// appendReply appends the reply to HOOKS: name, arguments, pid, start, end and exit code of each.
func (h *hooks) appendReply(b []byte) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	unix := func(t time.Time) int64 {
		if t.IsZero() {
			return 0
		}
		return t.Unix()
	}
	b = resp.AppendArray(b, len(h.list))
	for _, k := range h.list {
		b = resp.AppendBulk(resp.AppendArray(b, 6), k.name)
		b = resp.AppendArray(b, len(k.args))
		for _, a := range k.args {
			b = resp.AppendBulk(b, a)
		}
		b = resp.AppendInt(b, int64(k.pid))
		b = resp.AppendInt(b, unix(k.started))
		b = resp.AppendInt(b, unix(k.finished))
		b = resp.AppendInt(b, int64(k.status))
	}
	return b
}

func (c *conn) listHooks(*resp.Request) error {
	c.encoded(c.srv.hooks.appendReply(nil))
	return nil
}

// Ready runs the hook "ready" once: an error means that the boot is to stop. Serve calls
// it too; who has something to do behind it and before Serve calls it himself.
func (s *Server) Ready(ctx context.Context) error {
	s.readyOnce.Do(func() {
		if status := s.hooks.wait(ctx, "ready"); status != 0 {
			s.readyErr = fmt.Errorf("hook %s: ready: exit status %d", s.opts.Hook, status)
		}
	})
	return s.readyErr
}

// tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.Buffer.Write(p[max(0, len(p)-hookOutputKept):])
	t.Next(max(0, t.Len()-hookOutputKept))
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(t.Buffer.String()) }
