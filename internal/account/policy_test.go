// SPDX-License-Identifier: MPL-2.0

package account

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/tokencache"
)

func TestPolicyOfDefinitions(t *testing.T) {
	r := newTestRegistry(nil)
	policy := func(provider string, window *seconds) tokencache.Policy {
		t.Helper()
		a, err := r.Account("a", &Config{provider: r.builtin[provider], TokenURL: "https://auth.example.com/t", RefreshWindow: window})
		if err != nil {
			t.Fatal(err)
		}
		return a.Policy()
	}
	if p := policy("turn-io", nil); p.RefreshWindow == nil || *p.RefreshWindow != 0 {
		t.Errorf("turn-io, whose new token ends the previous one: got refresh window %v, want 0", p.RefreshWindow)
	}
	if p := policy("turn-io", new(seconds(60))); p.RefreshWindow == nil || *p.RefreshWindow != time.Minute {
		t.Errorf("turn-io with a refresh window: got %v, want 1m", p.RefreshWindow)
	}
	if p := policy("dingtalk", nil); !p.Sliding {
		t.Error("dingtalk: got tokens that do not slide, want sliding tokens")
	}
	if p := policy("wechat", nil); !p.CanForce || p.ForceInterval != 30*time.Second || p.ForceDailyLimit != 20 {
		t.Errorf("wechat: got %+v, want that a new token can be forced every 30s, at most 20 times a day", p)
	}
	if p := policy("oauth2", nil); p.RefreshWindow != nil || p.Sliding || p.CanForce {
		t.Errorf("oauth2: got %+v, want the defaults", p)
	}
}
