// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"strings"
)

// postMessage accepts a message that carries an active token of the provider in the path. It
// refuses other tokens with the provider's error. These requests are not counted.
func (s *Simulator) postMessage(w http.ResponseWriter, r *http.Request) {
	provider := r.PathValue("provider")
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	t := s.tokens.find(bearer, provider, kindAccess)
	live := t != nil && t.active(s.now())
	s.mu.Unlock()
	if live {
		reply(w, http.StatusAccepted, object{"accepted": true})
		return
	}
	status, body := rejection(provider)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="The access token expired"`)
	}
	reply(w, status, body)
}

// rejection returns a provider's answer to a message whose token has ended. EnableX does not document
// the HTTP status. Its documentation contains the misspelled "redason".
func rejection(provider string) (status int, body object) {
	switch provider {
	case EnableXWhatsApp:
		return http.StatusUnauthorized, object{"message": "Authentication failed", "status": "Unauthorized", "reason": "invalid or expired token"}
	case EnableXRCS:
		return http.StatusOK, object{"code": 1002, "message": "Token Error", "redason": "Invalid/Expired Token used"}
	case EnableXSMS:
		return http.StatusOK, object{"result": "1", "details": "Authentication failed", "desc": "Authentication failed"}
	}
	return http.StatusUnauthorized, object{"error": "invalid_token"} // RFC 6750 §3.1
}

// EndTokens ends active access tokens early, and returns how many it ended. A provider or account
// other than "" limits EndTokens to that provider or account. Refresh tokens stay valid.
func (s *Simulator) EndTokens(provider, account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, now := 0, s.now()
	for _, t := range s.tokens.order {
		if t.kind == kindAccess && t.active(now) && t.session.matches(provider, account) {
			t.revoked = now
			n++
		}
	}
	return n
}

func (s *Simulator) postEndTokens(w http.ResponseWriter, r *http.Request) {
	n := s.EndTokens(r.PostFormValue("provider"), r.PostFormValue("account"))
	reply(w, http.StatusOK, map[string]int{"ended": n})
}
