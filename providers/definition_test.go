// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
)

// acme uses most of the format.
const acme = `title: Acme Messaging API
docs: https://docs.acme.example/auth
known: documented
fields:
  api_user: {description: User name of the API account., required: true}
  api_password: {description: Password of the API account., required: true, secret: true}
  region: {description: Region of the account., allowed: [eu, us], default: eu}
  labels: {description: Labels of the token., kind: list}
endpoints:
  sandbox: https://auth.sandbox.acme.example/v1/login
  production: https://auth.{region}.acme.example/v1/login
http:
  headers: {X-Acme-Version: "3", X-Acme-Labels: "{labels}"}
  auth: {basic: {username: "{api_user}", password: "{api_password}"}}
  json: {user: "{api_user}", remember: false, labels: ["{labels}", all], n: 1.50}
  query: {v: "2", labels: "{labels}"}
  force:
    json: {force_refresh: true}
    minimum_interval: 30s
    daily_limit: 20
  success: {status: [200, 201], values: {/code: [0, null]}}
  token: /data/token
  lifetime: {seconds: /data/expires_in, fixed: 1h}
  outputs: {base_url: /data/base_url}
  errors:
    code: [/code, /result]
    message: /message
    refused: {status: [401, 403], code: [1003], message: [authentication failed]}
    operator: {code: [40164]}
    rate_limited: {code: [45009]}
    unavailable: {code: [-1]}
minimum_age: 20m
exclusive: true
sliding: true
serial_logins: true
usage: "Authorization: Bearer {token}"
`

// plain is a short definition of the protocol oauth2.
const plain = `title: Plain
fields:
  client_id: {description: ID., required: true}
  client_secret: {description: Secret., required: true, secret: true}
oauth2:
  client_id: "{client_id}"
  client_secret: "{client_secret}"
`

