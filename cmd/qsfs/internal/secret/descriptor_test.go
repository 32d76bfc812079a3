package secret

import (
	"os"
	"syscall"
	"testing"
)

// dupFD gives a descriptor of its own, as a shell hands over with 7<file. Reading closes it.
func dupFD(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
