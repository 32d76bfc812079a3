package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/qsfs/qsfs/cmd/qsfs/internal/mountpoint"
	"github.com/qsfs/qsfs/fs/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"qsfs": main})
}

// TestScripts runs the stories in testdata. Those that mount say so with [!fuse] skip: they need /dev/fuse and root.
func TestScripts(t *testing.T) {
	noFUSE := cantMount()
	if noFUSE != "" {
		t.Logf("stories that mount are skipped: %s", noFUSE)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for key, value := range map[string]string{
				"STATE_DIRECTORY": "state", "CACHE_DIRECTORY": "cache", "RUNTIME_DIRECTORY": "run", "HOME": "home",
			} {
				env.Setenv(key, filepath.Join(env.WorkDir, value))
			}
			env.Defer(func() { cleanUp(t, env.WorkDir) })
			return nil
		},
		Condition: func(condition string) (bool, error) {
			if condition == "fuse" {
				return noFUSE == "", nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":  ready,
			"signal": signalDaemon,
			"gone":   gone,
		},
	})
}

func cantMount() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	device.Close()
	return ""
}

// cleanUp ends what a story that failed has left: mounts, and with them their daemons.
func cleanUp(t *testing.T, dir string) {
	mounts, err := mountpoint.List()
	if err != nil {
		t.Error(err)
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.Path, dir+"/") {
			t.Logf("%s was left mounted", m.Path)
			mountpoint.Unmount(context.Background(), m.Path, true)
			mountpoint.Abort(m)
		}
	}
}

const patience = 30 * time.Second

// until asks a question again and again, since what it waits for is another process's doing.
func until(ts *testscript.TestScript, what string, done func() bool) {
	for began := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			ts.Fatalf("waited in vain for: %s", what)
		}
	}
}

// ready VOLUME waits until the volume's daemon answers.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	client := daemonOf(ts, args[0])
	until(ts, "the daemon of "+args[0], func() bool {
		_, err := client.Info(context.Background())
		return err == nil
	})
}

// signal SIGNAL VOLUME sends a signal to the volume's daemon.
func signalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	info, err := daemonOf(ts, args[1]).Info(context.Background())
	ts.Check(err)
	ts.Check(syscall.Kill(info.PID, signals[args[0]]))
	if args[0] == "KILL" {
		until(ts, "process "+strconv.Itoa(info.PID)+" to end", func() bool {
			_, err := daemonOf(ts, args[1]).Info(context.Background())
			return err != nil
		})
	}
}

// gone VOLUME waits until the volume's daemon has ended.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	client := daemonOf(ts, args[0])
	until(ts, "the end of the daemon of "+args[0], func() bool {
		_, err := os.Lstat(client.Path())
		return os.IsNotExist(err)
	})
}

func daemonOf(ts *testscript.TestScript, name string) *control.Client {
	return control.NewClient(filepath.Join(ts.Getenv("RUNTIME_DIRECTORY"), name+".sock"))
}
