// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// signing is a definition that uses every feature of the protocol jwt.
const signing = `title: Signing
fields:
  account: {description: Account., required: true}
  scopes: {description: Scopes., kind: list}
  private_key: {description: Key., secret: true}
  generate_key: {description: Key made by the engine.}
  key_id: {description: ID of the key.}
  certificate: {description: Certificate of the key.}
  signing_algorithm: {description: Algorithm., allowed: [RS256, PS256, ES256, ES384, EdDSA]}
jwt:
  algorithm: "{signing_algorithm}"
  header: {x-account: "{account}"}
  claims: {iss: "{account}", aud: "https://{account}.example", admin: false, n: 1.50, scopes: ["{scopes}"], cnf: {a: "{scopes}"}}
  add: [iat, nbf, exp, jti]
  lifetime: 15m
`

// The standard library verifies a signature by each algorithm.
func TestSignatures(t *testing.T) {
	for _, test := range []struct {
		key, chosen string
		want        string // the algorithm
	}{
		{"rsa key", "", "RS256"}, {"rsa key", "RS256", "RS256"}, {"rsa key", "PS256", "PS256"},
		{"p256 key", "", "ES256"}, {"p256 key", "ES256", "ES256"}, {"p384 key", "", "ES384"}, {"p384 key", "ES384", "ES384"},
		{"ed25519 key", "", "EdDSA"}, {"ed25519 key", "EdDSA", "EdDSA"},
	} {
		v := values("account", "acme", "private_key", withTestKey(test.key))
		if test.chosen != "" {
			v["signing_algorithm"] = secret.String(test.chosen)
		}
		want := wantJWT{
			Key: test.key, Header: map[string]any{"alg": test.want, "x-account": "acme"},
			Claims: map[string]any{"iss": "acme", "aud": "https://acme.example", "admin": false, "n": number("1.50"), "scopes": []any{},
				"cnf": map[string]any{}, "iat": "now", "nbf": "now", "exp": "now+15m", "jti": "uuid"},
		}
		wantSigned(t, v, 0, 15*time.Minute, want)
		if test.want != "RS256" {
			continue
		}
		v["key_id"], v["certificate"], v["scopes"] = "k1", secret.String(withTestKey("certificate of the rsa key")), "a b"
		want.Header["kid"], want.Header["x5t#S256"] = "k1", "thumbprint"
		want.Claims["scopes"], want.Claims["cnf"], want.Claims["exp"] = []any{"a b"}, map[string]any{"a": "a b"}, "now+1m"
		wantSigned(t, v, time.Minute, time.Minute, want)
	}
}

// wantSigned signs a token, and checks the token.
func wantSigned(t *testing.T, v map[string]secret.String, maxTTL, lifetime time.Duration, want wantJWT) {
	t.Helper()
	d, s := parse(t, signing), Settings{Values: v, MaxTTL: maxTTL}
	if err := d.Validate(s); err != nil {
		t.Fatal(err)
	}
	got, err := d.Mint(t.Context(), testClient(t), s)
	wantToken(t, got, err, got.Access.Reveal(), lifetime)
	want.check(t, got.Access.Reveal())
	again, err := d.Mint(t.Context(), testClient(t), s)
	if err != nil || again.Access == got.Access {
		t.Errorf("got the same token again (error %v), want another jti", err)
	}
}

