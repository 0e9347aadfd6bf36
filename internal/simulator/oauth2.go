// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"strings"
	"time"
)

// conversationToken serves POST /oauth2/token. Sinch Conversation documents only one grant: client
// credentials in a Basic header.
func (s *Simulator) conversationToken(c *call) response {
	if resp, refused := c.checkPost(formType); refused {
		return resp
	}
	if resp, refused := c.checkParams("grant_type", "scope"); refused {
		return resp
	}
	if c.op != opClientCredentials {
		c.violate("grant_type %q is not documented", c.form.Get("grant_type"))
		return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "")
	}
	if c.basic == nil {
		c.violate("the access key is not in a Basic header")
		return c.oauthRefusal(invalidClient)
	}
	if r := c.authenticate(c.account, unescape(c.basic.password)); r != accepted {
		return c.oauthRefusal(r)
	}
	return c.oauthSuccess(c.login(c.account, ""), object{
		"token_type": "bearer", // RFC 6749 §5.1: case-insensitive
		"scope":      c.form.Get("scope"),
	})
}

// genericToken serves POST /generic/token (RFC 6749). It ignores unknown parameters (§3.2).
func (s *Simulator) genericToken(c *call) response {
	client, resp, refused := c.genericClient()
	if refused {
		return resp
	}
	var got issued
	var r reason
	switch c.op {
	case opClientCredentials:
		if r = c.fault.reason(); r == accepted {
			got = c.login(client, client)
		}
	case opPassword:
		if r = c.authenticate(c.account, c.form.Get("password")); r == accepted {
			got = c.login(c.account, client)
		}
	case opRefresh:
		got, r = c.refresh(c.form.Get("refresh_token"), client)
	default:
		c.violate("grant_type %q is unknown", c.form.Get("grant_type"))
		return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "")
	}
	if r != accepted {
		return c.oauthRefusal(r)
	}
	body := object{"token_type": "Bearer"}
	if scope := c.form.Get("scope"); scope != "" {
		body["scope"] = scope
	}
	return c.oauthSuccess(got, body)
}

// genericRevoke serves POST /generic/revoke (RFC 7009). It refuses a token that was issued to
// another client. An unknown or ended token is no error (§2.2).
func (s *Simulator) genericRevoke(c *call) response {
	client, resp, refused := c.genericClient()
	if refused {
		return resp
	}
	if r := c.fault.reason(); r != accepted {
		return c.oauthRefusal(r)
	}
	if c.form.Get("token") == "" {
		c.violate("the parameter token is missing")
		return c.oauthError(http.StatusBadRequest, "invalid_request", "Token not provided")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tokens.find(c.form.Get("token"), OAuth2, ""); t != nil {
		if t.session.client != client {
			return c.oauthError(http.StatusBadRequest, "invalid_grant", "Unmatching clients")
		}
		t.revoke(s.now())
	}
	return response{status: http.StatusOK, ok: true}
}

// genericClient authenticates the client and returns its id, or a refusal and true. The client
// secret comes in a Basic header or in the form (RFC 6749 §2.3.1). A client without a secret sends
// its client_id, and may use a certificate (RFC 8705 §2).
func (c *call) genericClient() (string, response, bool) {
	if resp, refused := c.checkPost(formType); refused {
		return "", resp, true
	}
	if resp, refused := c.checkParams(); refused {
		return "", resp, true
	}
	id, secret := c.form.Get("client_id"), c.form.Get("client_secret")
	switch c.clientAuth() {
	case "both":
		c.violate("more than one way of client authentication")
		return "", c.oauthError(http.StatusBadRequest, "invalid_request", "more than one client authentication"), true
	case "header":
		id, secret = unescape(c.basic.user), unescape(c.basic.password)
	case "certificate":
		if c.hasNoSecret(id) {
			return id, response{}, false
		}
		c.violate("this client needs a client secret")
	case "public":
		if c.op != opClientCredentials && c.hasNoSecret(id) {
			return id, response{}, false
		}
		c.violate("this client or this grant needs a client secret")
	case "":
		c.violate("no client authentication")
	}
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if c.checkSecret(id, secret) != accepted {
		return "", c.oauthRefusal(invalidClient), true
	}
	return id, response{}, false
}

// hasNoSecret reports whether the client exists and has no secret.
func (c *call) hasNoSecret(client string) bool {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	secret, known := c.secretOf(client)
	return known && secret == ""
}

// clientAuth returns what identifies the client (see LastRequest.ClientAuth).
func (c *call) clientAuth() string {
	switch {
	case c.basic != nil && c.form.Has("client_secret"):
		return "both"
	case c.basic != nil:
		return "header"
	case c.form.Has("client_secret"):
		return "body"
	case c.form.Has("client_id") && c.r.TLS != nil && len(c.r.TLS.VerifiedChains) > 0:
		return "certificate"
	case c.form.Has("client_id"):
		return "public"
	}
	return ""
}

// oauthSuccess returns a token response (RFC 6749 §5.1), which also contains the fields of body.
func (c *call) oauthSuccess(got issued, body object) response {
	body["access_token"] = got.access
	if got.refresh != "" {
		body["refresh_token"] = got.refresh
	}
	return c.tokenResponse(body, "access_token", "expires_in", int64(got.accessTTL/time.Second))
}

// oauthRefusal returns a refusal. All OAuth 2.0 endpoints use Keycloak's error descriptions.
func (c *call) oauthRefusal(r reason) response {
	descriptions := map[reason]string{
		accountDisabled:     "Account disabled",
		accountNotSetUp:     "Account is not fully set up",
		deadRefreshToken:    "Token is not active",
		deadSession:         "Session not active",
		invalidRefreshToken: "Invalid refresh token",
		reusedRefreshToken:  "Maximum allowed refresh token reuse exceeded",
		detachedSession:     "Session doesn't have required client",
	}
	switch {
	case r == accountDisabled && c.op == opRefresh:
		return c.oauthError(http.StatusBadRequest, "invalid_grant", "User disabled")
	case descriptions[r] != "":
		return c.oauthError(http.StatusBadRequest, "invalid_grant", descriptions[r])
	case r == unauthorizedClient:
		return c.oauthError(http.StatusBadRequest, "unauthorized_client", "Client not allowed for this grant")
	case r == invalidClient || c.op == opClientCredentials:
		resp := c.oauthError(http.StatusUnauthorized, "invalid_client", "Invalid client or Invalid client credentials")
		if scheme, _, _ := strings.Cut(c.r.Header.Get("Authorization"), " "); scheme != "" { // RFC 6749 §5.2
			resp.header = map[string]string{"WWW-Authenticate": `Basic realm="simulator"`}
		}
		return resp
	}
	return c.oauthError(http.StatusUnauthorized, "invalid_grant", "Invalid user credentials")
}

// oauthError returns an error response (RFC 6749 §5.2).
func (c *call) oauthError(status int, code, description string) response {
	body := object{"error": code}
	if d := c.description(description); d != (escapedText{}) {
		body["error_description"] = d
	}
	return c.failure(status, body)
}
