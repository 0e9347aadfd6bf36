// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// killAccount is one account of a killRun.
type killAccount struct {
	account
	run *killRun

	mu sync.Mutex // guards fields
}

// killLoss is a refresh token that was lost.
type killLoss struct {
	config, text string
	seen         time.Time
}

// newKillAccount writes a config without leases. With leases, Vault 1.21.1 may hang after a kill,
// because revocations of expired leases call the dead process too often.
func newKillAccount(r *killRun, config string) *killAccount {
	a := &killAccount{run: r, account: account{config, simulator.OAuth2, "refresh_token", harness.Fields{
		"client_id": "generic-client", "client_secret": "generic-secret", "grant_type": "refresh_token", "refresh_window": "3s", "lease": false}}}
	a.consent()
	return a
}

// read reads the token.
func (a *killAccount) read() {
	err := failed(a.run.do(http.MethodGet, a.creds(), nil))
	if err == nil {
		a.run.reads[1].Add(1)
		return
	}
	a.run.reads[0].Add(1)
	a.run.failure.Store(err.Error())
}

// operate does a random operation. None of the operations may lose a refresh token.
func (a *killAccount) operate() {
	acts := map[string]func(){
		"same write": func() { _, _ = a.write() },
		"patch": func() {
			_, _ = a.run.do(http.MethodPatch, a.path(), harness.Fields{"lease_ttl": fmt.Sprintf("%ds", 30+rand.IntN(60))})
		},
		"rotate": func() { _, _ = a.run.do(http.MethodPut, a.rotatePath(), nil) },
	}
	for kind, act := range acts { // in random order
		a.run.event(kind, act)
		return
	}
}

// write writes the config with the refresh token from the last consent. The engine may already have
// used this refresh token.
func (a *killAccount) write() (harness.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run.do(http.MethodPut, a.path(), a.body(a.run.sim))
}

// watch checks the status for a lost refresh token. After a loss, watch records the loss and writes
// a new refresh token.
func (a *killAccount) watch() {
	status, err := a.run.do(http.MethodGet, a.statusPath(), nil)
	if failed(status, err) != nil || status.Text("refresh_token_state") != "lost" {
		return
	}
	refused, err := a.run.do(http.MethodGet, a.creds(), nil)
	if err != nil || refused.Status != http.StatusBadRequest {
		return // a kill interrupted the read; the next call sees the loss again
	}
	a.run.mu.Lock()
	a.run.losses = append(a.run.losses, killLoss{a.config, refused.Raw, time.Now()})
	a.run.mu.Unlock()
	a.consent()
}

// consent gets a new refresh token, and repeats the config write until a write succeeds. If the
// engine loses the refresh token, consent starts again. After a minute, consent fails the test.
func (a *killAccount) consent() {
	deadline := time.Now().Add(time.Minute)
	for {
		seed := consent(a.run.t, a.run.sim, a.config)
		a.mu.Lock()
		a.fields["refresh_token"] = seed
		a.mu.Unlock()
		for {
			r, err := a.write()
			if err == nil && (r.Status == http.StatusOK || r.Status == http.StatusNoContent) {
				return
			}
			if err == nil && lossWindow.MatchString(r.Raw) {
				a.run.mu.Lock()
				a.run.losses = append(a.run.losses, killLoss{a.config, r.Raw, time.Now()})
				a.run.mu.Unlock()
				break
			}
			if time.Now().After(deadline) {
				a.run.t.Errorf("%s: got %v %s for each write of the refresh token, want a success within a minute", a.config, err, r.Raw)
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// lossWindow matches the error about a lost refresh token, and captures the time of the refresh.
var lossWindow = regexp.MustCompile(`the answer to the refresh at (\S+Z) was not stored`)

// cause returns what interrupted the refresh: "kill", "step-down" or, if neither did, "".
func (l killLoss) cause(events []killEvent) string {
	found := lossWindow.FindStringSubmatch(l.text)
	if found == nil {
		return ""
	}
	began, err := time.Parse(time.RFC3339, found[1])
	if err != nil {
		return ""
	}
	// exchange is how long the exchange of a refresh token may take until the engine has stored the
	// answer. Some 70 ms are usual, but a busy machine with a slow disk needs longer.
	const exchange = 5 * time.Second
	for _, e := range events {
		if (e.kind == "kill" || e.kind == "step-down") && !e.to.Before(began) &&
			e.from.Before(began.Add(time.Second+exchange)) && e.from.Before(l.seen) {
			return e.kind
		}
	}
	return ""
}
