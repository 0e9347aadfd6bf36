// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// Whatever goes on at once, no answer is a 5xx, no token is one of another
// config's user, and in the end memory and storage agree.
func TestAllAtOnce(t *testing.T) {
	m := newMount(t)
	m.set(`{"any_account": true}`)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 30 {
				var a answer
				switch (worker + i) % 8 {
				case 0:
					user := fmt.Sprintf("user%d", i)
					a = m.write("config/a", m.sinch(fields{"username": user, "password": user + "-secret", "verify_connection": i%2 == 0}))
				case 1:
					a = m.rotate("a")
				case 2:
					a = m.tick()
				case 3:
					m.InvalidateKey(t.Context(), "token/a")
				case 4:
					a = m.read("status/a")
				case 5:
					m.clock.advance(11 * time.Minute)
				case 6:
					if i%5 == 0 {
						a = m.delete("config/a")
					}
				default:
					a = m.read("creds/a")
				}
				if a.status >= 500 {
					t.Errorf("%d %s", a.status, a.text)
				}
			}
		})
	}
	all.Wait()
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	checkAgreement(t, m, "in the end")
}

// A reader that gives up gets an answer, and the mint goes on for the others.
func TestReaderGivesUp(t *testing.T) {
	f := newFake(lives("fake-token", time.Hour))
	m := newMount(t, f)
	m.write("config/a", also(fields{"verify_connection": false}, fakeConfig)).want(t, http.StatusNoContent)
	asked, release := block(f)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan answer, 1)
	go func() {
		req := &logical.Request{Operation: logical.ReadOperation, Path: "creds/a", Storage: m.storage}
		resp, err := m.HandleRequest(ctx, req)
		gaveUp <- m.answer(req, resp, err)
	}()
	<-asked
	cancel()
	(<-gaveUp).want(t, http.StatusServiceUnavailable, "context canceled: the request ended before its answer was ready")
	waits := make(chan answer, 1)
	go func() { waits <- m.read("creds/a") }()
	release()
	if a := <-waits; a.data["access_token"] != "late-token" {
		t.Errorf("%d %s", a.status, a.text)
	}
	if len(asked) > 0 {
		t.Error("a second mint")
	}
}
