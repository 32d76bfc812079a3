package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/qsfs/qsfs/fs"
)

// Client speaks to the daemon of one mounted volume. It keeps no connection between calls and needs no closing.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client for the socket at path. Nothing is connected yet.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return dial(path) },
	}}}
}

// Path is the socket's path.
func (c *Client) Path() string { return c.path }

// Info asks which daemon it is.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.get(ctx, "/v1/info", &info)
	if err == nil && info.Version != Version {
		err = fmt.Errorf("%w: version %d", ErrProtocol, info.Version)
	}
	return info, err
}

// Status asks how the volume is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.get(ctx, "/v1/status", &status)
	return status, err
}

// Sync returns when everything written before the call is on the nodes. When ctx ends the daemon stops waiting too.
func (c *Client) Sync(ctx context.Context, progress func(fs.SyncProgress)) error {
	_, err := c.stream(ctx, "/v1/sync", struct{}{}, progress, nil)
	return err
}

// Unmount returns when the volume is unmounted, flushed and closed by its daemon. It calls unmounted, which may be nil,
// when the mount point is free. After that point the daemon finishes also when ctx ends.
func (c *Client) Unmount(ctx context.Context, r UnmountRequest, unmounted func()) (UnmountReply, error) {
	last, err := c.stream(ctx, "/v1/unmount", r, nil, unmounted)
	if err != nil {
		return UnmountReply{}, err
	}
	reply := UnmountReply{StagedBytes: -1}
	if last.StagedBytes != nil {
		reply.StagedBytes = *last.StagedBytes
	}
	return reply, nil
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	response, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReplyBytes)).Decode(into); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// do sends a request and turns a refusal into an error.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var encoded bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&encoded).Encode(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://qsfs"+path, &encoded)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	var refused failure
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReplyBytes)).Decode(&refused); err != nil || refused.Kind == "" {
		return nil, fmt.Errorf("%w: %s", ErrProtocol, response.Status)
	}
	return nil, refused.err()
}

// stream makes a call that answers in events and gives the last one.
func (c *Client) stream(ctx context.Context, path string, body any, progress func(fs.SyncProgress), unmounted func()) (event, error) {
	response, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return event{}, err
	}
	defer response.Body.Close()
	// A line is one small object; a longer one is not of this protocol. The stream as a whole has no bound.
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 0, 4096), maxRequestBytes)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return event{}, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		switch e.Type {
		case "progress":
			if progress != nil && e.DoneBytes != nil && e.TotalBytes != nil {
				progress(fs.SyncProgress{DoneBytes: *e.DoneBytes, TotalBytes: *e.TotalBytes})
			}
		case "unmounted":
			if unmounted != nil {
				unmounted()
			}
		case "done":
			return e, nil
		case "error":
			return event{}, (&failure{Kind: e.Kind, Message: e.Message, Hint: e.Hint}).err()
		}
	}
	if err := lines.Err(); err != nil {
		return event{}, c.broken(ctx, err)
	}
	return event{}, c.broken(ctx, io.ErrUnexpectedEOF)
}

// broken says why a call ended without its reply: we were cancelled, nobody listens, or the daemon went away.
func (c *Client) broken(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrNotRunning):
		return fmt.Errorf("%w: %s", ErrNotRunning, c.path)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("control: the daemon ended before it answered: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("control: %w", err)
}
