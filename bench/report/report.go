// Package report sums up measurements and prints them: as a table for people, as
// markdown for a page, as JSON for programs.
//
// The JSON object has "version" 1. Fields are added without a new version, never changed or removed.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Version of the JSON object.
const Version = 1

// Report is one run.
type Report struct {
	Version   int        `json:"version"`
	Started   time.Time  `json:"started"`
	Host      Host       `json:"host"`
	Settings  Settings   `json:"settings"`
	Targets   []Target   `json:"targets"`
	Workloads []Workload `json:"workloads"`
	Results   []Result   `json:"results"`
	Completed bool       `json:"completed"` // false: interrupted
}

// Host is the machine, as far as it matters for speed.
type Host struct {
	System      string `json:"system"`
	Processor   string `json:"processor"`
	CPUs        int    `json:"cpus"`
	MemoryBytes int64  `json:"memory_bytes"`
}

// Settings are what was asked for.
type Settings struct {
	Rounds        int    `json:"rounds"`
	SizeMiB       int    `json:"size_mib"`
	Files         int    `json:"files"`
	Fsyncs        int    `json:"fsyncs"`
	Data          string `json:"data"`
	Seed          uint64 `json:"seed"`
	CachesDropped bool   `json:"caches_dropped"`

	// Of servers under a load: how much of values is stored and how long is measured at most.
	LoadBytes   int64   `json:"load_bytes,omitempty"`
	LoadSeconds float64 `json:"load_seconds,omitempty"`
}

// Target is what was measured.
type Target struct {
	Name    string `json:"name"`
	Details string `json:"details,omitempty"`
}

// Workload is what was done.
type Workload struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Text string `json:"text"`
}

// Result is one workload on one target. More is better in all of them.
type Result struct {
	Workload string    `json:"workload"`
	Target   string    `json:"target"`
	Unit     string    `json:"unit"`
	Samples  []float64 `json:"samples"` // in the order of the rounds
	Min      float64   `json:"min"`
	Median   float64   `json:"median"`
	Max      float64   `json:"max"`
	// Ratios are median to median; absent where there is nothing to compare with.
	ToFirst     *float64 `json:"ratio_to_first,omitempty"`
	ToGocryptfs *float64 `json:"ratio_to_gocryptfs,omitempty"`
	// SettleSeconds is the median time that the target needed afterwards to finish its work.
	SettleSeconds *float64 `json:"settle_seconds,omitempty"`
	Load          *Load    `json:"load,omitempty"`
	Errors        []string `json:"errors,omitempty"`

	settle []float64
}

// gocryptfsName is the target that has a ratio of its own.
const gocryptfsName = "gocryptfs"

// result gives the result of a workload and target, which it makes when it is missing.
func (r *Report) result(workload Workload, target string) *Result {
	for i := range r.Results {
		if r.Results[i].Workload == workload.Name && r.Results[i].Target == target {
			return &r.Results[i]
		}
	}
	r.Results = append(r.Results, Result{Workload: workload.Name, Target: target, Unit: workload.Unit})
	return &r.Results[len(r.Results)-1]
}

// Add takes a measured rate.
func (r *Report) Add(workload Workload, target string, rate float64) {
	result := r.result(workload, target)
	result.Samples = append(result.Samples, rate)
}

// AddSettle takes the time that a target settled after a workload.
func (r *Report) AddSettle(workload Workload, target string, d time.Duration) {
	result := r.result(workload, target)
	result.settle = append(result.settle, d.Seconds())
}

// AddError takes a measurement that failed.
func (r *Report) AddError(workload Workload, target string, err error) {
	result := r.result(workload, target)
	result.Errors = append(result.Errors, err.Error())
}

// Failed tells how many measurements failed.
func (r *Report) Failed() int {
	n := 0
	for _, result := range r.Results {
		n += len(result.Errors)
	}
	return n
}

