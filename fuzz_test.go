// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/jsonutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// offline is a provider that mints without the network.
type offline struct {
	providers.Provider
	lifetime time.Duration
	mints    *atomic.Int64
}

func (o offline) Mint(context.Context, *providers.Client, providers.Settings) (token.Token, error) {
	n := o.mints.Add(1)
	return token.Token{Access: secret.String(fmt.Sprintf("offline-token-%d", n)), Type: "Bearer", Lifetime: o.lifetime}, nil
}

func (offline) Refresh(ctx context.Context, c *providers.Client, s providers.Settings, refresh secret.String) (token.Token, error) {
	return providers.Base{}.Refresh(ctx, c, s, refresh)
}

func (offline) Revoke(context.Context, *providers.Client, providers.Settings, secret.String, secret.String) error {
	return nil
}

// newOffline makes a mount that uses no network. Its tokens have the given lifetime. The second
// result counts the mints.
func newOffline(t testing.TB, lifetime time.Duration) (*mount, *atomic.Int64) {
	t.Helper()
	mints := new(atomic.Int64)
	var all []providers.Provider
	for _, p := range providers.All() {
		all = append(all, offline{p, lifetime, mints})
	}
	return newBareMount(t, all), mints
}

// damaged matches the errors for an unusable stored config. Apart from the provider's name, the
// errors quote nothing from the config.
var damaged = regexp.MustCompile(`^the stored config/a cannot be used: (it is damaged|a newer plugin wrote the record \(version \d+, this plugin knows 2\); upgrade the plugin|this plugin has no provider ".*"|(ca_cert|client_cert|client_key): [a-zA-Z0-9 ,;]+)$`)

var badPEM = regexp.MustCompile(`cannot be used: (ca_cert|client_cert|client_key): `)

// Any bytes may be stored as a config. All paths agree on whether the config is usable, and a
// delete frees the name.
func FuzzStoredConfig(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		m, _ := newOffline(t, time.Hour)
		m.storage.put("config/a", string(stored))
		read, creds := m.read("config/a"), m.read("creds/a")
		// A config with a damaged certificate can still be read, so that users can correct it.
		if (read.status == http.StatusOK) != (creds.status == http.StatusOK) && !badPEM.MatchString(creds.text) {
			t.Errorf("got %d %s from config and %d %s from creds, want both to succeed or both to fail", read.status, read.text, creds.status, creds.text)
		}
		for _, a := range []answer{read, creds, m.read("status/a"), m.rotate("a"), m.write("config/a", fields{"min_ttl": 5})} {
			switch {
			case a.status == http.StatusOK, a.status == http.StatusNoContent, a.status == http.StatusBadRequest:
			case a.status == http.StatusInternalServerError && damaged.MatchString(a.text):
			default:
				t.Errorf("got %d %s, want 200, 204, 400, or a 500 that matches %s", a.status, a.text, damaged)
			}
		}
		m.list("status").want(t, http.StatusOK)
		m.read("metrics").want(t, http.StatusOK)
		m.delete("config/a").want(t, http.StatusNoContent)
		m.wantStored()
		m.write("config/a", fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse"}).want(t, http.StatusNoContent)
		m.token("a")
		m.wantNotLogged("panic")
	})
}

// If a stored token is damaged, expired or from a newer plugin, the engine mints a new token.
// Otherwise the engine serves the stored token, and the lease ends before the token.
func FuzzStoredToken(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		m, mints := newOffline(t, time.Hour)
		m.storage.put("config/a", `{"version":1,"revision":"r1","provider":"sinch-india","fields":{"username":"acme","password":"correct-horse"}}`)
		m.storage.put("token/a", string(stored))
		a := m.read("creds/a")
		a.want(t, http.StatusOK)
		if m.tokens[0] != "stored-token" {
			m.tokens = nil // the token may be a word that is in every log
		}
		now, ttl := m.clock.wall(), a.secret.TTL
		if mints.Load() > 0 {
			equal(t, "token after a mint", a.token(), "offline-token-1")
		} else {
			var r struct {
				Revision    string
				AccessToken string `json:"access_token"`
				Sent        time.Time
				LifetimeMS  int64 `json:"lifetime_ms"`
			}
			if err := json.Unmarshal(stored, &r); err != nil || r.Revision != "r1" || a.token() != r.AccessToken {
				t.Fatalf("got %q without a mint, want the access_token of %s (%v)", a.token(), stored, err)
			}
			left := r.Sent.Add(time.Duration(r.LifetimeMS) * time.Millisecond).Sub(now)
			if left <= 0 || ttl > max(left, time.Second) {
				t.Errorf("got a lease of %s for a token with %s left, want a lease that ends first", ttl, left)
			}
		}
		if ttl < time.Second || a.secret.MaxTTL != ttl {
			t.Errorf("got a lease of %s, at most %s; want both the same, and at least 1s", ttl, a.secret.MaxTTL)
		}
		m.read("status/a").want(t, http.StatusOK)
		m.clock.advance(time.Minute)
		m.rotate("a").want(t, http.StatusOK)
		m.wantNotLogged("panic")
	})
}

