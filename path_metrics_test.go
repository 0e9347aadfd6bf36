// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"vault-plugin-secrets-messaging/internal/telemetry"
)

const (
	metricsNamespace = "vault_messaging"
	maxConfigsShown  = 1000
)

// exposition is the result of a scrape: the value of each series.
type exposition map[string]float64

// scrape reads the metrics and checks their format.
func (m *mount) scrape() exposition {
	m.t.Helper()
	a := m.read("metrics").want(m.t, http.StatusOK)
	a.wantData(m.t, fields{logical.HTTPStatusCode: http.StatusOK, logical.HTTPContentType: "text/plain; version=0.0.4; charset=utf-8"})
	body, ok := a.data[logical.HTTPRawBody].([]byte)
	if !ok {
		m.t.Fatalf("got %v, want a raw answer", a.data)
	}
	m.noSecret("metrics", string(body), true)
	if len(body) < 64<<10 { // promlint takes quadratic time
		problems, err := promlint.New(bytes.NewReader(body)).Lint()
		if err != nil || len(problems) > 0 {
			m.t.Errorf("promlint: got %v, %v, want no problems", problems, err)
		}
	}
	series := exposition{}
	for line := range strings.Lines(string(body)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			m.t.Fatalf("line %q: %v", line, err)
		}
		series[line[:end]] = value
	}
	return series
}

// want fails the test unless the scrape has these series, with these values.
func (e exposition) want(t testing.TB, series map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(series)) {
		if got, ok := e[metricsNamespace+"_"+name]; !ok || got != series[name] {
			t.Errorf("%s: got %v (present: %t), want %v", name, got, ok, series[name])
		}
	}
}

// This function adds the labels config and provider to each series. A key of the argument looks
// like: mints_total kind="" outcome="success".
func of(config, provider string, series map[string]float64) map[string]float64 {
	all := map[string]float64{}
	for key, value := range series {
		parts := strings.Fields(key)
		labels := append(parts[1:], fmt.Sprintf("config=%q", config), fmt.Sprintf("provider=%q", provider))
		slices.Sort(labels)
		all[parts[0]+"{"+strings.Join(labels, ",")+"}"] = value
	}
	return all
}

func TestMetrics(t *testing.T) {
	m := newMount(t)
	m.scrape().want(t, map[string]float64{
		`accounts{provider="sinch-india"}`:                                    0,
		`mint_duration_seconds_count{provider="sinch-india"}`:                 0,
		`mints_in_progress{provider="enablex-rcs"}`:                           0,
		`configs_left_out`:                                                    0,
		`build_info{go_version="` + runtime.Version() + `",version="v1.2.3"}`: 1,
	})

	now := float64(m.clock.wall().Unix())
	m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
	m.token("sinch")
	m.token("sinch")
	m.write("config/rcs", m.enablex("rcs", fields{"verify_connection": false})).want(t, http.StatusNoContent)
	m.token("rcs")
	e := m.scrape()
	e.want(t, of("sinch", "sinch-india", map[string]float64{
		`reads_total served="fresh"`:                   2,
		`reads_total served="stale"`:                   0,
		`reads_total served="waited"`:                  0,
		`reads_total served="failed"`:                  0,
		`mints_total kind="" outcome="success"`:        1,
		`mints_total kind="refused" outcome="failure"`: 0,
		`token_minted_timestamp_seconds`:               now,
		`token_expiry_timestamp_seconds`:               now + 3600,
		`consecutive_failures kind="unavailable"`:      0,
		`backing_off`: 0,
	}))
	e.want(t, of("rcs", "enablex-rcs", map[string]float64{`reads_total served="waited"`: 1}))
	e.want(t, map[string]float64{
		`accounts{provider="sinch-india"}`:                             1,
		`accounts_failing{provider="sinch-india"}`:                     0,
		`mint_duration_seconds_count{provider="sinch-india"}`:          1,
		`mint_duration_seconds_bucket{provider="enablex-rcs",le="60"}`: 1,
	})
}

