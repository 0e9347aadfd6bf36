// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	statusSynopsis = "Read how an account is doing."

	statusDescription = `
Shows the state of the account's token, without the token, and never asks the
provider. state is fresh (a token is in hand), refreshing (a mint is under way),
backing_off (the last mint failed; next_attempt says when another may be made)
or empty (the next read mints, or takes the token that was stored before the
plugin was started). The counts begin when the account is first read after a
start of the plugin. The list has the same for each account, as key_info.
`
	statusListSynopsis = "List how the accounts are doing."
)

// pathStatus is status/<name>.
func (b *backend) pathStatus() *framework.Path {
	return &framework.Path{
		Pattern: "status/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the config whose status is read."},
		},
		HelpSynopsis:    statusSynopsis,
		HelpDescription: statusDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "status"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: b.operation(b.statusRead, framework.PathOperation{
				Summary:                   statusSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

// pathStatusList is status/.
func (b *backend) pathStatusList() *framework.Path {
	return &framework.Path{
		Pattern:         "status/?$",
		HelpSynopsis:    statusListSynopsis,
		HelpDescription: statusDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "statuses"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: b.operation(b.statusList, framework.PathOperation{
				Summary:                   statusListSynopsis,
				ForwardPerformanceStandby: true,
			}),
		},
	}
}

func (b *backend) statusRead(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	data, err := b.status(ctx, req.Storage, nameOf(d))
	if err != nil || data == nil {
		return nil, err
	}
	return &logical.Response{Data: data}, nil
}

func (b *backend) statusList(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := listConfigs(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	info := make(map[string]any, len(names))
	for _, name := range names {
		data, err := b.status(ctx, req.Storage, name)
		if bad := (*recordError)(nil); errors.As(err, &bad) { // the others are shown all the same
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

// status returns how the named account is doing; nil if there is none.
func (b *backend) status(ctx context.Context, s logical.Storage, name string) (map[string]any, error) {
	c, err := b.readConfig(ctx, s, name)
	if err != nil || c == nil {
		return nil, err
	}
	st, _ := b.cache.Status(name)
	data := map[string]any{
		"provider":         c.Provider,
		"environment":      c.environment(b.providers[c.Provider].spec),
		"state":            string(st.State),
		"reads":            st.Reads,
		"mints":            st.Mints,
		"failures_in_row":  st.Failures,
		"minted_time":      showTime(st.Minted),
		"expire_time":      showTime(st.Expires),
		"refresh_due_time": showTime(st.RefreshDue),
		"next_attempt":     showTime(st.NextAttempt),
	}
	if f := st.LastFailure; f != nil {
		data["last_error"] = f.Error()
		data["last_error_kind"] = f.Kind.String()
		data["last_error_time"] = showTime(f.At)
	}
	return data, nil
}

// showTime returns t as users see times; "" for the zero time.
func showTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