func TestGeneratedKeys(t *testing.T) {
	for kind, algorithm := range map[string]string{"rsa-2048": "RS256", "ec-p256": "ES256", "ed25519": "EdDSA"} {
		key := must(GenerateKey(kind))
		stored, err := ParseKey(must(key.PEM()), key.ID())
		if err != nil {
			t.Fatalf("%s: got %v for a key that the engine made", kind, err)
		}
		d := parse(t, signing)
		s := Settings{Values: values("account", "acme", "generate_key", kind), Key: stored}
		if err := d.Validate(s); err != nil {
			t.Fatal(err)
		}
		got, err := d.Mint(t.Context(), testClient(t), s)
		if err != nil {
			t.Fatal(err)
		}
		header, _ := verifyJWT(t, got.Access.Reveal(), key.signer.Public())
		if header["kid"] != key.ID() || header["alg"] != algorithm || len(key.ID()) != 43 {
			t.Errorf("%s: got the header %v, want kid %s and alg %s", kind, header, key.ID(), algorithm)
		}
		jwk, err := key.JWK(algorithm)
		if err != nil || strings.Contains(string(jwk), `"d"`) || !strings.Contains(string(jwk), `"kid":"`+key.ID()+`"`) {
			t.Errorf("%s: got the JWK %s, error %v; want the public key with its kid", kind, jwk, err)
		}
		public, err := key.PublicPEM()
		if err != nil || !strings.HasPrefix(public, "-----BEGIN PUBLIC KEY-----") {
			t.Errorf("%s: got %q, error %v; want a public key in PEM", kind, public, err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s %x", key, key, key, key, key); strings.Count(shown, "[private key]") != 5 {
			t.Errorf("%s: got %s, want no private key", kind, shown)
		}
	}
	if _, err := GenerateKey("dsa"); err == nil {
		t.Error("dsa: got a key, want an error")
	}
}

func TestSigningValidate(t *testing.T) {
	rsaPEM, p384 := withTestKey("rsa key"), withTestKey("p384 key")
	certificate := withTestKey("certificate of the rsa key")
	tests := map[string]struct {
		values []string
		want   string
	}{
		"no key":                                 {nil, "private_key: is required; or set generate_key"},
		"two keys":                               {[]string{"private_key", rsaPEM, "generate_key", "rsa-2048"}, "generate_key: cannot be set beside private_key"},
		"an ID for a generated key":              {[]string{"generate_key", "rsa-2048", "key_id", "k"}, "key_id: cannot be set beside generate_key"},
		"a certificate for a generated key":      {[]string{"generate_key", "rsa-2048", "certificate", certificate}, "certificate: cannot be set beside generate_key"},
		"an algorithm for another generated key": {[]string{"generate_key", "rsa-2048", "signing_algorithm", "ES256"}, "generate_key: does not fit the algorithm ES256, which needs an EC key on the curve P-256"},
		"an algorithm for another key":           {[]string{"private_key", rsaPEM, "signing_algorithm", "ES256"}, "private_key: is an RSA key; the algorithm ES256 needs an EC key on the curve P-256"},
		"an algorithm for another curve":         {[]string{"private_key", p384, "signing_algorithm", "ES256"}, "private_key: is an EC key on the curve P-384; the algorithm ES256 needs an EC key on the curve P-256"},
		"a certificate of another key":           {[]string{"private_key", p384, "certificate", certificate}, "certificate: must be the certificate of the private key"},
		"no certificate":                         {[]string{"private_key", rsaPEM, "certificate", rsaPEM}, "certificate: must be a certificate in PEM"},
	}
	for name, test := range tests {
		err := parse(t, signing).Validate(Settings{Values: values(append(test.values, "account", "acme")...)})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, test.want)
		}
	}
}

