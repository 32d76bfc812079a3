package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/qsfs/qsfs/zdb/store"
)

// maxMetricNamespaces bounds the series: of more namespaces only the first by name are
// shown, and the rest is counted.
const maxMetricNamespaces = 1000

// Monitor answers GET /metrics (Prometheus text) and GET /healthz (200 when all stores
// that are open take writes, else 503; a JSON object with the reasons). Needs
// Options.Metrics. It shows names and sizes of namespaces to everyone who reaches it.
func (s *Server) Monitor() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		reasons := s.Health(r.Context())
		w.Header().Set("Content-Type", "application/json")
		status := "ok"
		if len(reasons) > 0 {
			status = "failing"
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(struct {
			Status  string   `json:"status"`
			Reasons []string `json:"reasons"`
		}{status, append([]string{}, reasons...)})
	})
	return mux
}

func (s *Server) registry() *prometheus.Registry {
	m, registry := s.measures, prometheus.NewRegistry()
	registry.MustRegister(
		m.duration, m.kinds, m.refused, m.pauses, serverCollector{s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// Health says what keeps the server from taking writes; nothing when all is well.
func (s *Server) Health(ctx context.Context) (reasons []string) {
	if s.isClosing() {
		reasons = append(reasons, "server closes")
	}
	for _, ns := range s.spaces.all() {
		st := s.spaces.acquireOpen(ns)
		if st == nil {
			continue
		}
		if err := st.TakesWrites(ctx); err != nil {
			reasons = append(reasons, fmt.Sprintf("namespace %s: %v", labelText(ns.name), err))
		}
		s.spaces.release(ns)
	}
	return reasons
}

// Connections is how many are served now.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Totals are sums since the start.
type Totals struct{ Connections, Commands, ReceivedBytes, SentBytes int64 }

// Totals gives the sums as they are now.
func (s *Server) Totals() Totals {
	return Totals{s.stats.clients.Load(), s.stats.executed.Load(), s.stats.rxBytes.Load(), s.stats.txBytes.Load()}
}

// acquireOpen is acquire for a store that is open already; nil when it is not, or is
// somebody has it to himself at this moment.
func (n *namespaces) acquireOpen(ns *namespace) *store.Store {
	n.mu.Lock()
	if n.closed || ns.alone || ns.removed.Load() {
		n.mu.Unlock()
		return nil
	}
	ns.users++ // nobody closes it meanwhile; its last use stays
	n.mu.Unlock()
	if ns.opening.TryLock() {
		st := ns.store
		ns.opening.Unlock()
		if st != nil {
			return st
		}
	}
	n.release(ns)
	return nil
}

// labelText makes a name fit for a label, which is UTF-8; different names stay different.
func labelText(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, `"`) {
		return name
	}
	return strconv.Quote(name)
}

// serverCollector gives what is known without counting, at the time of the scrape.
type serverCollector struct{ s *Server }

type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newFigure(kind prometheus.ValueType, name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc(name, help, labels, nil), kind}
}

var (
	figureInfo        = newFigure(prometheus.GaugeValue, "zdbd_info", "Always 1; the version is in the label.", "version")
	figureConnections = newFigure(prometheus.GaugeValue, "zdbd_connections", "Connections open now.")
	figureAccepted    = newFigure(prometheus.CounterValue, "zdbd_connections_accepted_total", "Connections accepted, those refused included.")
	figureReceived    = newFigure(prometheus.CounterValue, "zdbd_received_bytes_total", "Bytes received from clients.")
	figureSent        = newFigure(prometheus.CounterValue, "zdbd_sent_bytes_total", "Bytes sent to clients.")
	figureValuesRead  = newFigure(prometheus.CounterValue, "zdbd_value_read_bytes_total", "Bytes of values read for clients.")
	figureValuesWrit  = newFigure(prometheus.CounterValue, "zdbd_value_written_bytes_total", "Bytes of values written for clients.")
	figureUnknown     = newFigure(prometheus.CounterValue, "zdbd_unknown_commands_total", "Requests with a command that there is none of.")
	figureHealthy     = newFigure(prometheus.GaugeValue, "zdbd_healthy", "1 when all open stores take writes, as /healthz says.")
	figureSpaces      = newFigure(prometheus.GaugeValue, "zdbd_namespaces", "Namespaces there are.")
	figureHidden      = newFigure(prometheus.GaugeValue, "zdbd_namespaces_not_shown", "Namespaces that have no series of their own because there are too many.")

	figureOpen    = newFigure(prometheus.GaugeValue, "zdbd_namespace_open", "1 when the store is open. The other figures of a store that is not are missing.", "namespace")
	figureLimit   = newFigure(prometheus.GaugeValue, "zdbd_namespace_limit_bytes", "Most live payload bytes; 0 for no limit.", "namespace")
	figureEntries = newFigure(prometheus.GaugeValue, "zdbd_namespace_entries", "Live keys.", "namespace")
	figureLive    = newFigure(prometheus.GaugeValue, "zdbd_namespace_live_bytes", "Payload bytes of live keys.", "namespace")
	figureIndex   = newFigure(prometheus.GaugeValue, "zdbd_namespace_index_bytes", "Index on disk.", "namespace")
	figureIO      = newFigure(prometheus.CounterValue, "zdbd_namespace_io_errors_total", "Disk and checksum errors since the store was opened.", "namespace", "operation")
	figureFiles   = newFigure(prometheus.GaugeValue, "zdbd_namespace_data_files", "Data files on disk.", "namespace")
	figureDisk    = newFigure(prometheus.GaugeValue, "zdbd_namespace_disk_bytes", "Bytes of the data files on disk.", "namespace")
	figureDead    = newFigure(prometheus.GaugeValue, "zdbd_namespace_dead_bytes", "Of these, what compaction can give back.", "namespace")
	figureCompact = newFigure(prometheus.CounterValue, "zdbd_namespace_compacted_files_total", "Data files that compaction removed since the store was opened.", "namespace")
	figureGained  = newFigure(prometheus.CounterValue, "zdbd_namespace_reclaimed_bytes_total", "Disk bytes that compaction gave back since the store was opened.", "namespace")
	figureRunning = newFigure(prometheus.GaugeValue, "zdbd_namespace_compacting", "1 while compaction runs.", "namespace")
	figureDamages = newFigure(prometheus.GaugeValue, "zdbd_namespace_damages", "Damaged places met when the store was opened.", "namespace")
)

func (f figure) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
}

