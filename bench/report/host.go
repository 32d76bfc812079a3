package report

import (
	"bufio"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ThisHost describes the machine. What it cannot learn it leaves out.
func ThisHost() Host {
	h := Host{System: runtime.GOOS, Processor: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.System = "Linux " + unix.ByteSliceToString(uts.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.MemoryBytes = int64(info.Totalram) * int64(info.Unit)
	}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return h
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			h.Processor = strings.TrimSpace(value)
			break
		}
	}
	return h
}