// Sum computes medians and ratios, and puts the results in the order of workloads and targets.
func (r *Report) Sum() {
	r.Version = Version
	place := func(res Result) int {
		w := slices.IndexFunc(r.Workloads, func(w Workload) bool { return w.Name == res.Workload })
		t := slices.IndexFunc(r.Targets, func(t Target) bool { return t.Name == res.Target })
		return w*len(r.Targets) + t
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return place(a) - place(b) })
	medians := map[[2]string]float64{}
	for i := range r.Results {
		result := &r.Results[i]
		if len(result.settle) > 0 {
			settle := median(result.settle)
			result.SettleSeconds = &settle
		}
		if len(result.Samples) == 0 {
			continue
		}
		result.Min, result.Max = slices.Min(result.Samples), slices.Max(result.Samples)
		result.Median = median(result.Samples)
		medians[[2]string{result.Workload, result.Target}] = result.Median
	}
	for i := range r.Results {
		result := &r.Results[i]
		ratioTo := func(target string) *float64 {
			other := medians[[2]string{result.Workload, target}]
			if other == 0 || len(result.Samples) == 0 {
				return nil
			}
			ratio := result.Median / other
			return &ratio
		}
		result.ToFirst = ratioTo(r.Targets[0].Name)
		result.ToGocryptfs = ratioTo(gocryptfsName)
	}
}

func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// WriteJSON prints the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// rows gives the cells of the table, its head first.
func (r *Report) rows() [][]string {
	if r.isLoad() {
		return r.loadRows()
	}
	_, hasGocryptfs := r.target(gocryptfsName)
	head := []string{"workload", "target", "min", "median", "max", "unit", "to " + r.Targets[0].Name}
	if hasGocryptfs {
		head = append(head, "to "+gocryptfsName)
	}
	rows := [][]string{append(head, "settle s")}
	for _, result := range r.Results {
		row := []string{result.Workload, result.Target, "-", "-", "-", result.Unit, ratio(result.ToFirst)}
		if len(result.Samples) > 0 {
			row[2], row[3], row[4] = number(result.Min), number(result.Median), number(result.Max)
		}
		if hasGocryptfs {
			row = append(row, ratio(result.ToGocryptfs))
		}
		settle := "-"
		if result.SettleSeconds != nil {
			settle = number(*result.SettleSeconds)
		}
		rows = append(rows, append(row, settle))
	}
	return rows
}

func (r *Report) isLoad() bool { return r.Settings.LoadSeconds > 0 }

func (r *Report) target(name string) (Target, bool) {
	for _, t := range r.Targets {
		if t.Name == name {
			return t, true
		}
	}
	return Target{}, false
}

func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func ratio(x *float64) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf("%.2fx", *x)
}

// facts are the lines above a table.
func (r *Report) facts() []string {
	caches := "page cache dropped before reads"
	if !r.Settings.CachesDropped {
		caches = "page cache NOT dropped before reads"
	}
	if r.isLoad() {
		caches = fmt.Sprintf("at most %.1f s and %d MiB a measurement", r.Settings.LoadSeconds, r.Settings.LoadBytes>>20)
	}
	lines := []string{
		fmt.Sprintf("%s; %s, %d CPUs, %.1f GiB memory", r.Host.System, r.Host.Processor, r.Host.CPUs, float64(r.Host.MemoryBytes)/(1<<30)),
		fmt.Sprintf("%d interleaved rounds, %s data, seed %d, %s; started %s", r.Settings.Rounds, r.Settings.Data, r.Settings.Seed, caches, r.Started.UTC().Format(time.RFC3339)),
	}
	if !r.Completed {
		lines = append(lines, "INTERRUPTED before its end")
	}
	return lines
}

func (r *Report) failures() (lines []string) {
	for _, result := range r.Results {
		for _, err := range result.Errors {
			lines = append(lines, fmt.Sprintf("failed: %s on %s: %s", result.Workload, result.Target, err))
		}
	}
	return lines
}

// WriteTable prints the report for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	for _, line := range r.facts() {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	last := ""
	for _, row := range r.rows() {
		if last != "" && last != row[0] && last != "workload" && !r.isLoad() {
			fmt.Fprintln(table, strings.Repeat("\t", len(row)))
		}
		last = row[0]
		fmt.Fprintln(table, strings.Join(row, "\t")+"\t")
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, line := range r.failures() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// WriteMarkdown prints the report as a section of a page.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.facts() {
		fmt.Fprintf(&b, "%s\n\n", line)
	}
	for i, row := range r.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|---|---|" + strings.Repeat("---:|", len(row)-2) + "\n")
		}
	}
	b.WriteString("\n")
	for _, workload := range r.Workloads {
		fmt.Fprintf(&b, "- **%s**: %s\n", workload.Name, workload.Text)
	}
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "- target **%s**: %s\n", t.Name, t.Details)
	}
	for _, line := range r.failures() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
