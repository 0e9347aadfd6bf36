// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Two builds in different folders give the same files. Vault accepts the hash in SHA256SUMS.
func TestDist(t *testing.T) {
	harness.Need(t)
	here, there := t.TempDir(), t.TempDir()
	dist(t, "..", here, "v1.2.3", hostPlatform())
	dist(t, taggedCopy(t, "v1.2.3"), there, "", hostPlatform())

	binary := "vault-plugin-secrets-messaging_v1.2.3_" + strings.ReplaceAll(hostPlatform(), "/", "_")
	want := []string{"SHA256SUMS", binary, binary + ".cdx.json"}
	if got := names(t, here); !slices.Equal(got, want) {
		t.Fatalf("dist: got files %q, want %q", got, want)
	}
	for _, name := range want {
		if harness.ReadFile(t, filepath.Join(here, name)) != harness.ReadFile(t, filepath.Join(there, name)) {
			t.Errorf("%s: got another content from another folder, want the same", name)
		}
	}
	sums := map[string]string{}
	for line := range strings.Lines(harness.ReadFile(t, filepath.Join(here, "SHA256SUMS"))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(harness.ReadFile(t, filepath.Join(here, name))))); got != sum {
			t.Errorf("SHA256SUMS of %s: got %s, want %s", name, sum, got)
		}
	}

	s := harness.StartDevWith(t, harness.Options{PluginDir: here})
	s.CLI(t, "plugin", "register", "-version=v1.2.3", "-command="+binary, "-sha256="+sums[binary],
		"secret", harness.PluginName).OK(t)
	s.CLI(t, "secrets", "enable", "-path=messaging", harness.PluginName).OK(t)
	s.List(t, "messaging/providers").OK(t)
	if got := s.Read(t, "sys/mounts/messaging").OK(t).Text("running_plugin_version"); got != "v1.2.3" {
		t.Errorf("running_plugin_version: got %q, want v1.2.3", got)
	}
	wantBillOfMaterials(t, filepath.Join(here, binary+".cdx.json"), sums[binary])
}

// The openssl command in docs/upgrade.md accepts a signed release. It fails for a changed
// SHA256SUMS and for another public key.
func TestDistIsSigned(t *testing.T) {
	harness.NeedPrograms(t, "the signature of a release", "openssl")
	text := harness.ReadFile(t, "../docs/upgrade.md")
	check := regexp.MustCompile("(?m)^openssl dgst .*$").FindString(text)
	var makeKey []string
	for _, m := range regexp.MustCompile("`(openssl [^`]*)`").FindAllStringSubmatch(text, -1) {
		makeKey = append(makeKey, m[1])
	}
	if check == "" || len(makeKey) != 2 {
		t.Fatalf("docs/upgrade.md: got the check %q and the commands %q for a key, want one check and two commands", check, makeKey)
	}
	dir := t.TempDir()
	shell := func(script string) error {
		cmd := exec.Command("bash", "-euc", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		t.Logf("%s\n%s", script, out)
		return err
	}
	newKey := func() {
		if err := shell(strings.Join(makeKey, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	newKey()
	t.Setenv("SIGNING_KEY", filepath.Join(dir, "release-key.pem"))
	dist(t, "..", dir, "v1.1.0", hostPlatform())
	if err := shell(check); err != nil {
		t.Errorf("got %v for a signed release, want success", err)
	}
	sums := harness.ReadFile(t, filepath.Join(dir, "SHA256SUMS"))
	harness.WriteFile(t, dir, "SHA256SUMS", "changed"+sums)
	if shell(check) == nil {
		t.Error("got success for a changed SHA256SUMS, want a failure")
	}
	harness.WriteFile(t, dir, "SHA256SUMS", sums)
	newKey()
	if shell(check) == nil {
		t.Error("got success with another key, want a failure")
	}

	t.Setenv("SIGNING_KEY", filepath.Join(dir, "missing.pem"))
	cmd := exec.Command("../scripts/dist", "v1.1.0", hostPlatform())
	cmd.Env = append(os.Environ(), "DIST="+dir)
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("SIGNING_KEY")) {
		t.Errorf("scripts/dist with a missing key: got error %v and %s, want a failure that names SIGNING_KEY", err, out)
	}
}

func TestDistRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"1.2.3"}, {"v1.2"}, {"v1.2.3.4"}, {"v01.2.3"}, {"v1.2.3-01"}, {"v1.2.3-"}, {"v1.2.3 "}, {"latest"}, {"v1.2.3/../x"},
		{"v1.2.3", "plan9/amd64"}, {"v1.2.3", "linux"},
	} {
		dir := t.TempDir()
		cmd := exec.Command("../scripts/dist", args...)
		cmd.Env = append(os.Environ(), "DIST="+dir)
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte(`"`+args[len(args)-1]+`"`)) || len(names(t, dir)) > 0 {
			t.Errorf("scripts/dist %q: got error %v, files %q, want a failure that quotes the last argument and no files:\n%s", args, err, names(t, dir), out)
		}
	}
}

// dist runs scripts/dist in the folder root.
func dist(t *testing.T, root, dir, version, platform string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "scripts/dist"), version, platform)
	cmd.Env = append(os.Environ(), "DIST="+dir)
	harness.RunCommand(t, cmd)
}

// taggedCopy copies the source to another folder, commits the copy and tags the commit.
func taggedCopy(t *testing.T, tag string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "a folder of another name")
	harness.Run(t, "..", "sh", "-euc", `mkdir "$1"
tar -cf - --exclude ./bin --exclude ./dist --exclude ./.git --exclude node_modules . | tar -xf - -C "$1"
cd "$1"
git init -q
git add -A
git -c user.name=nobody -c user.email=nobody@example.com commit -q --no-verify -m "A release"
git tag "$2"`, "sh", root, tag)
	return root
}

// wantBillOfMaterials requires a CycloneDX bill of materials with the binary's hash and modules.
func wantBillOfMaterials(t *testing.T, name, sum string) {
	t.Helper()
	type named struct{ Name, Version, Value string }
	var bom struct {
		BOMFormat string
		Metadata  struct {
			Timestamp  string
			Component  named
			Properties []named
		}
		SerialNumber string
		Components   []named
	}
	if err := json.Unmarshal([]byte(harness.ReadFile(t, name)), &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component != (named{Name: harness.PluginName, Version: "v1.2.3"}) {
		t.Errorf("%s: got a %q of %+v, want a CycloneDX of %s v1.2.3", name, bom.BOMFormat, bom.Metadata.Component, harness.PluginName)
	}
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("%s: got serial number %q, timestamp %q, want neither", name, bom.SerialNumber, bom.Metadata.Timestamp)
	}
	if want := (named{Name: "cdx:gomod:binary:hash:SHA-256", Value: sum}); !slices.Contains(bom.Metadata.Properties, want) {
		t.Errorf("%s: got properties %+v, want %+v in them", name, bom.Metadata.Properties, want)
	}
	out, err := exec.Command("go", "version", "-m", strings.TrimSuffix(name, ".cdx.json")).Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 2 && f[0] == "dep" {
			modules++
			if !slices.Contains(bom.Components, named{Name: f[1], Version: f[2]}) {
				t.Errorf("%s: got no module %s %s, want it", name, f[1], f[2])
			}
		}
	}
	if modules < 10 {
		t.Errorf("go version -m: got %d modules, want at least 10", modules)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
