// SPDX-License-Identifier: MPL-2.0

// Command floor is a minimal Vault plugin whose reads return constants. "make bench" compares the
// engine with this plugin.
package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	meta := &api.PluginAPIClientMeta{}
	err := meta.FlagSet().Parse(os.Args[1:])
	if err == nil {
		err = plugin.ServeMultiplex(&plugin.ServeOpts{
			BackendFactoryFunc: factory,
			TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
		})
	}
	if err != nil {
		hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("the floor plugin failed", "error", err)
		os.Exit(1)
	}
}

// token is as long as the tokens of the simulator.
var token = strings.Repeat("x", 390)

// factory makes a backend with two paths: creds/<name> with a lease, and plain/<name> without a
// lease.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{BackendType: logical.TypeLogical}
	b.Secrets = []*framework.Secret{{
		Type: "floor_token",
		Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
			return nil, nil
		},
	}}
	b.Paths = []*framework.Path{
		path("creds/", func() *logical.Response {
			return &logical.Response{
				Data: data(),
				Secret: &logical.Secret{
					LeaseOptions: logical.LeaseOptions{TTL: time.Hour, MaxTTL: time.Hour},
					InternalData: map[string]any{"secret_type": "floor_token"},
				},
			}
		}),
		path("plain/", func() *logical.Response {
			d := data()
			d["ttl"], d["rotation_period"], d["last_vault_rotation"] = 3500, 3600, "2026-11-22T08:20:51Z"
			return &logical.Response{Data: d}
		}),
	}
	return b, b.Setup(ctx, conf)
}

func data() map[string]any {
	return map[string]any{
		"access_token": token,
		"expire_time":  "2026-11-22T09:20:51Z",
		"provider":     "sinch-india",
		"token_type":   "Bearer",
	}
}

func path(prefix string, respond func() *logical.Response) *framework.Path {
	return &framework.Path{
		Pattern: prefix + framework.GenericNameRegex("name"),
		Fields:  map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
		//nolint:staticcheck // the field Operations would cost a call to Vault per request
		Callbacks: map[logical.Operation]framework.OperationFunc{
			logical.ReadOperation: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				return respond(), nil
			},
		},
	}
}
