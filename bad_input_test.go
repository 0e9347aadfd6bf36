// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// Errors about fields.
const (
	mustDuration  = "must be a duration in whole seconds, such as 30s, 5m or a number of seconds"
	mustURL       = "must be a URL such as https://auth.example.com/token"
	mustHTTPS     = "must be https; http sends the credentials unencrypted, so http is allowed only to a loopback address"
	mustMap       = "must be a map of strings to strings, or key=value"
	mustWords     = "must be words without white space, separated by commas"
	mustPrintable = "must not contain control characters such as line breaks"
)

// badConfigs are invalid changes of a valid config, with the resulting errors. Each write gets a
// 400, stores nothing and sends nothing to the provider.
var badConfigs = []struct {
	base   func(*mount) fields
	change fields
	text   string
}{
	{sinchAt, fields{"provider": nil}, "provider: is required"},
	{sinchAt, fields{"provider": ""}, "provider: is required"},
	{sinchAt, fields{"provider": "sinch"}, "provider: there is no provider of this name; list providers/ for the names"},
	{sinchAt, fields{"provider": "Sinch-India"}, "provider: there is no provider of this name; list providers/ for the names"},
	{sinchAt, fields{"provider": true}, "provider: must be a string"},
	{sinchAt, fields{"provider": []string{"sinch-india"}}, "provider: must be a string"},
	{sinchAt, fields{"provider": fields{}}, "provider: must be a string"},
	{sinchAt, fields{"username": nil}, "username: is required by sinch-india"},
	{sinchAt, fields{"username": ""}, "username: is required by sinch-india"},
	{sinchAt, fields{"username": "a\nb"}, "username: " + mustPrintable},
	{sinchAt, fields{"username": "a\x00"}, "username: " + mustPrintable},
	{sinchAt, fields{"username": "a\xff"}, "username: must be UTF-8; a file in another encoding, such as UTF-16, must be converted first"},
	{sinchAt, fields{"username": true}, "username: must be a string"},
	{sinchAt, fields{"username": strings.Repeat("a", 1025)}, "username: must be at most 1024 bytes long"},
	{sinchAt, fields{"password": nil}, "password: is required by sinch-india"},
	{sinchAt, fields{"password": "\n"}, "password: is required by sinch-india"},
	{sinchAt, fields{"password": false}, "password: must be a string"},
	{sinchAt, fields{"password": []string{"hunter2"}}, "password: must be a string"},
	{sinchAt, fields{"password": fields{"hunter2": "hunter2"}}, "password: must be a string"},
	{sinchAt, fields{"password": "hunter2\nhunter2"}, "password: " + mustPrintable},
	{sinchAt, fields{"password": "hunter2\n\n"}, "password: " + mustPrintable},
	{sinchAt, fields{"password": strings.Repeat("hunter2", 8192)}, "password: must be at most 8192 bytes long"},
	{sinchAt, fields{"app_id": "x"}, "app_id: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"app_key": nil}, "app_key: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"client_secret": "hunter2"}, "client_secret: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"environment": "staging"}, "environment: must be one of production, uat"},
	{sinchAt, fields{"environment": "UAT"}, "environment: must be one of production, uat"},
	{sinchAt, fields{"environment": 1}, "environment: must be one of production, uat"},
	{sinchAt, fields{"token_url": "http://auth.example.com/token"}, "token_url: " + mustHTTPS},
	{sinchAt, fields{"token_url": "http://10.1.2.3/token"}, "token_url: " + mustHTTPS},
	{sinchAt, fields{"token_url": "ftp://auth.example.com"}, "token_url: must be https"},
	{sinchAt, fields{"token_url": "auth.example.com/token"}, "token_url: " + mustURL},
	{sinchAt, fields{"token_url": "https://"}, "token_url: " + mustURL},
	{sinchAt, fields{"token_url": "https://auth.example.com:99999/"}, "token_url: " + mustURL},
	{sinchAt, fields{"token_url": "https://auth.example.com/\n"}, "token_url: " + mustURL},
	{sinchAt, fields{"token_url": "https://me:hunter2@auth.example.com/"}, "token_url: must not contain a user name or password: write the credentials to their own fields"},
	{sinchAt, fields{"token_url": "https://auth.example.com/#hunter2"}, "token_url: must not contain a fragment (#…)"},
	{sinchAt, fields{"token_url": "https://auth.example.com/" + strings.Repeat("a", 2048)}, "token_url: must be at most 2048 bytes long"},
	{sinchAt, fields{"token_url": []string{}}, "token_url: must be a string"},
	{sinchAt, fields{"ca_cert": "hunter2"}, "ca_cert: must contain at least one PEM certificate"},
	{sinchAt, fields{"ca_cert": "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"}, "ca_cert: contains a damaged PEM block; each block must be complete, with its BEGIN and END on lines of their own"},
	{sinchAt, fields{"ca_cert": "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n"}, "ca_cert: PEM block 1 must be a valid certificate"},
	{sinchAt, fields{"ca_cert": "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"}, "ca_cert: must contain only certificates, but contains a private key"},
	{sinchAt, fields{"ca_cert": strings.Repeat("x", 64<<10+1)}, "ca_cert: must be at most 65536 bytes long"},
	{sinchAt, fields{"ca_cert": true}, "ca_cert: must be a string"},
	{sinchAt, fields{"client_cert": "hunter2", "client_key": "hunter2"}, "client_cert: needs an https token_url, because a client presents its certificate in the TLS handshake"},
	{publicAt, fields{"client_cert": "hunter2", "client_key": "hunter2"}, "client_cert: must contain at least one PEM certificate"},
	{publicAt, fields{"client_cert": "hunter2"}, "client_key: is missing, but client_cert is set; write both, or remove both"},
	{publicAt, fields{"client_key": "hunter2"}, "client_cert: is missing, but client_key is set; write both, or remove both"},
	{publicAt, fields{"client_key": strings.Repeat("hunter2", 8192)}, "client_key: must be at most 8192 bytes long"},
	{publicAt, fields{"client_key": fields{"hunter2": "hunter2"}}, "client_key: must be a string"},
	{publicAt, fields{"client_cert": strings.Repeat("x", 64<<10+1)}, "client_cert: must be at most 65536 bytes long"},
	{publicAt, fields{"auth_style": "none", "client_secret": "hunter2"}, "client_secret: cannot be set for auth_style=none, which sends only the client ID; remove the field"},
	{sinchAt, fields{"request_timeout": "500ms"}, "request_timeout: " + mustDuration},
	{sinchAt, fields{"request_timeout": 0}, "request_timeout: must be a duration from 1s to 1m0s"},
	{sinchAt, fields{"request_timeout": "1h"}, "request_timeout: must be a duration from 1s to 1m0s"},
	{sinchAt, fields{"refresh_window": -1}, "refresh_window: " + mustDuration},
	{sinchAt, fields{"min_ttl": "1.5s"}, "min_ttl: " + mustDuration},
	{sinchAt, fields{"min_ttl": 1.5}, "min_ttl: " + mustDuration},
	{sinchAt, fields{"max_ttl": "hunter2"}, "max_ttl: " + mustDuration},
	{sinchAt, fields{"default_ttl": true}, "default_ttl: " + mustDuration},
	{sinchAt, fields{"lease_ttl": "29s"}, "lease_ttl: must be a duration from 30s to 87600h0m0s"},
	{sinchAt, fields{"max_ttl": "100000h"}, "max_ttl: must be a duration from 0s to 87600h0m0s"},
	{sinchAt, fields{"lease": "maybe"}, "lease: must be true or false"},
	{sinchAt, fields{"lease": fields{}}, "lease: must be true or false"},
	{sinchAt, fields{"verify_connection": "hunter2"}, "verify_connection: must be true or false"},
	{sinchAt, fields{"verify_connection": 2}, "verify_connection: must be true or false"},
	{sinchAt, fields{"name": fields{}}, "name: must be a string"},
	{rcsAt, fields{"app_key": nil}, "app_key: is required by enablex-rcs"},
	{rcsAt, fields{"username": "x"}, "username: is not a field of enablex-rcs, which takes app_id, app_key"},
	{rcsAt, fields{"environment": "uat"}, "environment: enablex-rcs has a single environment; remove the field"},
	{oauth2At, fields{"token_url": ""}, "token_url: is required by oauth2"},
	{oauth2At, fields{"client_id": nil}, "client_id: is required by oauth2"},
	{oauth2At, fields{"environment": "production"}, "environment: oauth2 has a single environment; remove the field"},
	{oauth2At, fields{"auth_style": "query"}, "auth_style: must be one of header, body, private_key_jwt, none"},
	{oauth2At, fields{"grant_type": "implicit"}, "grant_type: must be one of client_credentials, password, jwt_bearer, refresh_token"},
	{oauth2At, fields{"grant_type": "client_credentials"}, "username: can only be set for grant_type=password"},
	{oauth2At, fields{"username": nil}, "username: must be set for grant_type=password"},
	{oauth2At, fields{"password": nil}, "password: must be set for grant_type=password"},
	{oauth2At, fields{"scopes": "a b,c"}, "scopes: " + mustWords},
	{oauth2At, fields{"scopes": ","}, "scopes: " + mustWords},
	{oauth2At, fields{"scopes": fields{"a": "b"}}, "scopes: must be a list of words, or words separated by commas"},
	{oauth2At, fields{"scopes": []any{true}}, "scopes: must be a list of words, or words separated by commas"},
	{oauth2At, fields{"scopes": strings.Repeat("a,", 8192) + "a"}, "scopes: must be at most 8192 bytes long"},
	{oauth2At, fields{"token_params": "hunter2"}, "token_params: " + mustMap},
	{oauth2At, fields{"token_params": "=hunter2"}, "token_params: " + mustMap},
	{oauth2At, fields{"token_params": fields{"a": fields{"b": "hunter2"}}}, "token_params: " + mustMap},
	{oauth2At, fields{"token_params": fields{"a": true}}, "token_params: " + mustMap},
	{oauth2At, fields{"token_params": fields{"": "hunter2"}}, "token_params: cannot contain a parameter without a name"},
	{oauth2At, fields{"token_params": fields{"grant_type": "password"}}, "token_params: cannot contain grant_type, because the engine or another field sets it"},
	{keyAt, fields{"private_key": nil}, "private_key: is required for auth_style=private_key_jwt; or set generate_key"},
	{keyAt, fields{"private_key": "hunter2"}, "private_key: must be a private key in PEM (PKCS #8, PKCS #1 or SEC 1), which begins with -----BEGIN PRIVATE KEY-----"},
	{keyAt, fields{"private_key": "-----BEGIN PUBLIC KEY-----\naHVudGVyMg==\n-----END PUBLIC KEY-----"}, "private_key: is a public key; write the private key, and give the public key to the provider"},
	{keyAt, fields{"private_key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----"}, "private_key: is encrypted; decrypt the key first, for example with: openssl pkey -in key.pem -out plain.pem"},
	{keyAt, fields{"private_key": strings.Repeat("hunter2", 8192)}, "private_key: must be at most 8192 bytes long"},
	{keyAt, fields{"private_key": fields{"hunter2": "hunter2"}}, "private_key: must be a string"},
	{keyAt, fields{"private_key": keyPEM() + "\x00"}, "private_key: must not contain control characters other than line breaks"},
	{keyAt, fields{"generate_key": "rsa-2048"}, "generate_key: cannot be set beside private_key; the key is either written or made by the engine"},
	{keyAt, fields{"generate_key": "hunter2"}, "generate_key: must be one of rsa-2048, rsa-4096, ec-p256, ed25519"},
	{keyAt, fields{"signing_algorithm": "ES256"}, "private_key: is an RSA key; the algorithm ES256 needs an EC key on the curve P-256"},
	{keyAt, fields{"client_secret": "hunter2"}, "client_secret: cannot be set for auth_style=private_key_jwt, because the client authenticates with its key; remove the field"},
	{googleAt, fields{"service_account": `{"type": "authorized_user", "refresh_token": "hunter2"}`}, `service_account: is not the expected file: type must be "service_account"`},
	{googleAt, fields{"service_account": "@hunter2.json"}, "service_account: must be the content of a JSON file; with the vault program, write service_account=@file.json"},
	{googleAt, fields{"service_account": nil}, "client_email: is required by google-rcs; or set service_account"},
	{googleAt, fields{"key_id": "k"}, "key_id: cannot be set beside service_account, which contains it; remove one of the two"},
	{huaweiAt, fields{"client_cert": "hunter2", "client_key": "hunter2"}, "client_cert: cannot be set for huawei-push-v3, because the engine signs the tokens itself; remove the field"},
	{huaweiAt, fields{"token_url": "https://auth.example.com"}, "token_url: cannot be set for huawei-push-v3, because the engine signs the tokens itself; remove the field"},
	{huaweiAt, fields{"private_key": nil}, "private_key: is required; or set service_account"},
	{oauth2At, fields{"token_params": fields{"client_secret": "hunter2"}}, "token_params: cannot contain client_secret, because the engine or another field sets it"},
}

