// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	machineSeed  = flag.Uint64("machine.seed", 0, "run the state machine with this seed only (0 means seeds 1, 2, …)")
	machineSeeds = flag.Uint64("machine.seeds", 100, "how many seeds to run it with")
	machineSteps = flag.Int("machine.steps", 200, "how many steps to run with each")
)

// TestStateMachine does whatever can happen to a cache, at random, and checks
// all the while what must hold whatever happens (see model): no token is served
// past its end, or under its min TTL when a mint succeeded in its place, or of an
// older revision; at most one flight per account; no more calls of the provider
// than the waits and the windows allow; no reader waits who need not, or for
// nothing; a tick leaves out nothing; the store has no token of another revision
// than its config; and no goroutine stays.
func TestStateMachine(t *testing.T) {
	first, last := uint64(1), *machineSeeds
	if *machineSeed > 0 {
		first, last = *machineSeed, *machineSeed
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("machine.seed=%d", seed), func(t *testing.T) {
			inWorld(t, func(w *world) {
				m := &machine{world: w, rand: rand.New(rand.NewPCG(seed, 0)),
					accounts: map[string]*model{}, pending: map[*reading]bool{}}
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
	pending  map[*reading]bool
	revision int  // the last one that any account had
	ticking  bool // the step is a tick
	closing  bool // the step is a restart
	failed   bool

	logged sync.Mutex // taken after mu
	log    []string
}

// reading is a read or a rotate that has not come back.
type reading struct {
	name    string
	content bool // there was a token for it when it began
}

var machineNames = []string{"a", "b", "c"}

func (m *machine) run(steps int) {
	m.provider.set(m.mint(tokens(time.Hour)))
	m.store.onLoad, m.store.onSave = m.loaded, m.saved
	for _, name := range machineNames {
		m.accounts[name] = &model{live: map[int]*liveMint{}}
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
		m.checkSettled()
	}
	m.settle()
	m.Close()
	m.reads.Wait()
}

// act does one thing.
func (m *machine) act() {
	name := pick(m, machineNames...)
	switch p := m.rand.IntN(100); {
	case p < 30:
		for range 1 + m.rand.IntN(3) {
			m.read(name)
		}
	case p < 55:
		m.wait()
	case p < 65:
		m.tick()
	case p < 78:
		m.behave()
	case p < 84:
		m.write(name)
	case p < 86:
		m.remove(name)
	case p < 88:
		m.invalidate(name)
	case p < 93:
		m.turn(name)
	case p < 96:
		m.setClock()
	case p < 98:
		m.restartFromStore()
	default:
		deaf := m.rand.IntN(2) == 0
		m.logf("-", "saving fails: %t", deaf)
		m.store.beDeaf(deaf)
	}
}

// pick returns one of the choices.
func pick[T any](m *machine, choices ...T) T { return choices[m.rand.IntN(len(choices))] }

// event is this moment in this step; m.mu is held.
func (m *machine) event() event { return event{m.steps, m.clock.now()} }

// logf keeps a line for the case that something fails.
func (m *machine) logf(name, format string, args ...any) {
	m.logged.Lock()
	defer m.logged.Unlock()
	m.log = append(m.log, fmt.Sprintf("step %d, after %s, %s: ", m.steps, m.age(), name)+fmt.Sprintf(format, args...))
}

// check reports what does not hold, with what led to it; m.mu is held.
func (m *machine) check(name string, err error) {
	if err == nil || m.failed {
		return
	}
	m.failed = true
	m.logged.Lock()
	defer m.logged.Unlock()
	for _, line := range m.log[max(0, len(m.log)-30):] {
		m.t.Log(line)
	}
	m.t.Errorf("step %d, after %s, %s: %v", m.steps, m.age(), name, err)
}

// checkSettled looks around when all that can be done without time is done.
func (m *machine) checkSettled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.pending {
		if r.content {
			m.check(r.name, errors.New("a reader waits, and there was a token for it"))
		}
		if !m.accounts[r.name].flying() {
			m.check(r.name, errors.New("a reader waits, and no mint is under way"))
		}
	}
	now := m.clock.now()
	for name, a := range m.accounts {
		if m.ticking && a.overdue(now) {
			m.check(name, errors.New("a tick left out what was due"))
		}
		m.store.mu.Lock()
		if t, ok := m.store.tokens[name]; ok && (a.config == nil || t.revision != a.config.revision) {
			m.check(name, fmt.Errorf("the store has a token of revision %s", t.revision))
		}
		m.store.mu.Unlock()
	}
	m.ticking, m.closing = false, false
	m.wantTidyQueue()
}

// settle lets the provider be well again: then all are served, within one backoff.
func (m *machine) settle() {
	m.provider.set(m.mint(tokens(time.Hour)))
	m.pass(20 * time.Minute)
	m.mu.Lock()
	for r := range m.pending {
		m.check(r.name, errors.New("a reader still waits"))
	}
	m.mu.Unlock()
	for name, a := range m.accounts {
		_, err := m.Get(m.t.Context(), name, 0)
		m.mu.Lock()
		if (a.config != nil || !errors.Is(err, ErrNotFound)) && err != nil {
			m.check(name, fmt.Errorf("in the end: %w", err))
		}
		m.mu.Unlock()
	}
	synctest.Wait()
	m.checkSettled()
}
