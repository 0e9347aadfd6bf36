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

// contracts has a line for each provider. All tests in the contract files, and the fuzz
// targets, run for each line.
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

// wire is the format of a provider's answers.
type wire struct {
	success string // a body with %s for the token and for the lifetime, as JSON
	refusal string // a body with %s for the words, as JSON
	epoch   int64  // start of the lifetime in Unix time, or 0 if the lifetime is relative
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

// body returns a success with the lifetime in seconds.
func (w wire) body(access, seconds string) string {
	return fmt.Sprintf(w.success, quote(access), w.lifetime(seconds))
}

// lifetime adds the epoch to a decimal number without rounding.
func (w wire) lifetime(seconds string) string {
	f, _, err := big.ParseFloat(seconds, 10, 200, big.ToNearestEven)
	if err != nil || f.IsInf() || seconds == "1e999" || f.Sign() == 0 && w.epoch == 0 {
		return seconds
	}
	return f.Add(f, new(big.Float).SetInt64(w.epoch)).Text('f', -1)
}

func (w wire) refused(words string) string { return fmt.Sprintf(w.refusal, quote(words)) }

// contractOf returns the contract of a provider.
func contractOf(t testing.TB, provider string) contract {
	t.Helper()
	i := slices.IndexFunc(contracts, func(c contract) bool { return c.provider == provider })
	if i < 0 {
		t.Fatalf("no contract for provider %q", provider)
	}
	return contracts[i]
}

// mint asks an endpoint with the given answer for a token.
func (c contract) mint(t *testing.T, h http.Handler) (token.Token, error) {
	t.Helper()
	return c.ask(t, c.settings(serve(t, h).url))
}

func (c contract) ask(t *testing.T, s Settings) (token.Token, error) {
	t.Helper()
	got, err := c.lookup(t).Mint(t.Context(), testClient(t), s)
	if err == nil {
		checkToken(t, got)
	} else if got != (token.Token{}) {
		t.Errorf("got token %+v with error %v, want no token", got, err)
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
		t.Fatalf("provider %q: not found", c.provider)
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
		t.Errorf("got providers %v with contracts for %v, want both sorted and equal", names, tested)
	}
	if p, ok := Lookup("no-such"); ok || p != nil {
		t.Errorf(`Lookup("no-such"): got %v, want nil`, p)
	}
}

func TestContractSpec(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		spec := c.lookup(t).Spec()
		if spec.Description == "" {
			t.Error("got no description")
		}
		secrets := 0
		for _, f := range spec.Fields {
			if f.Description == "" || !strings.HasSuffix(f.Description, ".") {
				t.Errorf("field %s: got description %q, want a sentence", f.Name, f.Description)
			}
			if len(f.Allowed) > 0 && f.Default != "" && !slices.Contains(f.Allowed, f.Default) {
				t.Errorf("field %s: got default %q, want one of %v", f.Name, f.Default, f.Allowed)
			}
			if f.Secret {
				secrets++
			}
		}
		if secrets == 0 {
			t.Error("got no secret field")
		}
		for _, e := range spec.Endpoints {
			if e.Environment == "" || !strings.HasPrefix(e.TokenURL, "https://") {
				t.Errorf("got endpoint %+v, want an environment and an https URL", e)
			}
		}
	})
}

func TestContractSuccess(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		e := serve(t, reply{body: c.wire.body("t0ken.~+/=", "3600")})
		got, err := c.ask(t, c.settings(e.url))
		wantToken(t, got, err, "t0ken.~+/=", time.Hour)
		requests := e.requests()
		if len(requests) != 1 {
			t.Fatalf("got %d requests, want 1", len(requests))
		}
		r := requests[0]
		if agent := r.header.Get("User-Agent"); r.method != "POST" || agent != "vault-plugin-secrets-messaging/v1.2.3" {
			t.Errorf("got %s with User-Agent %q, want POST with vault-plugin-secrets-messaging/v1.2.3", r.method, agent)
		}
	})
}

