// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// contracts has a line for each provider: with it, everything in this file and
// the fuzz targets hold for the provider.
var contracts = []contract{
	{"enablex-rcs", enablexWire, values("app_id", "acme", "app_key", hidden)},
	{"enablex-sms", enablexWire, values("app_id", "acme", "app_key", hidden)},
	{"enablex-whatsapp", enablexWire, values("app_id", "acme", "app_key", hidden)},
	{"oauth2", oauthWire, values("client_id", "acme", "client_secret", hidden, "grant_type", "client_credentials", "auth_style", "header")},
	{"sinch-conversation", oauthWire, values("client_id", "acme", "client_secret", hidden)},
	{"sinch-india", oauthWire, values("username", "acme", "password", hidden)},
}

type contract struct {
	provider string
	wire     wire
	values   map[string]secret.String
}

// wire is how a provider words its answers.
type wire struct {
	success string // a body: token and lifetime go in, as JSON
	refusal string // a body: words go in, as JSON
	epoch   int64  // what the lifetime is counted from: 0, or Unix time at noon
}

var (
	oauthWire = wire{
		success: `{"access_token":%s,"expires_in":%s,"token_type":"Bearer"}`,
		refusal: `{"error":"invalid_grant","error_description":%s}`,
	}
	enablexWire = wire{
		success: `{"token":%s,"expiry":%s}`,
		refusal: `{"code":1003,"message":"Authentication failed","description":%s}`,
		epoch:   noon.Unix(),
	}
)

// body is a success with the lifetime in seconds, as a JSON number.
func (w wire) body(access, seconds string) string {
	return fmt.Sprintf(w.success, quote(access), w.lifetime(seconds))
}

// lifetime adds the epoch to a decimal number, to the digit.
func (w wire) lifetime(seconds string) string {
	f, _, err := big.ParseFloat(seconds, 10, 200, big.ToNearestEven)
	if err != nil || f.Sign() == 0 && w.epoch == 0 {
		return seconds
	}
	return f.Add(f, new(big.Float).SetInt64(w.epoch)).Text('f', -1)
}

func (w wire) refused(words string) string { return fmt.Sprintf(w.refusal, quote(words)) }

// mint asks an endpoint that gives that reply.
func (c contract) mint(t *testing.T, h http.Handler) (token.Token, error) {
	t.Helper()
	return c.ask(t, c.settings(serve(t, h).url))
}

func (c contract) ask(t *testing.T, s Settings) (token.Token, error) {
	t.Helper()
	got, err := c.lookup(t).Mint(t.Context(), testClient(t), s)
	if err == nil {
		goodToken(t, got)
	} else if got != (token.Token{}) {
		t.Errorf("a token beside an error: %+v", got)
	}
	return got, err
}

func (c contract) settings(url string) Settings {
	return Settings{TokenURL: url + "/path/token?key=query-of-the-url", Values: c.values}
}

func (c contract) lookup(t testing.TB) Provider {
	t.Helper()
	p, ok := Lookup(c.provider)
	if !ok {
		t.Fatalf("no provider %q", c.provider)
	}
	return p
}

func TestEveryProviderHasAContract(t *testing.T) {
	var names, tested []string
	for _, p := range All() {
		names = append(names, p.Spec().Name)
	}
	for _, c := range contracts {
		tested = append(tested, c.provider)
	}
	if !slices.IsSorted(names) || !slices.Equal(names, tested) {
		t.Errorf("providers are %v, with contracts for %v: want both sorted, and the same", names, tested)
	}
	if p, ok := Lookup("no-such"); ok || p != nil {
		t.Errorf("Lookup of an unknown name gave %v", p)
	}
}

func TestContractSpec(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		spec := c.lookup(t).Spec()
		if spec.Description == "" {
			t.Error("no description")
		}
		secrets := 0
		for _, f := range spec.Fields {
			if f.Description == "" || !strings.HasSuffix(f.Description, ".") {
				t.Errorf("field %s: description %q is no sentence", f.Name, f.Description)
			}
			if len(f.Allowed) > 0 && f.Default != "" && !slices.Contains(f.Allowed, f.Default) {
				t.Errorf("field %s: default %q is not allowed", f.Name, f.Default)
			}
			if f.Secret {
				secrets++
			}
		}
		if secrets == 0 {
			t.Error("no field is a secret")
		}
		for _, e := range spec.Endpoints {
			if e.Environment == "" || !strings.HasPrefix(e.TokenURL, "https://") {
				t.Errorf("endpoint %+v", e)
			}
		}
	})
}

