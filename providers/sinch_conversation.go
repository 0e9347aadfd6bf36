// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"

	"vault-plugin-secrets-messaging/internal/token"
)

// sinchConversation is Sinch's global Conversation API, which takes an access
// key by the client credentials grant.
type sinchConversation struct{}

func (sinchConversation) Spec() Spec {
	return Spec{
		Name:        "sinch-conversation",
		Description: "Sinch Conversation API: bearer tokens by access key.",
		Docs:        "https://developers.sinch.com/docs/conversation/api-reference",
		Fields: []Field{
			{Name: "client_id", Required: true,
				Description: "Key ID of an access key: Sinch dashboard, Settings, Access keys. It is sent by HTTP Basic."},
			{Name: "client_secret", Required: true, Secret: true,
				Description: "Key secret of the access key, shown once, when the key is made. It is sent by HTTP Basic."},
		},
		Endpoints: []Endpoint{{Environment: "production", TokenURL: "https://auth.sinch.com/oauth2/token"}},
	}
}

func (p sinchConversation) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	return grant{
		client: oauthClient{id: s.Value("client_id"), secret: s.Value("client_secret")},
		form:   clientCredentialsGrant(),
		redact: newRedactor(p.Spec(), s),
	}.request(ctx, c, s)
}
