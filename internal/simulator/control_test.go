// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"testing"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestControlErrors(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, tt := range []struct {
		method, path string
		status       int
		error        string
	}{
		{"GET", "/sim/nothing", 404, "GET /sim/nothing is unknown, use one of: GET /sim/state, PATCH /sim/settings, " +
			"POST /sim/reset, POST /sim/introspect, POST /sim/revoke-sessions, POST /sim/end-tokens"},
		{"GET", "/sim/reset", 404, "GET /sim/reset is unknown, use one of: GET /sim/state, PATCH /sim/settings, " +
			"POST /sim/reset, POST /sim/introspect, POST /sim/revoke-sessions, POST /sim/end-tokens"},
		{"POST", "/sim/introspect", 400, "the form parameter token is missing"},
		{"PATCH", "/sim/settings", 400, "settings must be a JSON object"},
		{"POST", "/oauth/token", 404, "no provider has this path"},
	} {
		r.want(r.send(tt.method, tt.path, "", ""), tt.status, map[string]any{"error": tt.error})
	}
	r.equal("violations", r.state().Violations,
		[]simulator.Violation{{Path: "/oauth/token", Text: "no provider has this path"}})
	if _, err := (simulator.Client{URL: "http://127.0.0.1:1"}).State(t.Context()); err == nil {
		t.Error("got no error from a port without a server, want one")
	}
}
