// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func (m *machine) sleep() {
	d := pick(m, time.Millisecond, time.Second, 2*time.Second, 9*time.Second, 11*time.Second, time.Minute, 5*time.Minute, 20*time.Minute, 3*time.Hour)
	d += time.Duration(m.rand.Int64N(int64(d)/4 + 1))
	m.logf("-", "sleep for %s", d)
	time.Sleep(d)
}

// read starts a read. Some reads ask for a minimum lifetime, and some give up early.
func (m *machine) read(name string) {
	asked := pick(m, 0, 0, 0, time.Minute, 30*time.Minute, 10*time.Hour)
	ctx, cancel := m.t.Context(), context.CancelFunc(func() {})
	if m.rand.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, pick(m, time.Second, 30*time.Second))
	}
	m.start(name, outcome{asked: asked}, func(c *Cache) (Grant, error) {
		defer cancel()
		return c.Get(ctx, name, asked)
	})
}

// rotate starts a rotate.
func (m *machine) rotate(name string) {
	m.mu.Lock()
	m.accounts[name].clearFailures()
	m.accounts[name].rotating++
	m.mu.Unlock()
	m.start(name, outcome{rotate: true}, func(c *Cache) (Grant, error) {
		r, err := c.Rotate(m.t.Context(), name)
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, old := range r.Replaced {
			if m.replaced[old.Token.Access] && !m.accounts[name].returns {
				m.check(name, fmt.Errorf("got replaced token %s twice, want it once", old.Token.Access.Reveal()))
			}
			m.replaced[old.Token.Access] = !strings.HasPrefix(old.Token.Access.Reveal(), "same-") // which may come again
		}
		return r.Grant, err
	})
}

// report starts a read that reports a token as rejected. Most reports name the newest token.
func (m *machine) report(name string) {
	m.mu.Lock()
	m.accounts[name].reporting++
	id := token.ID(pick(m, m.accounts[name].newest, m.accounts[name].newest, "another token"))
	m.mu.Unlock()
	m.start(name, outcome{report: true}, func(c *Cache) (Grant, error) {
		return c.GetAfterRejection(m.t.Context(), name, id, 0)
	})
}

// start starts a read or a rotate. At the end, the model checks the outcome.
func (m *machine) start(name string, o outcome, do func(*Cache) (Grant, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, cache := m.accounts[name], m.Cache
	o.began = m.event()
	isRead := !o.rotate && !o.report
	r := &pendingCall{name: name, servable: isRead && a.enough(o.began.at, o.asked)}
	if spare := a.left(o.began.at) - 2*time.Second; spare > 0 && isRead {
		o.waitEnds, o.changes = o.began.at.Mono+spare, a.changes
	}
	o.unshared = a.config != nil && a.config.unshared
	m.pending[r] = true
	m.logf(name, "read asking for %s; rotate: %t, report: %t", o.asked, o.rotate, o.report)
	m.reads.Go(func() {
		o.grant, o.err = do(cache)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.pending, r)
		if o.rotate {
			a.rotating--
		}
		if o.report {
			a.reporting--
		}
		if m.closing && errors.Is(o.err, ErrClosed) {
			return
		}
		m.check(name, a.judge(o, m.event()))
		if !o.rotate && a.cached != nil && o.grant.Token.Access == a.cached.access {
			a.reads++
		}
	})
}

// changeProvider changes how the provider answers.
func (m *machine) changeProvider() {
	lifetime := pick(m, 1500*time.Millisecond, 4*time.Second, 15*time.Second, 5*time.Minute, time.Hour, 24*time.Hour)
	retryAfter := pick(m, time.Second, 5*time.Minute, time.Hour)
	delay := pick(m, 0, 0, time.Millisecond, time.Second, 20*time.Second)
	good := []answer{tokens(lifetime), sessions(lifetime, 0), sessions(lifetime, 2*lifetime), same(lifetime, true), same(lifetime, false)}
	bad := []answer{refuses(token.Refused, 0), refuses(token.Malformed, 0), refuses(token.Unavailable, 0)}
	bad = append(bad, []answer{tokens(-time.Second), panics("s3cret"), hangs, fails(token.Unavailable, 0), fails(token.Malformed, 0), fails(token.Refused, 0),
		fails(token.RateLimited, 0), fails(token.RateLimited, retryAfter), fails(token.Unavailable, retryAfter)}...)
	a, what := slow(delay, pick(m, good...)), "answers"
	switch m.rand.IntN(5) {
	case 0, 1:
		a, what = slow(delay, pick(m, bad...)), "fails"
	case 2:
		a, what = uncancellable(delay, pick(m, good...)), "answers, even if canceled"
	}
	m.logf("-", "the provider %s; lifetime %s, Retry-After %s, delay %s", what, lifetime, retryAfter, delay)
	m.provider.set(m.observe(a))
}

