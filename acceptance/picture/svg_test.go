// SPDX-License-Identifier: MPL-2.0

package picture

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// line is one line of a chart.
type line struct {
	name, color string
	points      []point
}

type point struct {
	at    time.Duration
	value float64
}

// left, width and height are the sizes of a chart, in pixels.
const left, width, height = 50.0, 790.0, 130.0

func drawing(frames []frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 870 610" font-family="sans-serif" font-size="12" fill="#333">`+"\n"+
		`<title>Metrics of three accounts while their providers are down for %s</title><rect width="870" height="610" fill="white"/>`+"\n", outageEnds-outageBegins)
	var lives []line
	for _, a := range accounts {
		lives = append(lives, total(frames, "config "+a.config, a.color, "^life of "+a.config+"$"))
	}
	chart(&b, 40, "Remaining life of the cached token (s)", lives)
	chart(&b, 240, "Reads a second, by how they were served", []line{
		rate(frames, "fresh", "#2ca02c"), rate(frames, "stale", "#e6a700"), rate(frames, "waited", "#1f77b4"), rate(frames, "failed", "#d62728")})
	chart(&b, 440, "Mints so far, and failures in a row", []line{
		total(frames, "mints that succeeded", "#2ca02c", `mints_total\{.*outcome="success"`),
		total(frames, "mints that failed", "#d62728", `mints_total\{.*outcome="failure"`),
		total(frames, "failures in a row", "#e6a700", `consecutive_failures\{`)})
	b.WriteString("</svg>\n")
	return b.String()
}

// total returns the sums of the series that match a pattern.
func total(frames []frame, name, color, pattern string) line {
	l := line{name: name, color: color}
	for _, f := range frames {
		l.points = append(l.points, point{f.at, f.sum(pattern)})
	}
	return l
}

// rate returns the reads per second over the last four frames.
func rate(frames []frame, served, color string) line {
	const over = 4
	l := line{name: served, color: color}
	sums := total(frames, "", "", `reads_total\{.*served="`+served+`"`).points
	for i := over; i < len(sums); i++ {
		before, now := sums[i-over], sums[i]
		l.points = append(l.points, point{now.at, (now.value - before.value) / (now.at - before.at).Seconds()})
	}
	return l
}

// chart draws a chart whose upper edge is at top.
func chart(b *strings.Builder, top float64, title string, lines []line) {
	x := func(at time.Duration) float64 { return left + width*at.Seconds()/length.Seconds() }
	highest := 1.0
	for _, l := range lines {
		for _, p := range l.points {
			highest = max(highest, p.value)
		}
	}
	step := 1.0
	for _, step = range []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000} {
		if highest/step <= 4 {
			break
		}
	}
	highest *= 1.05
	y := func(value float64) float64 { return top + height - height*value/highest }

	fmt.Fprintf(b, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" fill="#d62728" fill-opacity="0.08"/>`+"\n", x(outageBegins), top, x(outageEnds)-x(outageBegins), height)
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" fill="#a33">providers down</text>`+"\n", x(outageBegins)+6, top+height-8)
	for v := 0.0; v <= highest; v += step {
		fmt.Fprintf(b, `<path d="M%.0f %.1fh%.0f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y(v), width, left-6, y(v)+4, v)
	}
	for at := time.Duration(0); at <= length; at += 10 * time.Second {
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle">%.0f s</text>`+"\n", x(at), top+height+16, at.Seconds())
	}
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", left, top-10, title)
	legend := left + width
	for _, l := range slices.Backward(lines) {
		legend -= 40 + 6.2*float64(len(l.name))
		fmt.Fprintf(b, `<path d="M%.0f %.0fh18" stroke="%s" stroke-width="3"/><text x="%.0f" y="%.0f">%s</text>`+"\n", legend, top-14, l.color, legend+23, top-10, l.name)
		var corners []string
		for _, p := range l.points {
			corners = append(corners, fmt.Sprintf("%.1f %.1f", x(p.at), y(p.value)))
		}
		fmt.Fprintf(b, `<path d="M%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", strings.Join(corners, "L"), l.color)
	}
}