func TestMetricsOfFailures(t *testing.T) {
	kinds := map[string]string{
		"refused":      `{"kind": "refuse"}`,
		"rate_limited": `{"kind": "status", "status": 429, "retry_after": "60"}`,
		"unavailable":  `{"kind": "status", "status": 503}`,
		"malformed":    `{"kind": "not-json"}`,
	}
	for kind, fault := range kinds {
		t.Run(kind, func(t *testing.T) {
			m := newMount(t)
			m.write("config/sinch", m.sinch(nil)).want(t, http.StatusNoContent)
			m.simulate(`{"faults": [` + fault + `, {"kind": "refuse", "on": "refresh_token"}]}`)
			m.clock.advance(2 * time.Hour)
			m.read("creds/sinch")
			m.read("creds/sinch") // backs off
			e := m.scrape()
			want := map[string]float64{
				`reads_total served="failed"`:           2,
				`mints_total kind="" outcome="success"`: 1,
				`backing_off`:                           1,
			}
			for k := range kinds {
				n := 0.0
				if k == kind {
					n = 1
				}
				want[`mints_total kind="`+k+`" outcome="failure"`] = n
				want[`consecutive_failures kind="`+k+`"`] = n
			}
			e.want(t, of("sinch", "sinch-india", want))
			e.want(t, map[string]float64{`accounts_failing{provider="sinch-india"}`: 1})
			for _, name := range []string{"expiry", "minted"} {
				series := `vault_messaging_token_` + name + `_timestamp_seconds{config="sinch",provider="sinch-india"}`
				if _, ok := e[series]; ok {
					t.Errorf("got %s without a token, want it absent", series)
				}
			}

			m.simulate(`{"faults": null}`)
			m.clock.advance(2 * time.Hour)
			m.token("sinch")
			m.scrape().want(t, of("sinch", "sinch-india", map[string]float64{
				`mints_total kind="" outcome="success"`:             2,
				`mints_total kind="` + kind + `" outcome="failure"`: 1,
				`consecutive_failures kind="` + kind + `"`:          0,
				`backing_off`: 0,
			}))
		})
	}
}

func TestMetricsOfRunningMints(t *testing.T) {
	f := newFake(minting("t", time.Hour))
	m := newFakeMount(t, f, nil)
	m.write("config/b", fakeConfig).want(t, http.StatusNoContent)
	started, release := block(f)
	defer release()
	var rotates sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		rotates.Go(func() { m.rotate(name) })
		<-started
	}
	m.scrape().want(t, map[string]float64{
		`mints_in_progress{provider="fake"}`:           2,
		`mint_duration_seconds_count{provider="fake"}`: 2,
	})
	release()
	rotates.Wait()
	m.scrape().want(t, map[string]float64{
		`mints_in_progress{provider="fake"}`:           0,
		`mint_duration_seconds_count{provider="fake"}`: 4,
	})
}

func TestMetricsOfOtherMountsAndDeletedConfigs(t *testing.T) {
	m, n := newSinchMount(t, nil), newMount(t)
	n.write("config/b", n.sinch(nil)).want(t, http.StatusNoContent)
	m.delete("config/a").want(t, http.StatusNoContent)
	for series := range m.scrape() {
		if strings.Contains(series, `config=`) {
			t.Errorf("got %s, want no series of a config", series)
		}
	}
	n.scrape().want(t, map[string]float64{`accounts{provider="sinch-india"}`: 1})
}

func TestMetricsOfManyConfigs(t *testing.T) {
	f := newFake(minting("t", time.Hour))
	m := newMount(t, f)
	const more = 50
	for i := range maxConfigsShown + more {
		m.write(fmt.Sprintf("config/c%04d", i), fakeConfig).want(t, http.StatusNoContent)
	}
	last := fmt.Sprintf("c%04d", maxConfigsShown+more-1)
	f.set(down)
	m.rotate(last).want(t, http.StatusBadGateway)

	e := m.scrape()
	e.want(t, map[string]float64{
		`accounts{provider="fake"}`:         maxConfigsShown + more,
		`accounts_failing{provider="fake"}`: 1,
		`configs_left_out`:                  more,
	})
	e.want(t, of(last, "fake", map[string]float64{`consecutive_failures kind="unavailable"`: 1}))
	var shown []string
	for series := range e {
		if name, ok := strings.CutPrefix(series, `vault_messaging_backing_off{config="`); ok {
			shown = append(shown, strings.TrimSuffix(name, `",provider="fake"}`))
		}
	}
	slices.Sort(shown)
	if len(shown) != maxConfigsShown || shown[0] != "c0000" || shown[maxConfigsShown-2] != "c0998" || shown[maxConfigsShown-1] != last {
		t.Errorf("got %d configs, from %s to %s and %s; want %d, from c0000 to c0998 and %s", len(shown), shown[0], shown[len(shown)-2], shown[len(shown)-1], maxConfigsShown, last)
	}
}

// A panic during a scrape becomes a 500, although the panic is in another goroutine.
func TestMetricsRecover(t *testing.T) {
	m := newMount(t)
	b := m.Backend.(*backend)
	metrics := telemetry.NewMetrics("v1.2.3")
	metrics.Collect(nil, nil) // which panics when it is read
	read := (&metricsPath{responder: b.responder, metrics: metrics}).path().Operations[logical.ReadOperation].Handler()
	req := &logical.Request{Operation: logical.ReadOperation, Path: "metrics"}
	resp, err := read(t.Context(), req, nil)
	m.answer(req, resp, err).want(t, http.StatusInternalServerError, "a panic")
	m.wantLogged("recovered from a panic")
}

// A scrape loads no accounts and does not wait for a provider.
func TestMetricsAskNothing(t *testing.T) {
	m := newSinchMount(t, nil).restart()
	m.storage.takeCalls()
	before := m.logins()
	m.scrape().want(t, map[string]float64{`accounts{provider="sinch-india"}`: 0})
	m.wantLogins(before)
	m.wantCalls()
}
