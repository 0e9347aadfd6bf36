// SPDX-License-Identifier: MPL-2.0

// Package bench measures what the engine costs in a real Vault server. The baseline is the plugin
// in acceptance/floor, which returns constants.
//
// "make bench" runs the benchmarks. The benchmarks print tables and assert nothing.
package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

const (
	rounds   = 9
	oneRound = 2 * time.Second
)

func TestMain(m *testing.M) { harness.Main(m) }

// accounts returns the value of BENCH_ACCOUNTS, or 100,000 by default.
func accounts() int {
	n, err := strconv.Atoi(os.Getenv("BENCH_ACCOUNTS"))
	if err != nil {
		return 100_000
	}
	return n
}

// server starts a dev server with the engine at messaging/ and the baseline plugin at floor/. Both
// binaries must be in the same folder.
func server(b *testing.B) (*harness.Server, *harness.Simulator) {
	b.Helper()
	if os.Getenv("FLOOR_BIN") == "" {
		b.Skip(`FLOOR_BIN is not set: run this benchmark with "make bench"`)
	}
	s := harness.StartDevWith(b, harness.Options{LogLevel: "error"})
	s.InstallPlugin(b)
	s.Install(b, "floor", os.Getenv("FLOOR_BIN"), "floor")
	sim := harness.StartSimulator(b)
	sim.Configure(b, `{"any_account": true}`)
	return s, sim
}

// config writes the config of an account without a login.
func config(b *testing.B, s *harness.Server, sim *harness.Simulator, path, user string, lease bool) {
	b.Helper()
	s.Write(b, path, harness.Fields{
		"provider": simulator.SinchIndia, "username": user, "password": user + "-secret",
		"token_url": sim.TokenURL(simulator.SinchIndia), "lease": lease, "verify_connection": false,
	}).OK(b)
}

// row prints a row of the table.
func row(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// compareRow prints medians and the ratio to the baseline.
func compareRow(name string, baseline, loads []load) {
	var ratios []float64
	for i := range loads {
		ratios = append(ratios, loads[i].perSecond/baseline[i].perSecond)
	}
	m := medians(loads)
	row("%-34s %8.0f reads/s  p50 %6s  p99 %6s   ratio %s", name, m.perSecond,
		m.p50.Round(10*time.Microsecond), m.p99.Round(10*time.Microsecond), spread(ratios))
}

// always returns a function that returns the path.
func always(path string) func() string { return func() string { return path } }

func BenchmarkCachedRead(b *testing.B) {
	s, sim := server(b)
	config(b, s, sim, "messaging/config/leased", "leased", true)
	config(b, s, sim, "messaging/config/plain", "plain", false)
	c := newClient(s.Addr, s.Token)
	paths := []string{"floor/creds/a", "messaging/creds/leased", "floor/plain/a", "messaging/creds/plain"}
	for _, p := range paths { // warm up
		c.measure(b, oneRound/2, always(p))
	}
	loads := make([][]load, len(paths))
	for range rounds {
		for i, p := range paths {
			loads[i] = append(loads[i], c.measure(b, oneRound, always(p)))
		}
	}
	fmt.Printf("\nCached reads by %d readers, in %d rounds of %s for each row. The floor is a plugin that returns constants.\n"+
		"The ratio is reads per second divided by the floor's in the same round: median (lowest to highest).\n", readers, rounds, oneRound)
	compareRow("floor, with a lease", loads[0], loads[0])
	compareRow("engine, with a lease", loads[0], loads[1])
	compareRow("floor, without a lease", loads[2], loads[2])
	compareRow("engine, without a lease", loads[2], loads[3])
}

// BenchmarkReadDuringRefresh compares reads during a slow refresh with reads without a refresh.
func BenchmarkReadDuringRefresh(b *testing.B) {
	s, sim := server(b)
	c := newClient(s.Addr, s.Token)
	var quiet, busy []load
	for i := range rounds {
		name := fmt.Sprintf("r%d", i) // a second rotate of one account within 10 s mints no token
		config(b, s, sim, "messaging/config/"+name, name, false)
		read := always("messaging/creds/" + name)
		c.measure(b, oneRound/2, read)
		quiet = append(quiet, c.measure(b, oneRound, read))
		sim.Configure(b, `{"latency": 2}`)
		done := make(chan error)
		go func() {
			_, err := s.Do("PUT", "messaging/rotate/"+name, nil)
			done <- err
		}()
		busy = append(busy, c.measure(b, oneRound-oneRound/10, read))
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		sim.Configure(b, `{"latency": 0}`)
	}
	var ratios []float64
	for i := range quiet {
		ratios = append(ratios, float64(busy[i].p99)/float64(quiet[i].p99))
	}
	fmt.Printf("\nCached reads, without a refresh and during a refresh that takes the provider 2s. The ratio is of their p99.\n")
	row("p99 %s without, %s during a refresh   ratio %s", medians(quiet).p99, medians(busy).p99, spread(ratios))
}

// BenchmarkAccounts compares reads of many accounts with reads of one account.
func BenchmarkAccounts(b *testing.B) {
	s, sim := server(b)
	n := accounts()
	s.Write(b, "sys/mounts/grown", harness.Fields{"type": harness.PluginName}).OK(b)
	config(b, s, sim, "messaging/config/a", "one", false)
	c := newClient(s.Addr, s.Token)
	c.measure(b, oneRound, always("messaging/creds/a"))
	before := rss(b, s)
	inParallel(n, func(i int) {
		name := fmt.Sprintf("a%d", i)
		config(b, s, sim, "grown/config/"+name, name, false)
		if err := c.read("grown/creds/" + name); err != nil {
			b.Error(err)
		}
	})
	if b.Failed() {
		b.FailNow()
	}
	var one, many []load
	random := func() string { return fmt.Sprintf("grown/creds/a%d", rand.IntN(n)) }
	c.measure(b, oneRound, random)
	for range rounds {
		one = append(one, c.measure(b, oneRound, always("messaging/creds/a")))
		many = append(many, c.measure(b, oneRound, random))
	}
	fmt.Printf("\nRandom reads of %d accounts with cached tokens, compared with reads of one account, without leases.\n", n)
	compareRow("one account", one, one)
	compareRow(fmt.Sprintf("%d accounts", n), one, many)
	row("memory of the plugin process (RSS): %d MiB with one account, %d MiB with all accounts, %d bytes per account with tokens and free heap",
		before>>20, rss(b, s)>>20, (rss(b, s)-before)/int64(n))

	var cold []float64
	for range rounds {
		s.KillPlugin(b)
		began := time.Now()
		if err := c.read("grown/creds/a0"); err != nil {
			b.Fatal(err)
		}
		cold = append(cold, time.Since(began).Seconds())
	}
	row("from the start of a plugin process to its first response, with %d accounts stored: %s s", n, spread(cold))
}

// inParallel calls f with 0 to n-1, from several goroutines.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for w := range readers {
		wg.Go(func() {
			for i := w; i < n; i += readers {
				f(i)
			}
		})
	}
	wg.Wait()
}

// rss returns the resident memory, in bytes, of the server's largest plugin process.
func rss(b *testing.B, s *harness.Server) (largest int64) {
	b.Helper()
	for _, pid := range s.PluginPIDs() {
		for line := range strings.Lines(harness.ReadFile(b, fmt.Sprintf("/proc/%d/status", pid))) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				largest = max(largest, kib<<10)
			}
		}
	}
	return largest
}
