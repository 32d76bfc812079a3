package qsfs

import (
	"os/exec"
	"strings"
	"testing"
)

// mayImport says which rooms of the house each one may know. Arrows never point up.
var mayImport = map[string][]string{
	"identity": {"identity"},
	"zdb":      {"zdb"},
	"erasure":  {"erasure", "zdb"},
	"fs":       {"fs", "erasure", "zdb", "identity"},
	"grid":     {"grid", "identity"},
	"bench":    {"bench"},
	"cmd":      {"cmd", "fs", "grid", "erasure", "zdb", "identity", "bench"},
}

// The packages know only those below them, tests included.
func TestImportsPointDown(t *testing.T) {
	const module = "github.com/qsfs/qsfs/"
	out, err := exec.Command("go", "list", "-f",
		`{{.ImportPath}}{{range .Imports}} {{.}}{{end}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from, ok := strings.CutPrefix(fields[0], module)
		if !ok {
			continue // this package
		}
		room, _, _ := strings.Cut(from, "/")
		for _, imported := range fields[1:] {
			to, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			toRoom, _, _ := strings.Cut(to, "/")
			allowed := false
			for _, r := range mayImport[room] {
				allowed = allowed || r == toRoom
			}
			if !allowed {
				t.Errorf("%s imports %s: a %s package may not", from, to, room)
			}
		}
	}
}
