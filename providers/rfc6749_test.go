// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// mintOAuth asks an endpoint with that reply for a token, by client credentials.
func mintOAuth(t *testing.T, r reply) (token.Token, error) {
	t.Helper()
	s := Settings{TokenURL: serve(t, r).url, Values: values("client_id", "acme", "client_secret", hidden)}
	got, err := sinchConversation{}.Mint(t.Context(), testClient(t), s)
	if err == nil {
		goodToken(t, got)
	}
	return got, err
}

func TestOAuthErrorCodes(t *testing.T) {
	tests := []struct {
		status int
		code   string // as JSON
		want   token.Kind
	}{
		{400, `"invalid_grant"`, token.Refused},
		{400, `"invalid_client"`, token.Refused},
		{400, `"unauthorized_client"`, token.Refused},
		{400, `"invalid_request"`, token.Refused},
		{400, `"invalid_scope"`, token.Refused},
		{400, `"unsupported_grant_type"`, token.Refused},
		{400, `"account_locked"`, token.Refused},
		{401, `"invalid_client"`, token.Refused},
		{401, `null`, token.Refused},
		{403, `"mfa_required"`, token.Refused},
		{200, `"invalid_grant"`, token.Refused},
		{500, `"invalid_grant"`, token.Refused},
		{404, `"unauthorized_client"`, token.Refused},
		{400, `"temporarily_unavailable"`, token.Unavailable},
		{400, `"server_error"`, token.Unavailable},
		{401, `"temporarily_unavailable"`, token.Unavailable},
		{403, `"server_error"`, token.Unavailable},
		{500, `"unknown_error"`, token.Unavailable},
		{503, `"temporarily_unavailable"`, token.Unavailable},
		{429, `"invalid_grant"`, token.RateLimited},
		{429, `"server_error"`, token.RateLimited},
		{400, `""`, token.Malformed},
		{400, `{"message":"no"}`, token.Malformed},
		{400, `400`, token.Malformed},
		{404, `"Realm does not exist"`, token.Malformed},
		{200, `"out_of_cheese"`, token.Malformed},
	}
	for _, test := range tests {
		_, err := mintOAuth(t, reply{status: test.status, body: `{"error":` + test.code + `,"error_description":"some words"}`})
		e := failure(t, err)
		if e.Kind != test.want || e.Words != "some words" || e.Code != strings.Trim(codeText(test.code), `"`) {
			t.Errorf("%d with %s: %q, code %q, words %q; want %q", test.status, test.code, e.Kind, e.Code, e.Words, test.want)
		}
	}
}

// codeText is the code as JSON, "" if it is no string.
func codeText(raw string) string {
	if raw[0] != '"' {
		return ""
	}
	return raw
}

func TestOAuthErrorOfOddShape(t *testing.T) {
	for _, body := range []string{`{"error":["invalid_grant"],"error_description":{"a":"b"}}`, `{"ERROR":"invalid_grant"}`} {
		_, err := mintOAuth(t, reply{status: 400, body: body})
		if e := failure(t, err); e.Kind != token.Malformed || e.Code != "" || e.Words != "" {
			t.Errorf("%s: %v", body, e)
		}
	}
}

// A token in an answer that is refused is not shown, even if the words have it.
func TestOAuthErrorHidesTokens(t *testing.T) {
	body := `{"error":"invalid_grant","error_description":"unshown-token is not for you","access_token":"unshown-token"}`
	_, err := mintOAuth(t, reply{status: 400, body: body})
	if e := failure(t, err, "unshown-token"); e.Words != "[redacted] is not for you" {
		t.Errorf("words are %q", e.Words)
	}
}

func TestOAuthTokenType(t *testing.T) {
	for kind, ok := range map[string]bool{
		`"Bearer"`: true, `"bearer"`: true, `"BEARER"`: true, `null`: true, `""`: true,
		`"mac"`: false, `"DPoP"`: false, `"Bearer "`: false, `7`: false, `["Bearer"]`: false,
	} {
		got, err := mintOAuth(t, reply{body: `{"access_token":"tok","expires_in":60,"token_type":` + kind + `}`})
		switch {
		case ok && (err != nil || got.Type != "Bearer"):
			t.Errorf("token_type %s: type %q, %v", kind, got.Type, err)
		case !ok && (failure(t, err).Kind != token.Malformed || !strings.Contains(err.Error(), "token_type is not Bearer")):
			t.Errorf("token_type %s: %v", kind, err)
		}
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
				t.Errorf("refresh token %q for %v (%v), want %q for %v", got.Refresh.Reveal(), got.RefreshLifetime, err, test.want, test.life)
			}
		})
	}
}

