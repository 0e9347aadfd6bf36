// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"io"
	"net/http"
)

// controlAPI serves /sim/, and answers 404 to every path that is nobody's, which is a violation.
func (s *Simulator) controlAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/state", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, s.State())
	})
	mux.HandleFunc("PATCH /sim/settings", s.patchSettings)
	mux.HandleFunc("POST /sim/reset", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		reply(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("POST /sim/introspect", func(w http.ResponseWriter, r *http.Request) {
		token := r.PostFormValue("token")
		if token == "" {
			replyError(w, http.StatusBadRequest, "the form parameter token is missing")
			return
		}
		reply(w, http.StatusOK, s.Introspect(token))
	})
	mux.HandleFunc("POST /sim/revoke-sessions", func(w http.ResponseWriter, r *http.Request) {
		n := s.RevokeSessions(r.PostFormValue("provider"), r.PostFormValue("account"))
		reply(w, http.StatusOK, map[string]int{"revoked": n})
	})
	mux.HandleFunc("/sim/", func(w http.ResponseWriter, _ *http.Request) {
		replyError(w, http.StatusNotFound, "no such control: GET /sim/state, PATCH /sim/settings, POST /sim/reset, "+
			"POST /sim/introspect, POST /sim/revoke-sessions")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.counts.addViolation(Violation{Path: r.URL.Path, Text: "no provider has this path"})
		s.mu.Unlock()
		replyError(w, http.StatusNotFound, "no provider has this path")
	})
	return mux
}

func (s *Simulator) patchSettings(w http.ResponseWriter, r *http.Request) {
	patch, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	if err != nil {
		replyError(w, http.StatusBadRequest, "reading the body: "+err.Error())
		return
	}
	if err := s.Patch(patch); err != nil {
		replyError(w, http.StatusBadRequest, err.Error())
		return
	}
	reply(w, http.StatusOK, s.State().Settings)
}

func replyError(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"error": text})
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // who has gone will not miss it
}
