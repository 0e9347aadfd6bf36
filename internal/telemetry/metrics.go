// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

// metricsNamespace is the prefix of each metric's name.
const metricsNamespace = "vault_messaging"

// maxConfigsShown limits the configs that have their own series. Vault gets all series, about 20
// for each config, in one message.
const maxConfigsShown = 1000

// Metrics are the metrics of one mount. They are safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	inProgress *prometheus.GaugeVec
	duration   *prometheus.HistogramVec
}

// NewMetrics returns the metrics of a mount that runs the given version of the plugin.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		inProgress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "mints_in_progress",
			Help: "Running token requests, by provider.",
		}, []string{"provider"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "mint_duration_seconds",
			Help:    "Time that the provider took to answer a token request, by provider. Includes failed requests and the requests of config writes.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60},
		}, []string{"provider"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "build_info",
		Help:        "Always 1. The labels name the build of the plugin.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.inProgress, m.duration, build)
	return m
}

// Observe creates the provider's series for mints. Call start before each mint, and call end after
// the mint.
func (m *Metrics) Observe(provider string) (start func() (end func())) {
	inProgress, duration := m.inProgress.WithLabelValues(provider), m.duration.WithLabelValues(provider)
	return func() (end func()) {
		inProgress.Inc()
		timer := prometheus.NewTimer(duration)
		return func() {
			timer.ObserveDuration()
			inProgress.Dec()
		}
	}
}

// Collect adds the metrics of the accounts in cache, and of all builtin providers. Call Collect
// once.
func (m *Metrics) Collect(cache *tokencache.Cache, builtin []string) {
	m.registry.MustRegister(newAccountMetrics(cache, builtin))
}

// Gather returns the current metrics.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// accountMetrics is a [prometheus.Collector] for the accounts in the token cache.
type accountMetrics struct {
	cache   *tokencache.Cache
	builtin []string // names of providers
	all     []*prometheus.Desc

	accounts, failing *prometheus.Desc // by provider

	// by config and provider
	reads, mints, failures, backingOff, expiry, minted, rejected, clientCert, credentialsExpire, credentialsWritten, keyActivated, keyNext, refreshToken *prometheus.Desc

	leftOut *prometheus.Desc
}

func newAccountMetrics(cache *tokencache.Cache, builtin []string) *accountMetrics {
	m := &accountMetrics{cache: cache, builtin: builtin}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", name), help, labels, nil)
		m.all = append(m.all, d)
		return d
	}
	perConfig := func(name, help string, more ...string) *prometheus.Desc {
		return desc(name, help, append([]string{"config", "provider"}, more...)...)
	}
	m.accounts = desc("accounts", "Accounts in memory. An account comes into memory when it is first read or written after the plugin starts.", "provider")
	m.failing = desc("accounts_failing", "Accounts in memory whose last mint failed.", "provider")
	m.reads = perConfig("reads_total", "Reads of creds/<config>, by how they were served: fresh, stale (a token in its refresh window, or with less life than the read asked for), waited (for a mint) or failed.", "served")
	m.mints = perConfig("mints_total", "Mints that ended, by outcome (success, failure) and kind of failure (refused, rate_limited, unavailable, malformed). Mints of config writes count if they succeed.", "outcome", "kind")
	m.failures = perConfig("consecutive_failures", "Consecutive failed mints, under the kind of the last failure. 0 if the last mint succeeded.", "kind")
	m.backingOff = perConfig("backing_off", "1 while no mint is attempted because the last mint failed, otherwise 0.")
	m.expiry = perConfig("token_expiry_timestamp_seconds", "When the cached token ends. Absent without a token.")
	m.minted = perConfig("token_minted_timestamp_seconds", "When the cached token was requested. Absent without a token.")
	m.rejected = perConfig("rejected_tokens_total", "Reports that the provider rejected a token, by result: honored (the engine logged in), replaced (the token was no longer cached), recent (the token was too new), too_frequent or backing_off.", "result")
	m.credentialsExpire = perConfig("credentials_expire_timestamp_seconds", "When the credentials end, from the field credentials_expire. Absent if the field is not set.")
	m.credentialsWritten = perConfig("credentials_written_timestamp_seconds", "When a secret of the config last changed. Absent if no secret is set, or if the secrets are older than this metric.")
	m.keyActivated = perConfig("key_activated_timestamp_seconds", "When the signing key came into use. Absent if the account does not sign.")
	m.keyNext = perConfig("key_next_created_timestamp_seconds", "When the next key of a rotation was made. Absent if no rotation is in progress.")
	m.refreshToken = perConfig("refresh_token_state", "1 for the current state of the refresh token that is the credential, 0 for the other states: unused, stored, unsaved (storage refused it), unknown (the outcome of its last use) or lost. Absent if the credential is no refresh token.", "state")
	m.clientCert = perConfig("client_cert_expiry_timestamp_seconds", "When the client certificate of the config expires. Absent without a client certificate.")
	m.leftOut = desc("configs_left_out", fmt.Sprintf("Number of accounts in memory without metrics of their own. At most %d accounts have metrics of their own: first the failing accounts, then the others by name.", maxConfigsShown))
	return m
}

