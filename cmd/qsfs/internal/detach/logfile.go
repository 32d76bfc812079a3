package detach

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// MaxLogBytes is the size at which a log file is put aside as NAME.1, replacing the one before: a log takes at most twice
// this much disk, and one line.
const MaxLogBytes = 8 << 20

// LogFile is a log file of bounded size, mode 0600. It may be written by several goroutines.
type LogFile struct {
	mu        sync.Mutex
	path      string
	file      *os.File
	sizeBytes int64
	maxBytes  int64
}

// OpenLog opens a log file to append to it, and makes it and its folder when they are missing.
func OpenLog(path string) (*LogFile, error) {
	path, err := filepath.Abs(path) // a daemon changes its folder, and puts the file aside later
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	l := &LogFile{path: path, maxBytes: MaxLogBytes}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return l, nil
}

func (l *LogFile) open() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.sizeBytes = file, info.Size()
	return nil
}

// File is the file as it is now: for a daemon's standard error.
func (l *LogFile) File() *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file
}

// Write appends a line. When the file is full it is put aside first; where that fails the file grows on.
func (l *LogFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sizeBytes >= l.maxBytes && os.Rename(l.path, l.path+".1") == nil {
		full := l.file
		if l.open() == nil {
			full.Close()
		}
	}
	n, err := l.file.Write(line)
	l.sizeBytes += int64(n)
	return n, err
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
