package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qsfs/qsfs/zdb/endpoint"
)

// output is a zdbd whose log the test reads line by line.
type output struct {
	cmd   *exec.Cmd
	ready string
	log   *bufio.Scanner
}

// runLogged starts zdbd --json with what is given, in an environment with env on top.
func runLogged(t *testing.T, env []string, args ...string) *output {
	t.Helper()
	path, err := exec.LookPath("zdbd")
	if err != nil {
		t.Fatal(err)
	}
	o := &output{cmd: exec.Command(path, append([]string{"--json"}, args...)...)}
	o.cmd.Env = append(os.Environ(), env...)
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := o.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	o.log = bufio.NewScanner(stderr)
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.cmd.Process.Kill() })
	if o.ready, err = bufio.NewReader(stdout).ReadString('\n'); err != nil {
		rest, _ := io.ReadAll(stderr)
		t.Fatalf("%v: %s", err, rest)
	}
	return o
}

// line reads the log up to a message.
func (o *output) line(t *testing.T, msg string) map[string]any {
	t.Helper()
	for o.log.Scan() {
		var fields map[string]any
		if err := json.Unmarshal(o.log.Bytes(), &fields); err != nil {
			t.Fatalf("%v: %s", err, o.log.Bytes())
		}
		if fields["msg"] == msg {
			return fields
		}
	}
	t.Fatalf("no line %q", msg)
	return nil
}

