// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// leases is how many leases the capacity rows are measured with.
const leases = 20_000

// fewRounds is enough where two figures differ by a factor.
const fewRounds = 3

// What leases cost on integrated storage, for the capacity model of
// docs/performance.md.
func TestCapacity(t *testing.T) {
	if os.Getenv("FLOOR_BIN") == "" {
		t.Skip(`run it with "make bench"`)
	}
	s, sim := harness.StartRaft(t), harness.StartSimulator(t)
	s.InstallPlugin(t)
	sim.Turn(t, `{"any_account": true}`)
	config(t, s, sim, "messaging/config/leased", "leased", true)
	config(t, s, sim, "messaging/config/plain", "plain", false)
	c := newClient(s.Addr, s.Token)
	c.measure(t, oneRound/2, always("messaging/creds/leased"))

	fmt.Printf("\nOn integrated storage (raft, one node, its log at trace level), %d readers, %d rounds of %s.\n", readers, fewRounds, oneRound)
	before, bytes := indexed(t, s), size(t, s)
	spreadWork(leases, func(int) {
		if err := c.read("messaging/creds/leased"); err != nil {
			t.Error(err)
		}
	})
	row("a lease: %.2f writes by raft's index, %d bytes of disk (raft's log, which is compacted in time, and the data)",
		float64(indexed(t, s)-before)/leases, (size(t, s)-bytes)/leases)

	began := time.Now()
	s.Stop()
	s.Start(t)
	s.WaitActive(t)
	active := time.Since(began)
	if err := c.read("messaging/creds/leased"); err != nil {
		t.Fatal(err)
	}
	answered := time.Since(began)
	harness.Within(t, 5*time.Minute, "the leases are restored", func() error {
		log, err := os.ReadFile(s.Log)
		if err != nil {
			return err
		}
		if strings.Count(string(log), "expiration: lease restore complete") < 2 { // the first was of no leases
			return errors.New("not yet")
		}
		return nil
	})
	row("a restart with %d leases: active after %s, first read after %s, leases restored after %s",
		leases, active.Round(time.Millisecond), answered.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	var leased, plain []load
	for range fewRounds {
		leased = append(leased, c.measure(t, oneRound, always("messaging/creds/leased")))
		plain = append(plain, c.measure(t, oneRound, always("messaging/creds/plain")))
	}
	compared("lease=false", plain, plain)
	compared("with a lease", plain, leased)
}

// indexed returns how many entries raft's log has had.
func indexed(t *testing.T, s *harness.Server) int {
	t.Helper()
	var index int
	raw := s.Read(t, "sys/storage/raft/autopilot/state").OK(t).Raw
	if _, after, ok := strings.Cut(raw, `"last_index":`); ok {
		_, _ = fmt.Sscan(strings.FieldsFunc(after, func(r rune) bool { return r < '0' || r > '9' })[0], &index)
	}
	return index
}

// size returns the bytes of the server's data folder.
func size(t *testing.T, s *harness.Server) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(s.Data(), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
