// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/account"
	"vault-plugin-secrets-messaging/providers"
)

const (
	providersSynopsis = "Read what a provider needs, or define a provider of your own."

	providersDescription = `
A read shows what a config of this provider takes besides the fields that every
config has, the token endpoint of each environment, how apps present the token,
how well the provider is known, and the definition itself.

To add a provider, write its definition, which is YAML or JSON text of at most
16 KiB, for example:

    vault write messaging/providers/acme definition=@acme.yaml
    vault write messaging/config/a provider=acme api_user=... api_password=...
    vault read messaging/creds/a

with this acme.yaml:

    title: Acme Messaging API
    fields:
      api_user: {description: User name of the API account., required: true}
      api_password: {description: Its password., required: true, secret: true}
    endpoints: {production: "https://auth.acme.example/v1/login"}
    http:
      json: {user: "{api_user}", password: "{api_password}"}
      token: /token
      lifetime: {seconds: /expires_in}

Configs keep the definition that they were written with. Writing or deleting a
definition changes nothing for them: see adopt_definition at config/<name>. You
can neither write nor delete the providers that are built in.
`
	providersListSynopsis = "List the providers: built-in ones and those that you defined."
)

// providersPath is providers/<name> and providers/.
type providersPath struct {
	*responder
	registry *account.Registry
}

func (p *providersPath) path() *framework.Path {
	return &framework.Path{
		Pattern: "providers/" + framework.GenericNameRegex("name"),
		Fields: map[string]*framework.FieldSchema{
			"name": nameField("Name of the provider, as config/<name> takes it in provider."),
			"definition": {Type: framework.TypeString, Required: true,
				Description:  "Definition of the provider: YAML or JSON text of at most 16 KiB. definition=@acme.yaml reads it from a file.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Definition", EditType: "textarea"}},
		},
		ExistenceCheck:  p.exists,
		HelpSynopsis:    providersSynopsis,
		HelpDescription: providersDescription,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "provider", ItemType: "Provider", Action: "Create"},
		Operations: operations{
			logical.CreateOperation: p.onPrimary("Define a provider.", p.write),
			logical.UpdateOperation: p.onPrimary("Replace the definition of a provider, for new configs.", p.write),
			logical.DeleteOperation: p.onPrimary("Delete the definition of a provider. Configs of the provider keep it.", p.delete),
			logical.ReadOperation:   p.onActive("Read what a provider needs.", p.read),
		},
	}
}

func (p *providersPath) listPath() *framework.Path {
	return &framework.Path{
		Pattern:         "providers/?$",
		HelpSynopsis:    providersListSynopsis,
		HelpDescription: providersListSynopsis,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "providers", Navigation: true, ItemType: "Provider"},
		Operations:      operations{logical.ListOperation: p.onActive(providersListSynopsis, p.list)},
	}
}

func (p *providersPath) exists(ctx context.Context, _ *logical.Request, d *framework.FieldData) (bool, error) {
	return p.registry.HasProvider(ctx, nameOf(d))
}

func (p *providersPath) write(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, text := nameOf(d), d.Get("definition").(string)
	if len(name) > account.MaxName {
		return nil, errNameTooLong
	}
	if text == "" {
		return nil, &providers.FieldError{Field: "definition", Problem: "is required; it is YAML or JSON text, for example definition=@acme.yaml"}
	}
	digest, kept, err := p.registry.WriteDefinition(ctx, name, text)
	if err != nil {
		return nil, err
	}
	return withWarnings(&logical.Response{Data: map[string]any{"digest": digest}}, keptWarning(kept)), nil
}

func (p *providersPath) delete(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	kept, err := p.registry.DeleteDefinition(ctx, nameOf(d))
	return withWarnings(nil, keptWarning(kept)), err
}

// keptWarning warns that this many configs keep an older definition. For 0, keptWarning returns "".
func keptWarning(kept int) string {
	switch kept {
	case 0:
		return ""
	case 1:
		return "1 config keeps the definition that it was written with"
	}
	return fmt.Sprintf("%d configs keep the definition that they were written with", kept)
}

func (p *providersPath) list(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := p.registry.ListProviders(ctx)
	if err != nil {
		return nil, err
	}
	info := make(map[string]any, len(names))
	for _, name := range names {
		shown, err := p.registry.Provider(ctx, name)
		if bad := (*account.RecordError)(nil); errors.As(err, &bad) { // the list still shows the others
			info[name] = map[string]any{"source": sourceOwn, "error": err.Error()}
		} else if err != nil {
			return nil, err
		} else if shown != nil {
			info[name] = map[string]any{"source": source(shown), "title": shown.Title, "known": shown.Known}
		}
	}
	return logical.ListResponseWithInfo(names, info), nil
}

// Where a provider comes from, as users see it.
const (
	sourceBuiltin = "built-in"
	sourceOwn     = "own"
)

func source(p *account.Provider) string {
	if p.Own {
		return sourceOwn
	}
	return sourceBuiltin
}

func (p *providersPath) read(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	shown, err := p.registry.Provider(ctx, nameOf(d))
	if err != nil || shown == nil {
		return nil, err
	}
	fields := map[string]string{}
	for _, f := range shown.Fields {
		fields[f.Name] = fieldHelp(f)
	}
	endpoints := map[string]string{}
	for _, e := range shown.Endpoints {
		endpoints[e.Environment] = e.TokenURL
	}
	data := map[string]any{
		"title":      shown.Title,
		"docs":       shown.Docs,
		"known":      shown.Known,
		"usage":      shown.Usage,
		"fields":     fields,
		"endpoints":  endpoints,
		"source":     source(shown),
		"digest":     shown.Digest,
		"definition": shown.Definition,
	}
	resp := &logical.Response{Data: data}
	if shown.HidesBuiltin {
		data["hides_builtin"] = true
		resp.AddWarning("a built-in provider has the same name; delete this definition to use the built-in provider in new configs")
	}
	return resp, nil
}

// fieldHelp returns the help of a field: its description and its valid values.
func fieldHelp(f providers.Field) string {
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
	if len(notes) == 0 {
		return f.Description
	}
	return f.Description + " (" + strings.Join(notes, "; ") + ")"
}
