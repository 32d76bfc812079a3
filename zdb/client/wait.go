package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// AnyCommand makes Wait wait for whichever command comes first.
const AnyCommand = "*"

// Bounds of a server for WAIT.
const (
	minWait = 100 * time.Millisecond
	maxWait = 30 * time.Minute
)

// Wait returns when another session runs a command in the client's namespace, well or
// not, and gives its name; zdb.ErrTimeout when none does within limit, which is from
// 100 ms to 30 minutes. Only what begins after the server has taken the request counts.
//
// The reply to WAIT comes between those to other requests, so each call has a connection
// of its own, besides Options.MaxConns, for as long as it lasts.
func (c *base) Wait(ctx context.Context, command string, limit time.Duration) (string, error) {
	if limit < minWait || limit > maxWait {
		return "", fmt.Errorf("wait %s: want from %s to %s", limit, minWait, maxWait)
	}
	if command == "" || strings.ContainsFunc(command, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("wait for %q: no name of a command", command)
	}
	name, err := c.wait(ctx, strings.ToUpper(command), limit)
	if err != nil {
		return "", fmt.Errorf("wait %s: %w", c.target, err)
	}
	return name, nil
}

func (c *base) wait(ctx context.Context, command string, limit time.Duration) (string, error) {
	c.mu.Lock()
	closed, down := c.closed, c.circuit.open
	if !closed {
		c.wg.Add(1)
	}
	c.mu.Unlock()
	switch {
	case closed:
		return "", zdb.ErrClosed
	case down != nil:
		c.wg.Done()
		return "", fmt.Errorf("%w (not asked while it is down): %w", zdb.ErrUnavailable, down)
	}
	defer c.wg.Done()

	l, err := c.connect(ctx)
	if err != nil {
		return "", err
	}
	defer l.raw.Close()
	stop := context.AfterFunc(ctx, func() { l.raw.Close() })
	defer stop()
	stopToo := context.AfterFunc(c.ctx, func() { l.raw.Close() })
	defer stopToo()
	_ = l.nc.SetDeadline(time.Now().Add(limit + c.options.RequestTimeout))
	s := session{rc: l.rc, guard: l.guard}
	reply, err := s.do("WAIT", command, strconv.FormatInt(limit.Milliseconds(), 10))
	var refused *zdb.ReplyError
	switch {
	case err == nil:
	case errors.As(err, &refused):
		return "", err
	case ctx.Err() != nil:
		return "", ctx.Err()
	case c.ctx.Err() != nil:
		return "", zdb.ErrClosed
	default:
		return "", fmt.Errorf("%w: %w", zdb.ErrUnavailable, readCause(err))
	}
	name, ok := reply.(string)
	if !ok || command != AnyCommand && name != command {
		return "", c.unexpected("WAIT", reply)
	}
	return name, nil
}

// HookRun is a run of the program that the server tells what happens.
type HookRun struct {
	Name     string
	Args     []string
	PID      int64
	Started  time.Time // zero: it waits for its turn
	Finished time.Time // zero: it has not ended
	Status   int64     // exit code
}

// Hooks returns the runs of hooks that the server remembers. It is an administrator's.
func (c *base) Hooks(ctx context.Context) ([]HookRun, error) {
	out, err := c.do(ctx, repeat, "HOOKS")
	if err != nil {
		return nil, err
	}
	runs, ok := decodeHooks(out.reply)
	if !ok {
		return nil, c.unexpected("HOOKS", out.reply)
	}
	return runs, nil
}

// decodeHooks takes an array of *6: name, array of arguments, pid, start, end, exit code.
func decodeHooks(reply any) ([]HookRun, bool) {
	rows, ok := reply.([]any)
	if !ok {
		return nil, false
	}
	runs := make([]HookRun, 0, len(rows))
	for _, row := range rows {
		cells, ok := row.([]any)
		if !ok || len(cells) != 6 {
			return nil, false
		}
		name, nameOK := cells[0].([]byte)
		args, argsOK := cells[1].([]any)
		if !nameOK || !argsOK {
			return nil, false
		}
		run := HookRun{Name: string(name), Args: make([]string, len(args))}
		for i, arg := range args {
			text, ok := arg.([]byte)
			if !ok {
				return nil, false
			}
			run.Args[i] = string(text)
		}
		var numbers [4]int64
		for i := range numbers {
			if numbers[i], ok = cells[2+i].(int64); !ok {
				return nil, false
			}
		}
		run.PID, run.Status = numbers[0], numbers[3]
		run.Started, run.Finished = unixOrZero(numbers[1]), unixOrZero(numbers[2])
		runs = append(runs, run)
	}
	return runs, true
}

func unixOrZero(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
