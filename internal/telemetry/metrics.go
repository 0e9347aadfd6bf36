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

// metricsNamespace begins the name of each metric. Vault's own metrics begin with vault_.
const metricsNamespace = "vault_messaging"

// maxConfigsShown is the number of configs that have their own series. Each config has
// some 18 series, and a scrape is one message from the plugin to Vault.
const maxConfigsShown = 1000

// Metrics are the metrics of one mount. They share nothing with other mounts of the
// process, and are safe for concurrent use.
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
			Help: "Token requests to the provider that are running, by provider.",
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

// Observe returns the observer of the named provider's mints, whose series are shown from
// then on. Call the observer before a mint, and its result after the mint.
func (m *Metrics) Observe(provider string) func() (end func()) {
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

// Collect adds the metrics of the accounts in cache. The built-in providers, which have the
// given names, show also without an account. Call it once.
func (m *Metrics) Collect(cache *tokencache.Cache, builtin []string) {
	m.registry.MustRegister(newAccountMetrics(cache, builtin))
}

// Gather returns the metrics as they are now.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// accountMetrics is a [prometheus.Collector] of what the token cache counts. It makes the
// series anew for each scrape.
type accountMetrics struct {
	cache   *tokencache.Cache
	builtin []string // names of providers

	// by provider
	accounts, failing *prometheus.Desc

	// by config and provider
	reads, mints, failures, backingOff, expiry, minted, rejected, clientCert, credentialsExpire, credentialsWritten, keyActivated, keyNext, refreshToken *prometheus.Desc

	leftOut *prometheus.Desc
}

func newAccountMetrics(cache *tokencache.Cache, builtin []string) *accountMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", name), help, labels, nil)
	}
	return &accountMetrics{
		cache:   cache,
		builtin: builtin,
		accounts: desc("accounts", "Accounts in memory. An account comes into memory when it is first read or written after the plugin starts.",
			"provider"),
		failing: desc("accounts_failing", "Accounts in memory whose last mint failed.",
			"provider"),
		reads: desc("reads_total", "Reads of creds/<config>, by how they were served: fresh, stale (a token in its refresh window, or with less life than the read asked for), waited (for a mint) or failed.",
			"config", "provider", "served"),
		mints: desc("mints_total", "Mints that ended, by outcome (success, failure) and kind of failure (refused, rate_limited, unavailable, malformed). Mints of config writes count if they succeed.",
			"config", "provider", "outcome", "kind"),
		failures: desc("consecutive_failures", "Consecutive failed mints, under the kind of the last failure. 0 if the last mint succeeded.",
			"config", "provider", "kind"),
		backingOff: desc("backing_off", "1 while no mint is attempted because the last mint failed, otherwise 0.",
			"config", "provider"),
		expiry: desc("token_expiry_timestamp_seconds", "When the cached token ends. Absent without a token.",
			"config", "provider"),
		minted: desc("token_minted_timestamp_seconds", "When the cached token was requested. Absent without a token.",
			"config", "provider"),
		rejected: desc("rejected_tokens_total", "Reports that the provider rejected a token, by what became of them: honored (the engine logged in), replaced (the token was no longer cached), recent (the token was too new), too_frequent or backing_off.",
			"config", "provider", "result"),
		credentialsExpire: desc("credentials_expire_timestamp_seconds", "When the credentials end, as the config says in credentials_expire. Absent if the config says nothing.",
			"config", "provider"),
		credentialsWritten: desc("credentials_written_timestamp_seconds", "When a secret of the config last changed. Absent if no secret is set, or if the secrets are older than this metric.",
			"config", "provider"),
		keyActivated: desc("key_activated_timestamp_seconds", "Since when the key that signs is in use. Absent if the account does not sign.",
			"config", "provider"),
		keyNext: desc("key_next_created_timestamp_seconds", "When the next key of a rotation was made. Absent if no rotation is under way.",
			"config", "provider"),
		refreshToken: desc("refresh_token_state", "1 for the state of the refresh token that is the credential, 0 for the others: unused, stored, unsaved (storage refused it), unknown (the outcome of its last use) or lost. Absent if the credential is no refresh token.",
			"config", "provider", "state"),
		clientCert: desc("client_cert_expiry_timestamp_seconds", "When the client certificate of the config expires. Absent without a client certificate.",
			"config", "provider"),
		leftOut: desc("configs_left_out", fmt.Sprintf("Accounts in memory without their own series. At most %d accounts have their own series: failing accounts first, then by name.", maxConfigsShown)),
	}
}

