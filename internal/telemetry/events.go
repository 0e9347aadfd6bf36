// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

// The operations of events. The type of an event is "messaging/" followed by the operation.
const (
	EventConfigWrite  = "config-write"    // a config was created, updated or patched
	EventConfigDelete = "config-delete"   // a config was deleted
	eventMint         = "creds-mint"      // a token was minted
	eventMintFail     = "creds-mint-fail" // a mint failed
	eventRefused      = "creds-refused"   // a mint failed because the provider refused the credentials
	eventLost         = "creds-lost"      // as eventRefused, and the refresh token, which is the credential, is lost
	eventRotate       = "rotate"          // an operator replaced a token
)

// eventTimeout limits how long Send waits.
const eventTimeout = 5 * time.Second

// Event describes something that happened to a config. It contains no secret.
type Event struct {
	Operation string
	Config    string
	Path      string // the path that was called; a subscriber needs the subscribe capability on it
	DataPath  string // where to read the details; "" means nowhere
	Modified  bool   // whether the data at DataPath changed
	more      []string
}

// Events sends events to Vault. It is safe for concurrent use.
type Events struct {
	Sender logical.EventSender
	Log    func() hclog.Logger
}

// Send sends an event, even if ctx has ended. It waits at most eventTimeout until Vault accepts the
// event.
func (s *Events) Send(ctx context.Context, e Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTimeout)
	defer cancel()
	metadata := []string{
		logical.EventMetadataModified, strconv.FormatBool(e.Modified),
		logical.EventMetadataOperation, e.Operation,
		logical.EventMetadataPath, e.Path,
		"name", e.Config,
	}
	if e.DataPath != "" {
		metadata = append(metadata, logical.EventMetadataDataPath, e.DataPath)
	}
	err := logical.SendEvent(ctx, s.Sender, "messaging/"+e.Operation, append(metadata, e.more...)...)
	if err != nil && !withoutEvents(err) {
		s.Log().Warn("an event could not be sent", "operation", e.Operation, "config", e.Config, "error", err)
	}
}

// withoutEvents reports whether err means that the server has no running event system.
func withoutEvents(err error) bool {
	return errors.Is(err, framework.ErrNoEvents) ||
		status.Code(err) == codes.Unimplemented ||
		strings.Contains(err.Error(), "event broker has not been started")
}

// OnMint logs the result of a mint, and sends an event in the background.
func (s *Events) OnMint(r tokencache.MintResult) {
	provider := r.Account.(*account.Account).Provider()
	log := s.Log().With("config", r.Name, "provider", provider, "took", r.Took.Round(time.Millisecond).String())
	go func() {
		var err error
		defer func() { LogPanic(log, err) }()
		defer secret.RecoverTo(&err)
		s.Send(context.Background(), mintEvent(r, provider))
	}()
	switch f := r.Failure; {
	case f == nil && r.Rejected:
		log.Warn("minted a token because a reader reported that the provider rejected the previous token")
	case f == nil && r.FailuresBefore > 0:
		log.Info("minted a token again", "failures_before", r.FailuresBefore)
	case f == nil:
		log.Debug("minted a token", "rotated", r.Rotated, "unshared", r.Unshared)
	default:
		log.Warn("minting a token failed", "kind", f.Kind.String(), "error", f.Error(),
			"failures", f.Failures, "next_attempt", f.Next.UTC().Format(time.RFC3339))
		LogPanic(log, f.Err)
	}
	if r.Unsaved != nil {
		log.Error("the token is served but could not be stored; the engine tries again", "error", r.Unsaved)
	}
}

// mintEvent returns the event for the result of a mint.
func mintEvent(r tokencache.MintResult, provider string) Event {
	e := Event{
		Operation: eventMint,
		Config:    r.Name,
		Path:      "creds/" + r.Name,
		more:      []string{"provider", provider},
	}
	if r.Rotated {
		e.Operation, e.Path = eventRotate, "rotate/"+r.Name
	}
	switch f := r.Failure; {
	case f != nil:
		e.Operation, e.DataPath = eventMintFail, "status/"+r.Name
		if f.Kind == token.Refused {
			e.Operation = eventRefused
		}
		if lost := (*token.Error)(nil); errors.As(f.Err, &lost) && lost.Lost {
			e.Operation = eventLost
		}
		e.more = append(e.more,
			"kind", f.Kind.String(),
			"failures", strconv.Itoa(f.Failures),
			"next_attempt", f.Next.UTC().Format(time.RFC3339))
	case r.Unshared:
		// DataPath stays empty, because a read of creds/ would cause another mint.
	default:
		e.DataPath, e.Modified = "creds/"+r.Name, true
	}
	return e
}
