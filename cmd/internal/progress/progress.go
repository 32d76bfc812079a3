// Package progress tells a person or a program how far long work is: on a terminal one line that is written over, in a
// pipe a line a minute, with --json an event a second.
//
//	uploading  12.5 MiB of 100 MiB  12%  5.1 MiB/s  17s left
//	{"type":"progress","stage":"uploading","done_bytes":13107200,"total_bytes":104857600}
package progress

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/qsfs/qsfs/cmd/internal/bytesize"
)

// Style is where the progress goes.
type Style int

// The styles.
const (
	Silent Style = iota
	Terminal
	Pipe
	Events
)

// every is how often a style writes, at most.
var every = map[Style]time.Duration{Terminal: 200 * time.Millisecond, Pipe: time.Minute, Events: time.Second}

// rateWindow is how far back the rate looks.
const rateWindow = 10 * time.Second

// Meter writes progress. It may be used by several goroutines.
type Meter struct {
	mu      sync.Mutex
	w       io.Writer
	style   Style
	now     func() time.Time
	stage   string
	samples []sample // of the current stage, oldest first, not much older than rateWindow
	wrote   time.Time
	width   int // of the line on the terminal
}

type sample struct {
	at        time.Time
	doneBytes int64
}

// New makes a meter. A nil now is the real clock. The first line of a pipe comes after a minute: what is done by then
// needs no progress.
func New(w io.Writer, style Style, now func() time.Time) *Meter {
	if now == nil {
		now = time.Now
	}
	m := &Meter{w: w, style: style, now: now}
	if style == Pipe {
		m.wrote = now()
	}
	return m
}

// Update tells the newest state. A total of 0 or less is not known yet.
func (m *Meter) Update(stage string, doneBytes, totalBytes int64) {
	if m.style == Silent {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	newStage := stage != m.stage
	if newStage {
		m.stage, m.samples = stage, nil
	}
	m.sample(now, doneBytes)
	if now.Sub(m.wrote) < every[m.style] && !(newStage && m.style != Pipe) {
		return
	}
	m.wrote = now
	switch m.style {
	case Terminal:
		m.overwrite(m.line(doneBytes, totalBytes))
	case Pipe:
		fmt.Fprintln(m.w, m.line(doneBytes, totalBytes))
	case Events:
		m.event(doneBytes, totalBytes)
	}
}

// Clear takes the line off the terminal, before something else is written there.
func (m *Meter) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.width > 0 {
		fmt.Fprint(m.w, "\r"+strings.Repeat(" ", m.width)+"\r")
		m.width = 0
	}
}

// sample keeps a state for the rate: few enough to be cheap, and one at least rateWindow old when there is.
func (m *Meter) sample(now time.Time, doneBytes int64) {
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < rateWindow/50 {
		return
	}
	m.samples = append(m.samples, sample{now, doneBytes})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
}

// rate is bytes a second over the window, 0 when not known.
func (m *Meter) rate(doneBytes int64) float64 {
	if len(m.samples) == 0 {
		return 0
	}
	took := m.now().Sub(m.samples[0].at).Seconds()
	if took < 0.5 || doneBytes <= m.samples[0].doneBytes {
		return 0
	}
	return float64(doneBytes-m.samples[0].doneBytes) / took
}

func (m *Meter) line(doneBytes, totalBytes int64) string {
	parts := []string{m.stage, bytesize.Format(doneBytes)}
	rate := m.rate(doneBytes)
	if totalBytes > 0 {
		parts[1] += " of " + bytesize.Format(totalBytes)
		// 100% is said only when it is done.
		parts = append(parts, fmt.Sprintf("%d%%", min(int64(float64(doneBytes)/float64(totalBytes)*100), 100)))
	}
	if rate > 0 {
		parts = append(parts, bytesize.Format(int64(rate))+"/s")
		if left := totalBytes - doneBytes; totalBytes > 0 && left > 0 {
			parts = append(parts, duration(time.Duration(float64(left)/rate*float64(time.Second)))+" left")
		}
	}
	return strings.Join(parts, "  ")
}

// duration in the two largest units, and never more than "99h".
func duration(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= 99*time.Hour:
		return "more than 99h"
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(max(d, time.Second).Seconds()))
}

func (m *Meter) overwrite(line string) {
	padding := max(m.width-len(line), 0)
	fmt.Fprint(m.w, "\r"+line+strings.Repeat(" ", padding))
	m.width = len(line)
}

func (m *Meter) event(doneBytes, totalBytes int64) {
	line, err := json.Marshal(struct {
		Type       string `json:"type"`
		Stage      string `json:"stage"`
		DoneBytes  int64  `json:"done_bytes"`
		TotalBytes int64  `json:"total_bytes"`
	}{"progress", m.stage, doneBytes, totalBytes})
	if err == nil {
		fmt.Fprintf(m.w, "%s\n", line)
	}
}
