// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// jwtProtocol is the protocol jwt: the engine signs tokens without a request.
type jwtProtocol struct{ signature signature }

func (p *jwtProtocol) signatures() []use {
	return []use{{signature: &p.signature, isUsed: func(Settings) bool { return true }}}
}

func (p *jwtProtocol) validate(Settings) error { return nil }

func (p *jwtProtocol) mint(_ context.Context, c *Client, s Settings, _ redactor) (token.Token, error) {
	sent, signature := c.clock(), p.signature
	if s.MaxTTL > 0 {
		signature.lifetime = min(signature.lifetime, s.MaxTTL)
	}
	jwt, lifetime, err := signature.sign(sent.Wall, s, "", "")
	if err != nil {
		return token.Token{}, err
	}
	return token.Token{Access: secret.String(jwt), Type: bearer, Sent: sent, Lifetime: lifetime}, nil
}
