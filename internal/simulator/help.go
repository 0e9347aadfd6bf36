// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

//go:embed fault.go settings.go
var documented embed.FS

// Help describes the paths, the accounts, the settings and the faults of the simulator.
func Help() string {
	s := New(Options{})
	var b strings.Builder
	b.WriteString("Paths of the providers (POST):\n\n")
	for _, path := range slices.Sorted(maps.Keys(s.endpoints)) {
		fmt.Fprintf(&b, "  %-64s %s\n", path, s.endpoints[path].provider)
	}
	b.WriteString("\nPaths of the control API:\n\n")
	for _, c := range s.controls() {
		fmt.Fprintf(&b, "  %-26s %s\n", c.pattern, c.help)
	}
	b.WriteString("\nAccounts (provider, name, secret):\n\n")
	for _, provider := range providerNames() {
		accounts := defaultAccounts(provider)
		for _, name := range slices.Sorted(maps.Keys(accounts)) {
			fmt.Fprintf(&b, "  %-18s %-25s %s\n", provider, name, cmp.Or(accounts[name].Secret, "(none)"))
		}
	}
	d := newDocs("fault.go", "settings.go")
	b.WriteString("\nSettings, as JSON. Durations are seconds, or text such as \"1h30m\":\n\n" + d.fields("ProviderSettings"))
	b.WriteString("\nFields of an account:\n\n" + d.fields("Account"))
	b.WriteString("\nFields of a fault:\n\n" + d.fields("Fault"))
	b.WriteString("\nKinds of fault:\n" + d.kinds.String())
	return b.String()
}

// docs are the comments of the source files that declare settings and faults.
type docs struct {
	structs   map[string]*ast.StructType
	jsonNames map[string]string // by the name of the field in Go
	kinds     strings.Builder   // the kinds of fault
}

func newDocs(files ...string) *docs {
	d := &docs{structs: map[string]*ast.StructType{}, jsonNames: map[string]string{}}
	for _, name := range files {
		source, err := documented.ReadFile(name)
		if err != nil {
			panic(err) // the file is embedded
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, source, parser.ParseComments)
		if err != nil {
			panic(err) // the file compiles
		}
		ast.Inspect(file, d.collect)
	}
	return d
}

// collect collects structs, the JSON names of fields, and constants with a comment on their line.
func (d *docs) collect(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.TypeSpec:
		if s, ok := n.Type.(*ast.StructType); ok {
			d.structs[n.Name.Name] = s
		}
	case *ast.Field:
		if n.Tag != nil && len(n.Names) == 1 {
			tag := reflect.StructTag(strings.Trim(n.Tag.Value, "`")).Get("json")
			d.jsonNames[n.Names[0].Name], _, _ = strings.Cut(tag, ",")
		}
	case *ast.ValueSpec:
		if n.Comment == nil {
			break
		}
		if n.Doc != nil {
			fmt.Fprintf(&d.kinds, "\n  %s\n", d.text(n.Doc))
		}
		kind := strings.Trim(n.Values[0].(*ast.BasicLit).Value, `"`)
		fmt.Fprintf(&d.kinds, "    %-20s %s\n", kind, d.text(n.Comment))
	}
	return true
}

// fields returns the comments of a struct's fields.
func (d *docs) fields(name string) string {
	var b strings.Builder
	for _, f := range d.structs[name].Fields.List {
		_, comment, _ := strings.Cut(d.text(f.Doc), " ")
		fmt.Fprintf(&b, "  %s %s\n", d.jsonNames[f.Names[0].Name], comment)
	}
	return b.String()
}

var camelCase = regexp.MustCompile(`\b[A-Z]\w*[A-Z]\w*\b`)

// text returns an indented comment with fields under their JSON names.
func (d *docs) text(c *ast.CommentGroup) string {
	text := camelCase.ReplaceAllStringFunc(strings.TrimSpace(c.Text()), func(word string) string {
		return cmp.Or(d.jsonNames[word], word)
	})
	return strings.ReplaceAll(text, "\n", "\n      ")
}
