// SPDX-License-Identifier: MPL-2.0

package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestInstant(t *testing.T) {
	wall := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	i := Instant{wall, time.Hour}
	for _, test := range []struct {
		name         string
		wall, mono   time.Duration // that pass
		since, until time.Duration
	}{
		{"both agree", time.Minute, time.Minute, time.Minute, -time.Minute},
		{"wall set forward, or suspended", 24 * time.Hour, time.Minute, 24 * time.Hour, -time.Minute},
		{"wall set back", -24 * time.Hour, time.Minute, time.Minute, -time.Minute},
	} {
		later := Instant{wall.Add(test.wall), time.Hour + test.mono}
		if got := later.Since(i); got != test.since {
			t.Errorf("%s: Since: got %s, want %s", test.name, got, test.since)
		}
		if got := later.Until(i); got != test.until {
			t.Errorf("%s: Until: got %s, want %s", test.name, got, test.until)
		}
	}
	if got, want := i.Add(-time.Minute), (Instant{wall.Add(-time.Minute), 59 * time.Minute}); got != want {
		t.Errorf("Add(-1m): got %v, want %v", got, want)
	}
	if got, want := i.At(wall.Add(-2*time.Hour)), (Instant{wall.Add(-2 * time.Hour), -time.Hour}); got != want {
		t.Errorf("At(two hours ago): got %v, want %v", got, want)
	}
}

func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := System()
		first := now()
		time.Sleep(time.Hour)
		second := now()
		if wall, mono := second.Wall.Sub(first.Wall), second.Mono-first.Mono; wall != time.Hour || mono != time.Hour {
			t.Errorf("an hour later: got %s on the wall clock and %s on the monotonic clock, want 1h on both", wall, mono)
		}
		if second.Wall != second.Wall.Round(0) {
			t.Errorf("Wall: got %v, want no monotonic reading", second.Wall)
		}
	})
}
