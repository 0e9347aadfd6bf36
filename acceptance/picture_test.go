// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// The run that is drawn: tokens of a minute, a quarter of it apart and read all the
// time, and providers that are down in the middle. One token is renewed before
// they are and one after, and one ends meanwhile.
const (
	pictureTTL    = 60 * time.Second
	pictureLength = 110 * time.Second
	outageBegins  = 40 * time.Second
	outageEnds    = 70 * time.Second
)

// frame is one scrape.
type frame struct {
	at     time.Duration
	series map[string]float64
}

// sum returns the sum of the series that match.
func (f frame) sum(pattern string) (sum float64) {
	re := regexp.MustCompile(pattern)
	for series, v := range f.series {
		if re.MatchString(series) {
			sum += v
		}
	}
	return sum
}

// TestPicture draws docs/metrics.svg: scripts/picture runs it.
func TestPicture(t *testing.T) {
	svg := os.Getenv("PICTURE")
	if svg == "" {
		t.Skip("scripts/picture draws it")
	}
	w := newWorld(t)
	w.sim.Configure(t, fmt.Sprintf(`{"access_ttl": %d}`, int(pictureTTL.Seconds())))
	done := make(chan struct{})
	defer close(done)
	for i, a := range accounts {
		if i > 0 {
			time.Sleep(pictureTTL / 4)
		}
		w.configure(t, a, harness.Fields{"lease": false})
		go func() {
			for tick := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-done:
					tick.Stop()
					return
				case <-tick.C:
					_, _ = w.Do("GET", a.creds(), nil)
				}
			}
		}()
	}
	knobs := []struct {
		at       time.Duration
		settings string
	}{{outageBegins, `{"faults": [{"kind": "status", "status": 503}]}`}, {outageEnds, `{"faults": null}`}}
	token := w.AppToken(t, file(t, "../docs/prometheus/policy.hcl"))
	var frames []frame
	began := time.Now()
	for now := time.Since(began); now < pictureLength; now = time.Since(began) {
		if len(knobs) > 0 && now >= knobs[0].at {
			w.sim.Configure(t, knobs[0].settings)
			knobs = knobs[1:]
		}
		f := frame{at: now, series: map[string]float64{}}
		for line := range strings.Lines(scrape(t, w.Server, token)) {
			if i := strings.LastIndexByte(line, ' '); line[0] != '#' {
				f.series[line[:i]], _ = strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
			}
		}
		for _, a := range accounts {
			series := fmt.Sprintf("vault_messaging_token_expiry_timestamp_seconds{config=%q,provider=%q}", a.config, a.provider)
			if expiry, ok := f.series[series]; ok {
				f.series["left "+a.config] = expiry - float64(began.Add(now).UnixMilli())/1e3
			}
		}
		frames = append(frames, f)
		time.Sleep(500 * time.Millisecond)
	}
	if err := os.WriteFile(svg, []byte(drawing(frames)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// line is one line of a chart.
type line struct {
	name, color string
	points      map[time.Duration]float64
}

func drawing(frames []frame) string {
	left := []line{}
	for i, a := range accounts {
		l := line{"config " + a.config, []string{"#1f77b4", "#9467bd", "#17a589"}[i], map[time.Duration]float64{}}
		for _, f := range frames {
			if v, ok := f.series["left "+a.config]; ok {
				l.points[f.at] = max(v, 0)
			}
		}
		left = append(left, l)
	}
	rate := func(name, color, pattern string) line {
		const over = 4 // frames
		l := line{name, color, map[time.Duration]float64{}}
		for i := over; i < len(frames); i++ {
			f, g := frames[i-over], frames[i]
			l.points[g.at] = (g.sum(pattern) - f.sum(pattern)) / (g.at - f.at).Seconds()
		}
		return l
	}
	var reads []line
	for _, served := range []string{"fresh #2ca02c", "stale #e6a700", "waited #1f77b4", "failed #d62728"} {
		name, color, _ := strings.Cut(served, " ")
		reads = append(reads, rate(name, color, `reads_total\{.*served="`+name+`"`))
	}
	total := func(name, color, pattern string) line {
		l := line{name, color, map[time.Duration]float64{}}
		for _, f := range frames {
			l.points[f.at] = f.sum(pattern)
		}
		return l
	}
	mints := []line{
		total("mints that succeeded", "#2ca02c", `mints_total\{.*outcome="success"`),
		total("mints that failed", "#d62728", `mints_total\{.*outcome="failure"`),
		total("failures in a row", "#e6a700", `consecutive_failures\{`),
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 870 610" font-family="sans-serif" font-size="12" fill="#333">`+"\n"+
		`<title>Metrics of three accounts while their providers are down for %s</title><rect width="870" height="610" fill="white"/>`+"\n", outageEnds-outageBegins)
	chart(&b, 40, "Life left of the token in hand (s)", left)
	chart(&b, 240, "Reads a second, by how they were served", reads)
	chart(&b, 440, "Mints so far, and failures in a row", mints)
	b.WriteString("</svg>\n")
	return b.String()
}

// chart draws a chart 130 high whose upper edge is at y.
func chart(b *strings.Builder, y float64, title string, lines []line) {
	const left, width, height = 50.0, 790.0, 130.0
	x := func(at time.Duration) float64 { return left + width*at.Seconds()/pictureLength.Seconds() }
	highest := 1.0
	for _, l := range lines {
		for _, v := range l.points {
			highest = max(highest, v)
		}
	}
	step := 1.0
	for _, s := range []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000} {
		if step = s; highest/s <= 4 {
			break
		}
	}
	highest *= 1.05
	fmt.Fprintf(b, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" fill="#d62728" fill-opacity="0.08"/>`+"\n", x(outageBegins), y, x(outageEnds)-x(outageBegins), height)
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" fill="#a33">providers down</text>`+"\n", x(outageBegins)+6, y+height-8)
	for v := 0.0; v <= highest; v += step {
		at := y + height - height*v/highest
		fmt.Fprintf(b, `<path d="M%.0f %.1fh%.0f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end">%g</text>`+"\n", left, at, width, left-6, at+4, v)
	}
	for at := time.Duration(0); at <= pictureLength; at += 10 * time.Second {
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle">%.0f s</text>`+"\n", x(at), y+height+16, at.Seconds())
	}
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", left, y-10, title)
	at := left + width
	for _, l := range slices.Backward(lines) {
		at -= 40 + 6.2*float64(len(l.name))
		fmt.Fprintf(b, `<path d="M%.0f %.0fh18" stroke="%s" stroke-width="3"/><text x="%.0f" y="%.0f">%s</text>`+"\n", at, y-14, l.color, at+23, y-10, l.name)
	}
	for _, l := range lines {
		var path strings.Builder
		var before time.Duration
		for _, at := range slices.Sorted(maps.Keys(l.points)) {
			to := "L"
			if path.Len() == 0 || at-before > 2*time.Second {
				to = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", to, x(at), y+height-height*l.points[at]/highest)
			before = at
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", path.String(), l.color)
	}
}
