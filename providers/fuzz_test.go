// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// seeds returns the fuzz targets' first definitions.
func seeds() []string {
	texts := []string{acme, plain}
	for _, p := range All() {
		texts = append(texts, string(p.(*Definition).Text()))
	}
	return texts
}

// FuzzDefinition decodes arbitrary text. The result is a valid definition or a printable error.
func FuzzDefinition(f *testing.F) {
	for _, text := range seeds() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDefinition("fuzz", []byte(text))
		if err != nil {
			var e *DefinitionError
			if d != nil || !errors.As(err, &e) || e.Problem == "" || err.Error() != printable(err.Error()) || len(err.Error()) > 4*2*maxWords {
				t.Errorf("got definition %v with error %q of type %T, want a printable *DefinitionError alone", d, err, err)
			}
			return
		}
		again, err := ParseDefinition("fuzz", d.Text())
		if err != nil || !reflect.DeepEqual(d.Spec(), again.Spec()) || d.Digest() != again.Digest() {
			t.Errorf("got %+v, error %v when the text is decoded again, want %+v", again, err, d.Spec())
		}
		spec := d.Spec()
		if len(text) > MaxDefinition || len(spec.Fields) > maxFields {
			t.Errorf("got %d bytes with %d fields, want at most %d with %d", len(text), len(spec.Fields), MaxDefinition, maxFields)
		}
		s := fuzzSettings(spec)
		for _, e := range spec.Endpoints {
			address := e.URL(s.Values)
			if address == "" {
				continue // a value is not fit for the address, as Validate says
			}
			if err := CheckURL(address); err != nil || strings.Contains(address, url.QueryEscape(hidden)) || strings.Contains(address, url.PathEscape(hidden)) {
				t.Errorf("endpoint %s: got address %s, error %v; want an address without secrets", e.TokenURL, address, err)
			}
		}
	})
}

// fuzzSettings returns a config with all fields. All secrets have the same value.
func fuzzSettings(spec Spec) Settings {
	s := Settings{Values: map[string]secret.String{}, TokenURL: "https://auth.example.com/path/token?key=query-of-the-url"}
	for _, f := range spec.Fields {
		switch {
		case f.Secret:
			s.Values[f.Name] = hidden
		case len(f.Allowed) > 0:
			s.Values[f.Name] = secret.String(f.Allowed[0])
		case f.Kind == Pairs:
			s.Values[f.Name] = "audience=a&resource=b&resource=c"
		default:
			s.Values[f.Name] = "acme"
		}
	}
	return s
}

// FuzzDefinitionAnswer combines arbitrary definitions and answers. Errors show no secret, and
// requests go only to the config's endpoint.
func FuzzDefinitionAnswer(f *testing.F) {
	date := noon.Format(http.TimeFormat)
	for _, text := range seeds() {
		f.Add(text, false, 200, date, "", `{"token":"tok","access_token":"tok","expires_in":3600,"expiry":1935665100,"code":0,"data":{"token":"tok","expires_in":"60","base_url":"x"}}`)
		f.Add(text, true, 200, "none", "", `{"access_token":"`+jwt(`{"exp":1}`)+`","expires_in":"60"}`)
		f.Add(text, false, 401, date, "", `{"error":"E","error_description":`+quote("no: "+hidden)+`,"message":`+quote(writings(hidden)["query"])+`}`)
	}
	f.Add(plain, false, 429, date, "7", "{}")
	f.Add(acme, false, 503, "x", date, "<p>")

	f.Fuzz(func(t *testing.T, text string, force bool, status int, date, retry, body string) {
		d, err := ParseDefinition("fuzz", []byte(text))
		if err != nil {
			t.Skip()
		}
		client := testClient(t)
		answer := reply{status: 200 + (status%400+400)%400, body: body, retry: retry, date: date}
		client.http.Transport = transport{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host != "auth.example.com" || r.URL.Scheme != "https" || r.Host != "auth.example.com" || r.URL.Path != "/path/token" || r.TransferEncoding != nil {
				t.Errorf("got a request to %s with host %q and transfer encoding %v, want it to go to auth.example.com", r.URL, r.Host, r.TransferEncoding)
			}
			answer.ServeHTTP(w, r)
		})}
		s := fuzzSettings(d.Spec())
		s.Force = force
		_ = d.Validate(s)
		for _, s.DefaultTTL = range []time.Duration{0, time.Minute} {
			got, err := d.Mint(t.Context(), client, s)
			checkResult(t, got, err)
			if d.Spec().CanRefresh {
				got, err = d.Refresh(t.Context(), client, s, "old-refresh-token")
				checkResult(t, got, err, "old-refresh-token")
			}
		}
	})
}

// checkResult checks the token, or checks that the error shows no secret.
func checkResult(t *testing.T, got token.Token, err error, secrets ...string) {
	t.Helper()
	if err == nil {
		checkToken(t, got)
		for name, text := range got.Outputs {
			for how, form := range writings(hidden) {
				if strings.Contains(text, form) || text != printable(text) {
					t.Errorf("output %s: got %q, want printable text without a secret (%s)", name, text, how)
				}
			}
		}
		return
	}
	failure(t, err, append(secrets, "query-of-the-url")...)
	if !reflect.DeepEqual(got, token.Token{}) {
		t.Errorf("got token %+v with error %v, want no token", got, err)
	}
}

// FuzzRedactor hides a secret in arbitrary text. The redactor must find every encoding.
func FuzzRedactor(f *testing.F) {
	f.Add("", "")
	f.Add(`\`, `%`)
	f.Add("%2", "&amp;")
	f.Add(strings.Repeat("ü", 295), "x")
	r := redactor{[]string{hidden}}
	f.Fuzz(func(t *testing.T, before, after string) {
		for how, form := range writings(hidden) {
			if got := r.show(before+form+after, maxWords); got != withheld {
				t.Errorf("%s between %q and %q: got %q, want %q", how, before, after, got, withheld)
			}
		}
	})
}
