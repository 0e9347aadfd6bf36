package acceptance

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// Whatever happens, and however the provider misbehaves, the audit log and the
// server's log at trace level hold no secret and no token.
func TestLogsHoldNoSecret(t *testing.T) {
	w := newWorld(t)
	w.EnableAudit(t)
	secrets := []string{sinchPassword, enablexKey, "wrong-and-secret"}
	read := func(a account) {
		if r := w.Read(t, a.creds()); r.Status == 200 {
			secrets = append(secrets, r.Text("access_token"))
		}
	}

	w.sim.Turn(t, `{"access_ttl": 3, "refresh_ttl": 60}`)
	for _, a := range accounts {
		w.Write(t, a.path(), a.write(w.sim, harness.Fields{a.secret: "wrong-and-secret"}))
		w.Write(t, a.path(), a.write(w.sim)).OK(t)
		read(a)
		read(a)
		w.Patch(t, a.path(), harness.Fields{"token_url": "https://auth.example.com/"})
		w.Write(t, a.path(), harness.Fields{a.secret: harness.Fields{"of the wrong type": "wrong-and-secret"}})
	}
	// tokens are refreshed, some of them by refresh token, and leases end
	harness.Within(t, 20*time.Second, "each account has had three tokens", func() error {
		for _, a := range accounts {
			read(a)
		}
		if n := len(distinct(secrets)); n < 3+3*len(accounts) {
			return fmt.Errorf("%d secrets so far", n)
		}
		return nil
	})
	for _, fault := range []string{"refuse", "status", "not-json", "truncated", "oversized", "no-token", "close-mid-body", "redirect"} {
		w.sim.Turn(t, `{"echo_secrets": ["raw", "url", "base64", "json", "json-twice"], "faults": [{"kind": "`+fault+`"}]}`)
		for _, a := range accounts {
			w.Write(t, a.path(), a.write(w.sim))
			w.Write(t, "messaging/config/broken", a.write(w.sim, harness.Fields{"verify_connection": false}))
			w.Read(t, "messaging/creds/broken")
			w.Delete(t, "messaging/config/broken")
			read(a)
		}
	}
	w.KillPlugin(t)
	read(sinch)

	audit, log := file(t, w.Audit), file(t, w.Log)
	for name, text := range map[string]string{"audit log": audit, "server's log": log} {
		for _, secret := range distinct(secrets) {
			for _, written := range writings(secret) {
				if i := strings.Index(text, written); i >= 0 {
					t.Errorf("the %s holds a secret: …%s…", name, text[max(0, i-200):min(len(text), i+200)])
					break
				}
			}
		}
		if i := strings.Index(text, "eyJ"); i >= 0 {
			t.Errorf("the %s holds what looks like a JWT: …%s…", name, text[max(0, i-200):min(len(text), i+20)])
		}
	}
	// else there was nothing to find it in
	if !strings.Contains(audit, "messaging/creds/sinch") || !strings.Contains(audit, "hmac-sha256:") {
		t.Error("the audit log has not what it should")
	}
	if !strings.Contains(log, "[TRACE]") || !strings.Contains(log, harness.PluginName) {
		t.Error("the server's log has not what it should")
	}
}

// writings are the ways in which a secret may be written down.
func writings(secret string) []string {
	return []string{
		secret,
		url.QueryEscape(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)),
		base64.RawURLEncoding.EncodeToString([]byte(secret)),
	}
}

func distinct(all []string) []string {
	seen := map[string]bool{}
	var once []string
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			once = append(once, s)
		}
	}
	return once
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