func TestBadConfigs(t *testing.T) {
	m, checkUnchanged := newUnchanged(t)
	for _, test := range badConfigs {
		data := with(test.base(m), test.change)
		check := func(what string, a answer) {
			if a.status != http.StatusBadRequest || a.text != test.text {
				t.Errorf("%s with %.80v: got %d %q, want 400 %q", what, test.change, a.status, a.text, test.text)
			}
		}
		check("create", m.write("config/new", data))
		if data["provider"] == "sinch-india" {
			check("update", m.write("config/old", data))
			check("patch", m.patch("config/old", data))
		}
	}
	checkUnchanged()
}

// newUnchanged makes a mount with a config, and a function that checks that nothing has changed.
func newUnchanged(t *testing.T) (m *mount, check func()) {
	m = newMount(t)
	m.write("config/old", m.sinch(nil)).want(t, http.StatusNoContent)
	token, stored, requests := m.token("old"), m.storage.snapshot(), m.requests()
	return m, func() {
		t.Helper()
		equal(t, "storage", m.storage.snapshot(), stored)
		equal(t, "token", m.token("old"), token)
		equal(t, "requests to the provider", m.requests()-requests, 0)
	}
}

func TestBadFieldNames(t *testing.T) {
	m := newMount(t)
	for _, name := range []string{"passwrd", "Password", "secrets_set", "", "token-url", "revision", "fields"} {
		m.write("config/new", m.sinch(fields{name: "hunter2"})).
			want(t, http.StatusBadRequest, name+": is not a field of sinch-india, which takes username, password")
	}
	long := strings.Repeat("x", 1<<20)
	for name, shown := range map[string]string{"a\x1b[2J": "a?[2J", long: long[:64] + "…"} {
		m.write("config/new", m.sinch(fields{name: "hunter2"})).want(t, http.StatusBadRequest, shown+": is not a field of sinch-india")
	}
}

