// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	providersSynopsis     = "Read what a provider wants in a config."
	providersDescription  = "Shows the fields that a config of this provider takes besides those that every config has, and the endpoints at which tokens are minted, by environment."
	providersListSynopsis = "List the providers there are."
)

// pathProviders is providers/<name>.
func (b *backend) pathProviders() *framework.Path {
	return &framework.Path{
		Pattern: "providers/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Required: true, Description: "Name of the provider, as config/<name> takes it in provider."},
		},
		HelpSynopsis:    providersSynopsis,
		HelpDescription: providersDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "provider"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: b.operation(b.providersRead, framework.PathOperation{Summary: providersSynopsis}),
		},
	}
}

// pathProvidersList is providers/.
func (b *backend) pathProvidersList() *framework.Path {
	return &framework.Path{
		Pattern:         "providers/?$",
		HelpSynopsis:    providersListSynopsis,
		HelpDescription: providersListSynopsis,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "providers"},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: b.operation(b.providersList, framework.PathOperation{Summary: providersListSynopsis}),
		},
	}
}

func (b *backend) providersList(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return logical.ListResponse(b.providerNames()), nil
}

func (b *backend) providersRead(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	p, ok := b.providers[nameOf(d)]
	if !ok {
		return nil, nil
	}
	fields := map[string]string{}
	for _, f := range p.spec.Fields {
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
	for _, e := range p.spec.Endpoints {
		endpoints[e.Environment] = e.TokenURL
	}
	return &logical.Response{Data: map[string]any{
		"description": p.spec.Description,
		"docs":        p.spec.Docs,
		"fields":      fields,
		"endpoints":   endpoints,
	}}, nil
}
