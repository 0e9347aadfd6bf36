// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The commands in docs/upgrade.md run the plugin in a container. The commands fail if Vault runs as
// root.
//
// The test needs root. "make test-containers" sets DOCKER_DIR to the folder with Docker's programs.
func TestContainer(t *testing.T) {
	programs := os.Getenv("DOCKER_DIR")
	if programs == "" {
		t.Skip("NOT RUN: the plugin in a container. Run make test-containers")
	}
	harness.Need(t)
	release := t.TempDir()
	dist(t, "..", release, "v1.2.0", hostPlatform())
	archive := makeImage(t, release)
	if makeImage(t, release) != archive {
		t.Error("scripts/image: got another archive from the same files, want the same")
	}
	socket := startDocker(t, programs)
	commands := harness.CodeBlocks(t, harness.Section(t, "../docs/upgrade.md", "In a container"), "sh")
	if len(commands) != 1 {
		t.Fatalf("got %d blocks of commands in the section, want 1", len(commands))
	}

	docker := "export PATH='" + programs + "':\"$PATH\" DOCKER_HOST=unix://" + socket + "\n"
	t.Run("Vault as root", func(t *testing.T) {
		c := startVaultAs(t, 0, programs, socket)
		if r := c.Shell(t, release, docker+commands[0]); r.Code == 0 || !strings.Contains(r.Stderr, "unable to run plugin") {
			t.Errorf("got exit code %d and %q, want \"unable to run plugin\"; if this works now, correct docs/upgrade.md", r.Code, r.Stderr)
		}
	})
	t.Run("Vault as another user", func(t *testing.T) {
		c := startVaultAs(t, nobody, programs, socket)
		c.Shell(t, release, docker+commands[0]).OK(t)
		c.CLI(t, "secrets", "enable", "-path=messaging", harness.PluginName).OK(t)
		// The engine signs this provider's tokens, so the container needs no network.
		c.Write(t, "messaging/config/acme", harness.Fields{
			"provider": "vonage", "application_id": "acme", "generate_key": "rsa-2048",
		}).OK(t)
		if token := c.Read(t, "messaging/creds/acme").OK(t).Text("access_token"); strings.Count(token, ".") != 2 {
			t.Errorf("got token %q, want a signed one", token)
		}
		running := c.Shell(t, release, docker+"docker ps --quiet --filter ancestor="+harness.PluginName+":1.2.0").OK(t).Stdout
		if running == "" {
			t.Error("got no container of the image, want one")
		}
	})
}

// nobody is the user and group that Vault runs as.
const nobody = 65534

// makeImage runs scripts/image and returns the image's archive.
func makeImage(t *testing.T, release string) string {
	t.Helper()
	arch := strings.TrimPrefix(hostPlatform(), "linux/")
	cmd := exec.Command("../scripts/image", "v1.2.0", arch)
	cmd.Env = append(os.Environ(), "DIST="+release)
	harness.RunCommand(t, cmd)
	return harness.ReadFile(t, filepath.Join(release, "vault-plugin-secrets-messaging_v1.2.0_linux_"+arch+".image.tar"))
}

// startDocker starts Docker in new namespaces without a network. It skips the test if the user may
// not make namespaces.
func startDocker(t *testing.T, programs string) (socket string) {
	t.Helper()
	unshare := []string{"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		fmt.Println("LEFT OUT: the plugin in a container, because this user can make no namespaces")
		t.Skipf("NOT RUN: the plugin in a container: unshare: %v\n%s", err, out)
	}
	dir := openDir(t)
	socket = filepath.Join(dir, "docker.sock")
	runInBackground(t, 0, filepath.Join(dir, "log"), []string{"PATH=" + programs + ":" + os.Getenv("PATH"), "TMPDIR=" + dir}, append(unshare,
		filepath.Join(programs, "dockerd"), "--host=unix://"+socket, fmt.Sprintf("--group=%d", nobody),
		"--data-root="+dir+"/data", "--exec-root="+dir+"/exec", "--pidfile="+dir+"/pid",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs")...)
	harness.Within(t, harness.Timeout, "Docker answers", func() error {
		return exec.Command(filepath.Join(programs, "docker"), "-H", "unix://"+socket, "version").Run()
	})
	return socket
}

// startVaultAs starts a dev server as this user. The server may use Docker.
func startVaultAs(t *testing.T, user uint32, programs, socket string) *harness.Client {
	t.Helper()
	dir := openDir(t)
	if err := os.Chown(dir, int(user), int(user)); err != nil {
		t.Fatal(err)
	}
	program := openDir(t) // the user may have no access to the folder of VAULT_BIN
	harness.CopyVault(t, program)
	address := harness.FreeAddress(t)
	runInBackground(t, user, filepath.Join(t.TempDir(), "vault.log"),
		[]string{"HOME=" + dir, "TMPDIR=" + dir, "DOCKER_HOST=unix://" + socket, "PATH=" + programs + ":" + os.Getenv("PATH")},
		filepath.Join(program, "vault"), "server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root", "-dev-listen-address="+address, "-log-level=debug")
	c := harness.NewClient(t, "http://"+address, "root")
	harness.Within(t, harness.Timeout, "Vault answers", func() error {
		_, err := c.Do("GET", "sys/seal-status", nil)
		return err
	})
	return c
}

// openDir returns a folder that all users may enter. The path is short enough for a socket.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oci") //nolint:usetesting // only this user may enter t.TempDir
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// runInBackground runs a program as this user until the test ends. A failed test shows the
// program's output.
func runInBackground(t *testing.T, user uint32, log string, env []string, args ...string) {
	t.Helper()
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if args[0] == "unshare" { // which ignores SIGTERM
			_ = cmd.Process.Kill()
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		out.Close()
		if t.Failed() {
			t.Logf("output of %s:\n%.8000s", args[0], harness.ReadFile(t, log))
		}
	})
}
