// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// leases is the number of leases for BenchmarkLeases.
const leases = 20_000

// fewRounds is small, because reads with leases are slow.
const fewRounds = 3

// BenchmarkLeases measures what leases cost on integrated storage, for docs/performance.md.
func BenchmarkLeases(b *testing.B) {
	s, sim := harness.StartRaft(b), harness.StartSimulator(b)
	s.InstallPlugin(b)
	sim.Configure(b, `{"any_account": true}`)
	config(b, s, sim, "messaging/config/leased", "leased", true)
	config(b, s, sim, "messaging/config/plain", "plain", false)
	c := newClient(s.Addr, s.Token)
	c.measure(b, oneRound/2, always("messaging/creds/leased"))

	fmt.Printf("\nIntegrated storage (raft, one node, trace log), %d readers, %d rounds of %s.\n", readers, fewRounds, oneRound)
	entries, bytes := lastIndex(b, s), size(b, s)
	inParallel(leases, func(int) {
		if err := c.read("messaging/creds/leased"); err != nil {
			b.Error(err)
		}
	})
	row("each lease: %.2f entries in raft's log, %d bytes on disk (data, and raft's log before compaction)",
		float64(lastIndex(b, s)-entries)/leases, (size(b, s)-bytes)/leases)

	began := time.Now()
	s.Stop()
	s.Start(b)
	s.WaitActive(b)
	active := time.Since(began)
	if err := c.read("messaging/creds/leased"); err != nil {
		b.Fatal(err)
	}
	answered := time.Since(began)
	harness.Within(b, 5*time.Minute, "Vault restores the leases", func() error {
		if strings.Count(harness.ReadFile(b, s.Log), "expiration: lease restore complete") < 2 { // the first start logged it too
			return errors.New("the log does not say so")
		}
		return nil
	})
	row("a restart with %d leases: active after %s, first read after %s, leases restored after %s",
		leases, active.Round(time.Millisecond), answered.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	var leased, plain []load
	for range fewRounds {
		leased = append(leased, c.measure(b, oneRound, always("messaging/creds/leased")))
		plain = append(plain, c.measure(b, oneRound, always("messaging/creds/plain")))
	}
	compareRow("without leases", plain, plain)
	compareRow("with leases", plain, leased)
}

// lastIndex returns the index of the last entry in raft's log.
func lastIndex(b *testing.B, s *harness.Server) int {
	b.Helper()
	var index int
	raw := s.Read(b, "sys/storage/raft/autopilot/state").OK(b).Raw
	if _, after, ok := strings.Cut(raw, `"last_index":`); ok {
		_, _ = fmt.Sscan(strings.FieldsFunc(after, func(r rune) bool { return r < '0' || r > '9' })[0], &index)
	}
	return index
}

// size returns the size of the server's data folder.
func size(b *testing.B, s *harness.Server) (bytes int64) {
	b.Helper()
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
		b.Fatal(err)
	}
	return bytes
}
