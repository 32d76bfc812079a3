package server

import (
	"fmt"
	"strings"
	"testing"
)

// A scan in pages gives each key once, in both directions.
func TestScanPages(t *testing.T) {
	_, addr := run(t, Options{Sync: SyncNone})
	c := dial(t, addr)
	const n = 2*maxPageEntries + 10
	for i := range n {
		c.send("SET", fmt.Sprintf("key%05d", i), "v", "1000")
	}
	for range n {
		c.reply()
	}
	for _, verb := range []string{"SCAN", "RSCAN"} {
		var keys []string
		pages := 0
		for args := []string{verb}; ; pages++ {
			c.send(args...)
			line, _ := c.r.ReadString('\n')
			if line == "-No more data\r\n" {
				break
			}
			if line != "*2\r\n" {
				t.Fatal(line)
			}
			args = []string{verb, c.reply()}
			page := strings.Fields(strings.Trim(c.reply(), "[]"))
			for i := 0; i+2 < len(page); i += 3 {
				keys = append(keys, strings.Trim(page[i], "[]"))
				if page[i+1] != ":1" || strings.Trim(page[i+2], "[]") != ":1000" {
					t.Fatal(page[i : i+3])
				}
			}
		}
		if len(keys) != n || pages != 3 {
			t.Fatalf("%s: %d keys in %d pages", verb, len(keys), pages)
		}
		first := map[string]string{"SCAN": "key00000", "RSCAN": fmt.Sprintf("key%05d", n-1)}[verb]
		if keys[0] != first {
			t.Fatalf("%s begins with %s", verb, keys[0])
		}
	}
}
