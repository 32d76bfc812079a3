package client

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/qsfs/qsfs/zdb"
)

// Property names what NSSET can change of a namespace.
type Property string

// What NSSET changes. Password is missing here: see SetPassword.
const (
	PropertyMaxSize Property = "maxsize" // bytes of live payload; 0 means no limit
	PropertyPublic  Property = "public"  // 1: reads need no password
	PropertyWorm    Property = "worm"    // 1: no overwrite, no delete
	PropertyMode    Property = "mode"    // user or seq, while empty
	PropertyLock    Property = "lock"    // 1: no writes, until the server restarts
	PropertyFreeze  Property = "freeze"  // 1: no reads either, until the server restarts
)

// NSNew makes a namespace. zdb.ErrNamespaceExists, zdb.ErrAccessDenied.
func (c *base) NSNew(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	out, err := c.do(ctx, once, "NSNEW", name)
	return c.ok("NSNEW", out, err)
}

// NSDel removes a namespace and its data.
func (c *base) NSDel(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	out, err := c.do(ctx, once, "NSDEL", name)
	return c.ok("NSDEL", out, err)
}

// NSSet changes a property of a namespace.
func (c *base) NSSet(ctx context.Context, name string, property Property, value string) error {
	if err := checkName(name); err != nil {
		return err
	}
	out, err := c.do(ctx, repeat, "NSSET", name, string(property), value)
	return c.ok("NSSET", out, err)
}

// SetPassword gives a namespace a password, or takes it away when password is empty.
// The password goes in clear, so it is refused where that is not safe.
func (c *base) SetPassword(ctx context.Context, name, password string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := checkNamespacePassword(password); err != nil {
		return err
	}
	switch {
	case password == "":
		password = "*"
	case !c.clearAllowed():
		return fmt.Errorf("set password of namespace %q: %w", name, errClearPassword)
	}
	out, err := c.do(ctx, repeat, "NSSET", name, "password", password)
	return c.ok("NSSET", out, err)
}

// maxPropertyBytes is the longest value that NSSET takes.
const maxPropertyBytes = 63

// NSList returns the names of all namespaces.
func (c *base) NSList(ctx context.Context) ([]string, error) {
	out, err := c.do(ctx, repeat, "NSLIST")
	if err != nil {
		return nil, err
	}
	rows, ok := out.reply.([]any)
	if !ok {
		return nil, c.unexpected("NSLIST", out.reply)
	}
	names := make([]string, 0, len(rows))
	for _, row := range rows {
		name, ok := row.([]byte)
		if !ok {
			return nil, c.unexpected("NSLIST", row)
		}
		names = append(names, string(name))
	}
	return names, nil
}

// NSInfo tells about a namespace, any of the server's.
func (c *base) NSInfo(ctx context.Context, name string) (NamespaceInfo, error) {
	if err := checkName(name); err != nil {
		return NamespaceInfo{}, err
	}
	text, err := c.text(ctx, "NSINFO", name)
	if err != nil {
		return NamespaceInfo{}, err
	}
	info, err := parseNamespaceInfo(text)
	if err != nil {
		return NamespaceInfo{}, fmt.Errorf("nsinfo %s: %w", c.target, err)
	}
	return info, nil
}

// Space tells how full the client's namespace is. The device stays unknown.
func (c *base) Space(ctx context.Context) (zdb.Space, error) {
	info, err := c.NSInfo(ctx, c.target.Namespace)
	if err != nil {
		return zdb.Space{}, err
	}
	return zdb.Space{UsedBytes: info.DataBytes, LimitBytes: info.LimitBytes, DiskFreeBytes: info.DataDiskFreeBytes}, nil
}

// DBSize returns the number of keys in the client's namespace.
func (c *base) DBSize(ctx context.Context) (int64, error) { return c.integer(ctx, "DBSIZE") }

// Info tells about the server.
func (c *base) Info(ctx context.Context) (ServerInfo, error) {
	text, err := c.text(ctx, "INFO")
	if err != nil {
		return ServerInfo{}, err
	}
	info, err := parseServerInfo(text)
	if err != nil {
		return ServerInfo{}, fmt.Errorf("info %s: %w", c.target, err)
	}
	return info, nil
}

// Time returns the server's clock.
func (c *base) Time(ctx context.Context) (time.Time, error) {
	out, err := c.do(ctx, repeat, "TIME")
	if err != nil {
		return time.Time{}, err
	}
	if parts, ok := out.reply.([]any); ok && len(parts) == 2 {
		seconds, secondsOK := parts[0].([]byte)
		micros, microsOK := parts[1].([]byte)
		if secondsOK && microsOK {
			s, err1 := strconv.ParseInt(string(seconds), 10, 64)
			us, err2 := strconv.ParseInt(string(micros), 10, 64)
			if err1 == nil && err2 == nil && us >= 0 && us < 1e6 {
				return time.Unix(s, us*1000), nil
			}
		}
	}
	return time.Time{}, c.unexpected("TIME", out.reply)
}

// text sends a command whose answer is one string.
func (c *base) text(ctx context.Context, command string, args ...any) ([]byte, error) {
	out, err := c.do(ctx, repeat, command, args...)
	if err != nil {
		return nil, err
	}
	text, ok := out.reply.([]byte)
	if !ok {
		return nil, c.unexpected(command, out.reply)
	}
	return text, nil
}

// clearAllowed reports whether a password may go in clear on any link of this client.
func (c *base) clearAllowed() bool {
	if c.target.TLS != nil || c.options.AllowPlainPassword || c.target.Network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(c.target.Address)
	if err != nil {
		return false
	}
	return net.ParseIP(host).IsLoopback()
}

// checkNamespacePassword refuses what NSSET can't set.
func checkNamespacePassword(password string) error {
	if len(password) > maxPropertyBytes {
		return fmt.Errorf("password of a namespace longer than %d bytes", maxPropertyBytes)
	}
	if password == "*" {
		return fmt.Errorf("password %q means no password to a 0-db", password)
	}
	return nil
}
