// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"time"
)

// keycloakClient is the public client that Sinch India documents.
const keycloakClient = "ipmessaging-client"

// keycloakToken serves POST …/openid-connect/token with the password grant and the refresh grant.
// Like Keycloak, it checks the grant type before the client, and ignores a body that is not a form.
func (s *Simulator) keycloakToken(c *call) response {
	if c.r.Header.Get("Cache-Control") != "no-cache" {
		c.violate("the documented header cache-control: no-cache is missing")
	}
	if resp, refused := c.checkMethod(); refused {
		return resp
	}
	isForm := c.checkContentType(formType)
	switch grant := c.form.Get("grant_type"); {
	case !c.form.Has("grant_type"):
		if isForm {
			c.violate("grant_type is missing")
		}
		return c.oauthError(http.StatusBadRequest, "invalid_request", "Missing form parameter: grant_type")
	case grant != opPassword && grant != opRefresh:
		c.violate("grant_type %q is not documented", grant)
		return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
	}
	if resp, refused := c.checkKeycloakClient("grant_type", "client_id", "username", "password", "refresh_token"); refused {
		return resp
	}
	if c.op == opPassword {
		return c.passwordGrant()
	}
	return c.refreshGrant()
}

func (c *call) passwordGrant() response {
	if !c.form.Has("username") || !c.form.Has("password") {
		c.violate("the password grant needs username and password")
	}
	if !c.form.Has("username") {
		return c.oauthError(http.StatusUnauthorized, "invalid_request", "Missing parameter: username")
	}
	if !c.beginLogin() {
		return c.oauthRefusal(wrongSecret)
	}
	if r := c.authenticate(c.account, c.form.Get("password")); r != accepted {
		return c.oauthRefusal(r)
	}
	return c.keycloakSuccess(c.login(c.account, keycloakClient))
}

func (c *call) refreshGrant() response {
	if !c.form.Has("refresh_token") {
		c.violate("the refresh grant needs refresh_token")
		return c.oauthError(http.StatusBadRequest, "invalid_request", "No refresh token")
	}
	got, r := c.refresh(c.form.Get("refresh_token"), keycloakClient)
	if r != accepted {
		return c.oauthRefusal(r)
	}
	return c.keycloakSuccess(got)
}

func (c *call) keycloakSuccess(got issued) response {
	return c.oauthSuccess(got, object{
		"refresh_expires_in": int64(got.refreshTTL / time.Second),
		"token_type":         "Bearer",
		"not-before-policy":  0,
		"session_state":      got.session.id,
		"scope":              "email profile",
	})
}

// keycloakRevoke serves POST …/openid-connect/revoke (RFC 7009). For an unknown token or an ended
// session, Keycloak sends an error with status 200.
func (s *Simulator) keycloakRevoke(c *call) response {
	if resp, refused := c.checkPost(formType); refused {
		return resp
	}
	if resp, refused := c.checkKeycloakClient("client_id", "token", "token_type_hint"); refused {
		return resp
	}
	if r := c.fault.reason(); r != accepted {
		return c.oauthRefusal(r)
	}
	if !c.form.Has("token") {
		c.violate("the parameter token is missing")
		return c.oauthError(http.StatusBadRequest, "invalid_request", "Token not provided")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.tokens.find(c.form.Get("token"), SinchIndia, "")
	if t == nil || !t.session.ended.IsZero() {
		return c.oauthError(http.StatusOK, "invalid_token", "Invalid token")
	}
	t.revoke(now)
	return response{status: http.StatusOK, ok: true}
}

// checkKeycloakClient checks the parameters and the client. If there is a Basic header, Keycloak
// reads the client from the header and ignores the password. Sinch does not document this header.
func (c *call) checkKeycloakClient(params ...string) (response, bool) {
	resp, refused := c.checkParams(params...)
	client := c.form.Get("client_id")
	if c.basic != nil {
		client = unescape(c.basic.user)
	}
	switch {
	case c.r.Header.Get("Authorization") != "":
		c.violate("an Authorization header: client_id goes into the form")
	case client != keycloakClient:
		c.violate("client_id is not %s", keycloakClient)
	}
	if client != keycloakClient {
		return c.oauthRefusal(invalidClient), true
	}
	return resp, refused
}