// Describe implements [prometheus.Collector].
func (m *accountMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.accounts, m.failing, m.reads, m.mints, m.failures, m.backingOff, m.expiry, m.minted, m.rejected, m.clientCert, m.credentialsExpire, m.credentialsWritten, m.keyActivated, m.keyNext, m.refreshToken, m.leftOut} {
		ch <- d
	}
}

// accountSample is the state of one account at a scrape.
type accountSample struct {
	config, provider  string
	expire, written   time.Time // of the credentials
	clientCertExpires time.Time
	key               account.KeyState
	refreshToken      string // its state; "" if the credential is no refresh token
	status            tokencache.Status
	counts            tokencache.Counts
}

// Collect implements [prometheus.Collector]. The registry calls it in a new goroutine, so
// no handler would recover a panic.
func (m *accountMetrics) Collect(ch chan<- prometheus.Metric) {
	var err error
	defer func() {
		if err != nil {
			ch <- prometheus.NewInvalidMetric(m.accounts, err)
		}
	}()
	defer secret.RecoverTo(&err)
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	accounts, failing := map[string]int{}, map[string]int{}
	var shown []accountSample
	seen := 0
	m.cache.Each(func(name string, a tokencache.Account, s tokencache.Status, counts tokencache.Counts) bool {
		c := a.(*account.Account).Config
		provider := c.Provider
		seen++
		accounts[provider]++
		if s.Failures > 0 {
			failing[provider]++
		}
		_, certExpires := c.ClientCertValidity()
		sample := accountSample{name, provider, c.CredentialsExpire(), c.Written, certExpires, account.KeyState{}, a.(*account.Account).RefreshTokenState(), s, counts}
		if key := a.(*account.Account).KeyState(); key != nil {
			sample.key = *key
		}
		if shown = append(shown, sample); len(shown) == 2*maxConfigsShown {
			shown = mostUrgent(shown)
		}
		return true
	})
	shown = mostUrgent(shown)
	for _, name := range m.builtin {
		accounts[name] += 0 // also without an account
	}
	for name := range accounts {
		gauge(m.accounts, float64(accounts[name]), name)
		gauge(m.failing, float64(failing[name]), name)
	}
	gauge(m.leftOut, float64(seen-len(shown)))
	for _, s := range shown {
		m.collect(ch, s)
	}
}

// mostUrgent sorts samples, failing accounts first and then by name, and returns the
// samples to show.
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
	send := func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, value, append([]string{s.config, s.provider}, labels...)...)
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
	backingOff := 0.0
	if s.status.State == tokencache.BackingOff {
		backingOff = 1
	}
	send(m.backingOff, prometheus.GaugeValue, backingOff)
	for d, t := range map[*prometheus.Desc]time.Time{m.credentialsExpire: s.expire, m.credentialsWritten: s.written, m.keyActivated: s.key.Activated, m.keyNext: s.key.NextCreated} {
		if !t.IsZero() {
			send(d, prometheus.GaugeValue, float64(t.Unix()))
		}
	}
	if !s.status.Expires.IsZero() {
		send(m.expiry, prometheus.GaugeValue, float64(s.status.Expires.UnixMilli())/1e3)
		send(m.minted, prometheus.GaugeValue, float64(s.status.Minted.UnixMilli())/1e3)
	}
	for _, state := range account.RefreshStates() {
		if s.refreshToken != "" {
			is := 0.0
			if state == s.refreshToken {
				is = 1
			}
			send(m.refreshToken, prometheus.GaugeValue, is, state)
		}
	}
	if !s.clientCertExpires.IsZero() {
		send(m.clientCert, prometheus.GaugeValue, float64(s.clientCertExpires.Unix()))
	}
}
