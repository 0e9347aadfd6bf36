// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"time"
)

// reason says why a provider refuses a request. Each kind of fault that refuses requests is
// also a reason.
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

	invalidRefreshToken reason = "invalid-refresh-token" // no refresh token, or another client's
	reusedRefreshToken  reason = "reused-refresh-token"  // see ProviderSettings.RevokeRefreshToken
	detachedSession     reason = "detached-session"      // a reused refresh token ended the session
	deadOfflineSession  reason = "dead-offline-session"
)

// lockout is the state of an account's brute-force protection.
type lockout struct {
	failed     int // failed logins in a row
	lastFailed time.Time
	until      time.Time // zero unless locked
}

// defaultAccounts returns the accounts that exist before settings change them.
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
			"public-client":  {}, // a client without a secret
			"alice":          {Secret: "wonderland"},
		}
	}
	return nil
}

// lookup returns an account: the default account, changed first by the settings of all providers and
// then by the settings of this provider. The caller holds the simulator's lock.
func (c *call) lookup(name string) (Account, bool) {
	found, known := defaultAccounts(c.provider)[name]
	if !known && *c.settings.AnyAccount && name != "" {
		found, known = Account{Secret: name + "-secret"}, true
	}
	settings := c.sim.settings
	for _, accounts := range []map[string]Account{settings.Accounts, settings.Providers[c.provider].Accounts} {
		if changed, ok := accounts[name]; ok {
			changed.Secret = cmp.Or(changed.Secret, found.Secret)
			found, known = changed, true
		}
	}
	return found, known
}

// authenticate checks a login, unless the call's fault refuses it.
func (c *call) authenticate(name, secret string) reason {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if r := c.fault.reason(); r != accepted {
		c.loginFailed(name)
		return r
	}
	return c.checkSecret(name, secret)
}

// beginLogin reports whether the account may log in now (see ProviderSettings.OneLoginAtATime).
// endLogin ends the login; finish also does.
func (c *call) beginLogin() bool {
	if !*c.settings.OneLoginAtATime {
		return true
	}
	s, key := c.sim, c.key(c.account)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.concurrentLogin = s.activeLogins[key]
	c.loggingIn = !c.concurrentLogin
	s.activeLogins[key] = true
	return c.loggingIn
}

// endLogin allows the account's next login, if this call logs in.
func (c *call) endLogin() {
	if !c.loggingIn {
		return
	}
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	delete(c.sim.activeLogins, c.key(c.account))
	c.loggingIn = false
}

// checkSecret checks an account and its secret. If the account is locked, every secret is wrong, and
// the lockout is not extended. Only a client with the right secret learns of other problems with the
// account. The caller holds the simulator's lock.
func (c *call) checkSecret(name, secret string) reason {
	s, key := c.sim, c.key(name)
	account, known := c.lookup(name)
	lock := s.lockouts[key]
	switch {
	case lock != nil && s.now().Before(lock.until):
		return wrongSecret
	case !known || account.Secret == "" || account.Secret != secret:
		c.loginFailed(name)
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

// loginFailed counts a failed login towards the account's lockout. The caller holds the
// simulator's lock.
func (c *call) loginFailed(name string) {
	lockoutAfter, quickLockout := *c.settings.LockoutAfter, *c.settings.QuickLoginLockout
	if lockoutAfter == 0 && !quickLockout {
		return
	}
	s, key, now := c.sim, c.key(name), c.sim.now()
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
	quick := lock.failed > 0 && now.Sub(lock.lastFailed) < time.Second
	lock.failed++
	lock.lastFailed = now
	switch {
	case lock.failed == lockoutAfter:
		lock.until = now.Add(c.settings.LockoutFor.value())
	case quick && quickLockout:
		lock.until = now.Add(time.Minute) // as Keycloak does by default
	}
}
