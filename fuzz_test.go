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

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// offline is a provider whose mints ask no one.
type offline struct {
	providers.Provider
	lifetime time.Duration
	mints    *atomic.Int64
}

func (o offline) Mint(context.Context, *providers.Client, providers.Settings) (token.Token, error) {
	n := o.mints.Add(1)
	return token.Token{Access: secret.String(fmt.Sprintf("offline-token-%d", n)), Type: "Bearer", Lifetime: o.lifetime}, nil
}

func (o offline) Validate(s providers.Settings) error {
	if v, ok := o.Provider.(providers.Validator); ok {
		return v.Validate(s)
	}
	return nil
}

// offlineRevoker is one of a provider that can end tokens.
type offlineRevoker struct{ offline }

func (offlineRevoker) Revoke(context.Context, *providers.Client, providers.Settings, secret.String, secret.String) error {
	return nil
}

// newOffline makes a mount of which nothing reaches the network, whatever is
// written to it, and whose tokens live for so long. It counts its mints.
func newOffline(t testing.TB, lifetime time.Duration) (*mount, *atomic.Int64) {
	t.Helper()
	mints := new(atomic.Int64)
	var all []providers.Provider
	for _, p := range providers.All() {
		o := offline{p, lifetime, mints}
		if _, ok := p.(providers.Revoker); ok {
			all = append(all, offlineRevoker{o})
		} else {
			all = append(all, o)
		}
	}
	clock := &fakeClock{now: clock.Instant{Wall: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}}
	m := &mount{
		t: t, clock: clock, storage: &storage{}, system: newSystem(), log: &logBuffer{},
		options: Options{Version: "v1.2.3", Clock: clock.instant, Providers: all},
	}
	m.start()
	return m, mints
}

// sound fails the test if anything panicked: the handlers turn that into a 500.
func (m *mount) sound() {
	m.t.Helper()
	if log := m.log.String(); strings.Contains(log, "panic") {
		m.t.Error(log)
	}
}

// damaged is what is said of a stored config that cannot be used: never anything
// that stands in it, but for the name of its provider.
var damaged = regexp.MustCompile(`^the stored config/a cannot be used: (it is damaged|a newer plugin wrote it \(record version \d+, this plugin knows 1\); upgrade the plugin|this plugin has no provider ".*"|ca_cert: [a-zA-Z0-9 ,;]+)$`)

// A stored config may be of an older plugin, of a newer one, or damaged: it is used
// or refused by name, all paths agree on which, and deleting it mends the name.
func FuzzStoredConfig(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		m, _ := newOffline(t, time.Hour)
		m.storage.put("config/a", string(stored))
		read, creds := m.read("config/a"), m.read("creds/a")
		// A config whose certificates are damaged can be read, to see what is to be mended.
		if (read.status == http.StatusOK) != (creds.status == http.StatusOK) && !strings.Contains(creds.text, "cannot be used: ca_cert: ") {
			t.Errorf("config: %d %s, creds: %d %s", read.status, read.text, creds.status, creds.text)
		}
		for _, a := range []answer{read, creds, m.read("status/a"), m.request(logical.UpdateOperation, "rotate/a", nil), m.write("config/a", fields{"min_ttl": 5})} {
			switch {
			case a.status == http.StatusOK, a.status == http.StatusNoContent, a.status == http.StatusBadRequest:
			case a.status == http.StatusInternalServerError && damaged.MatchString(a.text):
			default:
				t.Errorf("%d %s", a.status, a.text)
			}
		}
		m.list("status").want(t, http.StatusOK)
		m.read("metrics").want(t, http.StatusOK)
		m.delete("config/a").want(t, http.StatusNoContent)
		if left := m.storage.keys(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		m.write("config/a", fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse"}).want(t, http.StatusNoContent)
		m.token("a")
		m.sound()
	})
}

// A stored token that is damaged, or of a newer plugin, or has ended, costs a mint
// and no more; one that is served is alive, and its lease ends before it does.
func FuzzStoredToken(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		m, mints := newOffline(t, time.Hour)
		m.storage.put("config/a", `{"version":1,"revision":"r1","provider":"sinch-india","fields":{"username":"acme","password":"correct-horse"}}`)
		m.storage.put("token/a", string(stored))
		a := m.read("creds/a")
		a.want(t, http.StatusOK)
		if m.tokens[0] != "stored-token" {
			m.tokens = nil // a word such as "mint" would be found in any log
		}
		now, ttl := m.clock.wall(), a.secret.TTL
		if mints.Load() > 0 {
			if got := a.data["access_token"]; got != "offline-token-1" {
				t.Errorf("minted, but %q is served", got)
			}
		} else {
			var r struct {
				Revision    string
				AccessToken string `json:"access_token"`
				Sent        time.Time
				LifetimeMS  int64 `json:"lifetime_ms"`
			}
			if err := json.Unmarshal(stored, &r); err != nil || r.Revision != "r1" || a.data["access_token"] != r.AccessToken {
				t.Fatalf("got %q, want the access_token of %s; the record: %+v, %v", a.data["access_token"], stored, r, err)
			}
			left := r.Sent.Add(time.Duration(r.LifetimeMS) * time.Millisecond).Sub(now)
			if left <= 0 || ttl > max(left, time.Second) {
				t.Errorf("it has %s left, its lease %s", left, ttl)
			}
		}
		if ttl < time.Second || a.secret.MaxTTL != ttl {
			t.Errorf("lease of %s, at most %s", ttl, a.secret.MaxTTL)
		}
		m.read("status/a").want(t, http.StatusOK)
		m.clock.advance(time.Minute)
		m.request(logical.UpdateOperation, "rotate/a", nil).want(t, http.StatusOK)
		m.sound()
	})
}

// A lease, or an entry of the write-ahead log, that cannot be read ends all the
// same, and nothing of it is shown.
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
			t.Errorf("%v, %v", resp, err)
		}
		m.sound()
	})
}

// Whatever is written to a config, by whichever operation, is taken or refused with
// a 4xx. What is refused changes nothing, and no secret comes back: those that are
// written have hunter2 in them, which the mount looks for in all it answers and logs.
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
				t.Errorf("%d %s, and yet stored: %q", a.status, a.text, m.storage.keys())
			}
		default:
			t.Errorf("%d %s", a.status, a.text)
		}
		m.sound()
	})
}

// marked returns a value with hunter2 in each text of it.
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

// However a reader asks, and however often, it gets a token that is alive or a 400,
// and no more mints than one per half life of a token.
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
					t.Errorf("a lease of %s on a token that lives %s", ttl, life)
				}
			case http.StatusBadRequest:
				if strings.Contains(a.text, minTTL) && !strings.Contains("min_ttl: "+wantDuration, minTTL) {
					t.Errorf("it quotes %q: %s", minTTL, a.text)
				}
			default:
				t.Fatalf("%d %s", a.status, a.text)
			}
			m.clock.advance(pause)
		}
		if most := int64(reads*pause/(life/2)) + 2; mints.Load() > most {
			t.Errorf("%d mints in %s of tokens that live %s, want at most %d", mints.Load(), reads*pause, life, most)
		}
		m.sound()
	})
}

// FuzzConfigWriter is an attack: see attack_test.go.
func FuzzConfigWriter(f *testing.F) {
	w := newWitness(f)
	for _, seed := range []string{"\x00\x01\x02\x03", strings.Repeat("\x00\x07\x03", 8)} {
		for kind := range byte(4) {
			f.Add(kind, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, script []byte) {
		w.attack(t, kind, slices.Clone(script[:min(len(script), 120)]))
	})
}
