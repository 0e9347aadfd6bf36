// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"
)

// everySeries returns a scrape that has every metric.
func everySeries(t *testing.T) exposition {
	m := newSinchMount(t, fields{"credentials_expire": "2027-03-01"})
	cert, key := clientCert(t, longAgo, farAway)
	m.write("config/b", with(publicAt(m), fields{"client_cert": cert, "client_key": key, "verify_connection": false})).want(t, http.StatusNoContent)
	m.write("config/k", fields{"provider": "oauth2", "token_url": m.url, "client_id": "acme", "auth_style": "private_key_jwt", "generate_key": "ec-p256"}).want(t, http.StatusOK)
	m.write("keys/k/rotate", nil).want(t, http.StatusOK)
	m.write("config/r", m.consented("alice")).want(t, http.StatusNoContent)
	for _, name := range []string{"b", "k", "r"} {
		m.read("creds/" + name) // brings the account into memory
	}
	return m.scrape()
}

var (
	metricName = regexp.MustCompile(metricsNamespace + `_\w+`)
	selector   = regexp.MustCompile(`(` + metricsNamespace + `_\w+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	label      = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// targetLabels are the labels that Prometheus adds; see docs/prometheus/scrape.yml.
var targetLabels = []string{"job", "instance", "mount", "cluster"}

// check fails the test if a PromQL expression names a metric, label or label value that is not in
// the scrape.
func (e exposition) check(t *testing.T, where, expr string) {
	t.Helper()
	labels := map[string]map[string][]string{} // metric → label → values
	known := slices.Clone(targetLabels)
	for series := range e {
		name, rest, _ := strings.Cut(series, "{")
		if labels[name] == nil {
			labels[name] = map[string][]string{}
		}
		for _, l := range label.FindAllStringSubmatch(rest, -1) {
			labels[name][l[1]] = append(labels[name][l[1]], l[2])
			known = append(known, l[1])
		}
	}
	for _, name := range metricName.FindAllString(expr, -1) {
		if labels[name] == nil {
			t.Errorf("%s: got %s, want a metric of the engine", where, name)
		}
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			values, ok := labels[s[1]][m[1]]
			if !ok && !slices.Contains(targetLabels, m[1]) {
				t.Errorf("%s: got the label %s of %s, want one that it has", where, m[1], s[1])
			} else if ok && !strings.HasSuffix(m[2], "~") && !slices.Contains(values, m[3]) {
				t.Errorf("%s: got %q for %s of %s, want one of %q", where, m[3], m[1], s[1], values)
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(g[1], ",") {
			if name = strings.TrimSpace(name); !slices.Contains(known, name) {
				t.Errorf("%s: got the label %s, want one that a metric has", where, name)
			}
		}
	}
}

func TestAlertRules(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	readYAML(t, "alerts.yml", &file)
	e, alerts := everySeries(t), 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts++
			e.check(t, r.Alert, r.Expr)
			for name, text := range map[string]string{"severity": r.Labels["severity"], "summary": r.Annotations["summary"], "description": r.Annotations["description"]} {
				if text == "" {
					t.Errorf("%s: got no %s", r.Alert, name)
				}
			}
			if _, err := time.ParseDuration(r.For); r.For != "" && err != nil {
				t.Errorf("%s: %v", r.Alert, err)
			}
		}
	}
	if alerts < 5 {
		t.Errorf("got %d alerts, want at least 5", alerts)
	}
	promtool(t, "check", "rules", "docs/prometheus/alerts.yml")
	promtool(t, "test", "rules", "docs/prometheus/alerts_test.yml")
}

// The tests of the rules use series that exist.
func TestAlertRulesAreTestedWithOurSeries(t *testing.T) {
	var file struct {
		Tests []struct {
			InputSeries []struct{ Series string } `yaml:"input_series"`
		}
	}
	readYAML(t, "alerts_test.yml", &file)
	e := everySeries(t)
	for _, test := range file.Tests {
		for _, s := range test.InputSeries {
			anyName := regexp.MustCompile(`(config|provider)="`).ReplaceAllString(s.Series, `$1=~"`)
			e.check(t, s.Series, anyName)
		}
	}
}

func TestScrapeConfig(t *testing.T) {
	var file struct {
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			Scheme        string
			MetricsPath   string `yaml:"metrics_path"`
			Authorization struct {
				CredentialsFile string `yaml:"credentials_file"`
			}
			StaticConfigs  []map[string][]string `yaml:"static_configs"`
			RelabelConfigs []map[string]any      `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "scrape.yml", &file)
	if len(file.ScrapeConfigs) != 1 {
		t.Fatalf("got %+v, want one scrape config", file)
	}
	if c := file.ScrapeConfigs[0]; c.JobName != "vault-messaging" || c.Scheme != "https" ||
		c.MetricsPath != "/v1/messaging/metrics" || c.Authorization.CredentialsFile == "" {
		t.Errorf("got %+v, want the job vault-messaging by https with credentials", c)
	}
	promtool(t, "check", "config", "--syntax-only", "docs/prometheus/scrape.yml")
}

