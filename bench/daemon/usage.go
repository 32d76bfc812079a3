package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on all
// architectures that Go has (proc(5)).
const clockTick = time.Second / 100

var errProc = errors.New("daemon: /proc not understood")

// Usage is what a process has taken since its start.
type Usage struct {
	CPU         time.Duration // of all its threads, user and system
	MemoryBytes int64         // resident now
	PeakBytes   int64         // resident at most
	OwnBytes    int64         // resident now without pages of files, such as those of the program
}

// Usage reads it from /proc.
func (d *Daemon) Usage() (Usage, error) {
	if err := d.Err(); err != nil {
		return Usage{}, err
	}
	folder := fmt.Sprintf("/proc/%d/", d.cmd.Process.Pid)
	stat, err := os.ReadFile(folder + "stat")
	if err != nil {
		return Usage{}, err
	}
	status, err := os.ReadFile(folder + "status")
	if err != nil {
		return Usage{}, err
	}
	u := Usage{}
	if u.CPU, err = cpuOf(stat); err != nil {
		return u, err
	}
	if u.MemoryBytes, err = kilobytes(status, "VmRSS:"); err != nil {
		return u, err
	}
	if u.OwnBytes, err = kilobytes(status, "RssAnon:"); err != nil {
		return u, err
	}
	u.PeakBytes, err = kilobytes(status, "VmHWM:")
	return u, err
}

// OwnCPU is what this process itself has taken, all threads, user and system.
func OwnCPU() (time.Duration, error) {
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano()), nil
}

// cpuOf takes fields 14 and 15, utime and stime, of /proc/PID/stat. Field 2 is the name
// of the program in brackets, which may hold blanks and brackets.
func cpuOf(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const first = 3 // the field behind the name
	if len(fields) <= 15-first {
		return 0, fmt.Errorf("%w: stat", errProc)
	}
	var ticks int64
	for _, f := range fields[14-first : 16-first] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: stat: %w", errProc, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// kilobytes takes a line "NAME: 123 kB" of /proc/PID/status.
func kilobytes(status []byte, name string) (int64, error) {
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%w: status: %w", errProc, err)
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("%w: status has no %s", errProc, name)
}
