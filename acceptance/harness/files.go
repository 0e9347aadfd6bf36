// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// WriteFile writes a file in the folder dir and returns the file's path. The mode is 0600.
func WriteFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// CopyTo copies files into the folder dir, and makes the folder if needed.
func CopyTo(t testing.TB, dir string, files ...string) {
	t.Helper()
	for _, file := range files {
		copyFile(t, file, filepath.Join(dir, filepath.Base(file)))
	}
}

// CopyPlugin is CopyTo for the plugin under test.
func CopyPlugin(t testing.TB, dir string) {
	t.Helper()
	copyFile(t, programs.plugin, filepath.Join(dir, PluginName))
}

// CopyVault copies the server's program to the file dir/vault.
func CopyVault(t testing.TB, dir string) {
	t.Helper()
	copyFile(t, programs.vault, filepath.Join(dir, "vault"))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content := ReadFile(t, from)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	// With the lock, no process starts during the write. A new process would inherit the open file,
	// and Linux does not run a program file that is open for writing.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(to, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// syncFile waits until the disk has the file's content.
func syncFile(t testing.TB, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// Absolute returns the absolute form of a path.
func Absolute(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// Section returns the page's text from this heading to the next heading of level 2. A missing
// heading fails the test.
func Section(t testing.TB, page, heading string) string {
	t.Helper()
	section := regexp.MustCompile(`(?ms)^#+ ` + regexp.QuoteMeta(heading) + `\n(.*?)(?:^## |\z)`)
	m := section.FindStringSubmatch(ReadFile(t, page))
	if m == nil {
		t.Fatalf("%s: got no section %q, want one", page, heading)
	}
	return m[1]
}

// CodeBlocks returns the code blocks in this language, such as "sh". Without a code block, the test
// fails.
func CodeBlocks(t testing.TB, text, language string) (blocks []string) {
	t.Helper()
	block := regexp.MustCompile("(?ms)^( *)```" + language + "\n(.*?)^ *```")
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		indented := "\n" + m[2] // a block in a list is indented
		blocks = append(blocks, strings.ReplaceAll(indented, "\n"+m[1], "\n")[1:])
	}
	if len(blocks) == 0 {
		t.Fatalf("got no code block in the language %s, want at least one:\n%s", language, text)
	}
	return blocks
}
