// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/token"
)

const (
	firstWait   = 30 * time.Second // after the first failure; doubles with each further failure
	longestWait = 15 * time.Minute

	// An endpoint counts as failed after it rejected maxRejected tokens in a row.
	maxRejected = 10
)

// waitAfter returns the wait after the given number of failures in a row.
func waitAfter(failures int) time.Duration {
	return min(firstWait<<min(max(failures-1, 0), 10), longestWait)
}

// errWaits reports that the engine must not try the revocation now. Errors that wrap errWaits give
// the reason.
var errWaits = errors.New("the revocation has to wait")

// endpointID identifies a revocation endpoint of one config. Another config may use other
// credentials at the same endpoint.
type endpointID struct{ config, endpoint string }

func (rev Revocation) endpointID() endpointID { return endpointID{rev.Config, rev.Endpoint} }

// endpoints remembers the revocation endpoints that failed lately. It is safe for concurrent use.
type endpoints struct {
	clock clock.Clock

	mu     sync.Mutex
	failed map[endpointID]*endpoint
}

// endpoint is the state of an endpoint since its last success.
type endpoint struct {
	failures int           // in a row
	rejected int           // tokens in a row that the endpoint rejected
	last     clock.Instant // when an attempt last failed
	retry    clock.Instant // when drains may ask the endpoint again
	ask      clock.Instant // when requests may ask the endpoint again

	revision string // the revision of the config at the last failure
	err      error  // the last failure
}

// get returns a copy of an endpoint's state, or the zero endpoint if the endpoint has not failed.
func (s *endpoints) get(id endpointID) endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.failed[id]; e != nil {
		return *e
	}
	return endpoint{}
}

// If requests must not ask the endpoint now, blocked returns an error that wraps errWaits. A config
// write with a new revision ends the block, because the write may have corrected the endpoint.
func (s *endpoints) blocked(id endpointID, revision string) error {
	e := s.get(id)
	if e.err == nil || e.revision != revision || s.clock().Until(e.ask) <= 0 {
		return nil
	}
	return fmt.Errorf("%w, because the endpoint failed lately: %w", errWaits, e.err)
}

// resting reports whether Drain must not ask the endpoint now.
func (s *endpoints) resting(id endpointID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.failed[id]
	return e != nil && s.clock().Until(e.retry) > 0
}

// succeed records a success, and reports whether the endpoint had failed before.
func (s *endpoints) succeed(id endpointID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.failed[id]
	delete(s.failed, id)
	return e != nil && (e.failures > 0 || e.ask != clock.Instant{})
}

// forget forgets the failures of an endpoint.
func (s *endpoints) forget(id endpointID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failed, id)
}

// fail records that an attempt with the context ctx failed. The parameter began is the start of the
// attempt. fail also forgets endpoints that failed long ago.
func (s *endpoints) fail(ctx context.Context, id endpointID, revision string, began clock.Instant, err error) {
	var refusal *token.Error
	if !errors.As(err, &refusal) || errors.Is(ctx.Err(), context.Canceled) || isPermanent(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	maps.DeleteFunc(s.failed, func(_ endpointID, e *endpoint) bool { return e.last.Until(now) > 2*longestWait })
	e := s.failed[id]
	if e == nil {
		e = &endpoint{}
		s.failed[id] = e
	}
	concurrent := began.Until(e.last) > 0 // another attempt failed since this attempt began
	e.last, e.revision, e.err = now, revision, err
	if ctx.Err() != nil { // the request ran out of time; a drain has more
		e.ask = now.Add(firstWait)
		return
	}
	if rejectsToken(refusal) {
		if e.rejected++; e.rejected < maxRejected {
			return
		}
	}
	if concurrent {
		return
	}
	e.failures++
	e.retry = now.Add(max(waitAfter(e.failures), refusal.RetryAfter))
	e.ask = e.retry
	if refusal.Kind == token.Unavailable || refusal.Kind == token.RateLimited { // ends without a config write, so requests try again soon
		e.ask = now.Add(max(firstWait, refusal.RetryAfter))
	}
}

// rejectsToken reports whether the token, not the endpoint, may be the cause of the error e.
func rejectsToken(e *token.Error) bool {
	return e.Status == http.StatusBadRequest && (e.Kind == token.Malformed || e.Code == "invalid_grant")
}
