// SPDX-License-Identifier: MPL-2.0

package simulator

import "time"

// reason says why a provider refuses a request.
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

	invalidRefreshToken reason = "invalid-refresh-token" // unknown, or issued to another client
	reusedRefreshToken  reason = "reused-refresh-token"  // see ProviderSettings.RevokeRefreshToken
	detachedSession     reason = "detached-session"      // a reused refresh token ended the session
)

// lockout is the state of an account's brute-force protection.
type lockout struct {
	failed int       // failed logins in a row
	until  time.Time // zero unless locked
}

// defaultAccounts returns the accounts that exist without any settings.
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

// secretOf returns the secret of an account, and whether the account exists. The caller holds
// Simulator.mu.
func (c *call) secretOf(name string) (secret string, known bool) {
	settings := c.sim.settings
	for _, accounts := range []map[string]Account{settings.Providers[c.provider].Accounts, settings.Accounts, defaultAccounts(c.provider)} {
		if account, ok := accounts[name]; ok {
			return account.Secret, true
		}
	}
	if *c.settings.AnyAccount && name != "" {
		return name + "-secret", true
	}
	return "", false
}

// authenticate checks the secret of a login. A fault may refuse the login before the check.
func (c *call) authenticate(name, secret string) reason {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if r := c.fault.reason(); r != accepted {
		c.loginFailed(name)
		return r
	}
	return c.checkSecret(name, secret)
}

// beginLogin begins a login. If the account has another login in progress, beginLogin returns
// false, because Keycloak's brute-force detection refuses concurrent logins. Call endLogin when the
// response is ready or the client is gone.
func (c *call) beginLogin() bool {
	s, key := c.sim, c.key(c.account)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.loggingIn = !s.activeLogins[key]
	s.activeLogins[key] = true
	return c.loggingIn
}

// endLogin ends the login of this call, if there is one.
func (c *call) endLogin() {
	if !c.loggingIn {
		return
	}
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	delete(c.sim.activeLogins, c.key(c.account))
	c.loggingIn = false
}

// checkSecret checks an account and its secret. For a locked account, every secret is wrong, and
// a failed login does not extend the lockout. The caller holds Simulator.mu.
func (c *call) checkSecret(name, secret string) reason {
	s, key := c.sim, c.key(name)
	if lock := s.lockouts[key]; lock != nil && s.now().Before(lock.until) {
		return wrongSecret
	}
	if want, _ := c.secretOf(name); want == "" || secret != want {
		c.loginFailed(name)
		return wrongSecret
	}
	delete(s.lockouts, key)
	return accepted
}

// loginFailed counts a failed login, and may lock the account. The caller holds Simulator.mu.
func (c *call) loginFailed(name string) {
	s, key, now := c.sim, c.key(name), c.sim.now()
	lock := s.lockouts[key]
	switch {
	case *c.settings.LockoutAfter == 0, lock != nil && now.Before(lock.until):
		return
	case lock == nil, !lock.until.IsZero(): // the first failure, or the first after a lockout
		lock = &lockout{}
		s.lockouts[key] = lock
	}
	if lock.failed++; lock.failed == *c.settings.LockoutAfter {
		lock.until = now.Add(time.Minute)
	}
}
