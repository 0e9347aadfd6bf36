// SPDX-License-Identifier: MPL-2.0

// Package bench measures the engine in a real Vault server, beside a plugin that
// answers with a constant (acceptance/floor): what Vault and its plugin protocol
// cost is the same for both, so that the ratio of the two is the engine's own.
//
// Run it with "make bench". It measures and asserts nothing: these machines are
// noisy, and the table is for people.
package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

	floorName = "floor"
)

func TestMain(m *testing.M) { harness.Main(m) }

// accounts is how many accounts the growth rows have.
func accounts(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("BENCH_ACCOUNTS"))
	if err != nil {
		return 100_000
	}
	return n
}

// server starts a dev server that logs errors only, with the engine at
// messaging/ and the floor at floor/.
func server(t *testing.T) (*harness.Server, *harness.Simulator) {
	t.Helper()
	if os.Getenv("FLOOR_BIN") == "" {
		t.Skip(`needs FLOOR_BIN: run it with "make bench"`)
	}
	dir := filepath.Join(t.TempDir(), "plugins")
	harness.CopyPlugin(t, dir)
	binary, err := os.ReadFile(os.Getenv("FLOOR_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, floorName), binary, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(binary)
	s := harness.StartDevWith(t, harness.Options{PluginDir: dir, LogLevel: "error"})
	s.InstallPlugin(t)
	s.Write(t, "sys/plugins/catalog/secret/"+floorName, harness.Fields{"sha256": hex.EncodeToString(sum[:]), "command": floorName}).OK(t)
	s.Write(t, "sys/mounts/"+floorName, harness.Fields{"type": floorName}).OK(t)
	sim := harness.StartSimulator(t)
	sim.Turn(t, `{"any_account": true}`)
	return s, sim
}

// config writes the config of an account, which its first read mints for.
func config(t *testing.T, s *harness.Server, sim *harness.Simulator, path, user string, lease bool) {
	t.Helper()
	s.Write(t, path, harness.Fields{
		"provider": simulator.SinchIndia, "username": user, "password": user + "-secret",
		"token_url": sim.TokenURL(simulator.SinchIndia), "lease": lease, "verify_connection": false,
	}).OK(t)
}

// row prints a line of the table.
func row(format string, args ...any) { fmt.Printf("  "+format+"\n", args...) }

// compared prints the row of a, and that of b with its ratio to a round by round.
func compared(what string, a, b []load) {
	var ratios []float64
	for i := range a {
		ratios = append(ratios, b[i].perSecond/a[i].perSecond)
	}
	median, least, most := spread(ratios)
	row("%-34s %8.0f reads/s  p50 %6s  p99 %6s   ratio %.3f (%.3f to %.3f)", what, middle(b).perSecond,
		middle(b).p50.Round(10*time.Microsecond), middle(b).p99.Round(10*time.Microsecond), median, least, most)
}

// middle returns the median of each figure.
func middle(loads []load) load {
	var perSecond, p50, p99 []float64
	for _, l := range loads {
		perSecond, p50, p99 = append(perSecond, l.perSecond), append(p50, float64(l.p50)), append(p99, float64(l.p99))
	}
	m50, _, _ := spread(p50)
	m99, _, _ := spread(p99)
	rate, _, _ := spread(perSecond)
	return load{rate, time.Duration(m50), time.Duration(m99)}
}

// always reads one path.
func always(path string) func(int, int) string { return func(int, int) string { return path } }

func TestFloor(t *testing.T) {
	s, sim := server(t)
	config(t, s, sim, "messaging/config/leased", "leased", true)
	config(t, s, sim, "messaging/config/plain", "plain", false)
	c := newClient(s.Addr, s.Token)
	paths := []string{"floor/creds/a", "messaging/creds/leased", "floor/plain/a", "messaging/creds/plain"}
	for _, p := range paths { // warm up
		c.measure(t, oneRound/2, always(p))
	}
	loads := make([][]load, len(paths))
	for range rounds {
		for i, p := range paths {
			loads[i] = append(loads[i], c.measure(t, oneRound, always(p)))
		}
	}
	fmt.Printf("\nCached reads, %d readers, %d rounds of %s each in turn. The floor is a plugin that answers with a constant;\n"+
		"ratio is reads a second over those of the floor in the same round: median (least to most).\n", readers, rounds, oneRound)
	compared("floor, with a lease", loads[0], loads[0])
	compared("engine, with a lease", loads[0], loads[1])
	compared("floor, without", loads[2], loads[2])
	compared("engine, without (lease=false)", loads[2], loads[3])
}

// A refresh against a provider that takes two seconds must not be felt by readers.
func TestReadsDuringARefresh(t *testing.T) {
	s, sim := server(t)
	c := newClient(s.Addr, s.Token)
	var quiet, busy []load
	for i := range rounds {
		name := fmt.Sprintf("r%d", i) // rotates of one account within 10 s share a mint
		config(t, s, sim, "messaging/config/"+name, name, false)
		read := always("messaging/creds/" + name)
		c.measure(t, oneRound/2, read)
		quiet = append(quiet, c.measure(t, oneRound, read))
		sim.Turn(t, `{"latency": 2}`)
		done := make(chan error)
		go func() {
			_, err := s.Do("PUT", "messaging/rotate/"+name, nil)
			done <- err
		}()
		busy = append(busy, c.measure(t, oneRound-oneRound/10, read))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		sim.Turn(t, `{"latency": 0}`)
	}
	var ratios []float64
	for i := range quiet {
		ratios = append(ratios, float64(busy[i].p99)/float64(quiet[i].p99))
	}
	median, least, most := spread(ratios)
	fmt.Printf("\nCached reads while the token is refreshed at a provider that takes 2s; ratio is p99 over p99 without.\n")
	row("p99 %s without, %s during a refresh   ratio %.3f (%.3f to %.3f)", middle(quiet).p99, middle(busy).p99, median, least, most)
}

// Many accounts must cost a read nothing.
func TestGrowth(t *testing.T) {
	s, sim := server(t)
	n := accounts(t)
	s.Write(t, "sys/mounts/grown", harness.Fields{"type": harness.PluginName}).OK(t)
	config(t, s, sim, "messaging/config/a", "one", false)
	c := newClient(s.Addr, s.Token)
	c.measure(t, oneRound, always("messaging/creds/a"))
	before := rss(t, s)
	spreadWork(n, func(i int) {
		name := fmt.Sprintf("a%d", i)
		config(t, s, sim, "grown/config/"+name, name, false)
		if err := c.read("grown/creds/" + name); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	var one, many []load
	random := func(int, int) string { return fmt.Sprintf("grown/creds/a%d", rand.IntN(n)) }
	c.measure(t, oneRound, random)
	for range rounds {
		one = append(one, c.measure(t, oneRound, always("messaging/creds/a")))
		many = append(many, c.measure(t, oneRound, random))
	}
	fmt.Printf("\n%d accounts with hot tokens, read at random, over one account; lease=false.\n", n)
	compared("one account", one, one)
	compared(fmt.Sprintf("%d accounts", n), one, many)
	row("memory of the plugin process (RSS): %d MiB with one account, %d MiB with all: %d bytes an account, tokens and heap head room included",
		before>>20, rss(t, s)>>20, (rss(t, s)-before)/int64(n))

	var cold []float64
	for range rounds {
		s.KillPlugin(t)
		began := time.Now()
		if err := c.read("grown/creds/a0"); err != nil {
			t.Fatal(err)
		}
		cold = append(cold, time.Since(began).Seconds())
	}
	median, least, most := spread(cold)
	row("from the start of a plugin process to its first answer, with %d accounts stored: %.0f ms (%.0f to %.0f)", n, median*1e3, least*1e3, most*1e3)
}

// spreadWork does f for 0 to n-1, some at a time.
func spreadWork(n int, f func(i int)) {
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

// rss returns the resident memory of the server's messaging plugin, in bytes: that
// of the larger of its plugin processes.
func rss(t *testing.T, s *harness.Server) (most int64) {
	t.Helper()
	for _, pid := range s.PluginPIDs() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				most = max(most, kib<<10)
			}
		}
	}
	return most
}