// same answers each mint with the same token until the token ends. If full is set, each response
// states the full lifetime instead of the remaining time.
func same(lifetime time.Duration, full bool) answer {
	return func(_ context.Context, c call) (token.Token, error) {
		n := time.Now().UnixNano() / int64(lifetime)
		t := token.Token{Access: secret.String(fmt.Sprintf("same-%s-%s-%d", c.name, lifetime, n)), Lifetime: lifetime}
		if !full {
			t.Lifetime = time.Duration((n+1)*int64(lifetime) - time.Now().UnixNano())
		}
		if c.unshared { // a mint of an unshared account returns a new token
			t.Access = accessToken(c.n)
		}
		return t, nil
	}
}

// observe wraps an answer. The wrapper tells the model when each mint begins and ends.
func (m *machine) observe(a answer) answer {
	return func(ctx context.Context, c call) (minted token.Token, err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		account, began := m.accounts[c.name], m.clock.now()
		m.logf(c.name, "mint %d for revision %s with refresh token %q", c.n, c.revision, c.refresh.Reveal())
		if !m.closing { // during a restart, the old cache may still mint
			m.check(c.name, account.began(c, began))
			if m.ticking && account.reads == 0 {
				m.check(c.name, errors.New("got a refresh by a tick of a token that nobody read, want none"))
			}
		}
		l := &runningMint{ctx: ctx, account: c.fakeAccount, forgotten: account.forgotten}
		if account.cached != nil {
			l.previous = account.cached.lifetime
		}
		account.running[c.n] = l

		m.mu.Unlock()
		defer func() {
			p := recover()
			if p != nil {
				err = errors.New("panic")
			}
			m.mu.Lock()
			delete(account.running, c.n)
			if minted.Access == "" {
				minted.Access = accessToken(c.n)
			}
			if c.unshared && err == nil && minted.Lifetime > m.clock.now().Since(began) {
				account.unshared[minted.Access] += 0
			}
			if !m.closing && ctx.Err() != context.Canceled && account.forgotten == l.forgotten {
				m.logf(c.name, "mint %d ends: lifetime %s, %v", c.n, minted.Lifetime, err)
				account.ended(c, l.previous, minted, err, began, m.event())
			}
			if p != nil {
				panic(p)
			}
		}()
		return a(ctx, c)
	}
}

func (m *machine) tick() {
	m.mu.Lock()
	m.ticking = true
	m.logf("-", "tick")
	m.mu.Unlock()
	m.Tick()
}

// write makes a random config write. The revision may change, Put may get a token, and the write
// may fail.
func (m *machine) write(name string) {
	a := m.accounts[name]
	next := &fakeAccount{name: name, provider: m.provider, policy: Policy{
		RefreshWindow: pick(m, nil, nil, ptr(time.Duration(0)), ptr(time.Second), ptr(10*time.Minute), ptr(10*time.Hour)),
		MinTTL:        pick(m, nil, nil, ptr(time.Duration(0)), ptr(5*time.Minute)),
		MaxTTL:        pick(m, 0, 0, 0, 10*time.Minute),
	}}
	next.policy.Sliding = m.rand.IntN(4) == 0
	same := a.config != nil && m.rand.IntN(2) == 0
	if same {
		next.revision, next.unshared = a.config.revision, a.config.unshared
	} else {
		next.unshared = m.rand.IntN(4) == 0
		m.revision++
		next.revision = strconv.Itoa(m.revision)
	}
	var verified *token.Token
	if m.rand.IntN(3) == 0 && !next.unshared {
		verified = m.verified()
	}
	fault := pick(m, "", "", "", "before", "after")
	m.logf(name, "write revision %s, same: %t, verified: %t, fault: %q", next.revision, same, verified != nil, fault)

	_, err := m.Put(m.t.Context(), name, next, verified, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.event()
		if fault != "before" {
			m.store.write(next)
			a.config = next
		}
		if fault != "" {
			a.forget(now)
			return errStorage
		}
		a.change(now)
		if !same {
			a.cached, a.again, a.rejected = nil, clock.Instant{}, clock.Instant{}
			a.clearFailures()
		}
		if verified != nil {
			a.succeeded(&modelToken{access: verified.Access,
				lifetime: verified.Lifetime, refresh: verified.Refresh, sent: verified.Sent}, now)
		}
		return nil
	})
	if (err != nil) != (fault != "") {
		m.t.Errorf("write with fault %q: got error %v", fault, err)
	}
}