// Only some auth styles and grants use a signing key.
func TestKeyFieldsOfStyles(t *testing.T) {
	key := withTestKey("rsa key")
	for name, test := range map[string]struct {
		provider string
		values   []string
		want     string
	}{
		"key without the style":      {"oauth2", []string{"private_key", key}, "private_key: can only be set for auth_style=private_key_jwt"},
		"style without a key":        {"oauth2", []string{"auth_style", "private_key_jwt"}, "private_key: is required for auth_style=private_key_jwt; or set generate_key"},
		"secret beside a key":        {"oauth2", []string{"auth_style", "private_key_jwt", "private_key", key, "client_secret", "s"}, "client_secret: cannot be set for auth_style=private_key_jwt"},
		"audience without a key":     {"oauth2", []string{"assertion_audience", "a"}, "assertion_audience: can only be set for grant_type=jwt_bearer"},
		"grant without an issuer":    {"oauth2", []string{"grant_type", "jwt_bearer", "private_key", key}, "assertion_issuer: must be set for grant_type=jwt_bearer"},
		"style":                      {"oauth2", []string{"auth_style", "private_key_jwt", "private_key", key, "assertion_audience", "a"}, ""},
		"grant":                      {"oauth2", []string{"grant_type", "jwt_bearer", "private_key", key, "assertion_issuer", "i", "client_secret", "s"}, ""},
		"LINE without a secret":      {"line", []string{"channel_id", "1"}, "channel_secret: must be set for auth_style=body"},
		"LINE with both":             {"line", []string{"channel_id", "1", "auth_style", "private_key_jwt", "private_key", key, "channel_secret", "s"}, "channel_secret: cannot be set for auth_style=private_key_jwt"},
		"Entra without certificate":  {"entra", []string{"tenant", "t", "auth_style", "private_key_jwt", "private_key", key}, "certificate: is required beside private_key"},
		"Entra with an EC key":       {"entra", []string{"tenant", "t", "auth_style", "private_key_jwt", "private_key", withTestKey("p256 key")}, "private_key: is an EC key on the curve P-256; the algorithm PS256 needs an RSA key"},
		"a Google file of a user":    {"google-rcs", []string{"service_account", `{"type":"authorized_user","refresh_token":"1//x"}`}, `service_account: is not the expected file: type must be "service_account"`},
		"a Google file without key":  {"google-rcs", []string{"service_account", `{"type":"service_account","client_email":"a"}`}, "service_account: is not the expected file, or is not complete: it has no private_key_id"},
		"a Google file with a wrong": {"firebase", []string{"service_account", `{"type":"service_account","client_email":"a","private_key_id":"k","private_key":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}`}, "service_account: is a public key"},
		"no file":                    {"firebase", []string{"service_account", "@key.json"}, "service_account: must be the content of a JSON file"},
	} {
		p := mustLookup(t, test.provider)
		v := p.Spec().WithDefaults(values(append(test.values, "client_id", "c", "scope", "s")...))
		err := p.Validate(Settings{TokenURL: "https://auth.example.com/token", Values: v})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, test.want)
		}
	}
}

// The engine sends a finished assertion unchanged.
func TestReadyMadeAssertion(t *testing.T) {
	d := parse(t, `title: Ready
fields:
  client_id: {description: ID., required: true}
  client_secret: {description: Secret., secret: true}
  jwt: {description: JWT of the console., secret: true, required: true}
oauth2:
  grant_type: jwt_bearer
  client_id: "{client_id}"
  client_secret: "{client_secret}"
  assertion: "{jwt}"
`)
	e := serve(t, reply{body: `{"access_token":"tok","expires_in":60}`}, reply{status: 400, body: `{"error":"invalid_grant","error_description":"bad: ready.made.assertion"}`})
	s := Settings{TokenURL: e.url, Values: values("client_id", "c", "client_secret", "s", "jwt", "ready.made.assertion")}
	got, err := d.Mint(t.Context(), testClient(t), s)
	wantToken(t, got, err, "tok", time.Minute)
	if form := e.requests()[0].form; form.Get("grant_type") != grantJWTBearer || form.Get("assertion") != "ready.made.assertion" || len(form) != 2 {
		t.Errorf("got the form %v, want the grant and the assertion", form)
	}
	_, err = d.Mint(t.Context(), testClient(t), s)
	wantFailure(t, err, token.Refused, withheld, "ready.made.assertion")
}

// keyed returns the provider oauth2, and a config with a key.
func keyed(t *testing.T, e *endpoint) (Provider, Settings) {
	t.Helper()
	p := mustLookup(t, "oauth2")
	v := p.Spec().WithDefaults(values("client_id", "acme", "auth_style", "private_key_jwt", "private_key", withTestKey("rsa key"), "key_id", "k1"))
	return p, Settings{TokenURL: e.url + "/token", RevocationURL: e.url + "/revoke", Values: v}
}

