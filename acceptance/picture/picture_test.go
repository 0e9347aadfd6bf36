// SPDX-License-Identifier: MPL-2.0

// Package picture draws docs/metrics.svg, the metrics of three accounts during an outage. Run it
// with scripts/picture. It asserts nothing.
package picture

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// The test writes the configs at different times. So one token is refreshed before the outage, and
// one after the outage. The third token ends during the outage.
const (
	tokenLife    = 60 * time.Second
	length       = 110 * time.Second
	outageBegins = 40 * time.Second
	outageEnds   = 70 * time.Second
)

var accounts = []struct {
	config, provider, color string
	fields                  harness.Fields
}{
	{"sinch", simulator.SinchIndia, "#1f77b4", harness.Fields{"username": "acme", "password": "correct-horse"}},
	{"whatsapp", simulator.EnableXWhatsApp, "#9467bd", enablex},
	{"rcs", simulator.EnableXRCS, "#17a589", enablex},
}

var enablex = harness.Fields{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": "battery-staple-app-key"}

func TestMain(m *testing.M) { harness.Main(m) }

func TestPicture(t *testing.T) {
	sim, server := harness.StartSimulator(t), harness.StartDev(t)
	server.InstallPlugin(t)
	sim.Configure(t, fmt.Sprintf(`{"access_ttl": %d}`, int(tokenLife.Seconds())))
	for i, a := range accounts {
		if i > 0 {
			time.Sleep(tokenLife / 4)
		}
		config := harness.Fields{"provider": a.provider, "token_url": sim.TokenURL(a.provider), "lease": false}
		maps.Copy(config, a.fields)
		server.Write(t, "messaging/config/"+a.config, config).OK(t)
		harness.Repeat(t, 20*time.Millisecond, func() { _, _ = server.Do("GET", "messaging/creds/"+a.config, nil) })
	}
	if err := os.WriteFile("../../docs/metrics.svg", []byte(drawing(record(t, server, sim))), 0o644); err != nil {
		t.Fatal(err)
	}
}

// frame is one scrape of the metrics.
type frame struct {
	at     time.Duration
	series map[string]float64
}

func record(t *testing.T, server *harness.Server, sim *harness.Simulator) []frame {
	knobs := []struct {
		at       time.Duration
		settings string
	}{{outageBegins, `{"faults": [{"kind": "status", "status": 503}]}`}, {outageEnds, `{"faults": null}`}}
	var frames []frame
	began := time.Now()
	for now := time.Since(began); now < length; now = time.Since(began) {
		if len(knobs) > 0 && now >= knobs[0].at {
			sim.Configure(t, knobs[0].settings)
			knobs = knobs[1:]
		}
		f := frame{at: now, series: map[string]float64{}}
		for line := range strings.Lines(server.Read(t, "messaging/metrics").OK(t).Raw) {
			if i := strings.LastIndexByte(line, ' '); line[0] != '#' {
				f.series[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			}
		}
		for _, a := range accounts {
			expiry := f.sum(`token_expiry_timestamp_seconds\{config="` + a.config + `"`) // 0 without a token
			f.series["life of "+a.config] = max(expiry-float64(began.Add(now).UnixMilli())/1e3, 0)
		}
		frames = append(frames, f)
		time.Sleep(500 * time.Millisecond)
	}
	return frames
}

// sum returns the sum of the series that match a pattern.
func (f frame) sum(pattern string) (sum float64) {
	re := regexp.MustCompile(pattern)
	for series, v := range f.series {
		if re.MatchString(series) {
			sum += v
		}
	}
	return sum
}
