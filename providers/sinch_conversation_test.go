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
	wantToken(t, got, err, "eyJh", 3599*time.Second)
	r := e.requests()[0]
	if want := (url.Values{"grant_type": {"client_credentials"}}); !reflect.DeepEqual(r.form, want) {
		t.Errorf("got form %v, want %v", r.form, want)
	}
	// RFC 6749 §2.3.1: both are form-urlencoded first.
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("key-id:key+secret"))
	if got := r.header.Get("Authorization"); got != want {
		t.Errorf("got Authorization %q, want %q", got, want)
	}
}

func TestSinchConversationAuthStyle(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"eyJh","expires_in":3599}`})
	s := Settings{TokenURL: e.url, Values: values("client_id", "key-id", "client_secret", "a+b", "auth_style", "body")}
	if _, err := (sinchConversation{}).Mint(t.Context(), testClient(t), s); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"grant_type": {"client_credentials"}, "client_id": {"key-id"}, "client_secret": {"a+b"}}
	if r := e.requests()[0]; !reflect.DeepEqual(r.form, want) || r.header.Get("Authorization") != "" {
		t.Errorf("got form %v with Authorization %q, want %v without", r.form, r.header.Get("Authorization"), want)
	}
}
