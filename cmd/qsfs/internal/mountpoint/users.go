package mountpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxUsers bounds how many processes Users names.
const maxUsers = 5

// Users names the processes that have a file or folder below path open, run from there or stand there, as far as we may
// look: "bash (process 4711)". It reads links in /proc only, which the kernel answers without asking the daemon.
func Users(path string) []string {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var users []string
	for _, dir := range entries {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !uses(dir, path) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		users = append(users, fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(name)), pid))
	}
	slices.Sort(users)
	if more := len(users) - maxUsers; more > 0 {
		users = append(users[:maxUsers], fmt.Sprintf("and %d more", more))
	}
	return users
}

func uses(process, path string) bool {
	links := []string{"cwd", "root", "exe"}
	if fds, err := os.ReadDir(filepath.Join(process, "fd")); err == nil {
		for _, fd := range fds {
			links = append(links, "fd/"+fd.Name())
		}
	}
	for _, link := range links {
		target, err := os.Readlink(filepath.Join(process, link))
		if err == nil && within(strings.TrimSuffix(target, " (deleted)"), path) {
			return true
		}
	}
	maps, err := os.ReadFile(filepath.Join(process, "maps"))
	return err == nil && path != "/" && strings.Contains(string(maps), " "+path+"/")
}