func TestContractByteOrderMark(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		got, err := c.mint(t, reply{body: "\ufeff" + c.wire.body("tok", "3600")})
		wantToken(t, got, err, "tok", time.Hour)
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
		"nothing left":         {seconds: "0", problem: "already ended"},
		"less than nothing":    {seconds: "-5", problem: "already ended"},
		"far below any number": {seconds: "-1e300", problem: "already ended"},
		"less than a tick":     {seconds: "-1e-12", problem: "already ended"},
		"more than ten years":  {seconds: "400000000", problem: "more than 10 years"},
		"milliseconds":         {seconds: "1900000000000", problem: "milliseconds"},
		"a huge number":        {seconds: "1e300", problem: "more than 10 years"},
		"beyond numbers":       {seconds: `1e999`, problem: "more than 10 years"},
		"a word":               {seconds: `"soon"`, problem: "must be a number"},
		"an empty string":      {seconds: `""`, problem: "must be a number"},
		"hexadecimal":          {seconds: `"0x10"`, problem: "must be a number"},
		"infinite":             {seconds: `"Infinity"`, problem: "must be a number"},
		"a list":               {seconds: `[3600]`, problem: "must be a number"},
		"absent":               {seconds: "null", problem: "default_ttl"},
	}
	forEach(t, func(t *testing.T, c contract) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				raw := test.seconds
				if test.problem != "must be a number" && raw != "null" {
					raw = c.wire.lifetime(raw)
				}
				for _, text := range []string{raw, `"` + raw + `"`} { // as it is, and in a string
					if raw[0] == '"' || raw == "null" && text != raw {
						text = raw
					}
					got, err := c.mint(t, reply{body: fmt.Sprintf(c.wire.success, `"tok"`, text)})
					if test.problem == "" {
						wantToken(t, got, err, "tok", test.want)
					} else {
						wantFailure(t, err, token.Malformed, test.problem)
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
			got, err := c.ask(t, s)
			wantToken(t, got, err, "tok", want)
		}
	})
}

// Where the provider states a lifetime that cannot be, the operator's word counts.
func TestContractOperatorTTL(t *testing.T) {
	const minute = time.Minute
	forEach(t, func(t *testing.T, c contract) {
		for _, lifetime := range []string{"0", "-5", "-1e300", "1e300", "1e999", `"0"`, `"1900000000000"`} {
			e := serve(t, reply{body: fmt.Sprintf(c.wire.success, `"tok"`, lifetime)})
			for _, test := range []struct{ defaultTTL, maxTTL, want time.Duration }{
				{minute, 0, minute}, {0, minute, minute}, {2 * minute, minute, minute}, {minute, 2 * minute, minute}, {0, 0, 0},
			} {
				s := c.settings(e.url)
				s.DefaultTTL, s.MaxTTL = test.defaultTTL, test.maxTTL
				got, err := c.ask(t, s)
				if test.want > 0 {
					wantToken(t, got, err, "tok", test.want)
				} else {
					wantFailure(t, err, token.Malformed, "gives a lifetime")
				}
			}
		}
	})
}

// A Date that agrees with nothing else neither lengthens nor ends the life of a token.
func TestContractWrongDate(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		access := jwt(`{"iat":` + enablexWire.lifetime("0") + `,"exp":` + enablexWire.lifetime("3600") + `}`)
		for _, date := range []time.Time{noon.AddDate(-1, 0, 0), noon.Add(-2 * time.Hour), noon, noon.Add(2 * time.Hour), noon.AddDate(1, 0, 0)} {
			got, err := c.mint(t, reply{date: date.Format(http.TimeFormat), body: c.wire.body(access, "3600")})
			wantToken(t, got, err, access, time.Hour)
		}
	})
}

func forEach(t *testing.T, test func(*testing.T, contract)) {
	for _, c := range contracts {
		t.Run(c.provider, func(t *testing.T) { test(t, c) })
	}
}
