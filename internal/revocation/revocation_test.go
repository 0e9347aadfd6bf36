// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Logging or encoding a Revocation by mistake shows no token.
func TestRevocationShowsNoToken(t *testing.T) {
	rev := Revocation{Config: "a", AccessToken: "hunter2-access", RefreshToken: "hunter2-refresh"}
	encoded, err := json.Marshal(rev)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{string(encoded), fmt.Sprint(rev), fmt.Sprintf("%+v %#v %q", rev, rev, rev.AccessToken)} {
		if strings.Contains(got, "hunter2") {
			t.Errorf("got %s, want no token", got)
		}
	}
}
