// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

var (
	machineSeed  = flag.Uint64("machine.seed", 0, "run the state machine with this seed only (0 means seeds 1, 2, …)")
	machineSeeds = flag.Uint64("machine.seeds", 100, "run the state machine with that many seeds")
	machineSteps = flag.Int("machine.steps", 200, "steps per seed")
)

// TestStateMachine takes random steps. The steps read, write, tick and restart, and change the
// provider, the store and the clock. After each step, the test checks these rules (see model):
//
//   - No read gets a token that has expired or is of an old revision.
//   - A read gets a token with less life than the min TTL only if no newer token is available.
//   - At most one mint runs per account. Mints respect the backoff and the refresh window.
//   - Readers wait at most 3 s, and only if no cached token has enough life. During the wait,
//     a mint runs or the cached token is about to end.
//   - Each unshared token reaches one reader or OnUnused, exactly once.
//   - No two rotates return the same replaced token.
//   - The store has the newest token or none, unless a removal failed.
//   - A tick starts every due refresh.
//   - The stored token has the revision of the stored config.
//   - No goroutine is left at the end.
func TestStateMachine(t *testing.T) {
	first, last := uint64(1), *machineSeeds
	if *machineSeed > 0 {
		first, last = *machineSeed, *machineSeed
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("machine.seed=%d", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				m := &machine{world: w, rand: rand.New(rand.NewPCG(seed, 0)),
					accounts: map[string]*model{}, pending: map[*pendingCall]bool{}, replaced: map[secret.String]bool{}}
				m.run(*machineSteps)
			})
		})
	}
}

type machine struct {
	*world
	rand  *rand.Rand
	reads sync.WaitGroup

	mu       sync.Mutex
	steps    int
	accounts map[string]*model
	pending  map[*pendingCall]bool
	replaced map[secret.String]bool // tokens that rotates returned as replaced
	revision int                    // the newest of any account
	ticking  bool                   // the step is a tick
	closing  bool                   // the step is a restart
	failed   bool
}

// pendingCall is a read or a rotate that has not returned.
type pendingCall struct {
	name     string
	servable bool // the cached token had enough life when the call began
	sleeps   bool // the call waits for the end of the cached token
}

var machineAccounts = []string{"a", "b", "c"}

func (m *machine) run(steps int) {
	m.provider.set(m.observe(tokens(time.Hour)))
	m.store.onLoad, m.store.onSave, m.store.onRemove = m.loaded, m.saved, m.removed
	for _, name := range machineAccounts {
		m.accounts[name] = &model{running: map[int]*runningMint{}, unshared: map[secret.String]int{}}
		m.write(name)
	}
	for range steps {
		m.mu.Lock()
		m.steps++
		failed := m.failed
		m.mu.Unlock()
		if failed {
			break
		}
		m.act()
		synctest.Wait()
		m.checkIdle()
	}
	m.finish()
	m.Close()
	m.reads.Wait()
	m.advance(mintTimeout)
	for _, t := range m.unused {
		for _, a := range m.accounts {
			if _, ok := a.unshared[t.Access]; ok {
				a.unshared[t.Access]++
			}
		}
	}
	for name, a := range m.accounts {
		for access, n := range a.unshared {
			if n != 1 && !m.failed {
				m.check(name, fmt.Errorf("got %d readers of unshared token %s or times that it was given up, want 1", n, access.Reveal()))
			}
		}
	}
}

// act does one random thing.
func (m *machine) act() {
	name := pick(m, machineAccounts...)
	switch p := m.rand.IntN(100); {
	case p < 30:
		for range 1 + m.rand.IntN(3) {
			m.read(name)
		}
	case p < 55:
		m.sleep()
	case p < 65:
		m.tick()
	case p < 77:
		m.changeProvider()
	case p < 83:
		m.write(name)
	case p < 84:
		m.remove(name)
	case p < 86:
		m.invalidate(name)
	case p < 90:
		m.rotate(name)
	case p < 93:
		m.report(name)
	case p < 96:
		m.setClock()
	case p < 98:
		m.restartFromStore()
	case p < 99:
		m.logf("-", "saving fails once")
		m.store.failSaves(1)
	default:
		n := pick(m, 0, math.MaxInt)
		m.logf("-", "the next %d saves fail", n)
		m.store.failSaves(n)
	}
	if m.rand.IntN(50) == 0 { // a crash before the step took effect
		m.restartFromStore()
	}
}

// pick returns a random choice.
func pick[T any](m *machine, choices ...T) T { return choices[m.rand.IntN(len(choices))] }

// event returns the current time and step. The caller holds m.mu.
func (m *machine) event() event { return event{m.steps, m.clock.now()} }

// logf logs what the machine does. If a check fails, the test shows the log.
func (m *machine) logf(name, format string, args ...any) {
	m.t.Logf("step %d, after %s, %s: %s", m.steps, m.elapsed(), name, fmt.Sprintf(format, args...))
}

// check fails the test at the first error, and ignores later errors. The caller holds m.mu.
func (m *machine) check(name string, err error) {
	if err != nil && !m.failed {
		m.failed = true
		m.t.Errorf("step %d, after %s, %s: %v", m.steps, m.elapsed(), name, err)
	}
}

// checkIdle checks the rules while all goroutines are idle.
func (m *machine) checkIdle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.now()
	for r := range m.pending {
		if r.servable {
			m.check(r.name, errors.New("got a reader that waits, want it served because there was a token for it"))
		}
		a := m.accounts[r.name]
		r.sleeps = r.sleeps || a.ending(now)
		if a.minting() == 0 && !a.mintingUnshared() && !r.sleeps {
			m.check(r.name, errors.New("got a reader that waits while no mint runs"))
		}
	}
	for name, a := range m.accounts {
		if s, _ := m.Status(name); m.ticking && a.overdue(now) && !s.Unsaved { // a tick saves first
			m.check(name, errors.New("got no refresh by a tick, want one because it is due"))
		}
		m.store.mu.Lock()
		if t, ok := m.store.tokens[name]; ok && (a.config == nil || t.revision != a.config.revision) {
			m.check(name, fmt.Errorf("got a stored token of revision %s, want the config's revision", t.revision))
		} else if ok && t.token.Access != a.newest && !a.unremoved {
			m.check(name, fmt.Errorf("got stored token %s, want none or the newest, %s", t.token.Access.Reveal(), a.newest.Reveal()))
		}
		m.store.mu.Unlock()
	}
	m.ticking, m.closing = false, false
	m.wantValidQueue()
}

// finish lets the provider recover. When the backoff has ended, all readers must get a token.
func (m *machine) finish() {
	m.provider.set(m.observe(tokens(time.Hour)))
	m.advance(20 * time.Minute)
	m.mu.Lock()
	for r := range m.pending {
		m.check(r.name, errors.New("got a reader that still waits"))
	}
	m.mu.Unlock()
	for name, a := range m.accounts {
		g, err := m.Get(m.t.Context(), name, 0)
		m.mu.Lock()
		if a.config != nil && a.config.unshared {
			a.unshared[g.Token.Access]++
		}
		if (a.config != nil || !errors.Is(err, ErrNotFound)) && err != nil {
			m.check(name, fmt.Errorf("last read: got error %w, want a token", err))
		}
		m.mu.Unlock()
	}
	synctest.Wait()
	m.checkIdle()
}
