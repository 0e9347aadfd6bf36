// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// OK fails the test unless the command succeeded, and returns the result.
func (r Result) OK(t testing.TB) Result {
	t.Helper()
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// CLI runs the vault command.
func (c *Client) CLI(t testing.TB, args ...string) Result {
	t.Helper()
	return c.run(t, c.home, programs.vault, args...)
}

// Shell runs a shell script, such as a user would paste, in the folder dir; vault
// is on its PATH under that name whatever the binary is called.
func (c *Client) Shell(t testing.TB, dir, script string) Result {
	t.Helper()
	return c.run(t, dir, "sh", "-euc", script)
}

func (c *Client) run(t testing.TB, dir, program string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = c.Env(t)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		t.Fatalf("running %s %q: %v\n%s", program, args, err, stderr.String())
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// Env returns the environment of a user of this server: nothing of the
// developer's own settings or files is in it.
func (c *Client) Env(t testing.TB) []string {
	t.Helper()
	bin := filepath.Join(c.home, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(programs.vault, filepath.Join(bin, "vault")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + c.home,
		"NO_COLOR=1",
		"VAULT_ADDR=" + c.Addr, "VAULT_TOKEN=" + c.Token,
		"BAO_ADDR=" + c.Addr, "BAO_TOKEN=" + c.Token,
	}
}
