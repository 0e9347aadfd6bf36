// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/internal/tokencache"
)

const (
	statusSynopsis = "Read the state of an account."

	statusDescription = `
Shows the state of the account's token, without the token, and never asks the
provider. reads counts the reads of the current token. mints counts the
successful mints since the plugin loaded the account. The list status/ has the
state of each account in key_info.

state is fresh (there is a token), refreshing (a mint is running), backing_off
(the last mint failed; next_attempt says when the next mint may be made) or empty
(the next read mints, or takes the token that was stored before the plugin
started).

If the credential is a refresh token that changes with each use,
refresh_token_state is unused, stored, unsaved (only the plugin's process has the
newest refresh token), unknown (the last use of the refresh token got no answer)
or lost (write a new refresh token; refresh_token_error says why).
`
	statusListSynopsis = "List the states of the accounts."
)

// statusPath is status/<name> and status/.
type statusPath struct {
	*responder
	registry *account.Registry
	cache    *tokencache.Cache
}

func (p *statusPath) path() *framework.Path {
	return &framework.Path{
		Pattern:         "status/" + framework.GenericNameRegex("name"),
		Fields:          map[string]*framework.FieldSchema{"name": nameField("Name of the config whose status is read.")},
		HelpSynopsis:    statusSynopsis,
		HelpDescription: statusDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "status"},
		Operations:      operations{logical.ReadOperation: p.onActive(statusSynopsis, p.read)},
	}
}

func (p *statusPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "status/?$",
		HelpSynopsis:    statusListSynopsis,
		HelpDescription: statusDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "statuses"},
		Operations:      operations{logical.ListOperation: p.onActive(statusListSynopsis, p.list)},
	}
}

func (p *statusPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	data, err := p.status(ctx, nameOf(d))
	if err != nil || data == nil {
		return nil, err
	}
	return &logical.Response{Data: data}, nil
}

func (p *statusPath) list(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := account.ListConfigs(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	info := make(map[string]any, len(names))
	for _, name := range names {
		data, err := p.status(ctx, name)
		if bad := (*account.RecordError)(nil); errors.As(err, &bad) { // the list still shows the others
			data = map[string]any{"last_error": err.Error()}
		} else if err != nil {
			return nil, err
		}
		if data != nil {
			info[name] = data
		}
	}
	return logical.ListResponseWithInfo(names, info), nil
}

// status returns the state of the named account, or nil if the config does not exist.
func (p *statusPath) status(ctx context.Context, name string) (map[string]any, error) {
	c, err := p.registry.ReadConfig(ctx, name)
	if err != nil || c == nil {
		return nil, err
	}
	st, _ := p.cache.Status(name)
	data := map[string]any{
		"provider":         c.Provider,
		"environment":      c.ShownEnvironment(),
		"state":            string(st.State),
		"reads":            st.Reads,
		"mints":            st.Mints,
		"failures_in_row":  st.Failures,
		"minted_time":      showTime(st.Minted),
		"expire_time":      showTime(st.Expires),
		"refresh_due_time": showTime(st.RefreshDue),
		"next_attempt":     showTime(st.NextAttempt),
	}
	c.ShowAge(data)
	refresh, err := p.registry.RefreshState(ctx, name, c)
	if err != nil {
		return nil, err
	}
	if refresh != nil {
		data["refresh_token_state"] = refresh.State
		data["refresh_token_used_time"] = showTime(refresh.Used)
		if refresh.Problem != "" {
			data["refresh_token_error"] = refresh.Problem
		}
	}
	key, err := p.registry.KeyState(ctx, name, c)
	if err != nil {
		return nil, err
	}
	if key != nil {
		data["key_id"], data["key_activated_time"] = key.ID, showTime(key.Activated)
		if key.NextID != "" {
			data["next_key_id"] = key.NextID
		}
	}
	if !st.Rejected.IsZero() {
		data["rejected_time"] = showTime(st.Rejected)
	}
	if st.Parked > 0 {
		data["parked_tokens"] = st.Parked
	}
	if st.Unsaved {
		data["unsaved"] = true
	}
	if _, until := c.ClientCertValidity(); !until.IsZero() {
		data["client_cert_expire_time"] = showTime(until)
	}
	if f := st.LastFailure; f != nil {
		data["last_error"] = f.Error()
		data["last_error_kind"] = f.Kind.String()
		data["last_error_time"] = showTime(f.At)
	}
	return data, nil
}

// showTime returns t as users see it. Unset times are "".
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