// Revoking a lease succeeds, whatever data the lease has.
func FuzzStoredRevocation(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		var data fields
		if json.Unmarshal(stored, &data) != nil {
			return
		}
		m, _ := newOffline(t, time.Hour)
		data["secret_type"] = secretUnsharedTokenType
		req := &logical.Request{Operation: logical.RevokeOperation, Path: "creds/a", Storage: m.storage, Secret: &logical.Secret{InternalData: data}}
		if resp, err := m.HandleRequest(t.Context(), req); err != nil || resp.IsError() {
			t.Errorf("got %v, %v, want no error", resp, err)
		}
		m.wantNotLogged("panic")
	})
}

// A config write succeeds, or gets a 4xx and changes nothing. Each secret contains hunter2, which
// must be in no answer and no log.
func FuzzConfigWrite(f *testing.F) {
	secretFields := map[string]bool{}
	for _, p := range providers.All() {
		for _, field := range p.Spec().Fields {
			secretFields[field.Name] = secretFields[field.Name] || field.Secret
		}
	}
	f.Fuzz(func(t *testing.T, how byte, written []byte) {
		var data fields
		if jsonutil.DecodeJSON(written, &data) != nil || strings.Contains(string(written), "hunter2") {
			return
		}
		for name := range data {
			if secretFields[name] {
				data[name] = marked(data[name])
			}
		}
		m, _ := newOffline(t, time.Hour)
		olds := []fields{
			nil,
			{"provider": "sinch-india", "username": "acme", "password": "correct-horse"},
			{"provider": "oauth2", "client_id": "i", "client_secret": "generic-secret", "token_url": "https://auth.example.com/token", "token_params": fields{"audience": "a"}},
			{"provider": "enablex-rcs", "app_id": "i", "app_key": "battery-staple-app-key"},
		}
		if old := olds[how/3%4]; old != nil {
			m.write("config/a", old).want(t, http.StatusNoContent)
		}
		before := m.storage.snapshot()
		op := []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation}[how%3]
		a := m.request(op, "config/a", data)
		switch {
		case a.status == http.StatusNoContent:
			m.read("config/a").want(t, http.StatusOK)
			m.token("a")
			m.patch("config/a", nil).want(t, http.StatusNoContent)
		case a.status == http.StatusBadRequest, a.status == http.StatusNotFound && op == logical.PatchOperation && len(before) == 0:
			if !maps.Equal(before, m.storage.snapshot()) {
				t.Errorf("got %d %s, and %q in storage; want storage unchanged", a.status, a.text, m.storage.keys())
			}
		default:
			t.Errorf("%s: got %d %s, want 204 or a 4xx", op, a.status, a.text)
		}
		m.wantNotLogged("panic")
	})
}

// marked returns v with hunter2 in each of its strings.
func marked(v any) any {
	switch v := v.(type) {
	case string:
		if strings.TrimRight(v, "\r\n") == "" {
			return v
		}
		return "hunter2" + v
	case []any:
		for i := range v {
			v[i] = marked(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = marked(v[k])
		}
	}
	return v
}

// With any min_ttl, a reader gets a token or a 400. Within half a token's lifetime, the engine
// mints at most once.
func FuzzCredsMinTTL(f *testing.F) {
	f.Fuzz(func(t *testing.T, minTTL string, lifetime, step uint16) {
		life, pause := time.Duration(lifetime)*time.Second+time.Second, time.Duration(step)*100*time.Millisecond
		m, mints := newOffline(t, life)
		m.write("config/a", fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse"}).want(t, http.StatusNoContent)
		const reads = 20
		for range reads {
			a := m.request(logical.ReadOperation, "creds/a", fields{"min_ttl": minTTL})
			switch a.status {
			case http.StatusOK:
				if ttl := a.secret.TTL; ttl < time.Second || ttl > max(life-time.Second, time.Second) {
					t.Errorf("got a lease of %s for a token that lives %s, want a lease that ends first", ttl, life)
				}
			case http.StatusBadRequest:
				if strings.Contains(a.text, minTTL) && !strings.Contains("min_ttl: "+mustDuration, minTTL) {
					t.Errorf("got %s, want no quote of %q", a.text, minTTL)
				}
			default:
				t.Fatalf("min_ttl=%q: got %d %s, want 200 or 400", minTTL, a.status, a.text)
			}
			m.clock.advance(pause)
		}
		if limit := int64(reads*pause/(life/2)) + 2; mints.Load() > limit {
			t.Errorf("got %d mints in %s of tokens that live %s, want at most %d", mints.Load(), reads*pause, life, limit)
		}
		m.wantNotLogged("panic")
	})
}

// FuzzConfigWriter runs the attacks of attack_test.go.
func FuzzConfigWriter(f *testing.F) {
	w := newWitness(f)
	for _, seed := range []string{"\x00\x01\x02\x03", strings.Repeat("\x00\x07\x03", 8)} {
		for kind := range byte(6) {
			f.Add(kind, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		w.attack(t, kind, slices.Clone(script[:min(len(script), 120)]))
	})
}