func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("docs/grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type query struct{ Expr string }
	var dashboard struct {
		Title, UID string
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			FieldConfig              struct{ Defaults struct{ Unit string } }
			Targets                  []query
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	e := everySeries(t)
	var variables []string
	for _, v := range dashboard.Templating.List {
		variables = append(variables, "$"+v.Name)
		e.check(t, v.Name, v.Definition)
	}
	var exprs []string
	ids := map[int]bool{}
	for i, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: want an id of its own and a title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range dashboard.Panels[:i] {
			if a, b := p.GridPos, q.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panel %q overlaps panel %q", p.Title, q.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q: want a description and a query", p.Title)
		}
		if p.Type != "table" && p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q: got no unit, want one", p.Title)
		}
		for _, q := range p.Targets {
			e.check(t, p.Title, q.Expr)
			for _, want := range []string{`job=~"$job"`, `instance=~"$instance"`} {
				if strings.Count(q.Expr, want) != strings.Count(q.Expr, "{") {
					t.Errorf("panel %q: want %s in each selector of %s", p.Title, want, q.Expr)
				}
			}
			if ranges := strings.Count(q.Expr, "["); ranges != strings.Count(q.Expr, "[$__rate_interval]") {
				t.Errorf("panel %q: want the range $__rate_interval in %s", p.Title, q.Expr)
			}
			exprs = append(exprs, q.Expr)
			for _, v := range regexp.MustCompile(`\$\w+`).FindAllString(q.Expr, -1) {
				if v != "$__rate_interval" && !slices.Contains(variables, v) {
					t.Errorf("panel %q: got %s, want one of %q", p.Title, v, variables)
				}
			}
		}
	}
	used := strings.Join(exprs, "\n")
	for series := range e {
		name, _, _ := strings.Cut(series, "{")
		if name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !strings.Contains(used, name) &&
			!strings.HasSuffix(name, "_token_minted_timestamp_seconds") { // only alerts use it
			t.Errorf("got no panel of %s", name)
		}
	}

	// promtool checks PromQL only in rules.
	rules := strings.Builder{}
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, expr := range exprs {
		expr = strings.ReplaceAll(expr, "$__rate_interval", "5m")
		fmt.Fprintf(&rules, "  - {record: panel_%d, expr: %q}\n", i, expr)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// readYAML reads a file of docs/prometheus.
func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("docs/prometheus", name))
	if err == nil {
		err = yaml.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// promtool runs the program promtool in a subtest. Without the program, the subtest is skipped.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	t.Run("promtool "+args[0], func(t *testing.T) {
		program := cmp.Or(os.Getenv("PROMTOOL_BIN"), "promtool")
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: run scripts/promtool to install it", err)
		}
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	})
}