func (o *output) end(t *testing.T) {
	t.Helper()
	o.cmd.Process.Signal(syscall.SIGTERM)
	draining := o.line(t, "draining")
	if _, ok := draining["connections"]; !ok {
		t.Errorf("got %v", draining)
	}
	if stopped := o.line(t, "stopped"); stopped["clean"] != true {
		t.Errorf("got %v", stopped)
	}
	if err := o.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// writeCertificate makes a self-signed one.
func writeCertificate(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// The whole program over TLS: pinned by our client, its certificate exchanged on SIGHUP
// without a connection lost, plain beside it, figures and health on an address of their own.
func TestTLSProcess(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	first := writeCertificate(t, certFile, keyFile)
	o := runLogged(t, nil, "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--listen-plain", "127.0.0.1:0",
		"--tls-cert", certFile, "--tls-key", keyFile, "--metrics", "127.0.0.1:0")
	if starting := o.line(t, "starting"); starting["sync"] != "group" || starting["version"] == "" {
		t.Errorf("got %v", starting)
	}
	metrics := o.line(t, "metrics")["listen"].(string)
	o.line(t, "ready")
	if got := o.line(t, "TLS")["tls_pin"]; got != endpoint.Pin(first) {
		t.Errorf("pin %v", got)
	}
	var secure, plain string
	if _, err := fmt.Sscanf(strings.ReplaceAll(o.ready, ",", ""), "zdbd: ready on tls %s tcp %s", &secure, &plain); err != nil {
		t.Fatalf("%q: %v", o.ready, err)
	}

	pinned := func(cert *x509.Certificate) (endpoint.Conn, error) {
		e, err := endpoint.Parse("zdbs://" + secure + "/home?tls-pin=" + endpoint.Pin(cert))
		if err != nil {
			t.Fatal(err)
		}
		return endpoint.Open(t.Context(), e, endpoint.OpenOptions{})
	}
	c, err := pinned(first)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(t.Context(), []byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}

	open, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	second := writeCertificate(t, certFile, keyFile)
	o.cmd.Process.Signal(syscall.SIGHUP)
	o.line(t, "TLS files read again")
	if reply, _, err := ask(open, bufio.NewReader(open), "PING"); err != nil || reply != "+PONG" {
		t.Errorf("a connection from before SIGHUP: %q, %v", reply, err)
	}
	c2, err := pinned(second)
	if err != nil {
		t.Fatalf("the new certificate is not shown: %v", err)
	}
	defer c2.Close()
	if v, err := c2.Get(t.Context(), []byte("k")); err != nil || string(v) != "v" {
		t.Errorf("got %q, %v", v, err)
	}
	if err := os.WriteFile(keyFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.cmd.Process.Signal(syscall.SIGHUP)
	o.line(t, "TLS files not taken, those before stay in use")

	nc, err := net.Dial("tcp", plain)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if reply, _, err := ask(nc, bufio.NewReader(nc), "PING"); err != nil || reply != "+PONG" {
		t.Errorf("plain: %q, %v", reply, err)
	}
	for path, want := range map[string]string{
		"/metrics": `zdbd_namespace_entries{namespace="home"} 1`, "/healthz": `{"status":"ok","reasons":[]}`,
	} {
		r, err := http.Get("http://" + metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %v", path, r.StatusCode, err)
		}
	}
	o.end(t)
}

// systemd hears when we are ready, reload, live and stop.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCertificate(t, certFile, keyFile)
	o := runLogged(t, []string{"NOTIFY_SOCKET=" + socket.LocalAddr().String(), "WATCHDOG_USEC=40000"},
		"--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile)
	// hear reads messages until one has all of these lines.
	hear := func(lines ...string) {
		t.Helper()
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 4096)
		for {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("%q was not heard: %v", lines, err)
			}
			got := "\n" + string(b[:n]) + "\n"
			all := true
			for _, line := range lines {
				all = all && strings.Contains(got, "\n"+line)
			}
			if all {
				return
			}
		}
	}
	hear("READY=1\n")
	hear("STATUS=0 connections\n", "WATCHDOG=1\n")
	hear("WATCHDOG=1\n") // again and again
	o.cmd.Process.Signal(syscall.SIGHUP)
	hear("RELOADING=1\n", "MONOTONIC_USEC=")
	hear("READY=1\n")
	o.cmd.Process.Signal(syscall.SIGTERM)
	hear("STOPPING=1\n")
	if err := o.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// SIGTERM with many requests in flight: each reply is whole, what was answered is there
// afterwards, and what was received is answered.
func TestDrainInFlight(t *testing.T) {
	dir := t.TempDir()
	d := start(t, dir)
	nc, err := net.Dial("unix", d.sock)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const many = 500
	var b bytes.Buffer
	value := strings.Repeat("v", 10e3)
	for i := range many {
		key := fmt.Sprint(i)
		fmt.Fprintf(&b, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	}
	go nc.Write(b.Bytes())
	r := bufio.NewReader(nc)
	answered := 0
	for ; answered < many; answered++ {
		if answered == 3 {
			d.cmd.Process.Signal(syscall.SIGTERM)
		}
		line, err := r.ReadString('\n')
		if err == io.EOF && line == "" || err != nil && strings.Contains(err.Error(), "reset") {
			break
		}
		key := fmt.Sprint(answered)
		value, err2 := r.ReadString('\n')
		if line != fmt.Sprintf("$%d\r\n", len(key)) || value != key+"\r\n" || err != nil || err2 != nil {
			t.Fatalf("reply %d: %q %q, %v %v", answered, line, value, err, err2)
		}
	}
	if err := d.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	d = start(t, dir)
	if nc, err = net.Dial("unix", d.sock); err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	r = bufio.NewReader(nc)
	for i := range answered {
		if v, _, err := ask(nc, r, "GET", fmt.Sprint(i)); err != nil || v != value {
			t.Fatalf("%d of %d: %d bytes, %v", i, answered, len(v), err)
		}
	}
	t.Logf("%d of %d were answered", answered, many)
}

// A namespace cannot speak to systemd through its name.
func TestStatusLine(t *testing.T) {
	if got := statusLine([]string{"namespace a\nREADY=1: zdb: closed"}, 3); got != "3 connections; no writes: namespace a READY=1: zdb: closed" {
		t.Errorf("got %q", got)
	}
}
