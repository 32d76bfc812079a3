package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// stories are all of them.
func stories() []story {
	pinned := config{Mode: "user", Admin: true, Protect: true}
	return slices.Concat(dataStories(), sequentialStories(), scanStories(),
		on(pinned, ", --mode user --admin --protect", slices.Concat(dataStories(), scanStories())),
		adminStories(), sessionStories(), protocolStories(), waitStories(), faultStories(), restartStories())
}

// unreachable are texts that no request brings, and why.
var unreachable = map[string]string{
	"TextFull":      "older servers say it; clients still act on it",
	"TextMemory":    "the original's memory would have to run out",
	"TextGenerator": "the original's source of randomness would have to fail",
	"TextBulk":      "the original's memory would have to run out",
}

// A difference between the two servers has a reason, and is one.
func TestDifferencesHaveReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range stories() {
		if seen[s.name] {
			t.Errorf("two stories are named %q", s.name)
		}
		seen[s.name] = true
		for i, r := range s.rows {
			differs := r.ours != "" || r.closes != r.weEnd
			switch {
			case r.ours == r.want && r.ours != "":
				t.Errorf("%s, row %d: both replies are the same", s.name, i)
			case differs != (r.why != ""):
				t.Errorf("%s, row %d: differs %v, reason %q", s.name, i, differs, r.why)
			case s.ourOnly != "" && s.originalOnly != "":
				t.Errorf("%s runs on neither", s.name)
			}
		}
	}
}

// Every command of the server is asked of it, and of the original.
func TestEveryCommandHasARow(t *testing.T) {
	asked := map[bool]map[string]bool{false: {}, true: {}}
	for _, s := range stories() {
		for _, r := range s.rows {
			if len(r.send) == 0 {
				continue
			}
			verb := strings.ToUpper(r.send[0])
			if s.originalOnly == "" {
				asked[false][verb] = true
			}
			if s.ourOnly == "" {
				asked[true][verb] = true
			}
		}
	}
	verbs := commandTable(t)
	if len(verbs) < 37 {
		t.Fatalf("the server's command table was not found: %q", verbs)
	}
	for _, verb := range verbs {
		if !asked[false][verb] || !asked[true][verb] {
			t.Errorf("no row asks for %s: ours %v, original %v", verb, asked[false][verb], asked[true][verb])
		}
	}
}

// Every error text of package zdb is the reply to a row.
func TestEveryTextHasARow(t *testing.T) {
	replies := map[string]bool{}
	for _, s := range stories() {
		for _, r := range s.rows {
			replies[r.want], replies[r.ours] = true, true
		}
	}
	texts := textConstants(t)
	if len(texts) < 70 {
		t.Fatalf("the texts were not found: %q", slices.Collect(maps.Keys(texts)))
	}
	for name, text := range texts {
		hit := replies[fails(text)]
		if reason := unreachable[name]; hit == (reason != "") {
			t.Errorf("%s %q: a row has it: %v, reason why none could: %q", name, text, hit, reason)
		}
	}
	for name := range unreachable {
		if _, known := texts[name]; !known {
			t.Errorf("%s is no text", name)
		}
	}
}

// textConstants reads the constants Text… of package zdb from their source, for a
// program can't list them.
func textConstants(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, file := range parseDir(t, "..") {
		for _, decl := range file.Decls {
			d, isConst := decl.(*ast.GenDecl)
			if !isConst || d.Tok != token.CONST {
				continue
			}
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) && strings.HasPrefix(name.Name, "Text") {
						texts[name.Name] = literal(v.Values[i])
					}
				}
			}
		}
	}
	return texts
}

// commandTable reads the keys of the map commands of package server likewise.
func commandTable(t *testing.T) []string {
	t.Helper()
	var verbs []string
	files := parseDir(t, "../server")
	constants := map[string]string{}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, isValue := n.(*ast.ValueSpec); isValue {
				for i, name := range v.Names {
					if i < len(v.Values) {
						constants[name.Name] = literal(v.Values[i])
					}
				}
			}
			return true
		})
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			a, isAssign := n.(*ast.AssignStmt)
			if !isAssign || len(a.Lhs) != 1 {
				return true
			}
			if name, isName := a.Lhs[0].(*ast.Ident); !isName || name.Name != "commands" {
				return true
			}
			table, isTable := a.Rhs[0].(*ast.CompositeLit)
			if !isTable {
				return true
			}
			for _, element := range table.Elts {
				key := element.(*ast.KeyValueExpr).Key
				if name, isName := key.(*ast.Ident); isName {
					verbs = append(verbs, constants[name.Name])
					continue
				}
				verbs = append(verbs, literal(key))
			}
			return false
		})
	}
	return verbs
}

func literal(e ast.Expr) string {
	b, isLiteral := e.(*ast.BasicLit)
	if !isLiteral {
		return ""
	}
	s, err := strconv.Unquote(b.Value)
	if err != nil {
		return ""
	}
	return s
}

func parseDir(t *testing.T, dir string) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}
