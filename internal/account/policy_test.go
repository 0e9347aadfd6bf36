// SPDX-License-Identifier: MPL-2.0

package account

import (
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

// The token cache follows the token policy in a provider's definition.
func TestPolicyOfDefinitions(t *testing.T) {
	r := newTestRegistry(nil)
	policy := func(provider string, change func(*Config)) (share bool, window *time.Duration, a *Account) {
		t.Helper()
		c := &Config{Provider: provider, provider: r.builtin[provider], TokenURL: "https://auth.example.com/t", Fields: map[string]secret.String{}, Lease: true, Share: true}
		if change != nil {
			change(c)
		}
		a, err := r.Account("a", c)
		if err != nil {
			t.Fatal(err)
		}
		return a.Share(), a.Policy().RefreshWindow, a
	}
	if _, window, _ := policy("turn-io", nil); window == nil || *window != 0 {
		t.Errorf("turn-io, whose new token ends the previous one: got refresh window %v, want 0", window)
	}
	if _, window, _ := policy("turn-io", func(c *Config) { s := seconds(60); c.RefreshWindow = &s }); window == nil || *window != time.Minute {
		t.Errorf("turn-io with a refresh window: got %v, want 1m", window)
	}
	if _, _, a := policy("dingtalk", nil); !a.Policy().Sliding {
		t.Error("dingtalk: got tokens that do not slide, want sliding tokens")
	}
	if _, _, a := policy("wechat", nil); !a.Policy().CanForce || a.Policy().ForceInterval != 30*time.Second || a.Policy().ForceDailyLimit != 20 {
		t.Errorf("wechat: got %+v, want a demand at most every 30s and 20 times a day", a.Policy())
	}
	if _, window, a := policy("oauth2", nil); window != nil || a.Policy().Sliding || a.Policy().CanForce {
		t.Errorf("oauth2: got %+v, want the defaults", a.Policy())
	}
}
