// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

func mintEnableX(t *testing.T, r reply) (token.Token, error) {
	t.Helper()
	return contractOf(t, "enablex-sms").mint(t, r)
}

func TestEnableXRequest(t *testing.T) {
	for name, address := range map[string]string{
		"enablex-whatsapp": "https://api.enablex.io/whatsapp/v1/token",
		"enablex-rcs":      "https://api.enablex.io/rcs/v1/token",
		"enablex-sms":      "https://api.enablex.io/sms/v1/token",
	} {
		c := contractOf(t, name)
		if got := c.lookup(t).Spec().Endpoints[0].TokenURL; got != address {
			t.Errorf("%s: got endpoint %s, want %s", name, got, address)
		}
		e := serve(t, reply{body: enablexWire.body("tok", "3600")})
		if _, err := c.ask(t, c.settings(e.url)); err != nil {
			t.Fatal(err)
		}
		r := e.requests()[0]
		var body map[string]string
		want := map[string]string{"app_id": "acme", "app_key": hidden}
		if err := json.Unmarshal([]byte(r.body), &body); err != nil || !maps.Equal(body, want) {
			t.Errorf("%s: got body %s, want %v", name, r.body, want)
		}
		if r.header.Get("Content-Type") != "application/json" || r.header.Get("Authorization") != "" {
			t.Errorf("%s: got headers %v, want JSON without Authorization", name, r.header)
		}
	}
}

// An answer is a success if it has a token and no code but 200, whatever the status.
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

func TestEnableXFailures(t *testing.T) {
	const invalid = "invalid credentials or the account has been deactivated"
	tests := []struct {
		name        string
		status      int
		body        string
		kind        token.Kind
		code, words string
	}{
		{"WhatsApp", 200, `{"message":"Authentication failed","status":"Unauthorized","reason":"` + invalid + `"}`,
			token.Refused, "", "Authentication failed: " + invalid},
		{"RCS", 200, `{"code":1003,"message":"Authentication failed","description":"` + invalid + `"}`,
			token.Refused, "1003", "Authentication failed: " + invalid},
		{"SMS", 200, `{"result":"1","details":"Authentication failed","desc":"Authentication failed"}`,
			token.Refused, "1", "Authentication failed"},
		{"a number for result", 200, `{"result":1,"details":"authentication FAILED"}`, token.Refused, "1", "authentication FAILED"},
		{"only the code", 200, `{"code":"1003"}`, token.Refused, "1003", ""},
		{"only the code, in a 500", 500, `{"code":1003}`, token.Refused, "1003", ""},
		{"only the status", 200, `{"status":"unauthorized"}`, token.Refused, "", ""},
		{"an expired token", 200, `{"code":1002,"message":"Token Error","redason":"Invalid/Expired Token used"}`,
			token.Refused, "1002", "Token Error: Invalid/Expired Token used"},
		{"a token with a code", 200, `{"code":1002,"token":"unshown-token","expiry":` + enablexWire.lifetime("60") + `,"message":"unshown-token"}`,
			token.Refused, "1002", withheld},
		{"a token with code 0", 200, `{"code":0,"token":"unshown-token"}`, token.Malformed, "0", ""},
		{"a token with an odd code", 200, `{"code":{"a":200},"token":"unshown-token"}`, token.Malformed, "(unreadable)", ""},
		{"code 200 without a token", 200, `{"code":200,"message":"OK"}`, token.Malformed, "200", "OK"},
		{"result 0 without a token", 200, `{"result":0}`, token.Malformed, "", ""},
		{"words in a 401", 401, `{"message":"no"}`, token.Refused, "", "no"},
		{"words in a 429", 429, `{"message":"slow down"}`, token.RateLimited, "", "slow down"},
		{"words in a 503", 503, `{"message":"back soon"}`, token.Unavailable, "", "back soon"},
		{"words in a 200", 200, `{"message":"suspended","status":"Blocked"}`, token.Refused, "", "suspended"},
		{"words in a 400", 400, `{"message":"app_id is missing","reason":7}`, token.Refused, "", "app_id is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := mintEnableX(t, reply{status: test.status, body: test.body})
			e := failure(t, err, "unshown-token")
			if e.Kind != test.kind || e.Code != test.code || e.Words != test.words {
				t.Errorf("got %s, code %q, words %q; want %s, %q, %q", e.Kind, e.Code, e.Words, test.kind, test.code, test.words)
			}
		})
	}
}

// The expiry is on the provider's clock. EnableX documents that tokens live for 60 minutes, so
// no clock can give a longer life.
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

// default_ttl is bounded too.
func TestEnableXDefaultTTL(t *testing.T) {
	c := contractOf(t, "enablex-sms")
	s := c.settings(serve(t, reply{body: `{"token":"tok"}`}).url)
	s.DefaultTTL = 24 * time.Hour
	got, err := c.ask(t, s)
	wantToken(t, got, err, "tok", time.Hour)
}
