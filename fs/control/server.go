package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/qsfs/qsfs/fs"
)

// Volume is what the server needs of a mounted volume.
type Volume interface {
	// Status must answer without waiting for a node.
	Status(ctx context.Context) fs.Status
	// Sync returns when everything written before is on the nodes. It calls progress from one goroutine at a time.
	Sync(ctx context.Context, progress func(fs.SyncProgress)) error
	// Unmount takes the mount away, flushes and closes the volume. It calls unmounted once the kernel has let go of the
	// mount point. A call while another is under way joins it. Its context ends when the client goes away, which may
	// stop the waiting for a busy mount point, never the flush.
	Unmount(ctx context.Context, r UnmountRequest, unmounted func()) (UnmountReply, error)
}

// Server answers on a control socket.
type Server struct {
	info   Info
	volume Volume
	log    *slog.Logger
	http   *http.Server
	times  timings
	served sync.WaitGroup
}

// NewServer makes a server for a volume. A nil log is silent.
func NewServer(info Info, volume Volume, log *slog.Logger) *Server {
	return newServer(info, volume, log, defaultTimings)
}

func newServer(info Info, volume Volume, log *slog.Logger, times timings) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	info.Version = Version
	s := &Server{info: info, volume: volume, log: log, times: times}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", s.getInfo)
	mux.HandleFunc("GET /v1/status", s.getStatus)
	mux.HandleFunc("POST /v1/sync", s.postSync)
	mux.HandleFunc("POST /v1/unmount", s.postUnmount)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, http.StatusNotFound, fmt.Errorf("%w: %s %s", ErrUnknownCall, r.Method, r.URL.Path))
	})
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: times.request,
		ReadTimeout:       times.request,
		IdleTimeout:       times.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Start answers on the listener until Shutdown.
func (s *Server) Start(listener net.Listener) {
	s.served.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("control socket stopped", "error", err)
		}
	})
}

// Shutdown stops listening, removes the socket and waits for the calls under way, until ctx ends; those left are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	s.served.Wait()
	return err
}

func (s *Server) getInfo(w http.ResponseWriter, _ *http.Request) { s.reply(w, http.StatusOK, s.info) }

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) {
	status := s.volume.Status(r.Context())
	if status.Mountpoint == "" {
		status.Mountpoint = s.info.Mountpoint
	}
	s.reply(w, http.StatusOK, Status{Version: Version, Status: status})
}

func (s *Server) postSync(w http.ResponseWriter, r *http.Request) {
	if err := readRequest(w, r, &struct{}{}); err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	out := newStream(w, s.times)
	defer out.close()
	if err := s.volume.Sync(r.Context(), out.progress); err != nil {
		if r.Context().Err() == nil {
			s.log.Warn("sync failed", "error", err)
		}
		out.fail(err)
		return
	}
	out.finish(s.volume.Status(r.Context()).StagedBytes)
}

func (s *Server) postUnmount(w http.ResponseWriter, r *http.Request) {
	var request UnmountRequest
	if err := readRequest(w, r, &request); err != nil {
		s.refuse(w, http.StatusBadRequest, err)
		return
	}
	out := newStream(w, s.times)
	defer out.close()
	reply, err := s.volume.Unmount(r.Context(), request, func() { out.send(event{Type: "unmounted"}) })
	if err != nil {
		out.fail(err)
		return
	}
	out.finish(reply.StagedBytes)
}

// readRequest reads a request body strictly: a flag this daemon does not know must not be passed over in silence.
func readRequest(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("request body: %w", err)
	}
	return nil
}

func (s *Server) refuse(w http.ResponseWriter, status int, err error) {
	s.reply(w, status, failureOf(err))
}

func (s *Server) reply(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		s.log.Error("control reply", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(encoded, '\n'))
}

// stream writes events to one client. Progress is thinned out to one line in times.progress; the newest state waits its
// turn and is never lost. After times.heartbeat without a line the last progress is said again.
type stream struct {
	mu         sync.Mutex // guards the rest; held across writes, which take times.request at most
	encoder    *json.Encoder
	controller *http.ResponseController
	times      timings
	last       fs.SyncProgress // newest progress
	unsent     bool            // last was not sent yet
	begun      bool            // there was progress
	sentAt     time.Time
	stop       chan struct{}
	stopped    sync.WaitGroup
}

func newStream(w http.ResponseWriter, times timings) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	s := &stream{encoder: json.NewEncoder(w), controller: http.NewResponseController(w), times: times, sentAt: time.Now(), stop: make(chan struct{})}
	// The request is read: from here on the stream lasts as long as the work, and the read side only tells when the client goes.
	s.controller.SetReadDeadline(time.Time{})
	s.controller.Flush()
	s.stopped.Go(s.tick)
	return s
}

func (s *stream) tick() {
	ticker := time.NewTicker(s.times.progress)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.mu.Lock()
			if s.unsent || time.Since(s.sentAt) >= s.times.heartbeat {
				s.sendProgress()
			}
			s.mu.Unlock()
		}
	}
}

func (s *stream) progress(p fs.SyncProgress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.unsent = p, true
	if !s.begun || time.Since(s.sentAt) >= s.times.progress {
		s.begun = true
		s.sendProgress()
	}
}

// sendProgress needs mu.
func (s *stream) sendProgress() {
	p := s.last
	s.write(event{Type: "progress", DoneBytes: &p.DoneBytes, TotalBytes: &p.TotalBytes})
	s.unsent = false
}

// send writes an event, after the progress that waits for its turn.
func (s *stream) send(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsent {
		s.sendProgress()
	}
	s.write(e)
}

func (s *stream) finish(stagedBytes int64) { s.send(event{Type: "done", StagedBytes: &stagedBytes}) }

func (s *stream) fail(err error) {
	f := failureOf(err)
	s.send(event{Type: "error", Kind: f.Kind, Message: f.Message, Hint: f.Hint})
}

// write needs mu. A client that went away, or does not read, is noticed through the request's context, not here.
func (s *stream) write(e event) {
	s.controller.SetWriteDeadline(time.Now().Add(s.times.request))
	s.encoder.Encode(e)
	s.controller.Flush()
	s.sentAt = time.Now()
}

// close ends the heartbeat; the handler must not return before it.
func (s *stream) close() {
	close(s.stop)
	s.stopped.Wait()
}
