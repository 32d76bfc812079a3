package mountpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mount is one line of mountinfo.
type Mount struct {
	Path   string // where
	Type   string // "fuse.qsfs"
	Source string // "qsfs:home"
	Device string // "0:42"; the second number names the FUSE connection too
}

// Ours tells whether it is a mount of qsfs.
func (m Mount) Ours() bool {
	return m.Type == "fuse.qsfs" || strings.HasPrefix(m.Type, "fuse") && strings.HasPrefix(m.Source, SourcePrefix)
}

// Volume is the name of the volume that is, or was, mounted.
func (m Mount) Volume() string { return strings.TrimPrefix(m.Source, SourcePrefix) }

// deadAfter is how long a mount's daemon may take to answer before Dead takes it for alive and busy.
const deadAfter = 2 * time.Second

// Dead tells whether the daemon of a mount is gone: the kernel says ENOTCONN at once. Whoever does not answer in time is
// stuck, not dead; the question is left behind then, and ends with the process.
func (m Mount) Dead() bool {
	answer := make(chan error, 1)
	go func() {
		var st unix.Statx_t
		answer <- unix.Statx(unix.AT_FDCWD, m.Path, unix.AT_STATX_FORCE_SYNC|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, syscall.ENOTCONN)
	case <-time.After(deadAfter):
		return false
	}
}

// Mounts is what is mounted, in the order of mounting.
type Mounts []Mount

// List reads what is mounted in our mount namespace.
func List() (Mounts, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("what is mounted: %w", err)
	}
	return parse(text), nil
}

// At gives the topmost mount on exactly this path.
func (ms Mounts) At(path string) (Mount, bool) {
	for i := len(ms) - 1; i >= 0; i-- {
		if ms[i].Path == path {
			return ms[i], true
		}
	}
	return Mount{}, false
}

// parse reads mountinfo: ID, parent, device, root, mount point, options, optional fields up to "-", type, source, options.
// Lines of another form are passed over.
func parse(text []byte) Mounts {
	var mounts Mounts
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		dash := -1
		for i := 6; i < len(fields); i++ {
			if fields[i] == "-" {
				dash = i
				break
			}
		}
		if dash < 0 || dash+2 >= len(fields) {
			continue
		}
		mounts = append(mounts, Mount{Path: unescape(fields[4]), Type: fields[dash+1], Source: unescape(fields[dash+2]), Device: fields[2]})
	}
	return mounts
}

// unescape turns the kernel's \040 and its like into what they stand for: space, tab, newline, backslash, #.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && octal(text[i+1:i+4]) {
			out.WriteByte(text[i+1]<<6 | (text[i+2]-'0')<<3 | (text[i+3] - '0'))
			i += 3
			continue
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

func octal(digits string) bool {
	for _, d := range []byte(digits) {
		if d < '0' || d > '7' {
			return false
		}
	}
	return digits[0] <= '3'
}
