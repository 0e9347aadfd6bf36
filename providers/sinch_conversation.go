// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"

	"vault-plugin-secrets-messaging/internal/token"
)

// sinchConversation is Sinch's global Conversation API: the client credentials grant with
// an access key.
type sinchConversation struct{}

func (sinchConversation) Spec() Spec {
	return Spec{
		Name:        "sinch-conversation",
		Description: "Sinch Conversation API: bearer tokens for an access key.",
		Docs:        "https://developers.sinch.com/docs/conversation/api-reference",
		Fields: []Field{
			{Name: "client_id", Required: true,
				Description: "Key ID of an access key, from the Sinch dashboard under Settings, Access keys."},
			{Name: "client_secret", Required: true, Secret: true,
				Description: "Key secret of the access key. The dashboard shows it once, when you create the key."},
			authStyle,
		},
		Endpoints: []Endpoint{{Environment: "production", TokenURL: "https://auth.sinch.com/oauth2/token"}},
	}
}

// Mint implements [Provider].
func (p sinchConversation) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	return grant{
		client: clientOf(s),
		form:   clientCredentialsGrant(),
		redact: newRedactor(p.Spec(), s),
	}.request(ctx, c, s)
}