func TestContractSuccess(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		e := serve(t, reply{body: c.wire.body("t0ken.~+/=", "3600")})
		got, err := c.ask(t, c.settings(e.url))
		if err != nil {
			t.Fatal(err)
		}
		if got.Access != "t0ken.~+/=" || got.Lifetime != time.Hour {
			t.Errorf("got %q for %v, want the endpoint's for an hour", got.Access.Reveal(), got.Lifetime)
		}
		requests := e.requests()
		if len(requests) != 1 {
			t.Fatalf("%d requests for one mint", len(requests))
		}
		r := requests[0]
		if r.method != "POST" || r.header.Get("User-Agent") != "vault-plugin-secrets-messaging/v1.2.3" {
			t.Errorf("%s by %q", r.method, r.header.Get("User-Agent"))
		}
	})
}

func TestContractLifetimes(t *testing.T) {
	tests := map[string]struct {
		seconds string
		want    time.Duration
		problem string
	}{
		"a number":             {seconds: "3600", want: time.Hour},
		"a fraction":           {seconds: "1.5", want: 1500 * time.Millisecond},
		"nothing left":         {seconds: "0", problem: "over already"},
		"less than nothing":    {seconds: "-5", problem: "over already"},
		"far below any number": {seconds: "-1e300", problem: "over already"},
		"less than a tick":     {seconds: "-1e-12", problem: "over already"},
		"more than ten years":  {seconds: "400000000", problem: "more than 10 years"},
		"milliseconds":         {seconds: "1900000000000", problem: "milliseconds"},
		"a huge number":        {seconds: "1e300", problem: "more than 10 years"},
		"beyond numbers":       {seconds: `1e999`, problem: "not a number"},
		"a word":               {seconds: `"soon"`, problem: "not a number"},
		"an empty string":      {seconds: `""`, problem: "not a number"},
		"hexadecimal":          {seconds: `"0x10"`, problem: "not a number"},
		"infinite":             {seconds: `"Infinity"`, problem: "not a number"},
		"a list":               {seconds: `[3600]`, problem: "not a number"},
		"absent":               {seconds: "null", problem: "default_ttl"},
	}
	forEach(t, func(t *testing.T, c contract) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				raw := test.seconds
				if test.problem != "not a number" && raw != "null" {
					raw = c.wire.lifetime(raw)
				}
				for _, text := range []string{raw, `"` + raw + `"`} { // as it is, and in a string
					if raw[0] == '"' || raw == "null" && text != raw {
						text = raw
					}
					got, err := c.mint(t, reply{body: fmt.Sprintf(c.wire.success, `"tok"`, text)})
					if test.problem == "" {
						if diff := got.Lifetime - test.want; err != nil || diff.Abs() > time.Microsecond {
							t.Errorf("%s: lifetime is %v (%v), want %v", text, got.Lifetime, err, test.want)
						}
						continue
					}
					if e := failure(t, err); e.Kind != token.Malformed || !strings.Contains(e.Error(), test.problem) {
						t.Errorf("%s: %v, want malformed for %q", text, e, test.problem)
					}
				}
			})
		}
	})
}

func TestContractDefaultTTL(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		for seconds, want := range map[string]time.Duration{"null": 5 * time.Minute, c.wire.lifetime("3600"): time.Hour} {
			e := serve(t, reply{body: fmt.Sprintf(c.wire.success, `"tok"`, seconds)})
			s := c.settings(e.url)
			s.DefaultTTL = 5 * time.Minute
			if got, err := c.ask(t, s); err != nil || got.Lifetime != want {
				t.Errorf("lifetime for %s is %v (%v), want %v", seconds, got.Lifetime, err, want)
			}
		}
	})
}

func forEach(t *testing.T, test func(*testing.T, contract)) {
	for _, c := range contracts {
		t.Run(c.provider, func(t *testing.T) { test(t, c) })
	}
}
