package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/exit"
	"github.com/qsfs/qsfs/identity/phrase"
)

// showWords writes the words of a new volume, six rows of four, with what to do with them.
func showWords(w io.Writer, name string, words phrase.Phrase) error {
	var text strings.Builder
	fmt.Fprintf(&text, "These 24 words are the key to volume %s. Write them down now, on paper, in this order.\n", name)
	text.WriteString("They are not shown again. Who has them can read everything; without them, and without this\nmachine, nobody can, you included.\n\n")
	list := words.Words()
	rows := len(list) / 4
	for row := range rows {
		for column := range 4 {
			i := row + column*rows
			fmt.Fprintf(&text, "  %2d. %-10s", i+1, list[i])
		}
		text.WriteString("\n")
	}
	text.WriteString("\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// writeWords writes the words of a new volume to a file of mode 0600 that must not exist.
func writeWords(path string, words phrase.Phrase) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return exit.New(exit.Other, "choose another file: it may hold the words of another volume", "%s exists; words are never written over a file", path)
	}
	if err != nil {
		return fmt.Errorf("phrase file: %w", err)
	}
	_, err = io.WriteString(file, words.Reveal()+"\n")
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("phrase file: %w", err)
	}
	return nil
}

// askBackTries is how often one word may be typed wrong.
const askBackTries = 3

// askBack asks for three of the words, to see that they were written down.
func askBack(ctx context.Context, in io.Reader, out io.Writer, words phrase.Phrase) error {
	list := words.Words()
	positions := rand.Perm(len(list))[:3]
	slices.Sort(positions)
	fmt.Fprintln(out, "Three of them, to see that they are written down:")
	for _, position := range positions {
		for try := 1; ; try++ {
			fmt.Fprintf(out, "word %d: ", position+1)
			line, err := readLine(ctx, in)
			if ctx.Err() != nil {
				fmt.Fprintln(out)
				return ctx.Err()
			}
			if err != nil {
				fmt.Fprintln(out)
				return exit.New(exit.WrongKey, "nothing was made; begin again", "the words were not given back")
			}
			if strings.EqualFold(strings.TrimSpace(line), list[position]) {
				break
			}
			if try == askBackTries {
				return exit.New(exit.WrongKey, "nothing was made; begin again, and write the words down first", "word %d is not right", position+1)
			}
			fmt.Fprintln(out, "That is not the word.")
		}
	}
	return nil
}

// maxLineBytes bounds what is typed where one word is asked for.
const maxLineBytes = 1024

// readLine reads up to the end of a line and not a byte further: what follows belongs to the next question.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		var line []byte
		for b := make([]byte, 1); len(line) < maxLineBytes; {
			n, err := in.Read(b)
			if n > 0 && b[0] == '\n' {
				break
			}
			line = append(line, b[:n]...)
			if err != nil {
				answered <- answer{string(line), err}
				return
			}
		}
		answered <- answer{string(line), nil}
	}()
	select {
	case a := <-answered:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// toJournal tells whether standard output goes to the system's journal, as systemd tells in JOURNAL_STREAM (systemd.exec(5)).
func (a *app) toJournal() bool {
	stream := os.Getenv("JOURNAL_STREAM")
	file, ok := a.stdout.(*os.File)
	if stream == "" || !ok {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(int(file.Fd()), &st) != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
