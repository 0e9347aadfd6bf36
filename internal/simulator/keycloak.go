package simulator

import (
	"net/http"
	"strings"
	"time"
)

// keycloakClient is the public client that Sinch India documents.
const keycloakClient = "ipmessaging-client"

// keycloakToken serves POST …/openid-connect/token: the password grant and the refresh grant.
func (s *Simulator) keycloakToken(c *call) answer {
	if c.r.Header.Get("Cache-Control") != "no-cache" {
		c.violate("the header cache-control: no-cache is documented and missing")
	}
	if a, bad := c.keycloakRequest("grant_type", "client_id", "username", "password", "refresh_token"); bad {
		return a
	}
	switch c.op {
	case opPassword:
		if !c.form.Has("username") || !c.form.Has("password") {
			c.violate("the password grant needs username and password")
			return c.oauthError(http.StatusUnauthorized, "invalid_request", "Missing parameter: username")
		}
		if r := c.authenticate(c.account, c.form.Get("password")); r != accepted {
			return c.oauthRefusal(r)
		}
		return c.keycloakSuccess(c.login(c.account, keycloakClient))
	case opRefresh:
		got, r := c.refresh(c.form.Get("refresh_token"), keycloakClient)
		if r != accepted {
			return c.oauthRefusal(r)
		}
		return c.keycloakSuccess(got)
	}
	c.violate("grant_type %q is not documented", c.form.Get("grant_type"))
	return c.oauthError(http.StatusBadRequest, "unsupported_grant_type", "Unsupported grant_type")
}

func (c *call) keycloakSuccess(got issued) answer {
	body := object{
		"access_token":       got.access,
		"refresh_expires_in": int64(c.rules.refreshTTL / time.Second),
		"token_type":         "Bearer",
		"not-before-policy":  0,
		"session_state":      got.session.id,
		"scope":              "email profile",
	}
	if got.refresh != "" {
		body["refresh_token"] = got.refresh
	}
	return c.oauthSuccess(body)
}

// keycloakRevoke serves POST …/openid-connect/revoke (RFC 7009). A token that is not alive is no error there.
func (s *Simulator) keycloakRevoke(c *call) answer {
	if a, bad := c.keycloakRequest("client_id", "token", "token_type_hint"); bad {
		return a
	}
	return c.revoke(keycloakClient)
}

// keycloakLogout serves POST …/openid-connect/logout, which ends the refresh token's session.
func (s *Simulator) keycloakLogout(c *call) answer {
	if a, bad := c.keycloakRequest("client_id", "refresh_token"); bad {
		return a
	}
	if r := c.fault.reason(); r != accepted {
		return c.oauthRefusal(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens.find(c.form.Get("refresh_token"), SinchIndia, kindRefresh, s.now())
	if t == nil {
		return c.oauthError(http.StatusBadRequest, "invalid_grant", "Invalid refresh token")
	}
	s.tokens.revoke(t, s.now())
	return answer{status: http.StatusNoContent, ok: true}
}

// keycloakRequest checks what holds for every request to the realm. A Basic header is the mistake that costs most: it
// counts as a failed login, also towards the lockout.
func (c *call) keycloakRequest(params ...string) (answer, bool) {
	if a, bad := c.posted(formType); bad {
		return a, true
	}
	twice := !c.oneEach(params...)
	switch {
	case c.r.Header.Get("Authorization") != "":
		c.violate("the client id goes into the form, never into an Authorization header")
		if c.isLogin() {
			c.loginFailed(c.account)
		}
	case c.form.Get("client_id") != keycloakClient:
		c.violate("client_id must be %s", keycloakClient)
	case twice:
		return c.oauthError(http.StatusBadRequest, "invalid_request", "duplicated parameter"), true
	default:
		return answer{}, false
	}
	return c.oauthRefusal(invalidClient), true
}

// posted checks method and content type, and that nothing is in the query, where logs would keep it.
func (c *call) posted(mediaType string) (answer, bool) {
	if c.r.URL.RawQuery != "" {
		c.violate("parameters in the URL")
	}
	if c.r.Method != http.MethodPost {
		c.violate("method %s instead of POST", c.r.Method)
		a := answer{status: http.StatusMethodNotAllowed, body: object{"error": "HTTP 405 Method Not Allowed"}}
		a.header = map[string]string{"Allow": http.MethodPost}
		return a, true
	}
	if c.mediaType != mediaType {
		c.violate("content type %q instead of %s", c.mediaType, mediaType)
		return answer{
			status: http.StatusUnsupportedMediaType,
			body:   object{"error": "HTTP 415 Unsupported Media Type"},
		}, true
	}
	if enc := c.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		c.violate("content encoding %q", enc)
	}
	return answer{}, false
}
