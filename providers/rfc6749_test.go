// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// mintOAuth mints a token by the client credentials grant.
func mintOAuth(t *testing.T, r reply) (token.Token, error) {
	t.Helper()
	return contractOf(t, "sinch-conversation").mint(t, r)
}

// If the provider rejects encoded HTTP Basic, the error suggests auth_style=body.
func TestOAuthAdvice(t *testing.T) {
	const advice = "try auth_style=body"
	for _, test := range []struct {
		id, secret, style string
		reply             reply
		want              bool
	}{
		{"acme", "a+b/c=", "header", reply{status: 401, body: `{"error":"invalid_client"}`}, true},
		{"acme", "50%", "header", reply{status: 400, body: `{"error":"invalid_client"}`}, true},
		{"a@b", "plain", "header", reply{status: 401, body: `{"error":"invalid_client"}`}, true},
		{"acme", "a+b/c=", "header", reply{status: 401}, true},
		{"acme", "a+b/c=", "body", reply{status: 401, body: `{"error":"invalid_client"}`}, false},
		{"acme", "plain", "header", reply{status: 401, body: `{"error":"invalid_client"}`}, false},
		{"acme", "a+b/c=", "header", reply{status: 400, body: `{"error":"invalid_scope"}`}, false},
		{"acme", "a+b/c=", "header", reply{status: 503}, false},
	} {
		for _, p := range []Provider{mustLookup(t, "oauth2"), mustLookup(t, "sinch-conversation")} {
			s := Settings{TokenURL: serve(t, test.reply).url, Values: values("client_id", test.id, "client_secret", test.secret, "auth_style", test.style)}
			_, err := p.Mint(t.Context(), testClient(t), s)
			if got := strings.Contains(failure(t, err).Error(), advice); got != test.want {
				t.Errorf("%T with %+v: got %v, want the advice: %v", p, test, err, test.want)
			}
		}
	}
}

func TestOAuthErrorWithholdsTokens(t *testing.T) {
	body := `{"error":"invalid_grant","error_description":"unshown-token is not for you","access_token":"unshown-token"}`
	_, err := mintOAuth(t, reply{status: 400, body: body})
	wantFailure(t, err, token.Refused, "400 Bad Request: invalid_grant \""+withheld, "unshown-token")
}

func TestOAuthTokenType(t *testing.T) {
	for kind, ok := range map[string]bool{
		`"Bearer"`: true, `"bearer"`: true, `"BEARER"`: true, `null`: true, `""`: true,
		`"BearerToken"`: true, `"bearertoken"`: true, // of Apigee
		`"mac"`: false, `"DPoP"`: false, `"Bearer "`: false, `7`: false, `["Bearer"]`: false,
	} {
		t.Run(kind, func(t *testing.T) {
			got, err := mintOAuth(t, reply{body: `{"access_token":"tok","expires_in":60,"token_type":` + kind + `}`})
			if ok {
				wantToken(t, got, err, "tok", time.Minute)
			} else {
				wantFailure(t, err, token.Malformed, "token_type must be Bearer")
			}
		})
	}
}

func TestOAuthRefreshToken(t *testing.T) {
	tests := map[string]struct {
		fields string
		want   string
		life   time.Duration
	}{
		"none":              {``, "", 0},
		"null":              {`,"refresh_token":null,"refresh_expires_in":60`, "", 0},
		"without lifetime":  {`,"refresh_token":"r"`, "r", 0},
		"half an hour":      {`,"refresh_token":"r","refresh_expires_in":1800`, "r", 30 * time.Minute},
		"in a string":       {`,"refresh_token":"r","refresh_expires_in":"1800"`, "r", 30 * time.Minute},
		"offline":           {`,"refresh_token":"r","refresh_expires_in":0`, "r", 0},
		"hundred years":     {`,"refresh_token":"r","refresh_expires_in":3155760000`, "r", 0},
		"dead already":      {`,"refresh_token":"r","refresh_expires_in":-1`, "", 0},
		"odd lifetime":      {`,"refresh_token":"r","refresh_expires_in":"soon"`, "r", 0},
		"odd refresh token": {`,"refresh_token":{"r":1}`, "", 0},
		"huge":              {`,"refresh_token":"` + strings.Repeat("r", 33<<10) + `"`, "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mintOAuth(t, reply{body: `{"access_token":"tok","expires_in":60` + test.fields + `}`})
			if err != nil || got.Refresh.Reveal() != test.want || got.RefreshLifetime != test.life {
				t.Errorf("got refresh token %q for %v, error %v; want %q for %v", got.Refresh.Reveal(), got.RefreshLifetime, err, test.want, test.life)
			}
		})
	}
}

