// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// enablex is one of EnableX's messaging APIs. Each API has its own token endpoint, and its
// own names for the fields of an answer. All answers are read with the names of all APIs.
type enablex struct {
	channel string // as in the URL: "whatsapp"
	title   string // for people: "WhatsApp"
	docs    string
}

func (p enablex) Spec() Spec {
	return Spec{
		Name:        "enablex-" + p.channel,
		Description: "EnableX " + p.title + " API: bearer tokens for an App ID and App Key.",
		Docs:        p.docs,
		Fields: []Field{
			{Name: "app_id", Required: true,
				Description: "App ID of the " + p.title + " project. The EnableX portal shows it in the settings of the project."},
			{Name: "app_key", Required: true, Secret: true,
				Description: "App Key of the project. EnableX issues it with the App ID."},
		},
		Endpoints: []Endpoint{{Environment: "production", TokenURL: "https://api.enablex.io/" + p.channel + "/v1/token"}},
	}
}

// Mint implements [Provider]. The expiry in the answer is a Unix time on the provider's
// clock. If there is none, the lifetime is s.DefaultTTL.
func (p enablex) Mint(ctx context.Context, c *Client, s Settings) (token.Token, error) {
	body, _ := json.Marshal(map[string]string{"app_id": s.Value("app_id"), "app_key": s.Value("app_key")}) // never fails for strings
	a, err := c.post(ctx, request{
		url:         s.TokenURL,
		contentType: "application/json",
		body:        string(body),
		timeout:     s.Timeout,
		redact:      newRedactor(p.Spec(), s),
	})
	if err != nil {
		return token.Token{}, err
	}
	f, err := a.object()
	if err != nil {
		return token.Token{}, err
	}
	// EnableX does not document the status. A failure may have the status 200, so only the
	// body tells.
	access, _ := f.text("token")
	if code := f.code("code"); access == "" || code != "" && !isNumber(code, 200) {
		return token.Token{}, a.enablexError(f)
	}
	life, err := a.expiresAt(f, "expiry", s)
	if err != nil {
		return token.Token{}, err
	}
	return a.token(access, min(life, enablexLifetime))
}

// enablexLifetime is the lifetime that EnableX documents for its tokens. It bounds them,
// because expiry depends on clocks that may be wrong.
const enablexLifetime = time.Hour

// enablexError returns the error of an answer without a token. The HTTP status of a failure
// may be 200, so words without a code of success are a refusal too.
func (a *answer) enablexError(f fields) *token.Error {
	found := f.fault()
	kind := found.kind(a.status)
	words := strings.ToLower(strings.Join(found.words, " "))
	status, _ := f.text("status")
	switch {
	case slices.ContainsFunc(found.codes, func(code string) bool { return isNumber(code, 1003) }),
		strings.EqualFold(status, "Unauthorized"), strings.Contains(words, "authentication failed"),
		kind == token.Malformed && words != "" && !f.has("code") && !f.has("result"):
		kind = token.Refused
	}
	return a.refuse(found, kind)
}
