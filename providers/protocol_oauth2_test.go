// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/secret"
)

func TestOAuth2Requests(t *testing.T) {
	const basic = "Basic YWNtZTpzJTNBJTI2Yw==" // acme:s%3A%26c
	tests := map[string]struct {
		fields  []string
		refresh bool
		form    url.Values
		auth    string
	}{
		"refresh": {
			fields: []string{
				"client_id", "acme", "client_secret", "s:&c", "grant_type", "password", "username", "joe", "password", "p w",
				"scopes", "read", "token_params", "audience=x",
			},
			refresh: true,
			form:    url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"old"}, "audience": {"x"}},
			auth:    basic,
		},
		"a parameter with several values": {
			fields: []string{"client_id", "acme", "token_params", "resource=A&resource=B"},
			form:   url.Values{"grant_type": {"client_credentials"}, "client_id": {"acme"}, "resource": {"A", "B"}},
		},
		"parameters that Validate rejects": {
			fields: []string{"client_id", "acme", "token_params", "grant_type=evil&scope=all"},
			form:   url.Values{"grant_type": {"client_credentials"}, "client_id": {"acme"}},
		},
	}
	p := mustLookup(t, "oauth2")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := serve(t, reply{body: `{"access_token":"tok","expires_in":60}`})
			s := Settings{TokenURL: e.url, Values: values(test.fields...)}
			s.Values = p.Spec().WithDefaults(s.Values)
			refresh := secret.String("")
			if test.refresh {
				refresh = "old"
			}
			got, err := Renew(t.Context(), p, testClient(t), s, refresh)
			if err != nil {
				t.Fatal(err)
			}
			if test.refresh && got.Refresh != "old" {
				t.Errorf("got refresh token %q, want the old one", got.Refresh.Reveal())
			}
			r := e.requests()[0]
			if !reflect.DeepEqual(r.form, test.form) || r.header.Get("Authorization") != test.auth {
				t.Errorf("got form %v with Authorization %q, want %v with %q", r.form, r.header.Get("Authorization"), test.form, test.auth)
			}
		})
	}
}

// Errors hide all secrets of the account, including secrets that the request did not contain.
func TestOAuth2WithholdsAllSecrets(t *testing.T) {
	s := Settings{Values: values("client_id", "acme", "client_secret", "unshown-1", "username", "joe", "password", "unshown-2")}
	s.TokenURL = serve(t, reply{status: http.StatusBadRequest, body: `{"error":"unshown-2","error_description":"unshown-1 joe"}`}).url
	_, err := mustLookup(t, "oauth2").Mint(t.Context(), testClient(t), s)
	if e := failure(t, err, "unshown-1", "unshown-2"); e.Code != withheld || e.Words != withheld {
		t.Errorf("got code %q and words %q, want both withheld", e.Code, e.Words)
	}
}

func TestOAuth2Validate(t *testing.T) {
	tests := map[string]struct {
		fields []string
		field  string // the invalid field; "" for none
	}{
		"client credentials":              {[]string{"client_id", "a", "client_secret", "s"}, ""},
		"a public client":                 {[]string{"client_id", "a"}, ""},
		"password":                        {[]string{"client_id", "a", "grant_type", "password", "username", "u", "password", "p"}, ""},
		"password without user name":      {[]string{"client_id", "a", "grant_type", "password", "password", "p"}, "username"},
		"password without password":       {[]string{"client_id", "a", "grant_type", "password", "username", "u"}, "password"},
		"client credentials with account": {[]string{"client_id", "a", "username", "u"}, "username"},
		"client credentials and password": {[]string{"client_id", "a", "grant_type", "client_credentials", "password", "p"}, "password"},
		"parameters":                      {[]string{"token_params", "audience=x&resource=y"}, ""},
		"a parameter without a name":      {[]string{"token_params", "=x"}, "token_params"},
		"invalid parameters":              {[]string{"token_params", "a=%zz"}, "token_params"},
	}
	for _, name := range strings.Fields("grant_type client_id client_secret username password scope refresh_token") {
		tests["the parameter "+name] = struct {
			fields []string
			field  string
		}{[]string{"token_params", "audience=x&" + name + "=unshown"}, "token_params"}
	}
	p := mustLookup(t, "oauth2")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := p.Validate(Settings{Values: p.Spec().WithDefaults(values(test.fields...))})
			var field *FieldError
			switch {
			case test.field == "" && err != nil:
				t.Errorf("%v: got error %v, want none", test.fields, err)
			case test.field != "" && (!errors.As(err, &field) || field.Field != test.field || strings.Contains(err.Error(), "unshown")):
				t.Errorf("%v: got %v, want a FieldError of %s", test.fields, err, test.field)
			}
		})
	}
}

// A JSON body has the same parameters as a form.
func TestOAuth2JSON(t *testing.T) {
	d := parse(t, plain+`  body: json
  auth_style: body
  grant_type: account_credentials
  scopes: a b
  parameters: {account_id: "{client_id}"}
  query: {q: "{client_id}"}
  token: /data/token
  lifetime: {seconds: /data/expires_in}
`)
	r := ask(t, d, values("client_id", "acme", "client_secret", hidden), false)
	want := `{"grant_type":"account_credentials","client_id":"acme","client_secret":` + quote(hidden) + `,"scope":"a b","account_id":"acme"}`
	if !sameJSON(r.body, want) || r.request.Header.Get("Content-Type") != jsonType || r.request.URL.RawQuery != "a=b&q=acme" {
		t.Errorf("got body %s of type %s with query %s, want %s", r.body, r.request.Header.Get("Content-Type"), r.request.URL.RawQuery, want)
	}
}

// The auth style decides where the client ID and secret are sent.
func TestOAuth2Styles(t *testing.T) {
	for style, want := range map[string]string{"header": "", "body": "acme", "none": "acme"} {
		d := parse(t, plain+"  auth_style: "+style+"\n  token: /data/token\n  lifetime: {fixed: 1m}\n")
		r := ask(t, d, values("client_id", "acme", "client_secret", "s"), false)
		form, _ := url.ParseQuery(r.body)
		if form.Get("client_id") != want || (form.Get("client_secret") != "") != (style == "body") || (r.request.Header.Get("Authorization") != "") != (style == "header") {
			t.Errorf("%s: got form %v with Authorization %q", style, form, r.request.Header.Get("Authorization"))
		}
	}
}
