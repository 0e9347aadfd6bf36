// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"time"
)

// reason is why a provider refuses; the kinds of fault that refuse are among its values.
type reason string

const (
	accepted           reason = ""
	wrongSecret        reason = FaultRefuse
	accountDisabled    reason = FaultAccountDisabled
	accountNotSetUp    reason = FaultAccountNotSetUp
	invalidClient      reason = FaultInvalidClient
	unauthorizedClient reason = FaultUnauthorizedClient
	deadRefreshToken   reason = FaultDeadRefreshToken
	deadSession        reason = FaultDeadSession

	invalidRefreshToken reason = "invalid-refresh-token" // it is none, or another client's
	reusedRefreshToken  reason = "reused-refresh-token"  // and may be used once only
	detachedSession     reason = "detached-session"      // such a reuse has ended it
	deadOfflineSession  reason = "dead-offline-session"
)

// lockout is what the brute-force protection knows of an account.
type lockout struct {
	failed int       // logins in a row
	last   time.Time // when the last of them failed
	until  time.Time
}

// What the knob quick_login_lockout means, as Keycloak's defaults have it.
const (
	quickLogin    = time.Second
	quickLoginFor = time.Minute
)

// defaultAccounts returns the accounts that are there from the start.
func defaultAccounts(provider string) map[string]Account {
	switch provider {
	case SinchIndia:
		return map[string]Account{"acme": {Secret: "correct-horse"}}
	case EnableXWhatsApp, EnableXRCS, EnableXSMS:
		return map[string]Account{"5f0c0ffee0ddba11acce55ed": {Secret: "battery-staple-app-key"}}
	case SinchConversation:
		return map[string]Account{"conversation-key": {Secret: "conversation-secret"}}
	case OAuth2:
		return map[string]Account{
			"generic-client": {Secret: "generic-secret"},
			"public-client":  {},
			"alice":          {Secret: "wonderland"},
		}
	}
	return nil
}

// lookup returns an account: the default one, or any, as the knobs of all providers and then of this one change it. The
// caller holds the simulator's lock.
func (c *call) lookup(name string) (Account, bool) {
	found, known := defaultAccounts(c.ep.provider)[name]
	if !known && c.rules.anyAccount && name != "" {
		found, known = Account{Secret: name + "-secret"}, true
	}
	settings := c.sim.settings
	for _, accounts := range []map[string]Account{settings.Accounts, settings.Providers[c.ep.provider].Accounts} {
		if changed, ok := accounts[name]; ok {
			changed.Secret = cmp.Or(changed.Secret, found.Secret)
			found, known = changed, true
		}
	}
	return found, known
}

// authenticate judges a login: it is refused by the fault that is due, or else checked.
func (c *call) authenticate(name, secret string) reason {
	if r := c.fault.reason(); r != accepted {
		c.loginFailed(name)
		return r
	}
	return c.check(name, secret)
}

// beginLogin says whether a login of the account may be looked at; it may not while another one is under way. Who was let
// in must end it.
func (c *call) beginLogin(name string) bool {
	if !c.rules.oneLoginAtATime {
		return true
	}
	s, key := c.sim, accountKey{c.ep.provider, name}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[key] {
		c.clash = true
		return false
	}
	s.underWay[key] = true
	c.turn = &key
	return true
}

// endLogin lets the account's next login in, if this call has one under way.
func (s *Simulator) endLogin(c *call) {
	if c.turn == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.underWay, *c.turn)
	c.turn = nil
}

// check compares a secret. A locked account answers as if it were wrong, and a failure while it is locked does not
// prolong that. What else is the matter with an account only who has its secret is told.
func (c *call) check(name, secret string) reason {
	s, key := c.sim, accountKey{c.ep.provider, name}
	s.mu.Lock()
	defer s.mu.Unlock()
	account, known := c.lookup(name)
	lock := s.lockouts[key]
	switch {
	case lock != nil && s.now().Before(lock.until):
		return wrongSecret
	case !known || account.Secret == "" || account.Secret != secret:
		c.loginFailedLocked(name)
		return wrongSecret
	case account.Disabled:
		return accountDisabled
	}
	delete(s.lockouts, key)
	if account.NotSetUp {
		return accountNotSetUp
	}
	return accepted
}

// loginFailed counts towards the account's lockout.
func (c *call) loginFailed(name string) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.loginFailedLocked(name)
}

func (c *call) loginFailedLocked(name string) {
	if c.rules.lockoutAfter == 0 && !c.rules.quickLoginLockout {
		return
	}
	s := c.sim
	key, now := accountKey{c.ep.provider, name}, s.now()
	lock := s.lockouts[key]
	if lock == nil || (!lock.until.IsZero() && !now.Before(lock.until)) {
		if len(s.lockouts) >= maxAccounts {
			return
		}
		lock = &lockout{}
		s.lockouts[key] = lock
	}
	if now.Before(lock.until) {
		return
	}
	quick := lock.failed > 0 && now.Sub(lock.last) < quickLogin
	lock.failed++
	lock.last = now
	switch {
	case lock.failed == c.rules.lockoutAfter:
		lock.until = now.Add(c.rules.lockoutFor)
	case quick && c.rules.quickLoginLockout:
		lock.until = now.Add(quickLoginFor)
	}
}
