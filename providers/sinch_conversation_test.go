// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"net/url"
	"reflect"
	"testing"
	"time"
)

func TestSinchConversationMint(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"eyJh","expires_in":3599,"scope":"","token_type":"bearer"}`})
	s := Settings{TokenURL: e.url, Values: values("client_id", "key-id", "client_secret", "key secret")}
	got, err := sinchConversation{}.Mint(t.Context(), testClient(t), s)
	if err != nil || got.Access != "eyJh" || got.Lifetime != 3599*time.Second || got.Refresh != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	r := e.requests()[0]
	if want := (url.Values{"grant_type": {"client_credentials"}}); !reflect.DeepEqual(r.form, want) {
		t.Errorf("form is %v, want %v", r.form, want)
	}
	// RFC 6749 §2.3.1: both are form-urlencoded first.
	if want := "Basic " + base64.StdEncoding.EncodeToString([]byte("key-id:key+secret")); r.header.Get("Authorization") != want {
		t.Errorf("Authorization is %q, want %q", r.header.Get("Authorization"), want)
	}
}
