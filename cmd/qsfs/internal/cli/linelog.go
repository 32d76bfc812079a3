package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lineHandler writes log records as the lines of a person's terminal: "qsfs: warning: node is down: node=1 url=...".
// Files get slog's own text form, with the time.
type lineHandler struct {
	level  slog.Leveler
	mu     *sync.Mutex // guards w, shared by all handlers made from one
	w      io.Writer
	prefix string // of attribute names: groups
	attrs  string // " key=value" of WithAttrs
}

func newLineHandler(w io.Writer, level slog.Leveler) *lineHandler {
	return &lineHandler{level: level, mu: new(sync.Mutex), w: w}
}

// Enabled tells whether records of this level are written.
func (h *lineHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle writes one record as one line.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var line bytes.Buffer
	line.WriteString(program + ": " + levelName(r.Level) + ": " + r.Message)
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		attrs += formatAttr(h.prefix, a)
		return true
	})
	if attrs != "" {
		line.WriteString(":" + attrs)
	}
	line.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(line.Bytes())
	return err
}

// WithAttrs gives a handler that adds attributes to each record.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += formatAttr(h.prefix, a)
	}
	return &with
}

// WithGroup gives a handler that puts a name before those of its attributes.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix += name + "."
	}
	return &with
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

func formatAttr(prefix string, a slog.Attr) string {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		var text string
		for _, inner := range value.Group() {
			text += formatAttr(prefix, inner)
		}
		return text
	}
	if a.Equal(slog.Attr{}) {
		return ""
	}
	// Joined errors have line breaks, and what a server said may have anything.
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ReplaceAll(value.String(), "\n", "; "))
	return " " + prefix + a.Key + "=" + text
}