// The exp of a JWT can shorten a lifetime, on the provider's clock.
func TestOAuthJWT(t *testing.T) {
	at := func(offset string) string { return oauthWire.withEpoch(offset) }
	tests := map[string]struct {
		token   string
		want    time.Duration
		problem string
	}{
		"ends earlier":        {jwt(`{"exp":` + at("60") + `}`), time.Minute, ""},
		"in part of a second": {jwt(`{"exp":` + at("60.5") + `}`), 60500 * time.Millisecond, ""},
		"ends later":          {jwt(`{"exp":` + at("7200") + `}`), time.Hour, ""},
		"ends in ages":        {jwt(`{"exp":1e300}`), time.Hour, ""},
		"is over":             {jwt(`{"exp":` + at("-1") + `}`), 0, "exp of its token"},
		"ends now":            {jwt(`{"exp":` + at("0") + `}`), 0, "exp of its token"},
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
				if e := failure(t, err, test.token); e.Kind != token.Malformed || !strings.Contains(e.Error(), test.problem) {
					t.Errorf("got %v, want it malformed for %q", e, test.problem)
				}
			} else if (got.Lifetime-test.want).Abs() > time.Microsecond || err != nil {
				t.Errorf("lifetime is %v (%v), want %v", got.Lifetime, err, test.want)
			}
		})
	}
}

// withEpoch adds noon to a number of seconds.
func (wire) withEpoch(seconds string) string {
	return wire{epoch: noon.Unix()}.lifetime(seconds)
}

// Without a usable Date our own clock is the next best.
func TestOAuthJWTWithoutDate(t *testing.T) {
	soon := wire{epoch: time.Now().Unix()}.lifetime("60")
	for _, date := range []string{"none", "yesterday"} {
		got, err := mintOAuth(t, reply{date: date, body: oauthWire.body(jwt(`{"exp":`+soon+`}`), "3600")})
		if err != nil || got.Lifetime > time.Minute || got.Lifetime < 50*time.Second {
			t.Errorf("Date %q: lifetime is %v (%v), want about a minute", date, got.Lifetime, err)
		}
	}
}

// A Keycloak sends no Date: then the token's own iat tells its clock, however wrong
// that is.
func TestOAuthJWTOfAClockThatIsWrong(t *testing.T) {
	got, err := mintOAuth(t, reply{date: "none", body: oauthWire.body(jwt(`{"iat":1000000,"exp":1000300}`), "3600")})
	if err != nil || got.Lifetime != 5*time.Minute {
		t.Errorf("%v, %v", got.Lifetime, err)
	}
}

// Without expires_in the exp of a JWT is not enough: it is no word of the
// endpoint's. It shortens what the operator set.
func TestOAuthJWTIsNoSubstituteForDefaultTTL(t *testing.T) {
	body := `{"access_token":"` + jwt(`{"exp":`+oauthWire.withEpoch("60")+`}`) + `"}`
	s := Settings{TokenURL: serve(t, reply{body: body}).url, Values: values("client_id", "acme", "client_secret", hidden)}
	_, err := sinchConversation{}.Mint(t.Context(), testClient(t), s)
	if e := failure(t, err); e.Kind != token.Malformed || !strings.Contains(e.Error(), "default_ttl must be set") {
		t.Errorf("without default_ttl: %v", e)
	}
	s.DefaultTTL = time.Hour
	if got, err := (sinchConversation{}).Mint(t.Context(), testClient(t), s); err != nil || got.Lifetime != time.Minute {
		t.Errorf("with default_ttl: %v, %v; want a minute", got.Lifetime, err)
	}
}

func TestOAuthTokenNeedsAStatusOfSuccess(t *testing.T) {
	for _, status := range []int{400, 404, 500} {
		_, err := mintOAuth(t, reply{status: status, body: oauthWire.body("unshown", "3600")})
		if e := failure(t, err, "unshown"); e.Status != status {
			t.Errorf("%d with a token: %v", status, e)
		}
	}
	if got, err := mintOAuth(t, reply{status: http.StatusCreated, body: oauthWire.body("tok", "3600")}); err != nil || got.Access != "tok" {
		t.Errorf("201 with a token: %v", err)
	}
}