// verified returns the token of a verified config write.
func (m *machine) verified() *token.Token {
	p := m.provider
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.calls) + 1
	p.calls = append(p.calls, call{n: n, at: time.Now()})
	return &token.Token{Sent: m.clock.now().Add(-time.Second), Access: accessToken(n),
		Refresh: secret.String(fmt.Sprintf("refresh-%d", n)), Lifetime: pick(m, 4*time.Second, time.Hour)}
}

func (m *machine) remove(name string) {
	m.logf(name, "delete")
	if err := m.Delete(name, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.accounts[name].config = nil
		m.accounts[name].forget(m.event())
		return m.store.delete(name)
	}); err != nil {
		m.t.Errorf("delete: got error %v, want none", err)
	}
}

// invalidate simulates a config write by another node.
func (m *machine) invalidate(name string) {
	a := m.accounts[name]
	m.mu.Lock()
	if a.config != nil && m.rand.IntN(2) == 0 {
		m.revision++
		next := *a.config
		next.revision = strconv.Itoa(m.revision)
		m.store.write(&next)
		a.config = &next
	}
	a.forget(m.event())
	m.logf(name, "invalidate")
	m.mu.Unlock()
	m.Invalidate(name)
}

func (m *machine) setClock() {
	by := pick(m, time.Second, time.Minute, 24*time.Hour)
	if m.rand.IntN(2) == 0 {
		by = -by
	}
	m.logf("-", "set the wall clock by %s", by)
	m.clock.setWall(by)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.accounts {
		a.wallSet = true
		a.changes += 2 // waitEnds is no longer known
	}
}

func (m *machine) restartFromStore() {
	m.mu.Lock()
	m.logf("-", "restart")
	m.closing = true
	for _, a := range m.accounts {
		a.forget(m.event())
	}
	m.mu.Unlock()
	m.restart()
}

// loaded is called before the cache loads an account.
func (m *machine) loaded(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, now := m.accounts[name], m.event()
	m.store.mu.Lock()
	s, ok := m.store.tokens[name]
	m.store.mu.Unlock()
	m.logf(name, "load; token %s", s.token.Access.Reveal())
	if m.closing || !ok || a.config == nil || s.revision != a.config.revision {
		return
	}
	age := now.at.Wall.Sub(s.token.Sent.Wall)
	if age < -2*time.Second {
		return
	}
	a.keep(&modelToken{access: s.token.Access, lifetime: s.token.Lifetime,
		refreshLifetime: s.token.RefreshLifetime, refresh: s.token.Refresh, sent: now.at.Add(-age)}, now)
}

// saved is called before the cache saves a token.
func (m *machine) saved(name string, account Account, t token.Token) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[name]
	switch {
	case a.config == nil || a.config.revision != account.Revision():
		m.check(name, fmt.Errorf("got a saved token of revision %s, want none of an old revision", account.Revision()))
	case m.closing: // by the old cache
		a.newest = t.Access
	case a.changed.step == m.steps || a.minting() > 0: // a tick may save a token that is being replaced
	case a.cached == nil || a.cached.access != t.Access || a.cached.refresh != t.Refresh && (t.Refresh != "" || !a.cached.maybeDropped):
		m.check(name, fmt.Errorf("got saved token %s with refresh token %q, want the newest", t.Access.Reveal(), t.Refresh.Reveal()))
	}
}

// removed is called after each attempt to remove a stored token.
func (m *machine) removed(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[name]
	a.unremoved = err != nil
	a.returns = a.returns || a.unremoved
}
