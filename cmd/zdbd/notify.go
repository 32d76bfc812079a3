package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/qsfs/qsfs/zdb/server"
)

// notify tells systemd, if that started us (sd_notify(3)).
func notify(log *slog.Logger, states ...string) {
	if _, err := systemd.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("systemd not notified", "err", err)
	}
}

// statusInterval is how often STATUS= is renewed.
const statusInterval = 10 * time.Second

// keepNotified renews STATUS= and, where systemd wants it, WATCHDOG=1 until ctx ends. A
// server that hangs does not come to the watchdog: its state is asked for before.
func keepNotified(ctx context.Context, srv *server.Server, log *slog.Logger) {
	watchdog, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog not understood", "err", err)
	}
	interval := statusInterval
	if watchdog > 0 {
		interval = min(interval, watchdog/2)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		states := []string{"STATUS=" + statusLine(srv.Health(ctx), srv.Connections())}
		if watchdog > 0 {
			states = append(states, systemd.SdNotifyWatchdog)
		}
		notify(log, states...)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func statusLine(reasons []string, connections int) string {
	line := fmt.Sprintf("%d connections", connections)
	if len(reasons) > 0 {
		line += "; no writes: " + strings.Join(reasons, "; ")
	}
	// A name may hold a line end, which would begin another message.
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, line)
}
