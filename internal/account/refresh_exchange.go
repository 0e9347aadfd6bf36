// SPDX-License-Identifier: MPL-2.0

package account

import (
	"context"
	"errors"
	"slices"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// exchange calls send, which makes a token request with the account's current refresh token.
// exchange stores the next refresh token and returns the access token. If ctx ends, exchange
// returns an error, but a running request continues and its result is stored.
func (r *RefreshTokens) exchange(ctx context.Context, a *Account, send func(context.Context, secret.String) (token.Token, error)) (token.Token, error) {
	s := r.state(a.Name)
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return token.Token{}, notSent(context.Cause(ctx).Error(), ctx.Err())
	}
	if ctx.Err() != nil { // select chooses at random: begin nothing after the mount is closed
		<-s.turn
		return token.Token{}, notSent(context.Cause(ctx).Error(), ctx.Err())
	}
	var t token.Token
	var err error
	done := make(chan struct{})
	r.running.Go(func() {
		defer func() { s.endTurn(); <-s.turn }()
		defer close(done)
		defer secret.RecoverTo(&err)
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
		defer cancel()
		t, err = r.exchangeInTurn(whole, s, a, send)
	})
	select {
	case <-done:
		return t, err
	case <-ctx.Done():
		return token.Token{}, &token.Error{Kind: token.Unavailable, Problem: context.Cause(ctx).Error() + "; the exchange continues, and its refresh token will be kept", Cause: ctx.Err()}
	}
}

// notSent reports that the refresh token was not used.
func notSent(problem string, cause error) *token.Error {
	return &token.Error{Kind: token.Unavailable, Problem: problem, Unsent: true, Cause: cause}
}

// exchangeInTurn is exchange for the caller whose turn it is.
func (r *RefreshTokens) exchangeInTurn(ctx context.Context, s *refreshState, a *Account, send func(context.Context, secret.String) (token.Token, error)) (token.Token, error) {
	id := a.Config.refreshID()
	begun := r.clock().Wall
	var before refreshGeneration // as it was before this exchange
	var dropped int
	err := r.update(ctx, a.Name, true, func(record *refreshRecord) error {
		g := record.generation(id, a.Config.Fields[providers.RefreshField])
		if g.Lost != "" {
			return g.lostError()
		}
		before, dropped = *g, s.dropped
		if g.Pending == nil {
			g.Pending = &begun
		}
		return nil
	})
	if lost := (*token.Error)(nil); errors.As(err, &lost) {
		return token.Token{}, err
	}
	if err != nil {
		return token.Token{}, notSent("the refresh token was not used, because storage refused to note its use: "+err.Error(), err)
	}
	current := secret.String(before.Current)
	t, sendErr := send(ctx, current)
	next := t.Refresh
	t.Refresh, t.RefreshLifetime = "", 0 // the token cache must not use the refresh token itself
	err = r.update(ctx, a.Name, false, func(record *refreshRecord) error {
		if s.dropped != dropped {
			return errUnchanged
		}
		g := record.generation(id, current)
		switch outcomeOf(sendErr) {
		case answered:
			g.Pending, g.Refreshed = nil, begun
			if next != "" {
				g.Current = next.Reveal()
			}
			stored := newTokenRecord(a.Revision(), t)
			g.Token = &stored
		case notConsumed:
			g.Pending = before.Pending
		case refused:
			g.Pending = nil
			if before.Pending == nil && before.Refreshed.IsZero() { // it never worked: the config may have another mistake
				record.remove(id)
				return nil
			}
			g.lose(begun, before.Pending)
			sendErr = g.lostError()
		case unknown: // Pending stays
		}
		return nil
	})
	if err != nil {
		r.log().Error("a refresh token could not be stored and is known only to this process; the engine tries again", "config", a.Name, "error", err)
	}
	return t, sendErr
}

// outcome is the effect of an exchange on its refresh token.
type outcome int

const (
	answered    outcome = iota // the answer has a token
	notConsumed                // the provider has not used the refresh token
	refused                    // the provider does not accept the refresh token
	unknown                    // the provider may have spent the refresh token
)

// clientCodes are the error codes that blame the client or the request, not the refresh token (RFC
// 6749 §5.2). A definition can name more codes.
var clientCodes = []string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_request", "invalid_dpop_proof"}

func outcomeOf(err error) outcome {
	var e *token.Error
	switch {
	case err == nil:
		return answered
	case !errors.As(err, &e):
		return unknown
	case e.Unsent, e.Operator, e.Client, e.Kind == token.RateLimited, e.Status == 503:
		return notConsumed
	case e.Kind != token.Refused:
		return unknown
	case slices.Contains(clientCodes, e.Code), e.Code == "" && (e.Status == 401 || e.Status == 403):
		return notConsumed
	}
	return refused
}