// Describe sends nothing: what there is depends on the namespaces.
func (c serverCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the figures.
func (c serverCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.s
	figureInfo.send(ch, 1, labelText(s.opts.Version))
	figureConnections.send(ch, float64(s.Connections()))
	figureAccepted.send(ch, float64(s.stats.clients.Load()))
	figureReceived.send(ch, float64(s.stats.rxBytes.Load()))
	figureSent.send(ch, float64(s.stats.txBytes.Load()))
	figureValuesRead.send(ch, float64(s.stats.readBytes.Load()))
	figureValuesWrit.send(ch, float64(s.stats.writeBytes.Load()))
	figureUnknown.send(ch, float64(s.stats.failed.Load()))
	healthy := 0.0
	if len(s.Health(context.Background())) == 0 {
		healthy = 1
	}
	figureHealthy.send(ch, healthy)
	all := s.spaces.all()
	figureSpaces.send(ch, float64(len(all)))
	figureHidden.send(ch, float64(max(0, len(all)-maxMetricNamespaces)))
	for _, ns := range all[:min(len(all), maxMetricNamespaces)] {
		c.namespace(ch, ns)
	}
}

func (c serverCollector) namespace(ch chan<- prometheus.Metric, ns *namespace) {
	label := labelText(ns.name)
	figureLimit.send(ch, float64(ns.settings.Load().MaxBytes), label)
	st := c.s.spaces.acquireOpen(ns)
	if st == nil {
		figureOpen.send(ch, 0, label)
		return
	}
	defer c.s.spaces.release(ns)
	figureOpen.send(ch, 1, label)
	f := st.Stats()
	figureEntries.send(ch, float64(f.Entries), label)
	figureLive.send(ch, float64(f.LiveBytes), label)
	figureIndex.send(ch, float64(f.IndexBytes), label)
	figureFiles.send(ch, float64(f.DataFiles), label)
	figureDisk.send(ch, float64(f.DataBytes), label)
	figureDead.send(ch, float64(f.DeadBytes), label)
	figureCompact.send(ch, float64(f.Compactions), label)
	figureGained.send(ch, float64(f.ReclaimedBytes), label)
	compacting := 0.0
	if f.Compacting {
		compacting = 1
	}
	figureRunning.send(ch, compacting, label)
	figureIO.send(ch, float64(f.ReadErrors), label, "read")
	figureIO.send(ch, float64(f.WriteErrors), label, "write")
	figureDamages.send(ch, float64(f.Damages), label)
}
