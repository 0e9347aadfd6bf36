// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Prometheus can read the metrics with the documented policy. The metrics contain no secret.
func TestMetricsAreScraped(t *testing.T) {
	w := newWorld(t)
	w.EnableAudit(t)
	secrets := []string{sinchPassword, enablexKey}
	for _, a := range accounts {
		w.writeConfig(t, a)
		secrets = append(secrets, w.token(t, a))
	}
	w.sim.Configure(t, `{"faults": [{"kind": "status", "status": 503}]}`)
	w.Write(t, rcs.rotatePath(), nil).Refused(t, 502)

	policy := harness.ReadFile(t, "../docs/prometheus/policy.hcl")
	prometheus := w.AppToken(t, policy)
	text := scrape(t, w.Server, prometheus)
	for series, want := range map[string]float64{
		`vault_messaging_reads_total{config="sinch",provider="sinch-india",served="fresh"}`:                     1,
		`vault_messaging_mints_total{config="sinch",kind="",outcome="success",provider="sinch-india"}`:          1,
		`vault_messaging_mints_total{config="rcs",kind="unavailable",outcome="failure",provider="enablex-rcs"}`: 1,
		`vault_messaging_consecutive_failures{config="rcs",kind="unavailable",provider="enablex-rcs"}`:          1,
		`vault_messaging_accounts{provider="enablex-whatsapp"}`:                                                 1,
		`vault_messaging_accounts_failing{provider="enablex-rcs"}`:                                              1,
		`vault_messaging_mint_duration_seconds_count{provider="enablex-rcs"}`:                                   2,
		`vault_messaging_configs_left_out`:                                                                      0,
	} {
		if got := value(t, text, series); got != want {
			t.Errorf("%s: got %v, want %v", series, got, want)
		}
	}
	expiry := value(t, text, `vault_messaging_token_expiry_timestamp_seconds{config="sinch",provider="sinch-india"}`)
	end, err := time.Parse(time.RFC3339, w.readCreds(t, sinch).Text("expire_time"))
	if got := expiry - float64(end.Unix()); err != nil || got < 0 || got >= 1 {
		t.Errorf("expiry metric: got %v, want expire_time %v (error %v) plus less than 1 s", expiry, end, err)
	}
	for _, secret := range append(secrets, "acme", prometheus, "eyJ") {
		if strings.Contains(text, secret) {
			t.Errorf("metrics: got %q in them, want no secret", secret)
		}
	}

	// people can read them with the same policy, and apps cannot
	cli := w.As(prometheus).CLI(t, "read", "-format=raw", "messaging/metrics").OK(t).Stdout
	if !strings.Contains(cli, "# HELP vault_messaging_reads_total ") {
		t.Errorf("vault read -format=raw: got %.300s, want the metrics", cli)
	}
	w.As(prometheus).Read(t, sinch.creds()).Refused(t, 403)
	app := w.As(w.AppToken(t, sinchPolicy))
	app.Read(t, "messaging/metrics").Refused(t, 403)
	if audit := harness.ReadFile(t, w.Audit); strings.Contains(audit, "vault_messaging_reads_total") {
		t.Error("audit log: got a whole scrape in it, want a hash")
	}

	t.Run("promtool check metrics", func(t *testing.T) {
		promtool, err := exec.LookPath(cmp.Or(os.Getenv("PROMTOOL_BIN"), "promtool"))
		if err != nil {
			t.Skipf("%v: run scripts/promtool to get promtool", err)
		}
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		harness.RunCommand(t, cmd)
	})
}

// The commands in docs/prometheus/agent.hcl work, and the agent gets a token for Prometheus.
func TestPrometheusAgent(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	config := strings.NewReplacer("/etc/prometheus", dir, "https://vault.example.com:8200", w.Addr).Replace(harness.ReadFile(t, "../docs/prometheus/agent.hcl"))
	harness.WriteFile(t, dir, "agent.hcl", config)
	harness.WriteFile(t, dir, "policy.hcl", harness.ReadFile(t, "../docs/prometheus/policy.hcl"))
	w.CLI(t, "auth", "enable", "approle").OK(t)
	commands := regexp.MustCompile(`(?m)^#   (vault .*)$`).FindAllStringSubmatch(config, -1)
	if len(commands) != 4 {
		t.Fatalf("agent.hcl: got the commands %q, want 4", commands)
	}
	for _, c := range commands {
		w.Shell(t, dir, c[1]).OK(t)
	}
	w.As("").StartShell(t, dir, "vault agent -config=agent.hcl")
	token := filepath.Join(dir, "vault-messaging.token")
	harness.Until(t, "the agent writes the token", func() bool {
		info, err := os.Stat(token)
		return err == nil && info.Size() > 0
	})
	if info, _ := os.Stat(token); info.Mode().Perm() != 0o640 {
		t.Errorf("mode of the token's file: got %o, want 640", info.Mode().Perm())
	}
	prometheus := w.As(strings.TrimSpace(harness.ReadFile(t, token)))
	prometheus.Read(t, "messaging/metrics").OK(t)
	prometheus.Read(t, "messaging/status/sinch").Refused(t, 403)
	if self := prometheus.Read(t, "auth/token/lookup-self").OK(t); self.Data["renewable"] != true || self.Data["period"] == nil {
		t.Errorf("token: got %v, want one that the agent can renew", self.Data)
	}
}

// The plugin logs nothing about events on a server without event subscriptions.
func TestEventsAreSilent(t *testing.T) {
	w := newWorld(t)
	w.writeConfig(t, sinch)
	w.Write(t, sinch.rotatePath(), nil).OK(t)
	w.Delete(t, sinch.path()).OK(t)
	// Events are sent in the background, and nothing shows when.
	time.Sleep(time.Second)
	for line := range strings.Lines(harness.ReadFile(t, w.Log)) {
		if strings.Contains(line, harness.PluginName) && strings.Contains(line, "event") {
			t.Errorf("got the log line %q, want none about events", line)
		}
	}
}

// scrape reads the metrics as Prometheus does.
func scrape(t *testing.T, s *harness.Server, token string) string {
	t.Helper()
	r, err := s.As("").Do(http.MethodGet, "messaging/metrics", nil,
		"Authorization", "Bearer "+token, "Accept", "text/plain;version=0.0.4;q=0.3,*/*;q=0.1")
	if err != nil {
		t.Fatal(err)
	}
	r.OK(t)
	if got := r.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("scrape: got content type %q, want Prometheus text 0.0.4", got)
	}
	return r.Raw
}

// value returns the value of a series in the metrics.
func value(t *testing.T, text, series string) float64 {
	t.Helper()
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			v, err := strconv.ParseFloat(number, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("metrics: got\n%s\nwant the series %s in them", text, series)
	return 0
}
