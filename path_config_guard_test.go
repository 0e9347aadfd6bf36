// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// newCA returns a CA certificate in PEM.
func newCA(t *testing.T) string {
	t.Helper()
	ca, err := simulator.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return string(ca.PEM)
}

// A write that changes where or how a secret is sent must repeat the secret.
func TestGuard(t *testing.T) {
	ca, otherCA := newCA(t), newCA(t)
	cert, key := clientCert(t, longAgo, farAway)
	otherCert, otherKey := clientCert(t, longAgo, farAway)
	for name, test := range map[string]struct {
		config  func(*mount) fields
		change  fields
		field   string
		secrets fields // what the change must repeat; nil if it need not repeat any
	}{
		"token_url":         {sinchAt, fields{"token_url": "https://evil.example/token"}, "token_url", fields{"password": "correct-horse"}},
		"token_url's path":  {sinchAt, fields{"token_url": "http://127.0.0.1:1/other"}, "token_url", fields{"password": "correct-horse"}},
		"token_url removed": {sinchAt, fields{"token_url": nil}, "token_url", fields{"password": "correct-horse"}},
		"environment":       {sinchAt, fields{"environment": "uat"}, "environment", fields{"password": "correct-horse"}},
		"ca_cert":           {sinchAt, fields{"ca_cert": ca}, "ca_cert", fields{"password": "correct-horse"}},
		"ca_cert changed":   {sinchAt, fields{"ca_cert": otherCA}, "ca_cert", fields{"password": "correct-horse"}},
		"ca_cert removed":   {sinchAt, fields{"ca_cert": ""}, "ca_cert", fields{"password": "correct-horse"}},
		"client_key kept":   {publicWithCert(cert, key), fields{"token_url": "https://evil.example/token"}, "token_url", fields{"client_key": key}},
		"client_key removed": {publicWithCert(cert, key), fields{"token_url": "https://evil.example/token", "client_cert": "", "client_key": ""}, "token_url",
			fields{"client_cert": cert, "client_key": key}},
		"auth_style":   {oauth2At, fields{"auth_style": "body"}, "auth_style", fields{"client_secret": "generic-secret", "password": "wonderland"}},
		"all but one":  {oauth2At, fields{"auth_style": "body", "client_secret": "generic-secret"}, "auth_style", fields{"password": "wonderland"}},
		"empty secret": {sinchAt, fields{"token_url": "https://evil.example/token", "password": ""}, "password", fields{"password": "correct-horse"}},

		"key":                 {keyAt, fields{"token_url": "https://evil.example/token"}, "token_url", fields{"private_key": keyPEM()}},
		"audience of a key":   {keyAt, fields{"assertion_audience": "https://evil.example"}, "assertion_audience", fields{"private_key": keyPEM()}},
		"algorithm of a key":  {keyAt, fields{"signing_algorithm": "PS256"}, "signing_algorithm", fields{"private_key": keyPEM()}},
		"claims of a key":     {huaweiAt, fields{"sub_account": "2"}, "sub_account", fields{"private_key": keyPEM()}},
		"key file":            {googleAt, fields{"token_url": "https://evil.example/token"}, "token_url", fields{"service_account": serviceAccountFile()}},
		"key instead of file": {googleAt, fields{"service_account": "", "client_email": "eve@b.example", "key_id": "k", "private_key": keyPEM(), "token_url": "https://evil.example/token"}, "token_url", fields{"service_account": serviceAccountFile(), "client_email": "", "key_id": "", "private_key": ""}},

		"no secret":           {publicAt, fields{"token_url": "https://other.example/token"}, "", nil},
		"the client of a key": {keyAt, fields{"client_id": "eve", "key_id": "k2"}, "", nil},
		"the same again":      {sinchAt, fields{"environment": "production"}, "", nil},
		"the default style":   {oauth2At, fields{"auth_style": "header"}, "", nil},
		"another identity":    {publicWithCert(cert, key), fields{"client_cert": otherCert, "client_key": otherKey}, "", nil},
		"no identity":         {publicWithCert(cert, key), fields{"client_cert": "", "client_key": ""}, "", nil},
		"username":            {sinchAt, fields{"username": "eve"}, "", nil},
		"lifetimes":           {sinchAt, fields{"min_ttl": 5, "request_timeout": 5}, "", nil},
		"without its secret":  {sinchAt, fields{"password": "hunter2-new"}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMount(t)
			config := with(test.config(m), fields{"verify_connection": false})
			if name == "ca_cert changed" || name == "ca_cert removed" {
				config["ca_cert"] = ca
			}
			m.write("config/a", config).want(t, http.StatusNoContent)
			before := m.storage.snapshot()
			change := func(write func(string, fields) answer, verify any, status int) {
				t.Helper()
				data := with(maps.Clone(test.change), fields{"verify_connection": verify})
				a := write("config/a", data)
				a.want(t, status)
				if status == http.StatusBadRequest {
					a.want(t, status, test.field+": ")
					equal(t, "storage", m.storage.snapshot(), before)
				}
			}
			if test.secrets == nil {
				change(m.write, false, http.StatusNoContent)
				change(m.patch, false, http.StatusNoContent)
				return
			}
			for _, verify := range []any{false, true, nil} {
				change(m.write, verify, http.StatusBadRequest)
				change(m.patch, verify, http.StatusBadRequest)
			}
			maps.Copy(test.change, test.secrets)
			change(m.patch, false, http.StatusNoContent)
		})
	}
}

// A config that is deleted and written again has none of its old secrets.
func TestGuardDeleteAndWriteAgain(t *testing.T) {
	m := newSinchMount(t, nil)
	m.delete("config/a").want(t, http.StatusNoContent)
	m.write("config/a", fields{"provider": "sinch-india", "username": "acme", "token_url": "https://evil.example/"}).
		want(t, http.StatusBadRequest, "password: is required by sinch-india")
}

func TestGuardNewEndpointGetsNoRefreshToken(t *testing.T) {
	m := newSinchMount(t, nil)
	m.token("a")
	m.write("config/a", fields{"token_url": m.url + "/auth/realms/ipmessaging/protocol/openid-connect/token", "password": "correct-horse", "verify_connection": false}).want(t, http.StatusNoContent)
	m.token("a")
	equal(t, "refreshes", m.sim.State().Total.RefreshesFailed+m.sim.State().Total.RefreshesSucceeded, 0)
	m.wantLogins(2)
}
