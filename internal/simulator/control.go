// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// control is one path of the control API.
type control struct {
	pattern string // of http.ServeMux
	help    string
	handle  http.HandlerFunc
}

func (s *Simulator) controls() []control {
	return []control{
		{"GET /sim/state", "returns the settings and the counts", s.getState},
		{"PATCH /sim/settings", "merges a JSON object into the settings; null restores a default", s.patchSettings},
		{"POST /sim/reset", "restores the default settings, clears the counts, ends lockouts", s.postReset},
		{"POST /sim/introspect", "describes a token (form parameter token)", s.postIntrospect},
		{"POST /sim/revoke-sessions", "ends refresh tokens (optional form parameters provider and account)", postEnd(s.RevokeSessions)},
		{"POST /sim/end-tokens", "ends access tokens (optional form parameters provider and account)", postEnd(s.EndTokens)},
	}
}

// controlHandler serves the control API. A request for an unknown path is a violation.
func (s *Simulator) controlHandler() http.Handler {
	mux := http.NewServeMux()
	var patterns []string
	for _, c := range s.controls() {
		mux.HandleFunc(c.pattern, c.handle)
		patterns = append(patterns, c.pattern)
	}
	mux.HandleFunc("/sim/", func(w http.ResponseWriter, r *http.Request) {
		replyError(w, http.StatusNotFound, r.Method+" "+r.URL.Path+" is unknown, use one of: "+strings.Join(patterns, ", "))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.counts.addViolation(Violation{Path: r.URL.Path, Text: "no provider has this path"})
		s.mu.Unlock()
		replyError(w, http.StatusNotFound, "no provider has this path")
	})
	return mux
}

func (s *Simulator) getState(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, s.State())
}

func (s *Simulator) patchSettings(w http.ResponseWriter, r *http.Request) {
	patch, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	if err == nil {
		err = s.Patch(patch)
	}
	if err != nil {
		replyError(w, http.StatusBadRequest, err.Error())
		return
	}
	reply(w, http.StatusOK, s.State().Settings)
}

func (s *Simulator) postReset(w http.ResponseWriter, _ *http.Request) {
	s.Reset()
	reply(w, http.StatusOK, struct{}{})
}

func (s *Simulator) postIntrospect(w http.ResponseWriter, r *http.Request) {
	token := r.PostFormValue("token")
	if token == "" {
		replyError(w, http.StatusBadRequest, "the form parameter token is missing")
		return
	}
	reply(w, http.StatusOK, s.Introspect(token))
}

func postEnd(end func(provider, account string) int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := end(r.PostFormValue("provider"), r.PostFormValue("account"))
		reply(w, http.StatusOK, map[string]int{"ended": n})
	}
}

func replyError(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"error": text})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // fails only if the client is gone
}
