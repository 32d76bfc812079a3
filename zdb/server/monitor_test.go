package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b)
}

// series gives one value of a page of metrics.
func series(t *testing.T, page, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		t.Errorf("no %s", name)
		return -1
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What clients do is in the figures.
func TestMetrics(t *testing.T) {
	s, addr := run(t, Options{Metrics: true, MaxBytes: 1000, AdminPassword: "pw"})
	c := dial(t, addr)
	c.want("k", "SET", "k", "value")
	c.want("value", "GET", "k")
	c.want("value", "GET", "k")
	c.want("+OK", "DEL", "k")
	c.want("-Key not found", "DEL", "k")
	c.want("-No space left on this namespace", "SET", "k", strings.Repeat("v", 1001))
	c.want("-Permission denied", "NSNEW", "n")
	c.want("-Command not supported", "NOPE")
	c.want("k2", "SET", "k2", "four")
	c.want("+OK", "AUTH", "pw")
	for _, name := range []string{"closed", "\xff", `"\xff"`, "x:y\n"} {
		c.want("+OK", "NSNEW", name)
	}
	code, page := get(t, s.Monitor(), "/metrics")
	if code != http.StatusOK {
		t.Fatalf("got %d: %s", code, page)
	}
	for name, want := range map[string]float64{
		`zdbd_command_duration_seconds_count{command="get"}`:                   2,
		`zdbd_command_duration_seconds_count{command="set"}`:                   3,
		`zdbd_command_duration_seconds_count{command="del"}`:                   2,
		`zdbd_command_duration_seconds_bucket{command="get",le="+Inf"}`:        2,
		`zdbd_command_duration_seconds_count{command="keytime"}`:               0,
		`zdbd_error_replies_total{kind="not_found"}`:                           1,
		`zdbd_error_replies_total{kind="no_space"}`:                            1,
		`zdbd_error_replies_total{kind="denied"}`:                              1,
		`zdbd_error_replies_total{kind="protocol"}`:                            1,
		`zdbd_error_replies_total{kind="other"}`:                               0,
		`zdbd_unknown_commands_total`:                                          1,
		`zdbd_connections`:                                                     1,
		`zdbd_connections_accepted_total`:                                      1,
		`zdbd_namespaces`:                                                      5,
		`zdbd_namespaces_not_shown`:                                            0,
		`zdbd_healthy`:                                                         1,
		`zdbd_namespace_open{namespace="default"}`:                             1,
		`zdbd_namespace_entries{namespace="default"}`:                          1,
		`zdbd_namespace_live_bytes{namespace="default"}`:                       4,
		`zdbd_namespace_limit_bytes{namespace="default"}`:                      1000,
		`zdbd_namespace_io_errors_total{namespace="default",operation="read"}`: 0,
		`zdbd_namespace_open{namespace="closed"}`:                              0,
		`zdbd_namespace_limit_bytes{namespace="closed"}`:                       1000,
		`zdbd_namespace_open{namespace="\"\\xff\""}`:                           0,
		`zdbd_namespace_open{namespace="\"\\\"\\\\xff\\\"\""}`:                 0,
		`zdbd_namespace_open{namespace="x:y\n"}`:                               0,
	} {
		if got := series(t, page, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := series(t, page, "zdbd_received_bytes_total"); got < 1000 {
		t.Errorf("%v bytes received", got)
	}
	if strings.Contains(page, `entries{namespace="closed"}`) {
		t.Error("figures of a store that is not open")
	}
	if problems, err := testutil.GatherAndLint(s.registry()); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// The number of series does not grow with that of namespaces.
func TestMetricsBounded(t *testing.T) {
	s, _ := run(t, Options{Metrics: true})
	for i := range maxMetricNamespaces + 5 {
		s.spaces.mu.Lock()
		s.spaces.add("nowhere", settings{descriptor: descriptor{Name: strconv.Itoa(i)}})
		s.spaces.mu.Unlock()
	}
	_, page := get(t, s.Monitor(), "/metrics")
	if n := strings.Count(page, "\nzdbd_namespace_open{"); n != maxMetricNamespaces {
		t.Errorf("%d namespaces are shown", n)
	}
	if got := series(t, page, "zdbd_namespaces_not_shown"); got != 6 {
		t.Errorf("%v are said not to be shown", got)
	}
}

// /healthz says why writes are not taken.
func TestHealth(t *testing.T) {
	s, addr := run(t, Options{Metrics: true})
	c := dial(t, addr)
	c.want("k", "SET", "k", "v")
	health := func() (code int, answer struct {
		Status  string
		Reasons []string
	}) {
		code, body := get(t, s.Monitor(), "/healthz")
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return code, answer
	}
	if code, a := health(); code != 200 || a.Status != "ok" || len(a.Reasons) != 0 {
		t.Errorf("got %d %+v", code, a)
	}
	// A store that was closed under the server stands for one that failed.
	ns := s.spaces.get("default")
	if err := ns.store.Close(); err != nil {
		t.Fatal(err)
	}
	if code, a := health(); code != 503 || a.Status != "failing" || len(a.Reasons) != 1 || !strings.Contains(a.Reasons[0], "namespace default: zdb: closed") {
		t.Errorf("got %d %+v", code, a)
	}
	if code, _ := get(t, s.Monitor(), "/"); code != 404 {
		t.Errorf("got %d", code)
	}
}

// Measuring a command allocates nothing.
func TestMeasuresAllocate(t *testing.T) {
	m := newMeasures()
	if n := testing.AllocsPerRun(100, func() {
		m.start(3).stop()
		m.failed("Key not found")
		m.failed("what nobody knows")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What measuring adds to a request.
func BenchmarkMeasure(b *testing.B) {
	m := newMeasures()
	for b.Loop() {
		m.start(3).stop()
	}
}
