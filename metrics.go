// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"vault-plugin-secrets-messaging/internal/tokencache"
)

// metricsNamespace begins the name of each metric, so that they stand beside
// Vault's own, which begin with vault_.
const metricsNamespace = "vault_messaging"

// mostConfigsShown is for how many configs there are series of their own: each has
// some 16, and a scrape is one message from the plugin to Vault.
const mostConfigsShown = 1000

// metrics is what one mount tells Prometheus. Nothing of it is shared with the
// other mounts of the process.
type metrics struct {
	registry   *prometheus.Registry
	inProgress *prometheus.GaugeVec
	duration   *prometheus.HistogramVec
}

func newMetrics(b *backend, version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		inProgress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: metricsNamespace, Name: "mints_in_progress",
			Help: "Requests for a token that are under way to the provider, by provider.",
		}, []string{"provider"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "mint_duration_seconds",
			Help:    "How long the provider took to answer a request for a token, failed ones and those of config writes included, by provider.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60},
		}, []string{"provider"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "build_info",
		Help:        "Always 1; its labels say which build of the plugin this is.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.inProgress, m.duration, build, newAccountMetrics(b))
	return m
}

// mintMetrics are the metrics of the mints of one provider.
type mintMetrics struct {
	inProgress prometheus.Gauge
	duration   prometheus.Observer
}

// ofProvider returns the metrics of the named provider's mints. They are shown
// from then on.
func (m *metrics) ofProvider(name string) mintMetrics {
	return mintMetrics{m.inProgress.WithLabelValues(name), m.duration.WithLabelValues(name)}
}

// begin notes that the provider is asked for a token; the caller calls end when
// it has answered.
func (m mintMetrics) begin() (end func()) {
	m.inProgress.Inc()
	timer := prometheus.NewTimer(m.duration)
	return func() {
		timer.ObserveDuration()
		m.inProgress.Dec()
	}
}

// accountMetrics is a [prometheus.Collector] of what the token cache counts. The
// series are made for each scrape and kept by no one.
type accountMetrics struct {
	*backend

	// by provider
	accounts, failing *prometheus.Desc

	// by config and provider
	reads, mints, failures, backingOff, expiry, minted *prometheus.Desc

	leftOut *prometheus.Desc
}

func newAccountMetrics(b *backend) *accountMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", name), help, labels, nil)
	}
	return &accountMetrics{
		backend: b,
		accounts: desc("accounts", "Accounts in memory: those that were read or written since the plugin started.",
			"provider"),
		failing: desc("accounts_failing", "Accounts in memory whose last mint failed.",
			"provider"),
		reads: desc("reads_total", "Reads of creds/<config>, by how they were served: fresh, stale (a token in its refresh window, or with less life than was wanted), waited (for a mint) or failed.",
			"config", "provider", "served"),
		mints: desc("mints_total", "Mints that ended, by outcome (success, failure) and the kind of failure (refused, rate_limited, unavailable, malformed). Those of config writes count if they succeed.",
			"config", "provider", "outcome", "kind"),
		failures: desc("consecutive_failures", "Mints that have failed in a row, under the kind of the last; 0 when the last succeeded.",
			"config", "provider", "kind"),
		backingOff: desc("backing_off", "1 while no mint is attempted because the last one failed, else 0.",
			"config", "provider"),
		expiry: desc("token_expiry_timestamp_seconds", "When the token in hand ends. Not there without a token.",
			"config", "provider"),
		minted: desc("token_minted_timestamp_seconds", "When the token in hand was asked for. Not there without a token.",
			"config", "provider"),
		leftOut: desc("configs_left_out", fmt.Sprintf("Accounts in memory beyond the first %d, which have no series of their own. The first are those that fail, then go by name.", mostConfigsShown)),
	}
}

// Describe implements [prometheus.Collector].
func (m *accountMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.accounts, m.failing, m.reads, m.mints, m.failures, m.backingOff, m.expiry, m.minted, m.leftOut} {
		ch <- d
	}
}

// accountSample is how one account is doing at a scrape.
type accountSample struct {
	config, provider string
	status           tokencache.Status
	counts           tokencache.Counts
}

// Collect implements [prometheus.Collector]. The registry calls it in a goroutine
// of its own, whose panic no handler would see.
func (m *accountMetrics) Collect(ch chan<- prometheus.Metric) {
	defer func() {
		if p := recover(); p != nil {
			ch <- prometheus.NewInvalidMetric(m.accounts, &tokencache.PanicError{Type: fmt.Sprintf("%T", p), Stack: debug.Stack()})
		}
	}()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	accounts, failing := map[string]int{}, map[string]int{}
	var shown []accountSample
	seen := 0
	m.cache.Each(func(name string, a tokencache.Account, s tokencache.Status, counts tokencache.Counts) bool {
		provider := a.(*account).config.Provider
		seen++
		accounts[provider]++
		if s.Failures > 0 {
			failing[provider]++
		}
		if shown = append(shown, accountSample{name, provider, s, counts}); len(shown) == 2*mostConfigsShown {
			shown = mostUrgent(shown)
		}
		return true
	})
	shown = mostUrgent(shown)
	for _, name := range m.providerNames() {
		gauge(m.accounts, float64(accounts[name]), name)
		gauge(m.failing, float64(failing[name]), name)
	}
	gauge(m.leftOut, float64(seen-len(shown)))
	for _, s := range shown {
		m.collect(ch, s)
	}
}

// mostUrgent sorts samples, those of accounts that fail first and then by name,
// and returns as many as are shown.
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
	return samples[:min(len(samples), mostConfigsShown)]
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
		kind, row := tokencache.Kind(k), 0
		if f := s.status.LastFailure; s.status.Failures > 0 && f != nil && f.Kind == kind {
			row = s.status.Failures
		}
		send(m.mints, prometheus.CounterValue, float64(n), "failure", kind.String())
		send(m.failures, prometheus.GaugeValue, float64(row), kind.String())
	}
	backingOff := 0.0
	if s.status.State == tokencache.BackingOff {
		backingOff = 1
	}
	send(m.backingOff, prometheus.GaugeValue, backingOff)
	if !s.status.Expires.IsZero() {
		send(m.expiry, prometheus.GaugeValue, float64(s.status.Expires.UnixMilli())/1e3)
		send(m.minted, prometheus.GaugeValue, float64(s.status.Minted.UnixMilli())/1e3)
	}
}
