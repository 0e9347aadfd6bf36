// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// conversationToken serves POST /oauth2/token: client credentials by HTTP Basic, nothing else.
func (s *Simulator) conversationToken(c *call) answer {
	if a, bad := c.posted(formType); bad {
		return a
	}
	if !c.oneEach("grant_type", "scope") {
		return c.oauthError(http.StatusBadRequest, "invalid_request", "duplicated parameter")
	}
	if c.op != opClientCredentials {
		c.violate("grant_type %q is not documented", c.form.Get("grant_type"))
		return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "")
	}
	if c.basic == nil {
		c.violate("the access key goes into a Basic header")
		return c.oauthRefusal(invalidClient)
	}
	if r := c.authenticate(c.account, unescape(c.basic.password)); r != accepted {
		return c.oauthRefusal(r)
	}
	got := c.login(c.account, "")
	return c.oauthSuccess(got, object{
		"access_token": got.access,
		"token_type":   "bearer", // RFC 6749 §5.1: case-insensitive
		"scope":        c.form.Get("scope"),
	})
}

// genericToken serves POST /generic/token as RFC 6749 says. Parameters it does not know are let be (§3.2).
func (s *Simulator) genericToken(c *call) answer {
	client, a, bad := c.genericClient()
	if bad {
		return a
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
	return c.genericSuccess(got)
}

func (c *call) genericSuccess(got issued) answer {
	body := object{"access_token": got.access, "token_type": "Bearer"}
	if got.refresh != "" {
		body["refresh_token"] = got.refresh
	}
	if scope := c.form.Get("scope"); scope != "" {
		body["scope"] = scope
	}
	return c.oauthSuccess(got, body)
}

// genericRevoke serves POST /generic/revoke (RFC 7009). A token that is dead or unknown is no error (§2.2); one of
// another client is.
func (s *Simulator) genericRevoke(c *call) answer {
	client, a, bad := c.genericClient()
	if bad {
		return a
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
	return answer{status: http.StatusOK, ok: true}
}

// genericClient authenticates the client (RFC 6749 §2.3.1): a secret by HTTP Basic, form-encoded, or in the form; a
// client without a secret sends its client_id only.
func (c *call) genericClient() (string, answer, bool) {
	if a, bad := c.posted(formType); bad {
		return "", a, true
	}
	if !c.oneEach() {
		return "", c.oauthError(http.StatusBadRequest, "invalid_request", "duplicated parameter"), true
	}
	id, secret := c.form.Get("client_id"), c.form.Get("client_secret")
	switch clientAuth(c.basic, c.form) {
	case "both":
		c.violate("more than one way of client authentication")
		return "", c.oauthError(http.StatusBadRequest, "invalid_request", "more than one client authentication"), true
	case "header":
		id, secret = unescape(c.basic.user), unescape(c.basic.password)
	case "public":
		if c.isPublic(id) && c.op != opClientCredentials {
			return id, answer{}, false
		}
		c.violate("this client, or this grant, needs a client secret")
	case "":
		c.violate("no client authentication")
	}
	if c.check(id, secret) != accepted {
		return "", c.oauthRefusal(invalidClient), true
	}
	return id, answer{}, false
}

// isPublic says whether a client is known and has no secret.
func (c *call) isPublic(client string) bool {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	account, known := c.lookup(client)
	return known && account.Secret == "" && !account.Disabled
}

// oauthSuccess returns a token answer (RFC 6749 §5.1), with the lifetime in the form that the knob says.
func (c *call) oauthSuccess(got issued, body object) answer {
	seconds := int64(got.accessTTL / time.Second)
	switch c.rules.expiryFormat {
	case expiryNumber:
		body["expires_in"] = seconds
	case expiryString:
		body["expires_in"] = strconv.FormatInt(seconds, 10)
	}
	return answer{status: http.StatusOK, body: body, ok: true, tokenField: "access_token", expiryField: "expires_in"}
}

// oauthRefusal returns a refusal in Keycloak's words, which do for the others too.
func (c *call) oauthRefusal(r reason) answer {
	const bad, unauthorized = http.StatusBadRequest, http.StatusUnauthorized
	switch r {
	case accountDisabled:
		if c.op == opRefresh {
			return c.oauthError(bad, "invalid_grant", "User disabled")
		}
		return c.oauthError(bad, "invalid_grant", "Account disabled")
	case accountNotSetUp:
		return c.oauthError(bad, "invalid_grant", "Account is not fully set up")
	case deadRefreshToken:
		return c.oauthError(bad, "invalid_grant", "Token is not active")
	case deadSession:
		return c.oauthError(bad, "invalid_grant", "Session not active")
	case deadOfflineSession:
		return c.oauthError(bad, "invalid_grant", "Offline user session not found")
	case invalidRefreshToken:
		return c.oauthError(bad, "invalid_grant", "Invalid refresh token")
	case reusedRefreshToken:
		return c.oauthError(bad, "invalid_grant", "Maximum allowed refresh token reuse exceeded")
	case detachedSession:
		return c.oauthError(bad, "invalid_grant", "Session doesn't have required client")
	case unauthorizedClient:
		return c.oauthError(bad, "unauthorized_client", "Client not allowed for this grant")
	case invalidClient:
		return c.invalidClient()
	}
	if c.op == opClientCredentials {
		return c.invalidClient()
	}
	return c.oauthError(unauthorized, "invalid_grant", "Invalid user credentials")
}

// invalidClient answers with the scheme that the client tried, as RFC 6749 §5.2 wants.
func (c *call) invalidClient() answer {
	a := c.oauthError(http.StatusUnauthorized, "invalid_client", "Invalid client or Invalid client credentials")
	if scheme, _, _ := strings.Cut(c.r.Header.Get("Authorization"), " "); scheme != "" {
		a.header = map[string]string{"WWW-Authenticate": `Basic realm="simulator"`}
	}
	return a
}

// oauthError returns a failure as of RFC 6749 §5.2.
func (c *call) oauthError(status int, code, description string) answer {
	body := object{"error": code}
	if words := c.words(description); words != (wireText{}) {
		body["error_description"] = words
	}
	return c.failure(status, body)
}
