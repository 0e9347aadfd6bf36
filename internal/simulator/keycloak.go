// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"strings"
	"time"
)

// keycloakClient is the public client that Sinch India documents.
const keycloakClient = "ipmessaging-client"

// keycloakToken serves POST …/openid-connect/token: the password grant and the refresh grant. It looks at the grant type
// before it looks at the client, and to it a request that is no form has no parameters.
func (s *Simulator) keycloakToken(c *call) answer {
	if c.r.Header.Get("Cache-Control") != "no-cache" {
		c.violate("the header cache-control: no-cache is documented and missing")
	}
	if a, bad := c.isPost(); bad {
		return a
	}
	isForm := c.isType(formType)
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
	if a, bad := c.keycloakRequest("grant_type", "client_id", "username", "password", "refresh_token"); bad {
		return a
	}
	if c.op == opPassword {
		return c.passwordGrant()
	}
	return c.refreshGrant()
}

func (c *call) passwordGrant() answer {
	if !c.form.Has("username") || !c.form.Has("password") {
		c.violate("the password grant needs username and password")
	}
	if !c.form.Has("username") {
		return c.oauthError(http.StatusUnauthorized, "invalid_request", "Missing parameter: username")
	}
	if !c.beginLogin(c.account) {
		return c.oauthRefusal(wrongSecret)
	}
	if r := c.authenticate(c.account, c.form.Get("password")); r != accepted {
		return c.oauthRefusal(r)
	}
	return c.keycloakSuccess(c.login(c.account, keycloakClient))
}

func (c *call) refreshGrant() answer {
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

func (c *call) keycloakSuccess(got issued) answer {
	body := object{
		"access_token":       got.access,
		"refresh_expires_in": int64(got.refreshTTL / time.Second),
		"token_type":         "Bearer",
		"not-before-policy":  0,
		"session_state":      got.session.id,
		"scope":              "email profile",
	}
	if got.refresh != "" {
		body["refresh_token"] = got.refresh
	}
	return c.oauthSuccess(got, body)
}

// keycloakRevoke serves POST …/openid-connect/revoke (RFC 7009). A token that it does not know, or of a session that has
// ended, is an error there, with the status of a success.
func (s *Simulator) keycloakRevoke(c *call) answer {
	if a, bad := c.keycloakForm("client_id", "token", "token_type_hint"); bad {
		return a
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
	if t == nil || c.sessionOver(t.session, now) {
		return c.oauthError(http.StatusOK, "invalid_token", "Invalid token")
	}
	t.revoke(now)
	return answer{status: http.StatusOK, ok: true}
}

// keycloakLogout serves POST …/openid-connect/logout, which ends the refresh token's session. That it has ended, or the
// token has expired, is no error.
func (s *Simulator) keycloakLogout(c *call) answer {
	if a, bad := c.keycloakForm("client_id", "refresh_token"); bad {
		return a
	}
	if r := c.fault.reason(); r != accepted {
		return c.oauthRefusal(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens.find(c.form.Get("refresh_token"), SinchIndia, kindRefresh)
	if t == nil {
		return c.oauthRefusal(invalidRefreshToken)
	}
	t.revoke(s.now())
	return answer{status: http.StatusNoContent, ok: true}
}

// keycloakForm checks what holds for requests other than those for a token: these must be a form.
func (c *call) keycloakForm(params ...string) (answer, bool) {
	if a, bad := c.posted(formType); bad {
		return a, true
	}
	return c.keycloakRequest(params...)
}

// keycloakRequest checks the client, and that each parameter is documented and there once. A Basic header is not what
// Sinch documents, but the realm takes it from its public client, with any secret or none; it names the client then,
// whatever the form says.
func (c *call) keycloakRequest(params ...string) (answer, bool) {
	once := c.oneEach(params...)
	client := c.form.Get("client_id")
	if c.basic != nil {
		client = unescape(c.basic.user)
	}
	switch {
	case c.r.Header.Get("Authorization") != "":
		c.violate("the client id goes into the form, never into an Authorization header")
	case client != keycloakClient:
		c.violate("client_id must be %s", keycloakClient)
	}
	switch {
	case client != keycloakClient:
		return c.oauthRefusal(invalidClient), true
	case !once:
		return c.oauthError(http.StatusBadRequest, "invalid_request", "duplicated parameter"), true
	}
	return answer{}, false
}

// posted checks method and content type, and that nothing is in the query, where logs would keep it.
func (c *call) posted(mediaType string) (answer, bool) {
	if a, bad := c.isPost(); bad {
		return a, true
	}
	if !c.isType(mediaType) {
		return answer{
			status: http.StatusUnsupportedMediaType,
			body:   object{"error": "HTTP 415 Unsupported Media Type"},
		}, true
	}
	return answer{}, false
}

// isPost checks the method, and that nothing is in the query.
func (c *call) isPost() (answer, bool) {
	if c.r.URL.RawQuery != "" {
		c.violate("parameters in the URL")
	}
	if c.r.Method != http.MethodPost {
		c.violate("method %s instead of POST", c.r.Method)
		a := answer{status: http.StatusMethodNotAllowed, body: object{"error": "HTTP 405 Method Not Allowed"}}
		a.header = map[string]string{"Allow": http.MethodPost}
		return a, true
	}
	return answer{}, false
}

// isType checks the content type, and that the content is not encoded.
func (c *call) isType(mediaType string) bool {
	if c.mediaType != mediaType {
		c.violate("content type %q instead of %s", c.mediaType, mediaType)
		return false
	}
	if enc := c.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		c.violate("content encoding %q", enc)
	}
	return true
}
