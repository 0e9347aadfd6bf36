// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// mutual starts a simulator that requires client certificates from ca (RFC 8705). The account's
// config has no certificate yet.
func mutual(t *testing.T) (a account, ca *simulator.CA) {
	t.Helper()
	ca = harness.NewCA(t)
	sim, caCert := harness.StartMutualSimulator(t, ca)
	return account{"mutual", simulator.OAuth2, "client_key", harness.Fields{"client_id": "public-client", "auth_style": "none",
		"token_url": sim.TokenURL(simulator.OAuth2), "revocation_url": revocationURL(sim, simulator.OAuth2), "ca_cert": caCert}}, ca
}

// The engine presents the client certificate at the token and revocation endpoints.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, ca := mutual(t)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	good := harness.ClientCert(t, ca, "acme", until)

	// With HTTP/2, the engine may miss the server's TLS alert. The error then names client_cert as
	// a possible cause.
	refused := func(change harness.Fields, words ...string) {
		r := w.Write(t, a.path(), a.body(w.sim, change))
		if r.Status != 400 && r.Status != 502 {
			t.Errorf("got status %d, want 400 or 502", r.Status)
		}
		r.Refused(t, r.Status, append(words, "nothing was stored", "client_cert")...)
	}
	refused(nil, "client_key")
	refused(harness.ClientCert(t, harness.NewCA(t), "acme", until))
	refused(harness.ClientCert(t, ca, "acme", time.Now().Add(-time.Hour)), "it expired at")
	w.Write(t, a.path(), a.body(w.sim, good)).OK(t)
	first := w.token(t, a)
	if got := w.Read(t, a.statusPath()).OK(t).Text("client_cert_expire_time"); got != until.Format(time.RFC3339) {
		t.Errorf("client_cert_expire_time: got %q, want %s", got, until.Format(time.RFC3339))
	}
	if r := w.Read(t, a.path()).OK(t); strings.Contains(r.Raw, "PRIVATE KEY") || !strings.Contains(r.Raw, `"secrets_set":["client_key"]`) {
		t.Errorf("config: got %s, want client_key only in secrets_set", r.Raw)
	}
	w.Write(t, a.path(), harness.Fields{"token_url": "https://auth.example.com/"}).Refused(t, 400, "token_url", "write client_key again")

	if r := w.Write(t, a.rotatePath(), nil).OK(t); len(r.Warnings) > 0 { // revokes the first token
		t.Errorf("rotate: got warnings %q, want none", r.Warnings)
	}
	if w.token(t, a) == first {
		t.Error("after a rotate: got the first token, want another one")
	}
}
