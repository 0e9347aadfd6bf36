// SPDX-License-Identifier: MPL-2.0

package tokencache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

func (m *machine) wait() {
	d := pick(m, time.Millisecond, time.Second, 2*time.Second, 9*time.Second, 11*time.Second, time.Minute, 5*time.Minute, 20*time.Minute, 3*time.Hour)
	d += time.Duration(m.rand.Int64N(int64(d)/4 + 1))
	m.logf("-", "wait %s", d)
	time.Sleep(d)
}

// read starts a read: plain, asking for life, or of little patience.
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

// turn starts a rotate.
func (m *machine) turn(name string) {
	m.mu.Lock()
	m.accounts[name].clear()
	m.accounts[name].rotating++
	m.mu.Unlock()
	m.start(name, outcome{rotate: true}, func(c *Cache) (Grant, error) { return c.Rotate(m.t.Context(), name) })
}

// start runs a read or a rotate, and has it judged when it comes back.
func (m *machine) start(name string, o outcome, do func(*Cache) (Grant, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, cache := m.accounts[name], m.Cache
	o.began = m.event()
	r := &reading{name: name, content: !o.rotate && a.content(o.began.at, o.asked)}
	if spare := a.left(o.began.at) - 2*time.Second; spare > 0 && !o.rotate {
		o.lastCall, o.moves = o.began.at.Mono+spare, a.moves
	}
	m.pending[r] = true
	m.logf(name, "read asking for %s; rotate: %t", o.asked, o.rotate)
	m.reads.Go(func() {
		o.grant, o.err = do(cache)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.pending, r)
		if o.rotate {
			a.rotating--
		}
		if m.closing && errors.Is(o.err, ErrClosed) {
			return
		}
		m.check(name, a.judge(o, m.event()))
		if !o.rotate && a.held != nil && o.grant.Token.Access == a.held.access {
			a.reads++
		}
	})
}

// behave changes how the provider answers.
func (m *machine) behave() {
	lifetime := pick(m, 1500*time.Millisecond, 4*time.Second, 15*time.Second, 5*time.Minute, time.Hour, 24*time.Hour)
	retryAfter := pick(m, time.Second, 5*time.Minute, time.Hour)
	delay := pick(m, 0, 0, time.Millisecond, time.Second, 20*time.Second)
	good := []answer{tokens(lifetime), sessions(lifetime, 0), sessions(lifetime, 2*lifetime)}
	bad := []answer{tokens(-time.Second), panics("s3cret"), hangs, fails(token.Unavailable, 0), fails(token.Malformed, 0), fails(token.Refused, 0),
		fails(token.RateLimited, 0), fails(token.RateLimited, retryAfter), fails(token.RateLimited, retryAfter)}
	a, what := slow(delay, pick(m, good...)), "well"
	switch m.rand.IntN(5) {
	case 0, 1:
		a, what = slow(delay, pick(m, bad...)), "ill"
	case 2:
		a, what = stubborn(delay, pick(m, good...)), "stubborn"
	}
	m.logf("-", "the provider is %s: lifetime %s, Retry-After %s, delay %s", what, lifetime, retryAfter, delay)
	m.provider.set(m.mint(a))
}

// mint is how the provider answers, with the model looking on.
func (m *machine) mint(a answer) answer {
	return func(ctx context.Context, c call) (minted token.Token, err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		account, began := m.accounts[c.name], m.clock.now()
		m.logf(c.name, "mint %d for revision %s with refresh token %q", c.n, c.revision, c.refresh.Reveal())
		m.check(c.name, account.began(c, began))
		if m.ticking && account.reads == 0 {
			m.check(c.name, errors.New("a tick minted for an account that no one has read"))
		}
		l := &liveMint{ctx: ctx}
		if account.held != nil {
			l.previous = account.held.lifetime
		}
		account.live[c.n] = l

		m.mu.Unlock()
		defer func() {
			p := recover()
			if p != nil {
				err = errors.New("panic")
			}
			m.mu.Lock()
			delete(account.live, c.n)
			if ctx.Err() != context.Canceled {
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

// write writes a config, of the same revision or another, with a token or
// without, and sometimes the storage fails in between.
func (m *machine) write(name string) {
	a := m.accounts[name]
	next := &fakeAccount{name: name, provider: m.provider, policy: Policy{
		RefreshWindow: pick(m, nil, nil, ptr(time.Duration(0)), ptr(time.Second), ptr(10*time.Minute), ptr(10*time.Hour)),
		MinTTL:        pick(m, nil, nil, ptr(time.Duration(0)), ptr(5*time.Minute)),
		MaxTTL:        pick(m, 0, 0, 0, 10*time.Minute),
	}}
	same := a.config != nil && m.rand.IntN(2) == 0
	if same {
		next.revision = a.config.revision
	} else {
		m.revision++
		next.revision = strconv.Itoa(m.revision)
	}
	var verified *token.Token
	if m.rand.IntN(3) == 0 {
		verified = m.verified()
	}
	fault := pick(m, "", "", "", "before", "after")
	m.logf(name, "write revision %s, same: %t, verified: %t, fault: %q", next.revision, same, verified != nil, fault)

	err := m.Put(m.t.Context(), name, next, verified, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.event()
		if fault != "before" {
			m.store.write(next)
			a.config = next
		}
		if fault != "" {
			a.forget(now)
			return errors.New("storage is down")
		}
		a.move(now)
		if !same {
			a.held = nil
			a.clear()
		}
		if verified != nil {
			a.succeeded(&modelToken{access: verified.Access, name: name, revision: next.revision,
				lifetime: verified.Lifetime, refresh: verified.Refresh, sent: verified.Sent}, now)
		}
		return nil
	})
	if (err != nil) != (fault != "") {
		m.t.Errorf("write: %v", err)
	}
}

// verified returns a token that comes with a config write.
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
		m.t.Errorf("delete: %v", err)
	}
}

// invalidate is a write by another node.
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
		a.moves += 2 // its last calls are no more what they were
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

// loaded is called when the cache is about to load an account.
func (m *machine) loaded(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, now := m.accounts[name], m.event()
	m.store.mu.Lock()
	s, ok := m.store.tokens[name]
	m.store.mu.Unlock()
	m.logf(name, "load; token %s", s.token.Access.Reveal())
	if !ok || a.config == nil || s.revision != a.config.revision {
		return
	}
	age := now.at.Wall.Sub(s.token.Sent.Wall)
	if age < -2*time.Second {
		return
	}
	a.hold(&modelToken{access: s.token.Access, name: name, revision: s.revision, lifetime: s.token.Lifetime,
		lasting: s.token.RefreshLifetime, refresh: s.token.Refresh, sent: now.at.Add(-age)}, now)
}

// saved is called when the cache is about to save a token.
func (m *machine) saved(name string, account Account, t token.Token) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[name]
	switch {
	case a.config == nil || a.config.revision != account.Revision():
		m.check(name, fmt.Errorf("a token of revision %s is stored", account.Revision()))
	case a.held == nil || a.held.access != t.Access || a.held.refresh != t.Refresh:
		m.check(name, fmt.Errorf("token %s is stored, which is not the newest", t.Access.Reveal()))
	}
}
