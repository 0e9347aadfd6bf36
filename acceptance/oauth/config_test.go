// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"maps"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// config is a config in Vault, together with its authorization server.
type config struct {
	vault  *harness.Server
	server interface {
		// wantActive introspects the token.
		wantActive(t *testing.T, token string, want bool)
	}
	name   string
	fields harness.Fields
}

// path returns a path of the config, such as creds/<name>.
func (c *config) path(kind string) string { return "messaging/" + kind + "/" + c.name }

// write writes the config with additional fields.
func (c *config) write(t *testing.T, more harness.Fields) harness.Response {
	t.Helper()
	fields := maps.Clone(c.fields)
	maps.Copy(fields, more)
	return c.vault.Write(t, c.path("config"), fields)
}

// deleteAfter deletes the config at the end of the test, so that the engine stops refreshing the
// token.
func (c *config) deleteAfter(t *testing.T) { t.Cleanup(func() { c.vault.Delete(t, c.path("config")) }) }

// patient repeats a request while the engine's error says "so read again". The engine waits only
// three seconds for a token, and a busy authorization server may need longer.
func patient(t *testing.T, do func() harness.Response) (r harness.Response) {
	t.Helper()
	harness.Until(t, "the server issues a token in time", func() bool {
		r = do()
		return !strings.Contains(r.Raw, "so read again")
	})
	return r
}

// rotate rotates the token.
func (c *config) rotate(t *testing.T) harness.Response {
	t.Helper()
	return patient(t, func() harness.Response { return c.vault.Write(t, c.path("rotate"), nil) })
}

// creds reads a token with its lease.
func (c *config) creds(t *testing.T) harness.Response {
	t.Helper()
	return patient(t, func() harness.Response { return c.vault.Read(t, c.path("creds")) })
}

func (c *config) token(t *testing.T) string {
	t.Helper()
	return c.creds(t).OK(t).Text("access_token")
}

// activeToken is token for a token that must be active.
func (c *config) activeToken(t *testing.T) string {
	t.Helper()
	token := c.token(t)
	c.server.wantActive(t, token, true)
	return token
}

// next reads creds until the token differs from the parameter old. The new token must be active.
func (c *config) next(t *testing.T, old string) (token string) {
	t.Helper()
	harness.Until(t, "creds return the next token", func() bool {
		token = c.token(t)
		return token != old
	})
	c.server.wantActive(t, token, true)
	return token
}

// keyID returns the ID of the key that the engine signs with.
func (c *config) keyID(t *testing.T) string {
	t.Helper()
	return c.vault.Read(t, c.path("keys")).OK(t).Text("key_id")
}

// wantNoFailures fails the test if the last mint failed.
func (c *config) wantNoFailures(t *testing.T) {
	t.Helper()
	if got := c.vault.Read(t, c.path("status")).OK(t); got.Text("failures_in_row") != "0" {
		t.Errorf("got status %s, want failures_in_row 0", got.Raw)
	}
}

// refreshEarly makes the engine refresh a token after a tenth of the token's lifetime. Otherwise,
// tests would wait longer.
var refreshEarly = harness.Fields{"refresh_window": "1h"}

// inAnHour is when the certificates of the tests expire.
var inAnHour = time.Now().Add(time.Hour)