// Logins, refreshes and revocations all send a client assertion.
func TestClientAssertion(t *testing.T) {
	e := serve(t, reply{body: `{"access_token":"tok","expires_in":60}`})
	p, s := keyed(t, e)
	c := testClient(t)
	_, mintErr := p.Mint(t.Context(), c, s)
	_, refreshErr := p.Refresh(t.Context(), c, s, "refresh")
	if err := errors.Join(mintErr, refreshErr, p.Revoke(t.Context(), c, s, "tok", "")); err != nil {
		t.Fatal(err)
	}
	want := wantJWT{Key: "rsa key", Header: map[string]any{"alg": "RS256", "kid": "k1"}, Claims: map[string]any{
		"iss": "acme", "sub": "acme", "aud": s.TokenURL, "iat": "now", "exp": "now+1m", "jti": "uuid"}}
	for i, r := range e.requests() {
		want.check(t, r.form.Get("client_assertion"))
		if r.form.Get("client_assertion_type") != assertionType || r.form.Get("client_id") != "acme" || r.header.Get("Authorization") != "" || r.form.Has("client_secret") {
			t.Errorf("request %d: got the form %v, want the client assertion alone", i, r.form)
		}
	}
}

// Errors never show an assertion or its signature.
func TestAssertionIsWithheld(t *testing.T) {
	for _, part := range []func(jwt string) string{
		func(jwt string) string { return jwt },
		func(jwt string) string { return jwt[strings.LastIndex(jwt, ".")+1:] },
	} {
		var shown string
		c := testClient(t)
		c.http.Transport = transport{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			shown = part(r.PostFormValue("client_assertion"))
			reply{status: 400, body: `{"error":"invalid_client","error_description":` + quote("bad: "+shown) + `}`}.ServeHTTP(w, r)
		})}
		p, s := keyed(t, &endpoint{url: "https://auth.example.com"})
		_, err := p.Mint(t.Context(), c, s)
		wantFailure(t, err, token.Refused, withheld, shown)
		if len(shown) < 300 {
			t.Errorf("got the part %q, want the assertion or its signature", shown)
		}
	}
}

func TestRefusalComparesClocks(t *testing.T) {
	const invalid = `{"error":"invalid_client","error_description":%q}`
	for _, test := range []struct {
		ahead  time.Duration // our clock
		body   string
		want   string
		reject string
	}{
		{7 * time.Minute, fmt.Sprintf(invalid, "no"), "this server's clock is 7m0s ahead of the provider's clock", ""},
		{-31 * time.Second, fmt.Sprintf(invalid, "no"), "this server's clock is 31s behind the provider's clock", ""},
		{time.Second, fmt.Sprintf(invalid, "JWT is expired"), "this server's clock agrees with the provider's clock", ""},
		{time.Second, fmt.Sprintf(invalid, "unknown key"), "invalid_client", "clock"},
		{7 * time.Minute, `{"error":"temporarily_unavailable"}`, "temporarily_unavailable", "clock"},
	} {
		e := serve(t, reply{status: 400, body: test.body, date: noon.Add(-test.ahead).Format(http.TimeFormat)})
		p, s := keyed(t, e)
		_, err := p.Mint(t.Context(), testClient(t), s)
		if err == nil || !strings.Contains(err.Error(), test.want) || test.reject != "" && strings.Contains(err.Error(), test.reject) {
			t.Errorf("clock %s ahead, %s:\ngot  %v\nwant %s", test.ahead, test.body, err, test.want)
		}
	}
}

func TestSigningFields(t *testing.T) {
	fields := map[string]Field{}
	for _, f := range parse(t, signing).Spec().Fields {
		fields[f.Name] = f
	}
	if got := fmt.Sprint(fields["generate_key"].Allowed); got != "[rsa-2048 rsa-4096 ec-p256 ed25519]" {
		t.Errorf("got generate_key of the kinds %s, want all", got)
	}
	if !fields["account"].RequiresSecrets || !fields["scopes"].RequiresSecrets {
		t.Error("got fields in claims that can change without the key, want them to require the secrets")
	}
}

func TestParseKey(t *testing.T) {
	for name, test := range parseKeyTests(t) {
		key, err := ParseKey(secret.String(test.pem), "id")
		switch {
		case test.want == "" && (err != nil || key.ID() != "id"):
			t.Errorf("%s: got %v, want a key", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, test.want)
		}
	}
}
