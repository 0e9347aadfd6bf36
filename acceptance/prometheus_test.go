// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Prometheus scrapes a mount with the files in docs/prometheus. When the provider fails,
// Alertmanager sends the alerts. Each query of the dashboard returns data. Run the test with "make
// test-prometheus".
func TestPrometheus(t *testing.T) {
	programs := os.Getenv("PROMETHEUS_DIR")
	if programs == "" {
		t.Skip(`PROMETHEUS_DIR is not set; run "make test-prometheus"`)
	}
	vault := harness.FreeAddress(t)
	w := world{harness.StartDevWith(t, harness.Options{HTTPS: vault}), harness.StartSimulator(t)}
	w.InstallPlugin(t)
	w.sim.Configure(t, forProvider(sinch.provider, `{"access_ttl": 20}`))
	w.writeConfig(t, sinch.with("sinch", harness.Fields{"credentials_expire": "2099-01-01"}))
	w.writeConfig(t, rcs)
	w.writeSeriesOfEveryKind(t)

	receiver := startReceiver(t)
	p := &prometheus{t: t, dir: t.TempDir(), programs: programs, address: harness.FreeAddress(t)}
	p.start(w, vault, receiver.URL)
	harness.Within(t, 30*time.Second, "Prometheus has scraped the mount", func() error {
		return p.hasData(`up{job="vault-messaging", cluster="eu", mount="messaging"} == 1`)
	})

	w.token(t, sinch)
	w.Read(t, sinch.creds()+"?rejected="+strings.Repeat("0", 16)).OK(t)                        // a report about another token
	harness.Within(t, 30*time.Second, "Prometheus has samples of the counters", func() error { // rates need two samples
		return p.hasData(`count_over_time(vault_messaging_rejected_tokens_total{config="sinch",result="replaced"}[1m]) >= 2`)
	})
	w.token(t, sinch)
	w.sim.Configure(t, forProvider(rcs.provider, `{"faults": [{"kind": "account-disabled"}]}`))
	w.Write(t, rcs.rotatePath(), nil).Refused(t, 400)
	receiver.wait(t, "MessagingCredentialsRefused", "rcs", 30*time.Second)

	w.sim.Configure(t, forProvider(sinch.provider, `{"faults": [{"kind": "status", "status": 503}]}`))
	harness.Within(t, 90*time.Second, "a read fails", func() error {
		if r, err := w.Do("GET", sinch.creds(), nil); err == nil && r.Status == 200 {
			return errors.New("the engine still has a token")
		}
		return nil
	})
	p.checkDashboard()
	harness.Repeat(t, time.Second, func() { _, _ = w.Do("GET", sinch.creds(), nil) }) // apps go on reading
	receiver.wait(t, "MessagingReadsFail", "sinch", 2*time.Minute)
}

// writeSeriesOfEveryKind writes three configs. Together, the configs have metrics of every kind.
func (w world) writeSeriesOfEveryKind(t *testing.T) {
	t.Helper()
	w.Write(t, "messaging/config/certificate", union(harness.Fields{"provider": "oauth2", "client_id": "public-client", "token_url": "https://127.0.0.1:1/token",
		"verify_connection": false}, harness.ClientCert(t, harness.NewCA(t), "acme", time.Now().Add(24*365*time.Hour)))).OK(t)
	w.Write(t, "messaging/config/key", harness.Fields{"provider": "oauth2", "client_id": "acme", "token_url": w.sim.TokenURL("oauth2"),
		"auth_style": "private_key_jwt", "generate_key": "ec-p256", "verify_connection": false}).OK(t)
	w.Write(t, "messaging/keys/key/rotate", nil).OK(t)
	w.Write(t, "messaging/config/refresh", harness.Fields{"provider": "oauth2", "client_id": "acme", "client_secret": "s3cret", "token_url": w.sim.TokenURL("oauth2"),
		"grant_type": "refresh_token", "refresh_token": "seed", "verify_connection": false}).OK(t)
	for _, name := range []string{"certificate", "key", "refresh"} {
		_, _ = w.Do("GET", "messaging/creds/"+name, nil) // makes the engine load the account
	}
}

