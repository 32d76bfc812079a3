package cli

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupLimit gives the smallest memory limit of the control groups this process is in, 0 when there is none. root is "/"
// but for tests. Version 2: cgroup.procs's group and all above it, memory.max (kernel, admin-guide/cgroup-v2.rst);
// version 1: memory.limit_in_bytes of the memory controller.
func cgroupLimit(root string) int64 {
	file, err := os.Open(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	defer file.Close()
	limit := int64(math.MaxInt64)
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		// hierarchy-ID:controllers:path
		fields := strings.SplitN(scanner.Text(), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, name := filepath.Join(root, "sys/fs/cgroup"), "memory.max"
		if fields[1] != "" {
			if !containsWord(fields[1], "memory") {
				continue
			}
			mount, name = filepath.Join(mount, "memory"), "memory.limit_in_bytes"
		}
		// In a container the path may be that of the host, while the mount shows our own group as its root: a folder that
		// is not there is passed over, and the root is always looked at.
		for dir := filepath.Clean("/" + fields[2]); ; dir = filepath.Dir(dir) {
			limit = min(limit, readLimit(filepath.Join(mount, dir, name)))
			if dir == "/" {
				break
			}
		}
	}
	// Version 1 says "no limit" as a number of pages near 2^63.
	if limit >= 1<<62 {
		return 0
	}
	return limit
}

func readLimit(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return math.MaxInt64
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 { // "max"
		return math.MaxInt64
	}
	return limit
}

func containsWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}
