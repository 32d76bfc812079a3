package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/qsfs/qsfs/zdb"
)

// Every command at once, of clients that share a namespace while others reload it, jump,
// flush, make and remove namespaces, with place for two open stores: each reply is one
// that the command may have, nobody waits for ever, and what was acknowledged is there.
func TestMixed(t *testing.T) {
	program, _ := hookScript(t, "")
	_, addr := run(t, Options{MaxOpenStores: 2, Sync: SyncNone, Hook: program})
	setup := dial(t, addr)
	setup.steps([]step{
		{"+OK", args("NSNEW", "shared")},
		{"+OK", args("NSNEW", "flushed")},
		{"+OK", args("NSSET", "flushed", "password", "p")},
		{"+OK", args("NSSET", "flushed", "public", "0")},
	})
	const rounds = 40
	var wg sync.WaitGroup
	start := func(selects []string, work func(c *client, i int)) {
		c := dial(t, addr)
		c.want("+OK", selects...)
		wg.Go(func() {
			for i := range rounds {
				work(c, i)
			}
		})
	}
	// is fails, without ending the goroutine of the test, when the reply is none of those.
	is := func(c *client, request []string, allowed ...string) {
		got := c.do(request...)
		for _, a := range allowed {
			if got == a || (strings.HasSuffix(a, "…") && strings.HasPrefix(got, strings.TrimSuffix(a, "…"))) {
				return
			}
		}
		t.Errorf("%q: got %.200q", request, got)
	}
	for w := range 4 {
		start(args("SELECT", "shared"), func(c *client, i int) {
			key, value := fmt.Sprint("w", w, "/", i), strings.Repeat("v", i*50)
			is(c, args("SET", key, value), key)
			is(c, args("GET", key), value)
			is(c, args("HISTORY", key), "[nil …")
			is(c, args("SCAN"), "[…")
			is(c, args("KSCAN", "w"), "[0 […")
			is(c, args("CHECK", key), ":1")
		})
	}
	start(args("SELECT", "shared"), func(c *client, i int) {
		is(c, args("RELOAD", "shared"), "+OK")
		is(c, args("NSJUMP"), "+OK")
		is(c, args("INDEX", "DIRTY"), "[…")
		is(c, args("DATA", "RAW", "0", "28"), "[…", "-EOF", "-"+zdb.TextInvalidRequest)
	})
	set := []string{"nil"}
	for i := range rounds {
		set = append(set, fmt.Sprint(i))
	}
	for range 2 {
		start(args("SELECT", "flushed", "p"), func(c *client, i int) {
			is(c, args("SET", "k", fmt.Sprint(i)), "k", "nil")
			is(c, args("FLUSH"), "+OK")
			is(c, args("GET", "k"), set...)
			is(c, args("RSCAN"), "[…", "-"+zdb.TextNoMoreData)
		})
	}
	for w := range 2 {
		start(args("SELECT", "default"), func(c *client, i int) {
			is(c, args("NSNEW", "brief"), "+OK", "-"+zdb.TextNamespaceExists)
			is(c, args("NSSET", "brief", "mode", "seq"), "+OK", "-"+zdb.TextModeInUse, "-"+zdb.TextNamespaceAbsent)
			is(c, args("NSSET", "brief", "maxsize", fmt.Sprint(i)), "+OK", "-"+zdb.TextNamespaceAbsent)
			is(c, args("NSINFO", "brief"), "# namespace…", "-"+zdb.TextNamespaceAbsent)
			is(c, args("NSDEL", "brief"), "+OK", "-"+zdb.TextNamespaceNotExist)
			is(c, args("NSLIST"), "[default …")
			is(c, args("HOOKS"), "[…")
			is(c, args("SET", fmt.Sprint("d", w, i), "v"), fmt.Sprint("d", w, i))
		})
	}
	start(args("SELECT", "shared"), func(c *client, i int) {
		is(c, args("WAIT", "SET", "100"), "+SET", "-"+zdb.TextTimeout)
	})
	wg.Wait()
	setup.want(fmt.Sprintf(":%d", 2*rounds), "DBSIZE")
	setup.want("+OK", "SELECT", "shared")
	for w := range 4 {
		for i := range rounds {
			setup.want(strings.Repeat("v", i*50), "GET", fmt.Sprint("w", w, "/", i))
		}
	}
}
