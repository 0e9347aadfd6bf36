// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	makeTarget = regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	firstCell  = regexp.MustCompile(`(?m)^ *\| ([^|]*) \|`)
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInID    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	codeBlock  = regexp.MustCompile("(?ms)^```.*?^```")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
)

// Pages name only tests, fuzz targets, benchmarks and make targets that exist. Pages may also name
// functions in their own code samples.
func TestDocsNameWhatExists(t *testing.T) {
	tests := map[string]bool{}
	for _, text := range readTree(t, ".", "_test.go") {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			tests[m[1]] = true
		}
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for page, text := range readPages(t) {
		for _, name := range testName.FindAllString(text, -1) {
			if !tests[name] && !strings.Contains(text, "\nfunc "+name+"(") {
				t.Errorf("%s names %s, but no _test.go file has that function", page, name)
			}
		}
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s names \"make %s\", but the Makefile has no such target", page, m[1])
			}
		}
	}
}

// Every relative link leads to an existing file and heading.
func TestDocsLinks(t *testing.T) {
	pages := readPages(t)
	for page, text := range pages {
		text = codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, but there is no such file", page, m[1])
			} else if anchor != "" && !slices.Contains(headingIDs(pages[target]), anchor) {
				t.Errorf("%s links to %s, but %s has headings %q", page, m[1], target, headingIDs(pages[target]))
			}
		}
	}
}

// The source contains every error in the table of docs/operations.md, except Go's network errors.
func TestDocsQuoteErrors(t *testing.T) {
	text, fromGo := "", []string{"`no such host`", "`connection refused`", "`i/o timeout`"}
	for _, dir := range []string{"providers", "internal/tokencache", "internal/token"} {
		for file, source := range readTree(t, dir, ".go") {
			if !strings.HasSuffix(file, "_test.go") {
				text += source
			}
		}
	}
	_, table, found := strings.Cut(readPages(t)["docs/operations.md"], "| `last_error` contains |")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("docs/operations.md has no table of errors")
	}
	for _, cell := range firstCell.FindAllStringSubmatch(table, -1) {
		for _, quoted := range codeSpan.FindAllString(cell[1], -1) {
			if !slices.Contains(fromGo, quoted) && !strings.Contains(text, strings.Trim(quoted, "`")) {
				t.Errorf("docs/operations.md quotes %s, which is not in the source", quoted)
			}
		}
	}
}

// The pages ask for the version of Go that go.mod asks for.
func TestDocsNameGoVersion(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	if err != nil || want == nil {
		t.Fatalf("go.mod: got no version of Go (%v)", err)
	}
	for page, text := range readPages(t) {
		for _, m := range regexp.MustCompile(`Go (1\.\d+)`).FindAllStringSubmatch(text, -1) {
			if m[1] != want[1] {
				t.Errorf("%s names Go %s, but go.mod wants %s", page, m[1], want[1])
			}
		}
	}
}

// headingIDs returns the anchors that GitHub makes for the headings of a page.
func headingIDs(text string) []string {
	var ids []string
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		ids = append(ids, strings.ReplaceAll(notInID.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return ids
}

// readPages returns the text of the Markdown files in the top directory and in docs, by path.
func readPages(t *testing.T) map[string]string {
	t.Helper()
	pages := readTree(t, "docs", ".md")
	top, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range top {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		pages[page] = string(b)
	}
	return pages
}

// readTree returns the texts of files in dir, by path. File names must end in suffix.
func readTree(t *testing.T, dir, suffix string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
