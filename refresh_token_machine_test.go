// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/account"
)

// TestRefreshTokenMachine runs random operations with crashes, storage faults and lost answers.
// Only a lost answer, or a crash before the answer is stored, may lose a refresh token.
func TestRefreshTokenMachine(t *testing.T) {
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runRefreshMachine(t, rand.New(rand.NewPCG(seed, 0)), 300) })
	}
}

func runRefreshMachine(t *testing.T, random *rand.Rand, steps int) {
	m, p := newSpenderMount(t)
	written := "refresh-hunter2-1"
	excuses := 0 // events that may lose the refresh token, since the last consent
	retries := 0 // events after which the one retry may end a consent
	broken := false
	var trace []string
	died := func() error { // the process dies: nothing more is stored
		m.storage.failOn("")
		return errNoAnswer
	}
	restart := func(clean bool) {
		if broken { // memory may have what storage refused
			excuses++
			retries++
		}
		if !clean {
			m.storage.failOn("")
		}
		m.Cleanup(t.Context())
		m.storage.failWith(nil)
		broken = false
		m = m.restart()
	}
	for range steps {
		act := random.IntN(14)
		trace = append(trace, fmt.Sprint(act))
		switch act {
		case 0, 1:
			m.read("creds/a")
		case 2:
			m.rotate("a")
		case 3:
			m.clock.advance(time.Duration(random.IntN(70)) * time.Minute)
		case 4:
			m.tick()
		case 5:
			m.patch("config/a", fields{"min_ttl": random.IntN(60)})
		case 6:
			m.write("config/a", fields{"provider": "spender", "refresh_token": written})
		case 7:
			m.patch("config/a", fields{"client_secret": fmt.Sprint("hunter2", random.IntN(3))})
		case 8:
			m.InvalidateKey(t.Context(), account.ConfigPrefix+"a")
		case 9: // storage fails from one of the next calls on, or works again
			if broken = !broken; broken {
				after := random.IntN(4)
				m.storage.failWith(func(string, string) error {
					if after--; after >= 0 {
						return nil
					}
					return errStorage
				})
			} else {
				m.storage.failWith(nil)
			}
		case 10:
			restart(!broken)
		case 11: // the process dies before the use
			p.set(died, nil)
			m.rotate("a")
			p.set(nil, nil)
			restart(false)
			retries++
		case 12: // the process dies after the use
			before, _ := p.counts()
			p.set(nil, died)
			m.clock.advance(2 * time.Hour)
			m.read("creds/a")
			p.set(nil, nil)
			if after, _ := p.counts(); after > before {
				excuses++
				retries++
			}
			restart(false)
		case 13: // the answer does not come
			p.set(nil, func() error { excuses++; retries++; return errNoAnswer })
			m.rotate("a")
			p.set(nil, nil)
		}
		m.waitForMint()
		if !broken && m.status("refresh_token_state") == "lost" {
			if excuses == 0 {
				t.Fatalf("lost the refresh token without a reason, after the acts %s", strings.Join(trace, " "))
			}
			written, excuses = p.consent(), 0
			m.clock.advance(20 * time.Minute)
			m.write("config/a", fields{"refresh_token": written}).want(t, http.StatusNoContent)
		}
	}
	m.storage.failWith(nil)
	if _, ended := p.counts(); ended > retries {
		t.Errorf("got %d ended consents, want at most %d, one for each exchange whose outcome was unknown; acts %s", ended, retries, strings.Join(trace, " "))
	}
	m.clock.advance(3 * time.Hour)
	if a := m.read("creds/a"); a.status != http.StatusOK && excuses == 0 {
		t.Errorf("got %d %s at the end, want a token; acts %s", a.status, a.text, strings.Join(trace, " "))
	}
}
