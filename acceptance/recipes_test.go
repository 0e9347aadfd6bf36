// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The recipes' commands work as written and in order. Vault Agent and consul-template always have a
// live token, with and without leases.
func TestRecipesKeepALivingToken(t *testing.T) {
	t.Parallel() // the test mostly waits
	w := newWorld(t)
	// Vault Agent needs 2 s to restart a program, so tokens live longer than leases (20 s and 8 s).
	// After an answer, the agent ignores other answers for one second, so min_ttl avoids leases of
	// 1 s.
	w.sim.Configure(t, `{"access_ttl": 20}`)
	begun := time.Now()
	w.writeConfig(t, sinch, harness.Fields{"max_ttl": 8, "min_ttl": 3})

	agent, withoutLeases := recipe(t, "agent.md"), ""
	agent.blocks, withoutLeases = agent.blocks[:len(agent.blocks)-1], agent.blocks[len(agent.blocks)-1]
	if withoutLeases != "vault write messaging/config/sinch lease=false\n" {
		t.Fatalf("agent.md: got the last command %q, want the write of lease=false", withoutLeases)
	}
	agent.run(t, &w.Client)
	kept := map[string]string{
		"Vault Agent's file":     filepath.Join(agent.dir, "sinch-token"),
		"the supervised app":     filepath.Join(agent.dir, "token-of-app"),
		"consul-template's file": "",
	}
	if tool, err := buildConsulTemplate(t); err != nil {
		delete(kept, "consul-template's file")
		t.Logf("NOT RUN: docs/recipes/consul-template.md, because consul-template does not build here: %v", err)
	} else {
		page := recipe(t, "consul-template.md")
		page.path = filepath.Dir(tool)
		page.run(t, &w.Client)
		kept["consul-template's file"] = filepath.Join(page.dir, "sinch-token")
	}

	w.watch(t, kept, 3)
	if leases := w.List(t, "sys/leases/lookup/messaging/creds/sinch").OK(t).Keys(); len(leases) == 0 {
		t.Error("got no leases, want some")
	}
	w.Shell(t, agent.dir, withoutLeases).OK(t)
	w.watch(t, kept, 4) // the first token may have a lease
	harness.Within(t, 20*time.Second, "no lease is left", func() error {
		if r := w.List(t, "sys/leases/lookup/messaging/creds/sinch"); r.Status != 404 {
			return fmt.Errorf("got status %d, want 404: %s", r.Status, r.Raw)
		}
		return nil
	})
	// With max_ttl=8 and min_ttl=3, the engine refreshes a token after 5 s.
	counts := w.sim.State(t).Providers[sinch.provider]
	maxMints := int(time.Since(begun)/((8-3)*time.Second)) + 1
	if got := counts.LoginsSucceeded + counts.RefreshesSucceeded; got > maxMints {
		t.Errorf("got %d mints in %s, want at most %d", got, time.Since(begun), maxMints)
	}
	w.wantNoViolations(t)
}

// watch reads the files until each file has held the given number of tokens. A dead token fails the
// test.
func (w world) watch(t *testing.T, files map[string]string, tokens int) {
	t.Helper()
	seen := map[string]map[string]bool{}
	for name := range files {
		seen[name] = map[string]bool{}
	}
	harness.Within(t, 2*time.Minute, "each file has shown enough tokens", func() error {
		var short []string
		for name, file := range files {
			token, _ := os.ReadFile(file)
			if len(token) > 0 { // empty before the first write
				seen[name][string(token)] = true
				known := w.sim.Token(t, string(token))
				if now, _ := os.ReadFile(file); !known.Active && string(now) == string(token) {
					t.Fatalf("%s: got the dead token %+v, want a live one", name, known)
				}
			}
			if len(seen[name]) < tokens {
				short = append(short, name)
			}
		}
		if len(short) > 0 {
			return fmt.Errorf("too few tokens in %s", strings.Join(short, ", "))
		}
		return nil
	})
}

// Each command of the curl recipe works word for word.
func TestRecipeCurl(t *testing.T) {
	harness.NeedPrograms(t, "docs/recipes/curl.md", "curl", "jq")
	s, sim := internetWorld(t)
	page := recipe(t, "curl.md")
	harness.WriteFile(t, page.dir, "pw.txt", sinchPassword+"\n")
	out := page.run(t, &s.Client)

	tokens := regexp.MustCompile(`(?m)^eyJ\S+$`).FindAllString(out, -1)
	if len(tokens) < 2 {
		t.Fatalf("curl.md: got %d tokens, want at least 2:\n%s", len(tokens), out)
	}
	for _, token := range tokens {
		if known := sim.Token(t, token); !known.Active {
			t.Errorf("curl.md: got the token %+v, want an active one", known)
		}
	}
	for _, want := range []string{"fresh", `"refresh_window": 600`, "there is no config"} {
		if !strings.Contains(out, want) {
			t.Errorf("curl.md: got the output\n%s\nwant %q in it", out, want)
		}
	}

	// The script fails if the read does, and prints no token.
	for _, problem := range []string{"permission denied", "Failed to connect"} {
		c := s.As("no-token")
		if problem != "permission denied" {
			s.Stop()
		}
		r := c.Shell(t, page.dir, "./vault-api .data.access_token messaging/creds/sinch")
		if r.Code == 0 || r.Stdout != "" || !strings.Contains(r.Stderr, problem) {
			t.Errorf("curl.md: vault-api: got exit code %d, stdout %q, stderr %q, want a failure with %q", r.Code, r.Stdout, r.Stderr, problem)
		}
	}
}

// page is a page of recipes.
type page struct {
	name   string
	blocks []string // its shell commands
	dir    string   // the folder in which they run
	path   string   // a folder with tools for the commands; may be ""
}

func recipe(t *testing.T, name string) *page {
	t.Helper()
	blocks := harness.CodeBlocks(t, harness.ReadFile(t, "../docs/recipes/"+name), "sh")
	return &page{name: name, blocks: blocks, dir: t.TempDir()}
}

// stays matches code blocks whose last command runs until an interrupt.
var stays = regexp.MustCompile(`(?m)^(vault agent| +consul-template) -config=\S+\n\z`)

// run runs the page's commands. It returns the output of all commands that end.
func (p *page) run(t *testing.T, c *harness.Client) string {
	t.Helper()
	var out strings.Builder
	for _, block := range p.blocks {
		script := "export PATH='" + p.path + "':\"$PATH\"\n" + block
		if stays.MatchString(block) {
			c.StartShell(t, p.dir, script)
			continue
		}
		r := c.Shell(t, p.dir, script)
		if r.Code != 0 {
			t.Fatalf("%s: got exit code %d, want 0, from\n%s\n%s%s", p.name, r.Code, block, r.Stdout, r.Stderr)
		}
		out.WriteString(r.Stdout)
	}
	return out.String()
}

// internetWorld starts a server and a simulator. The server reaches the simulator at the providers'
// real URLs.
func internetWorld(t *testing.T) (*harness.Server, *harness.Simulator) {
	t.Helper()
	sim := harness.StartSimulator(t)
	s := harness.StartDevWith(t, harness.Options{Env: sim.AsInternet(t)})
	s.InstallPlugin(t)
	return s, sim
}

// buildConsulTemplate builds consul-template. Only the first build takes long.
func buildConsulTemplate(t *testing.T) (tool string, err error) {
	t.Helper()
	tool = filepath.Join(t.TempDir(), "consul-template")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", tool, "github.com/hashicorp/consul-template")
	cmd.Dir = "../tools/consul-template"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s", cmp.Or(strings.TrimSpace(string(out)), err.Error()))
	}
	return tool, nil
}
