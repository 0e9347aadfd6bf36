// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
)

const (
	providersSynopsis     = "Read which fields a provider takes in a config."
	providersDescription  = "Shows the fields that a config of this provider takes besides the fields that every config has, and the token endpoint of each environment."
	providersListSynopsis = "List the providers."
)

// providersPath is providers/<name> and providers/.
type providersPath struct {
	*responder
	registry *account.Registry
}

// path is providers/<name>.
func (p *providersPath) path() *framework.Path {
	return &framework.Path{
		Pattern: "providers/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the provider, as config/<name> takes it in provider."},
		},
		HelpSynopsis:    providersSynopsis,
		HelpDescription: providersDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "provider"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: p.operation(p.read, framework.PathOperation{Summary: providersSynopsis}),
		},
	}
}

// listPath is providers/.
func (p *providersPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "providers/?$",
		HelpSynopsis:    providersListSynopsis,
		HelpDescription: providersListSynopsis,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "providers"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: p.operation(p.list, framework.PathOperation{Summary: providersListSynopsis}),
		},
	}
}

func (p *providersPath) list(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return logical.ListResponse(p.registry.Names()), nil
}

func (p *providersPath) read(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	spec, ok := p.registry.Spec(nameOf(d))
	if !ok {
		return nil, nil
	}
	fields := map[string]string{}
	for _, f := range spec.Fields {
		var notes []string
		if f.Required {
			notes = append(notes, "required")
		}
		if f.Secret {
			notes = append(notes, "secret")
		}
		if len(f.Allowed) > 0 {
			notes = append(notes, "one of "+strings.Join(f.Allowed, ", "))
		}
		if f.Default != "" {
			notes = append(notes, "default "+f.Default)
		}
		fields[f.Name] = f.Description
		if len(notes) > 0 {
			fields[f.Name] += " (" + strings.Join(notes, "; ") + ")"
		}
	}
	endpoints := map[string]string{}
	for _, e := range spec.Endpoints {
		endpoints[e.Environment] = e.TokenURL
	}
	return &logical.Response{Data: map[string]any{
		"description": spec.Description,
		"docs":        spec.Docs,
		"fields":      fields,
		"endpoints":   endpoints,
	}}, nil
}