// Describe implements [prometheus.Collector].
func (m *accountMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.all {
		ch <- d
	}
}

// accountSample is the state of one account at a scrape.
type accountSample struct {
	config  string
	account *account.Account
	status  tokencache.Status
	counts  tokencache.Counts
}

// Collect implements [prometheus.Collector]. It recovers panics, because the registry calls Collect
// in a new goroutine.
func (m *accountMetrics) Collect(ch chan<- prometheus.Metric) {
	var err error
	defer func() {
		if err != nil {
			ch <- prometheus.NewInvalidMetric(m.accounts, err)
		}
	}()
	defer secret.RecoverTo(&err)
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	accounts, failing := map[string]int{}, map[string]int{}
	var shown []accountSample
	seen := 0
	m.cache.Each(func(name string, a tokencache.Account, s tokencache.Status, counts tokencache.Counts) bool {
		sample := accountSample{name, a.(*account.Account), s, counts}
		provider := sample.account.Config.Provider
		seen++
		accounts[provider]++
		if s.Failures > 0 {
			failing[provider]++
		}
		if shown = append(shown, sample); len(shown) == 2*maxConfigsShown {
			shown = mostUrgent(shown)
		}
		return true
	})
	shown = mostUrgent(shown)
	for _, name := range m.builtin {
		accounts[name] += 0 // show 0 if the provider has no account
	}
	for name, n := range accounts {
		gauge(m.accounts, n, name)
		gauge(m.failing, failing[name], name)
	}
	gauge(m.leftOut, seen-len(shown))
	for _, s := range shown {
		m.collect(ch, s)
	}
}

// mostUrgent returns the samples to show: failing accounts first, then by name.
func mostUrgent(samples []accountSample) []accountSample {
	slices.SortFunc(samples, func(s, t accountSample) int {
		if fails := s.status.Failures > 0; fails != (t.status.Failures > 0) {
			if fails {
				return -1
			}
			return 1
		}
		return cmp.Compare(s.config, t.config)
	})
	return samples[:min(len(samples), maxConfigsShown)]
}

// collect makes the series of one account.
func (m *accountMetrics) collect(ch chan<- prometheus.Metric, s accountSample) {
	c := s.account.Config
	send := func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, value, append([]string{s.config, c.Provider}, labels...)...)
	}
	flag := func(d *prometheus.Desc, set bool, labels ...string) {
		value := 0.0
		if set {
			value = 1
		}
		send(d, prometheus.GaugeValue, value, labels...)
	}
	moment := func(d *prometheus.Desc, t time.Time) {
		if !t.IsZero() {
			send(d, prometheus.GaugeValue, float64(t.UnixMilli())/1e3)
		}
	}
	for served, n := range s.counts.Reads {
		send(m.reads, prometheus.CounterValue, float64(n), tokencache.Served(served).String())
	}
	send(m.mints, prometheus.CounterValue, float64(s.counts.Minted), "success", "")
	for k, n := range s.counts.Failed {
		kind, row := token.Kind(k), 0
		if f := s.status.LastFailure; s.status.Failures > 0 && f != nil && f.Kind == kind {
			row = s.status.Failures
		}
		send(m.mints, prometheus.CounterValue, float64(n), "failure", kind.String())
		send(m.failures, prometheus.GaugeValue, float64(row), kind.String())
	}
	for r, n := range s.counts.Rejected {
		if r := tokencache.Rejection(r); r != tokencache.NotRejected {
			send(m.rejected, prometheus.CounterValue, float64(n), r.String())
		}
	}
	flag(m.backingOff, s.status.State == tokencache.BackingOff)
	moment(m.credentialsExpire, c.CredentialsExpire())
	moment(m.credentialsWritten, c.Written)
	if key := s.account.KeyState(); key != nil {
		moment(m.keyActivated, key.Activated)
		moment(m.keyNext, key.NextCreated)
	}
	if !s.status.Expires.IsZero() {
		moment(m.expiry, s.status.Expires)
		moment(m.minted, s.status.Minted)
	}
	if current := s.account.RefreshTokenState(); current != "" {
		for _, state := range account.RefreshStates() {
			flag(m.refreshToken, state == current, state)
		}
	}
	_, certExpires := c.ClientCertValidity()
	moment(m.clientCert, certExpires)
}
