package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// node is one zdbd. It keeps its address and folder when it is killed and started again.
type node struct {
	t       *testing.T
	address string
	dir     string
	flags   []string
	proc    *process
}

// startNodes starts storage nodes, each with a folder of its own below dir.
func startNodes(t *testing.T, dir string, count int, flags ...string) []*node {
	t.Helper()
	nodes := make([]*node, count)
	for i := range nodes {
		nodes[i] = &node{t: t, address: freeAddress(t), dir: filepath.Join(dir, fmt.Sprintf("zdb%d", i)), flags: flags}
		nodes[i].start()
	}
	return nodes
}

// start starts the node and waits until it takes connections.
func (n *node) start() {
	n.t.Helper()
	args := append([]string{"--listen", n.address, "--data", n.dir}, n.flags...)
	n.proc = start(n.t, "zdbd "+n.address, exec.Command(programs.zdbd, args...))
	eventually(n.t, patience, "zdbd is ready", func() (bool, string) {
		if !n.proc.running() {
			n.t.Fatalf("zdbd %s ended with %d: %s", n.address, n.proc.code, n.proc.stderr.String())
		}
		text := n.proc.stdout.String()
		return strings.Contains(text, "zdbd: ready on"), text
	})
}

// kill is kill -9.
func (n *node) kill() { n.proc.kill() }

// stop ends the node in order.
func (n *node) stop() {
	n.t.Helper()
	if code := n.proc.signal(n.t, os.Interrupt); code != 0 {
		n.t.Errorf("zdbd %s ended with %d: %s", n.address, code, n.proc.stderr.String())
	}
}

func (n *node) url(namespace string) string { return "zdb://" + n.address + "/" + namespace }

// urls are the arguments that name the nodes.
func urls(nodes []*node, namespace string) []string {
	var args []string
	for _, n := range nodes {
		args = append(args, "--node", n.url(namespace))
	}
	return args
}

var lastPort atomic.Uint32

// freeAddress finds a port on loopback that nobody uses. It is below the range
// that the kernel takes the ports of outgoing connections from, so that it is
// still free when its node has been down for a while.
func freeAddress(t *testing.T) string {
	t.Helper()
	const first, count = 20000, 10000
	lastPort.CompareAndSwap(0, uint32(os.Getpid()*37+int(time.Now().UnixNano()%count)))
	for range count {
		port := first + lastPort.Add(1)%count
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no free port on loopback")
	return ""
}
