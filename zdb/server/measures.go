package server

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/qsfs/qsfs/zdb"
)

// measures are what is counted on the way of a request. Everything is made at start and
// found by number, so that a request allocates nothing for it. A nil *measures counts
// nothing.
type measures struct {
	verbs  []prometheus.Histogram // by command.index
	errors map[string]prometheus.Counter
	other  prometheus.Counter // error texts that are in no kind

	pauses                                    prometheus.Counter
	refusedFull, refusedPerClient, refusedTLS prometheus.Counter
	duration                                  *prometheus.HistogramVec
	kinds                                     *prometheus.CounterVec
	refused                                   *prometheus.CounterVec
}

// latencyBuckets, in seconds, reach from a read from memory to a disk that hangs.
var latencyBuckets = []float64{25e-6, 100e-6, 250e-6, 1e-3, 2.5e-3, 10e-3, 25e-3, 100e-3, 250e-3, 1, 10}

// commandNames is in the order of command.index.
var commandNames []string

// numberCommands gives each command its name and its index.
func numberCommands() {
	commandNames = slices.Sorted(maps.Keys(commands))
	for i, name := range commandNames {
		cmd := commands[name]
		cmd.name, cmd.index = name, i
		commands[name] = cmd
	}
}

// errorKinds sorts the texts of the wire for an operator.
var errorKinds = map[string][]string{
	"protocol": {
		zdb.TextMalformedRequest, zdb.TextMalformedQuery, zdb.TextMissingArguments, zdb.TextTooManyArguments,
		zdb.TextPayloadTooBig, zdb.TextInternalMemory, zdb.TextNotSupported,
	},
	"argument": {
		zdb.TextUnexpectedArguments, zdb.TextInvalidArgument, zdb.TextInvalidArguments, zdb.TextArgumentTooLong,
		zdb.TextKeyNeeded, zdb.TextKeyTooLarge, zdb.TextInvalidKey, zdb.TextUpdateOnly, zdb.TextInvalidCursor,
		zdb.TextHistoryQuery, zdb.TextHistoryKey, zdb.TextNotInThisMode, zdb.TextNamespaceTooLong, zdb.TextNameNotAllowed,
		zdb.TextNamespaceExists, zdb.TextInvalidProperty, zdb.TextInvalidMode, zdb.TextModeInUse, zdb.TextSingleMode,
		zdb.TextInvalidTimeout, zdb.TextUnknownWatch, zdb.TextNotACommand, zdb.TextUnknownIndex, zdb.TextUnknownDirty,
		zdb.TextUnknownData, zdb.TextInvalidRequest, zdb.TextPasswordTooLong, zdb.TextHashLength, zdb.TextOnlySecure, zdb.TextNoChallenge,
	},
	"not_found": {
		zdb.TextKeyNotFound, zdb.TextNamespaceAbsent, zdb.TextNamespaceNotExist, zdb.TextNamespaceGone, zdb.TextNoMoreData,
		zdb.TextNoMoreHistory, zdb.TextNoKeysMatch, zdb.TextEOF, zdb.TextTimeout,
	},
	"denied": {
		zdb.TextPermissionDenied, zdb.TextPrivate, zdb.TextAccessDenied, zdb.TextAuthDisabled, zdb.TextReadOnly, zdb.TextUnauthorized,
		zdb.TextFlushDenied, zdb.TextCannotDelDefault, zdb.TextCannotDelActive, zdb.TextCannotSetDefault, zdb.TextNoReplication,
	},
	"locked":   {zdb.TextLocked, zdb.TextFrozen, zdb.TextWorm, zdb.TextWormDelete},
	"no_space": {zdb.TextNoSpace, zdb.TextFull},
	"damaged":  {zdb.TextInternalError},
	"disk": {
		zdb.TextCannotWrite, zdb.TextCannotIndex, zdb.TextCannotDelete, zdb.TextCannotDelIndex, zdb.TextCannotCreate,
		zdb.TextCannotRemoveNS, zdb.TextServerError, zdb.TextUnexpectedInternal,
	},
}

func newMeasures() *measures {
	m := &measures{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "zdbd_command_duration_seconds", Buckets: latencyBuckets,
			Help: "From a request's last byte to its reply, for SET and DEL the wait for the disk included.",
		}, []string{"command"}),
		kinds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zdbd_error_replies_total", Help: "Error replies by kind.",
		}, []string{"kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zdbd_refused_connections_total", Help: "Connections not served, by reason.",
		}, []string{"reason"}),
		pauses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zdbd_rate_limit_pauses_total", Help: "Times that a connection was made to wait because its client was above its rate.",
		}),
		errors: make(map[string]prometheus.Counter),
	}
	for _, name := range commandNames {
		m.verbs = append(m.verbs, m.duration.WithLabelValues(strings.ToLower(name)).(prometheus.Histogram))
	}
	for kind, texts := range errorKinds {
		for _, text := range texts {
			m.errors[text] = m.kinds.WithLabelValues(kind)
		}
	}
	m.other = m.kinds.WithLabelValues("other")
	m.refusedFull = m.refused.WithLabelValues("max_connections")
	m.refusedPerClient = m.refused.WithLabelValues("max_connections_per_client")
	m.refusedTLS = m.refused.WithLabelValues("tls_handshake")
	return m
}

// stopwatch measures one command. The zero value measures nothing.
type stopwatch struct {
	to prometheus.Histogram
	at time.Time
}

func (m *measures) start(index int) stopwatch {
	if m == nil {
		return stopwatch{}
	}
	return stopwatch{m.verbs[index], time.Now()}
}

func (w stopwatch) stop() {
	if w.to != nil {
		w.to.Observe(time.Since(w.at).Seconds())
	}
}

// failed counts an error reply.
func (m *measures) failed(text string) {
	if m == nil {
		return
	}
	if c, ok := m.errors[text]; ok {
		c.Inc()
		return
	}
	m.other.Inc()
}

func (m *measures) refusedConnection(full bool) {
	switch {
	case m == nil:
	case full:
		m.refusedFull.Inc()
	default:
		m.refusedPerClient.Inc()
	}
}

func (m *measures) refusedHandshake() {
	if m != nil {
		m.refusedTLS.Inc()
	}
}

func (m *measures) paced() {
	if m != nil {
		m.pauses.Inc()
	}
}