// prometheus is a running Prometheus with an Alertmanager.
type prometheus struct {
	t                      *testing.T
	dir, programs, address string
}

// start starts Prometheus and Alertmanager. They scrape and evaluate every second, and send alerts
// to the webhook.
func (p *prometheus) start(w world, vault, webhook string) {
	p.t.Helper()
	token := w.AppToken(p.t, harness.ReadFile(p.t, "../docs/prometheus/policy.hcl"))
	scrape := strings.NewReplacer(
		"/etc/prometheus/vault-messaging.token", harness.WriteFile(p.t, p.dir, "vault-messaging.token", token),
		"    # tls_config:\n    #   ca_file: /etc/prometheus/vault-ca.pem", "    tls_config:\n      ca_file: "+w.CA,
		"vault.example.com:8200", vault,
		"        # labels: {cluster: eu}", "        labels: {cluster: eu}",
	).Replace(harness.ReadFile(p.t, "../docs/prometheus/scrape.yml"))
	alertmanager := harness.FreeAddress(p.t)
	harness.WriteFile(p.t, p.dir, "prometheus.yml", fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\n"+
		"alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\n", harness.Absolute(p.t, "../docs/prometheus/alerts.yml"), alertmanager)+scrape)
	harness.WriteFile(p.t, p.dir, "alertmanager.yml", fmt.Sprintf("route: {receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s}\n"+
		"receivers: [{name: test, webhook_configs: [{url: %q}]}]\n", webhook))
	w.StartShell(p.t, p.dir, fmt.Sprintf("exec %s/alertmanager --config.file=alertmanager.yml --storage.path=alertmanager --cluster.listen-address= --web.listen-address=%s",
		p.programs, alertmanager))
	w.StartShell(p.t, p.dir, fmt.Sprintf("exec %s/prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=%s",
		p.programs, p.address))
}

// hasData returns an error unless a query returns data.
func (p *prometheus) hasData(query string) error {
	resp, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" || len(answer.Data.Result) == 0 {
		return fmt.Errorf("got %s %s and %d series for %s", answer.Status, answer.Error, len(answer.Data.Result), query)
	}
	return nil
}

// checkDashboard fails the test if a query of the dashboard returns no data.
func (p *prometheus) checkDashboard() {
	p.t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(harness.ReadFile(p.t, "../docs/grafana/dashboard.json")), &dashboard); err != nil {
		p.t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$cluster", ".*", "$instance", ".*", "$mount", ".*", "$provider", ".*", "$config", ".*")
	queries := 0
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries++
			harness.Within(p.t, 15*time.Second, "panel "+panel.Title+" has data", func() error { return p.hasData(variables.Replace(target.Expr)) })
		}
	}
	if queries == 0 {
		p.t.Error("got no query in the dashboard, want some")
	}
}

// receiver is a webhook for alerts from Alertmanager.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	firing map[string]bool // by name and config
}

func startReceiver(t *testing.T) *receiver {
	r := &receiver{firing: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var message struct {
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		if json.NewDecoder(req.Body).Decode(&message) != nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, a := range message.Alerts {
			r.firing[a.Labels["alertname"]+" "+a.Labels["config"]] = a.Status == "firing"
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// wait waits until an alert about a config has arrived.
func (r *receiver) wait(t *testing.T, alert, config string, limit time.Duration) {
	t.Helper()
	begun := time.Now()
	harness.Within(t, limit, alert+" arrives", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.firing[alert+" "+config] {
			return fmt.Errorf("got the alerts %v", r.firing)
		}
		return nil
	})
	t.Logf("%s arrived after %s", alert, time.Since(begun).Round(time.Second))
}
