// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/internal/token"
)

// sample is a provider with a config, an answer with a token, and a refusal.
type sample struct {
	provider         Provider
	settings         Settings // with hidden in each secret field
	success, refusal caseAnswer
}

// forEachSample runs a test for each provider of the catalogue.
func forEachSample(t *testing.T, test func(*testing.T, sample)) {
	for _, p := range All() {
		if p.Spec().SelfSigned {
			continue
		}
		t.Run(p.Spec().Name, func(t *testing.T) {
			cases := casesOf(t, p.Spec().Name)
			c, success := successOf(cases)
			_, refusal := refusalOf(cases)
			s := caseSettings(t, p.Spec(), c.Config)
			for _, f := range p.Spec().Fields {
				if f.Secret && f.Kind == Text {
					s.Values[f.Name] = hidden
				}
			}
			test(t, sample{p, s, success, refusal})
		})
	}
}

// body returns the success with another token, as JSON.
func (s sample) body(access string) string {
	return strings.Replace(s.success.Body, quote(s.success.Token), access, 1)
}

// mint asks an endpoint with the given answer for a token.
func (s sample) mint(t *testing.T, h http.Handler) (*endpoint, token.Token, error) {
	t.Helper()
	e := serve(t, h)
	settings := s.settings
	settings.TokenURL = e.url + "/path/token?key=query-of-the-url"
	got, err := s.provider.Mint(t.Context(), testClient(t), settings)
	if n := len(e.requests()); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
	return e, got, err
}

func TestCatalogueSpecs(t *testing.T) {
	var names []string
	for _, p := range All() {
		spec := p.Spec()
		names = append(names, spec.Name)
		if spec.Title == "" || spec.Known == "" || spec.Usage == "" {
			t.Errorf("%s: got title %q, known %q, usage %q; want all set", spec.Name, spec.Title, spec.Known, spec.Usage)
		}
		for _, f := range spec.Fields {
			if !strings.HasSuffix(f.Description, ".") {
				t.Errorf("%s: field %s: got description %q, want a sentence", spec.Name, f.Name, f.Description)
			}
		}
		if !slices.ContainsFunc(spec.Fields, func(f Field) bool { return f.Secret }) {
			t.Errorf("%s: got no secret field", spec.Name)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("got providers %v, want them sorted", names)
	}
	if p, ok := Lookup("no-such"); ok || p != nil {
		t.Errorf(`Lookup("no-such"): got %v, want nil`, p)
	}
}

func TestCatalogueTokens(t *testing.T) {
	forEachSample(t, func(t *testing.T, s sample) {
		answer := reply{status: s.success.Status, body: s.body(`"t0ken.~+/="`), date: s.success.Headers["Date"]}
		e, got, err := s.mint(t, answer)
		wantToken(t, got, err, "t0ken.~+/=", s.success.Lifetime)
		if r := e.requests()[0]; r.header.Get("User-Agent") != "vault-plugin-secrets-messaging/v1.2.3" {
			t.Errorf("got User-Agent %q, want vault-plugin-secrets-messaging/v1.2.3", r.header.Get("User-Agent"))
		}
		for name, access := range map[string]string{
			"an empty token":         `""`,
			"no token":               `null`,
			"a number for a token":   `12345678`,
			"an object for a token":  `{"x":"y"}`,
			"a token with a space":   `"unshown token"`,
			"a token with a newline": `"unshown\r\nX-Evil: yes"`,
			"a token with a zero":    `"unshown\u0000"`,
			"a token with DEL":       `"unshown\u007f"`,
			"a token beyond ASCII":   `"unshownü"`,
			"a token not in UTF-8":   "\"unshown\xff\"",
			"a token of 33 KiB":      quote(strings.Repeat("unshown", 33<<10/7)),
		} {
			answer.body = s.body(access)
			_, got, err := s.mint(t, answer)
			e := failure(t, err, "unshown", "query-of-the-url")
			if got.Access != "" || e.Kind != token.Malformed && e.Words != "ok" { // the "ok" of WeCom counts as an error message
				t.Errorf("%s: got token %+v, error %v; want a malformed answer", name, got, err)
			}
		}
	})
}

func TestCatalogueFailures(t *testing.T) {
	const page = "<html><body>secret door</body></html>"
	forEachSample(t, func(t *testing.T, s sample) {
		for _, test := range []struct {
			reply  reply
			kind   token.Kind
			saying string
		}{
			{reply{status: 429, body: page, retry: "7"}, token.RateLimited, "wait 7s"},
			{reply{status: 500, body: "{}"}, token.Unavailable, "500"},
			{reply{status: 503, retry: "5"}, token.Unavailable, "wait 5s"},
			{reply{status: 403, body: page}, token.Unavailable, "a proxy or firewall"},
			{reply{status: 302, body: s.success.Body}, token.Malformed, "redirects are not followed"},
			{reply{status: 307, body: s.success.Body}, token.Malformed, "redirects are not followed"},
			{reply{body: page}, token.Malformed, "not an HTML page"},
			{reply{body: "[]"}, token.Malformed, "not a JSON list"},
			{reply{}, token.Malformed, "the body is empty"},
			{reply{body: "{}"}, token.Malformed, "no token"},
		} {
			_, _, err := s.mint(t, test.reply)
			if e := wantFailure(t, err, test.kind, test.saying, "query-of-the-url", "secret door"); !strings.Contains(e.Error(), "/path/token answered") {
				t.Errorf("got %q, want it to name the endpoint", e)
			}
		}
	})
}

// An answer may repeat what the request contains.
func TestCatalogueWithholdsSecrets(t *testing.T) {
	forEachSample(t, func(t *testing.T, s sample) {
		if !slices.Contains(slices.Collect(maps.Values(s.settings.Values)), hidden) {
			t.Skip("the credential is a key, which no request contains; see TestAssertionIsWithheld")
		}
		for how, form := range writings(hidden) {
			words := quote("no: <" + form + "> is wrong")
			for _, body := range []string{
				fmt.Sprintf(`{"error":"E","message":%s}`, words),
				strings.ReplaceAll(s.refusal.Body, quote(firstWords(s.refusal)), words),
			} {
				_, _, err := s.mint(t, reply{status: max(s.refusal.Status, 200), body: body})
				if e := failure(t, err); strings.Contains(e.Words, "wrong") {
					t.Errorf("%s: got words %q, want them withheld", how, e.Words)
				}
			}
		}
	})
}

// firstWords returns the first error message in an answer.
func firstWords(a caseAnswer) string {
	words := a.Words
	for !strings.Contains(a.Body, quote(words)) && strings.Contains(words, ": ") {
		words = words[:strings.LastIndex(words, ": ")]
	}
	return words
}
