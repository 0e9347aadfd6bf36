// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// The contract tests run with these providers.
var contracts = []contract{
	{"enablex-sms", enablexWire, values("app_id", "acme", "app_key", hidden)},
	{"oauth2", oauthWire, values("client_id", "acme", "client_secret", hidden, "grant_type", "client_credentials", "auth_style", "header")},
	{"sinch-conversation", oauthWire, values("client_id", "acme", "client_secret", hidden, "auth_style", "header")},
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

// lifetime returns a lifetime in the form of the provider's answers: seconds, or a Unix time.
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
	got, err := mustLookup(t, c.provider).Mint(t.Context(), testClient(t), s)
	if err == nil {
		checkToken(t, got)
	} else if !reflect.DeepEqual(got, token.Token{}) {
		t.Errorf("got token %+v with error %v, want no token", got, err)
	}
	return got, err
}

func (c contract) settings(url string) Settings {
	return Settings{TokenURL: url + "/path/token?key=query-of-the-url", Values: c.values}
}

// An answer may begin with a byte order mark. If a field occurs twice, the last value counts.
func TestContractOddSuccesses(t *testing.T) {
	forEach(t, func(t *testing.T, c contract) {
		one, two := c.wire.body("first", "60"), c.wire.body("second", "3600")
		got, err := c.mint(t, reply{body: "\ufeff" + strings.TrimSuffix(one, "}") + "," + strings.TrimPrefix(two, "{")})
		wantToken(t, got, err, "second", time.Hour)
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

// default_ttl replaces a missing lifetime. default_ttl or max_ttl replaces an impossible lifetime,
// such as -5.
func TestContractOperatorTTL(t *testing.T) {
	const minute = time.Minute
	forEach(t, func(t *testing.T, c contract) {
		for seconds, want := range map[string]time.Duration{"null": minute, c.wire.lifetime("3600"): time.Hour} {
			s := c.settings(serve(t, reply{body: fmt.Sprintf(c.wire.success, `"tok"`, seconds)}).url)
			s.DefaultTTL = minute
			got, err := c.ask(t, s)
			wantToken(t, got, err, "tok", want)
		}
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

// A wrong Date does not change the lifetime if our clock is right.
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

func mintEnableX(t *testing.T, r reply) (token.Token, error) {
	t.Helper()
	return contractOf(t, "enablex-sms").mint(t, r)
}

// EnableX reports success in the body. The HTTP status does not count.
func TestEnableXSuccess(t *testing.T) {
	expiry := enablexWire.lifetime("3600")
	for _, status := range []int{200, 201, 400, 401, 429, 500} {
		for _, code := range []string{``, `"code":200,`, `"code":"200",`, `"code":200.0,`, `"code":null,`, `"code":"",`, `"result":0,`, `"result":"0",`} {
			body := fmt.Sprintf(`{%s"token":"tok","expiry":%s}`, code, expiry)
			t.Run(fmt.Sprint(status, code), func(t *testing.T) {
				got, err := mintEnableX(t, reply{status: status, body: body})
				wantToken(t, got, err, "tok", time.Hour)
			})
		}
	}
}

// EnableX tokens live for at most 60 minutes, whatever the clocks say.
func TestEnableXClocks(t *testing.T) {
	tests := map[string]struct {
		date   time.Duration // Date of the answer, from noon on our clock
		expiry string        // seconds from noon on our clock
		want   time.Duration
	}{
		"clocks agree":                          {0, "3600", time.Hour},
		"Date a year behind":                    {-365 * 24 * time.Hour, "3600", time.Hour},
		"Date two hours ahead":                  {2 * time.Hour, "1800", 30 * time.Minute},
		"Date a minute behind":                  {-time.Minute, "1800", 30 * time.Minute},
		"Date a minute ahead":                   {time.Minute, "1800", 29 * time.Minute},
		"our clock two hours behind":            {2 * time.Hour, "10800", time.Hour},
		"our clock two hours ahead":             {-2 * time.Hour, "-3600", time.Hour},
		"a token of a day":                      {0, "86400", time.Hour},
		"an old token, with all clocks correct": {0, "60", time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mintEnableX(t, reply{date: noon.Add(test.date).Format(http.TimeFormat), body: enablexWire.body("tok", test.expiry)})
			wantToken(t, got, err, "tok", test.want)
		})
	}
	for _, date := range []string{"none", "yesterday"} {
		got, err := mintEnableX(t, reply{date: date, body: enablexWire.body("tok", "1800")})
		wantToken(t, got, err, "tok", 30*time.Minute)
	}
	_, err := mintEnableX(t, reply{body: enablexWire.body("tok", "-1")})
	wantFailure(t, err, token.Malformed, "expiry gives a lifetime that has already ended")
}