// A JWT's exp claim may shorten the lifetime.
func TestOAuthJWT(t *testing.T) {
	at := enablexWire.lifetime // seconds after noon
	tests := map[string]struct {
		token   string
		want    time.Duration
		problem string
	}{
		"ends earlier":        {jwt(`{"exp":` + at("60") + `}`), time.Minute, ""},
		"in part of a second": {jwt(`{"exp":` + at("60.5") + `}`), 60500 * time.Millisecond, ""},
		"ends later":          {jwt(`{"exp":` + at("7200") + `}`), time.Hour, ""},
		"ends in ages":        {jwt(`{"exp":1e300}`), time.Hour, ""},
		"is over":             {jwt(`{"exp":` + at("-1") + `}`), 0, "exp in the token"},
		"ends now":            {jwt(`{"exp":` + at("0") + `}`), 0, "exp in the token"},
		"says nothing":        {jwt(`{"sub":"acme"}`), time.Hour, ""},
		"says null":           {jwt(`{"exp":null}`), time.Hour, ""},
		"says something odd":  {jwt(`{"exp":"soon"}`), time.Hour, ""},
		"is null":             {jwt(`null`), time.Hour, ""},
		"is not JSON":         {jwt(`{`), time.Hour, ""},
		"is not base64":       {"a.!.c", time.Hour, ""},
		"is opaque":           {"a.b", time.Hour, ""},
		"is encrypted":        {"a.b.c.d.e", time.Hour, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mintOAuth(t, reply{body: oauthWire.body(test.token, "3600")})
			if test.problem != "" {
				wantFailure(t, err, token.Malformed, test.problem, test.token)
			} else {
				wantToken(t, got, err, test.token, test.want)
			}
		})
	}
}

// If our clock and the provider's disagree, the shortest lifetime usually counts; see answer.until.
func TestOAuthClocks(t *testing.T) {
	at := enablexWire.lifetime // seconds after noon on our clock
	tests := map[string]struct {
		date     string // seconds after noon; "" for no Date
		iat, exp string // seconds after noon; "" for no claim
		want     time.Duration
	}{
		"Date two hours ahead":                       {"7200", "0", "3600", time.Hour},
		"Date two hours behind":                      {"-7200", "0", "3600", time.Hour},
		"Date two hours ahead, no iat":               {"7200", "", "1800", 30 * time.Minute},
		"our clock two hours behind":                 {"7200", "7200", "9000", 30 * time.Minute},
		"our clock two hours ahead":                  {"-7200", "-7200", "-5400", 30 * time.Minute},
		"our clock two hours ahead, no Date":         {"", "-7200", "-5400", 30 * time.Minute},
		"our clock two hours behind, no Date":        {"", "7200", "9000", 30 * time.Minute},
		"our clock years ahead, no Date":             {"", "-1e9", "-999998200", 30 * time.Minute},
		"a token of which half is left":              {"0", "-1800", "1800", 30 * time.Minute},
		"a token of which half is left, no Date":     {"", "-1800", "1800", 30 * time.Minute},
		"a short token, our clock a minute ahead":    {"", "-60", "-30", 30 * time.Second},
		"a short token, Date a minute ahead":         {"60", "0", "30", 30 * time.Second},
		"no Date, no iat":                            {"", "", "1800", 30 * time.Minute},
		"a lifetime in the claims beyond expires_in": {"0", "0", "86400", time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims := `{"exp":` + at(test.exp)
			if test.iat != "" {
				claims += `,"iat":` + at(test.iat)
			}
			date := "none"
			if test.date != "" {
				offset, _ := time.ParseDuration(test.date + "s")
				date = noon.Add(offset).Format(http.TimeFormat)
			}
			access := jwt(claims + "}")
			got, err := mintOAuth(t, reply{date: date, body: oauthWire.body(access, "3600")})
			wantToken(t, got, err, access, test.want)
		})
	}
	// The Date and our clock agree that the token has ended.
	_, err := mintOAuth(t, reply{body: oauthWire.body(jwt(`{"iat":`+at("-7200")+`,"exp":`+at("-3600")+`}`), "3600")})
	wantFailure(t, err, token.Malformed, "exp in the token gives a lifetime that has already ended")
}

// The exp claim only shortens default_ttl.
func TestOAuthJWTIsNoSubstituteForDefaultTTL(t *testing.T) {
	access := jwt(`{"exp":` + enablexWire.lifetime("60") + `}`)
	c := contractOf(t, "sinch-conversation")
	s := c.settings(serve(t, reply{body: `{"access_token":"` + access + `"}`}).url)
	_, err := c.ask(t, s)
	wantFailure(t, err, token.Malformed, "the answer has no expires_in, so default_ttl must be set")
	s.DefaultTTL = time.Hour
	got, err := c.ask(t, s)
	wantToken(t, got, err, access, time.Minute)
}

func TestOAuthTokenNeedsAStatusOfSuccess(t *testing.T) {
	for _, status := range []int{400, 404, 500} {
		_, err := mintOAuth(t, reply{status: status, body: oauthWire.body("unshown", "3600")})
		if e := failure(t, err, "unshown"); e.Status != status {
			t.Errorf("got %v, want an error with status %d", e, status)
		}
	}
	got, err := mintOAuth(t, reply{status: http.StatusCreated, body: oauthWire.body("tok", "3600")})
	wantToken(t, got, err, "tok", time.Hour)
}