// badRequests are invalid requests of many kinds, with the resulting errors.
var badRequests = []struct {
	op     logical.Operation
	path   string
	data   fields
	status int
	text   string
}{
	{logical.CreateOperation, "config/" + strings.Repeat("n", 129), fields{"provider": "sinch-india"}, 400, "name: must be at most 128 bytes long"},
	{logical.CreateOperation, "config/-a", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/a b", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/a/b", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/..", nil, 404, "unsupported path"},
	{logical.UpdateOperation, "config/", nil, 405, "unsupported operation"},
	{logical.UpdateOperation, "config/old", fields{"provider": "oauth2"}, 400, "provider: cannot be changed from \"sinch-india\"; delete the config and write it again"},
	{logical.PatchOperation, "config/none", fields{"min_ttl": 5}, 404, `there is no config "none" to patch: write it first`},
	{logical.UpdateOperation, "config/none", fields{"min_ttl": 5}, 400, "provider: is required; list providers/ for the names"},
	{logical.ReadOperation, "config/none", nil, 404, ""},
	{logical.ReadOperation, "creds/none", nil, 400, `there is no config "none": write config/none first`},
	{logical.ReadOperation, "creds/", nil, 405, "unsupported operation"},
	{logical.UpdateOperation, "creds/old", nil, 405, "unsupported operation"},
	{logical.DeleteOperation, "creds/old", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "500ms"}, 400, "min_ttl: " + mustDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "-1"}, 400, "min_ttl: " + mustDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "hunter2"}, 400, "min_ttl: " + mustDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": []string{"1", "2"}}, 400, "min_ttl: " + mustDuration},
	{logical.ReadOperation, "status/none", nil, 404, ""},
	{logical.UpdateOperation, "status/old", nil, 405, "unsupported operation"},
	{logical.UpdateOperation, "rotate/none", nil, 400, `there is no config "none": write config/none first`},
	{logical.ReadOperation, "rotate/old", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "providers/none", nil, 404, ""},
	{logical.UpdateOperation, "providers/oauth2", nil, 400, "definition: is required; it is YAML or JSON text, for example definition=@acme.yaml"},
	{logical.PatchOperation, "providers/oauth2", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "token/old", nil, 404, "unsupported path"},
	{logical.ReadOperation, "nothing", nil, 404, "unsupported path"},
	{logical.ReadOperation, "", nil, 404, "unsupported path"},
	{logical.RenewOperation, "creds/old", nil, 500, "request has no secret"},
}

func TestBadRequests(t *testing.T) {
	m, checkUnchanged := newUnchanged(t)
	for _, test := range badRequests {
		if a := m.request(test.op, test.path, test.data); a.status != test.status || a.text != test.text {
			t.Errorf("%s %.40s %v: got %d %q, want %d %q", test.op, test.path, test.data, a.status, a.text, test.status, test.text)
		}
	}
	checkUnchanged()
}