func parse(t testing.TB, text string) *Definition {
	t.Helper()
	d, err := ParseDefinition("acme", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefinitionSpec(t *testing.T) {
	d := parse(t, acme)
	want := Spec{
		Name: "acme", Title: "Acme Messaging API", Docs: "https://docs.acme.example/auth", Known: "documented",
		Usage: "Authorization: Bearer {token}",
		Fields: []Field{
			{Name: "api_user", Description: "User name of the API account.", Required: true},
			{Name: "api_password", Description: "Password of the API account.", Required: true, Secret: true},
			{Name: "region", Description: "Region of the account.", Allowed: []string{"eu", "us"}, Default: "eu", InAddress: true, RequiresSecrets: true},
			{Name: "labels", Description: "Labels of the token.", Kind: List},
		},
		Endpoints: []Endpoint{
			{"production", "https://auth.{region}.acme.example/v1/login"},
			{"sandbox", "https://auth.sandbox.acme.example/v1/login"},
		},
		Outputs: []string{"base_url"}, CanForce: true, ForceInterval: 30 * time.Second, ForceDailyLimit: 20,
		MinimumAge: 20 * time.Minute, Exclusive: true, Sliding: true, SerialFields: []string{"api_user"},
	}
	if got := d.Spec(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if string(d.Text()) != acme || !strings.HasPrefix(d.Digest(), "sha256:") || len(d.Digest()) != 71 {
		t.Errorf("got text %q and digest %q, want the text as written and its hash", d.Text(), d.Digest())
	}
	oauth := parse(t, plain).Spec()
	if !oauth.CanRefresh || oauth.CanRevoke || oauth.CanForce || oauth.SerialFields != nil {
		t.Errorf("got %+v, want only CanRefresh", oauth)
	}
}

func TestDefinitionInJSON(t *testing.T) {
	parse(t, `{"title":"Acme","fields":{"key":{"description":"Key.","secret":true}},
		"http":{"auth":{"bearer":"{key}"},"token":"/token","lifetime":{"fixed":"1h"}}}`)
}

func TestDefinitionRefusals(t *testing.T) {
	deep := strings.Repeat("{a: ", 20) + "1" + strings.Repeat("}", 20)
	var many strings.Builder
	for i := range 33 {
		fmt.Fprintf(&many, "  field_%d: {description: A field.}\n", i)
	}
	for _, test := range []struct{ base, old, new, want string }{
		// The text.
		{acme, acme, "", "must be YAML or JSON: EOF"},
		{acme, acme, "- a", "must be a mapping of keys to values"},
		{acme, acme, "title: [", "must be YAML or JSON: "},
		{acme, acme, acme + "---\n" + acme, "must be a single document"},
		{acme, acme, acme + "#" + strings.Repeat("x", MaxDefinition), "must be at most 16384 bytes long"},
		{acme, "Acme", "Acme\xff", "must be UTF-8"},
		{acme, "title: Acme", "title: &anchor Acme", "title: anchors and aliases are not allowed"},
		{acme, "usage:", "sliding: false\nusage:", "sliding: is there twice"},
		{acme, "json: {", "json: {deep: " + deep + ", ", ": is nested too deep; at most 16 levels"},
		{acme, "exclusive:", "exclusiv:", "exclusiv: is not a key here; the keys are title, docs, "},
		{acme, "minimum_interval:", "interval:", "http.force.interval: is not a key here; the keys are headers, json"},
		{acme, "title: Acme Messaging API\n", "", "title: is required"},
		{acme, "title: Acme Messaging API", "title: 5", "title: must be text; put numbers"},
		{acme, "title: Acme Messaging API", `title: "Acme\x1b[31m"`, "title: contains a control character"},
		{acme, "title: Acme Messaging API", `title: "Acme\u202e"`, "title: contains a control character"},
		{acme, "exclusive: true", "exclusive: sometimes", "exclusive: must be true or false"},
		{acme, "docs: https", "docs: http", "docs: must be an https URL"},
		{acme, "known: documented", "known: guessed", "known: must be one of verified, documented, reported"},
		{acme, "{token}\"", "\"", "usage: must show a token as {token}"},
		{acme, "{token}\"", "{token} {api_user}\"", "usage: must show a token as {token}"},
		{acme, "20m", "20", "minimum_age: must be text"},
		{acme, "20m", "-20m", "minimum_age: must be a duration such as 30s"},

		// Fields and endpoints.
		{acme, "  labels: {", many.String() + "  labels: {", "fields: has 37 fields; at most 32 are allowed"},
		{acme, "labels: {description", "Labels: {description", "fields.Labels: must consist of lower-case letters"},
		{acme, "labels: {description", "token_url: {description", "fields.token_url: is a reserved name"},
		{acme, "labels: {description", "engine_labels: {description", "fields.engine_labels: is a reserved name"},
		{acme, "{description: Labels of the token., kind: list}", "{kind: list}", "fields.labels.description: is required"},
		{acme, "kind: list", "kind: words", "fields.labels.kind: must be one of text, list, map"},
		{acme, "secret: true", "secret: true, default: x", "fields.api_password.secret: cannot be true for a field with allowed or default"},
		{acme, "secret: true", "secret: true, kind: list", "fields.api_password.kind: must be text or json for a secret"},
		{acme, "default: eu", "default: asia", "fields.region.default: must be one of the allowed values"},
		{acme, "default: eu", "default: eu, required: true", "fields.region.default: cannot be set for a required field"},
		{acme, "allowed: [eu, us]", "allowed: [eu, true]", "fields.region.allowed[1]: must be text"},
		{acme, "allowed: [eu, us]", "allowed: []", "fields.region.allowed: must be a list with at least one element"},
		{acme, "allowed: [eu, us]", "allowed: [eu, EU]", "fields.region: each value must consist of lower-case letters"},
		{acme, "kind: list", "kind: list, default: a", "fields.labels.kind: must be text for a field with allowed or default"},
		{acme, "  region:", "  spare: {description: A secret., secret: true}\n  region:", "fields.spare: is secret, but nothing uses the field"},
		{acme, "https://auth.sandbox", "http://auth.sandbox", "endpoints.sandbox: must be https"},
		{acme, "https://auth.sandbox", "https://user:pw@auth.sandbox", "endpoints.sandbox: must not contain a user name or password"},
		{acme, "https://auth.sandbox", "x{region}://auth.sandbox", "endpoints.sandbox: must be https"},
		{acme, "auth.{region}.acme.example", "auth.acme.{region}", "endpoints.production: must end in a literal domain"},
		{acme, "auth.{region}.acme.example", "auth.{api_password}.acme.example", "endpoints.production: cannot contain the secret field api_password"},
		{acme, "/v1/login\nhttp", "/{api_password}\nhttp", "endpoints.production: cannot contain the secret field api_password"},
		{acme, "/v1/login\nhttp", "/{labels}\nhttp", "endpoints.production: cannot contain labels, because the field is no text"},
		{acme, "/v1/login\nhttp", "/{nobody}\nhttp", "endpoints.production: names the field nobody, which is not defined under fields"},
		{acme, ", default: eu", "", "endpoints.production: cannot contain region, because the field may be unset"},
		{acme, "  production: https", "  staging: https", "endpoints: must have the environment production"},
		{acme, "sandbox: https", "Sandbox: https", "endpoints.Sandbox: must consist of lower-case letters"},

		// The protocol http.
		{acme, "exclusive: true", "oauth2: {}", "must have exactly one of http, oauth2 and jwt, not 2 of them"},
		{plain, plain[strings.Index(plain, "oauth2:"):], "", "must have exactly one of http, oauth2 and jwt, not 0 of them"},
		{plain, plain[strings.Index(plain, "oauth2:"):], "jwt: {}", "jwt.lifetime: is required"},
		{acme, "  token: /data", "  method: PUT\n  token: /data", "http.method: must be one of POST, GET"},
		{acme, "  token: /data", "  method: GET\n  token: /data", "http.method: cannot be GET with a body"},
		{acme, "  token: /data", "  form: {a: b}\n  token: /data", "http.form: cannot be set beside json"},
		{acme, "  token: /data/token\n", "", "http.token: is required"},
		{acme, "  token: /data", "  token: data", "http.token: must be a JSON Pointer"},
		{acme, "  token: /data", "  token: /da~ta", "http.token: must be a JSON Pointer"},
		{acme, "  lifetime: {seconds: /data/expires_in, fixed: 1h}\n", "", "http.lifetime: is required; say how long a token lives"},
		{acme, "seconds: /data/expires_in, fixed: 1h", "jwt: false", "http.lifetime: must say how long a token lives"},
		{acme, "fixed: 1h", "fixed: 100000h", "http.lifetime.fixed: must be a duration such as 30s"},
		{acme, "fixed: 1h", "jwt: yes please", "http.lifetime.jwt: must be true or false"},
		{acme, "  token: /data", "  refresh_token: /data/refresh\n  token: /data", "http.refresh_token: needs a request that sends the field refresh_token; put {refresh_token} into the body or a header"},
		{acme, "{user: \"{api_user}\"", "{user: \"{nobody}\"", "http.json.user: names the field nobody"},
		{acme, "{user: \"{api_user}\"", "{user: \"{Nobody}\"", "http.json.user: contains a brace that is not part of a placeholder"},
		{acme, "n: 1.50", "n: 0x10", "http.json.n: must be text, a decimal number, true, false or null"},
		{acme, "n: 1.50", "n: 2031-05-04", "http.json.n: must be text, a decimal number"},
		{acme, "v: \"2\"", "v: 2", "http.query.v: must be text"},
		{acme, "kind: list", "kind: map", "http.headers.X-Acme-Labels: cannot contain labels, because the field is a map"},
		{acme, "X-Acme-Version", "Host", "http.headers.Host: cannot be set"},
		{acme, "X-Acme-Version", "content-length", "http.headers.content-length: cannot be set"},
		{acme, "X-Acme-Version", "Transfer-encoding", "http.headers.Transfer-encoding: cannot be set"},
		{acme, "X-Acme-Version", "Idempotency-Key", "http.headers.Idempotency-Key: cannot be set"},
		{acme, "X-Acme-Version", "Proxy-Authorization", "http.headers.Proxy-Authorization: cannot be set"},
		{acme, "X-Acme-Version", "X Acme", "http.headers.X Acme: is not the name of a header"},
		{acme, "X-Acme-Version", "authorization", "http.headers.Authorization: cannot be set beside auth"},
		{acme, "auth: {basic", "auth: {bearer: \"{api_user}\", basic", "http.auth: must have exactly one of basic and bearer"},
		{acme, ", password: \"{api_password}\"}}", "}}", "http.auth.basic: must have username and password"},
		{acme, "    json: {force_refresh: true}", "    form: {force_refresh: \"1\"}", "http.force.form: cannot be set, because other requests use GET or have a body of another type"},
		{acme, "    json: {force_refresh: true}\n", "", "http.force: must change the request"},
		{acme, "daily_limit: 20", "daily_limit: 0", "http.force.daily_limit: must be a whole number from 1"},
		{acme, "[200, 201]", "[99]", "http.success.status[0]: must be a whole number from 200 to 599"},
		{acme, "/code: [0", "code: [0", "http.success.values.code: must be a JSON Pointer"},
		{acme, "/code: [0, null]", "/code: [0, {}]", "http.success.values./code[1]: must be text, a decimal number"},
		{acme, "base_url: /", "ttl: /", "http.outputs.ttl: cannot be the name of an output"},
		{acme, "base_url: /", "secret_id_accessor: /", "http.outputs.secret_id_accessor: cannot be the name of an output"},
		{acme, "operator: {code: [40164]}", "operator: {}", "http.errors.operator: must have status, code or message"},
		{acme, "operator: {code: [40164]}", "operator: {message: [\"\"]}", "http.errors.operator: must have status, code or message"},
		{acme, "api_user: {description: User name of the API account., required: true}", "api_user: {description: User.}", "serial_logins: needs a required field that is not secret"},

		// The protocol oauth2.
		{plain, "oauth2:", "oauth2:\n  auth_style: private_key_jwt", "fields: must have private_key or generate_key, because the definition signs"},
		{plain, "oauth2:", "oauth2:\n  auth_style: digest", "oauth2.auth_style: must be header, body, private_key_jwt or none"},
		{plain, "oauth2:", "oauth2:\n  auth_style: \"{client_id}\"", "oauth2.auth_style: names the field client_id, which must have allowed values"},
		{plain, "oauth2:", "oauth2:\n  grant_type: jwt_bearer", "oauth2.assertion: must be set for the grant jwt_bearer, and for no other grant"},
		{plain, "oauth2:", "oauth2:\n  grant_type: refresh_token", "oauth2.grant_type: needs a field refresh_token whose secret is true, because the refresh token is the credential"},
		{plain, "oauth2:", "oauth2:\n  grant_type: password", "oauth2.grant_type: needs username and password"},
		{plain, "oauth2:", "oauth2:\n  username: x", "oauth2.username: can only be set for the grant password"},
		{plain, "oauth2:", "oauth2:\n  password: x", "oauth2.password: can only be set for the grant password"},
		{plain, "oauth2:", "oauth2:\n  assertion: x", "oauth2.assertion: must be set for the grant jwt_bearer, and for no other grant"},
		{plain, "oauth2:", "oauth2:\n  body: xml", "oauth2.body: must be one of form, json"},
		{plain, "oauth2:", "oauth2:\n  revocation: always", "oauth2.revocation: must be one of rfc7009"},
		{plain, "oauth2:", "oauth2:\n  headers: {Authorization: x}", "oauth2.headers.Authorization: cannot be set in oauth2"},
		{plain, "oauth2:", "oauth2:\n  parameters: {scope: x}", "oauth2.parameters.scope: cannot be set here"},
		{plain, "oauth2:", "oauth2:\n  parameters: \"{client_id}\"", "oauth2.parameters: must be a mapping of names to texts, or the placeholder of a field whose kind is map"},
		{plain, "  client_id: \"{client_id}\"\n", "", "oauth2.client_secret: cannot be set without client_id"},

		// Signatures.
		{signing, "lifetime: 15m", "lifetime: 25h", "jwt.lifetime: must be a duration"},
		{signing, "lifetime: 15m", "lifetime: 1ms", "jwt.lifetime: must be at least 1s"},
		{signing, "add: [iat, nbf, exp, jti]", "add: [sub]", "jwt.add: must be a list of some of iat, nbf, exp, jti"},
		{signing, "admin: false", "exp: 5", "jwt.claims.exp: is set by the engine"},
		{signing, "admin: false", `k: "{private_key}"`, "jwt.claims: cannot contain the secret field private_key"},
		{signing, "x-account:", "alg:", "jwt.header.alg: cannot be set"},
		{signing, "x-account:", "jku:", "jwt.header.jku: cannot be set"},
		{signing, `"{signing_algorithm}"`, "HS256", "jwt.algorithm: must be one of RS256, PS256, ES256, ES384, EdDSA"},
		{signing, `"{signing_algorithm}"`, `"{account}"`, "jwt.algorithm: must be one of RS256"},
		{signing, "Key., secret: true", "Key.", "fields.private_key: must be secret"},
		{signing, "Key., secret: true", "Key., secret: true, required: true", "fields.private_key: cannot be required"},
		{signing, "Certificate of the key.", "Certificate., secret: true", "fields.certificate: cannot be secret"},
		{signing, "made by the engine.", "made., allowed: [dsa]", "fields.generate_key: cannot be secret, and can only allow some of rsa-2048"},
		{signing, "jwt:", "endpoints: {production: https://a.example}\njwt:", "endpoints: cannot be set beside jwt"},
		{signing, "Account., required: true", "Account., kind: json, secret: true", "fields.account.kind: json needs secret: true and sets"},
		{signing, "Account., required: true", "Account., sets: {key_id: /a}", "fields.account.kind: must be json for a field with sets or expect"},
		{signing, "  scopes: {", "  file: {description: F., kind: json, secret: true, sets: {nobody: /a}}\n  scopes: {", "fields.file.sets.nobody: names no field"},
		{signing, "  scopes: {", "  file: {description: F., kind: json, secret: true, sets: {scopes: /a}}\n  scopes: {", "fields.file.sets.scopes: must be a text field without a default"},
	} {
		text := strings.Replace(test.base, test.old, test.new, 1)
		d, err := ParseDefinition("acme", []byte(text))
		var e *DefinitionError
		if d != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) || err.Error() != printable(err.Error()) {
			t.Errorf("%.60q instead of %.60q:\ngot  %v\nwant %s", test.new, test.old, err, test.want)
		}
	}
}

func TestDefinitionValidate(t *testing.T) {
	d := parse(t, acme)
	for field, invalid := range map[string][]string{"region": {"EU", "a.b", "", "-a", "x/y", "a@b"}, "api_user": {"a:b"}} {
		for _, value := range invalid {
			s := Settings{Values: map[string]secret.String{"api_user": "joe", "region": "eu"}}
			s.Values[field] = secret.String(value)
			var e *FieldError
			if err := d.Validate(s); !errors.As(err, &e) || e.Field != field || value != "" && strings.Contains(e.Problem, value) {
				t.Errorf("%s=%q: got error %v, want a FieldError of %s without the value", field, value, err, field)
			}
		}
	}
	if err := d.Validate(Settings{Values: map[string]secret.String{"api_user": "joe", "region": "eu"}}); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

func TestPointer(t *testing.T) {
	var f fields
	f, _ = decode([]byte(`{"a":{"b":[{"c":"x"},null]},"m~n":{"o/p":1},"":{"":2},"0":"zero","dev.email":"y","n":null}`), "")
	for text, want := range map[string]string{
		"/a/b/0/c": `"x"`, "/m~0n/o~1p": "1", "/0": `"zero"`, "/dev.email": `"y"`, "//": "2",
		"/n": "", "/a/b/1": "", "/a/b/2": "", "/a/b/-1": "", "/a/b/00": "", "/a/b/0x0": "", "/a/x/y": "", "/0/x": "", "/a/b/99999999999": "",
	} {
		p, ok := parsePointer(text)
		if got := string(f.at(p)); !ok || got != want {
			t.Errorf("%s: got %q, valid %v; want %q", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "a", "a/b", "/~", "/~2", "#/a"} {
		if p, ok := parsePointer(text); ok {
			t.Errorf("%q: got %v, want it refused", text, p)
		}
	}
}
