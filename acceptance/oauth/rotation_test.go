// SPDX-License-Identifier: MPL-2.0

package oauth

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// wantKeyRotation rotates the key of a config. It then reads creds until the engine has adopted the
// next key. The engine waits that long because the server may cache the key set. Each read succeeds.
func wantKeyRotation(t *testing.T, vault *harness.Server, name string, read func()) {
	t.Helper()
	const cacheTime = 5 * time.Minute
	began := time.Now()
	next, ok := vault.Write(t, "messaging/keys/"+name+"/rotate", nil).OK(t).Data["next"].(map[string]any)
	if !ok {
		t.Fatal("rotate: got no next key, want one")
	}
	harness.Within(t, cacheTime+time.Minute, "the engine adopts the next key", func() error {
		read()
		got := vault.Read(t, "messaging/keys/"+name).OK(t)
		if got.Text("key_id") != next["key_id"] {
			time.Sleep(time.Second)
			return fmt.Errorf("got key %s, want %v", got.Raw, next["key_id"])
		}
		return nil
	})
	if took := time.Since(began); took < cacheTime-time.Second {
		t.Errorf("the engine adopted the next key after %s, want at least %s", took, cacheTime)
	}
	read()
	if got := vault.Read(t, "messaging/status/"+name).OK(t); got.Text("failures_in_row") != "0" {
		t.Errorf("after the rotation: got status %s, want no failures", got.Raw)
	}
}
