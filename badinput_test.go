// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// wantDuration and others are what users are told that a field wants.
const (
	wantDuration = "want a duration in whole seconds, such as 30s, 5m or a number of seconds"
	wantURL      = "want an address such as https://auth.example.com/token"
	wantHTTPS    = "want https: http would send the credentials in the clear, so it is allowed to a loopback address only"
	wantMap      = "want a map of text to text, or key=value"
	wantWords    = "want words without white space, separated by commas"
	controlChar  = "it has a control character in it, a line break perhaps: want none"
)

// badConfigs are writes of config/new, a good one but for this, and what users
// get: a 400, with nothing stored and nothing asked of the provider.
var badConfigs = []struct {
	base   func(*mount) fields
	change fields
	text   string
}{
	{sinchAt, fields{"provider": nil}, "provider: is required"},
	{sinchAt, fields{"provider": ""}, "provider: is required"},
	{sinchAt, fields{"provider": "sinch"}, "provider: want one of enablex-rcs, enablex-sms, enablex-whatsapp, oauth2, sinch-conversation, sinch-india"},
	{sinchAt, fields{"provider": "Sinch-India"}, "provider: want one of enablex-rcs, enablex-sms, enablex-whatsapp, oauth2, sinch-conversation, sinch-india"},
	{sinchAt, fields{"provider": true}, "provider: want a text"},
	{sinchAt, fields{"provider": []string{"sinch-india"}}, "provider: want a text"},
	{sinchAt, fields{"provider": fields{}}, "provider: want a text"},
	{sinchAt, fields{"username": nil}, "username: is required by sinch-india"},
	{sinchAt, fields{"username": ""}, "username: is required by sinch-india"},
	{sinchAt, fields{"username": "a\nb"}, "username: " + controlChar},
	{sinchAt, fields{"username": "a\x00"}, "username: " + controlChar},
	{sinchAt, fields{"username": "a\xff"}, "username: " + controlChar},
	{sinchAt, fields{"username": true}, "username: want a text"},
	{sinchAt, fields{"username": strings.Repeat("a", 1025)}, "username: it is too long: want at most 1024 bytes"},
	{sinchAt, fields{"password": nil}, "password: is required by sinch-india"},
	{sinchAt, fields{"password": "\n"}, "password: is required by sinch-india"},
	{sinchAt, fields{"password": false}, "password: want a text"},
	{sinchAt, fields{"password": []string{"hunter2"}}, "password: want a text"},
	{sinchAt, fields{"password": fields{"hunter2": "hunter2"}}, "password: want a text"},
	{sinchAt, fields{"password": "hunter2\nhunter2"}, "password: " + controlChar},
	{sinchAt, fields{"password": "hunter2\n\n"}, "password: " + controlChar},
	{sinchAt, fields{"password": strings.Repeat("hunter2", 8192)}, "password: it is too long: want at most 8192 bytes"},
	{sinchAt, fields{"app_id": "x"}, "app_id: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"app_key": nil}, "app_key: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"client_secret": "hunter2"}, "client_secret: is not a field of sinch-india, which takes username, password"},
	{sinchAt, fields{"environment": "staging"}, "environment: want one of production, uat"},
	{sinchAt, fields{"environment": "UAT"}, "environment: want one of production, uat"},
	{sinchAt, fields{"environment": 1}, "environment: want one of production, uat"},
	{sinchAt, fields{"token_url": "http://auth.example.com/token"}, "token_url: " + wantHTTPS},
	{sinchAt, fields{"token_url": "http://10.1.2.3/token"}, "token_url: " + wantHTTPS},
	{sinchAt, fields{"token_url": "ftp://auth.example.com"}, "token_url: want https"},
	{sinchAt, fields{"token_url": "auth.example.com/token"}, "token_url: " + wantURL},
	{sinchAt, fields{"token_url": "https://"}, "token_url: " + wantURL},
	{sinchAt, fields{"token_url": "https://auth.example.com:99999/"}, "token_url: " + wantURL},
	{sinchAt, fields{"token_url": "https://auth.example.com/\n"}, "token_url: " + wantURL},
	{sinchAt, fields{"token_url": "https://me:hunter2@auth.example.com/"}, "token_url: want an address without a user name or password in it; the credentials are fields of their own"},
	{sinchAt, fields{"token_url": "https://auth.example.com/#hunter2"}, "token_url: want an address without a fragment (#…)"},
	{sinchAt, fields{"token_url": "https://auth.example.com/" + strings.Repeat("a", 2048)}, "token_url: it is too long: want at most 2048 bytes"},
	{sinchAt, fields{"token_url": []string{}}, "token_url: want a text"},
	{sinchAt, fields{"ca_cert": "hunter2"}, "ca_cert: no PEM certificate in it"},
	{sinchAt, fields{"ca_cert": "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"}, "ca_cert: a PEM block in it is damaged"},
	{sinchAt, fields{"ca_cert": "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n"}, "ca_cert: PEM block 1 is not a readable certificate"},
	{sinchAt, fields{"ca_cert": "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"}, "ca_cert: there is a private key in it; only certificates belong here"},
	{sinchAt, fields{"ca_cert": strings.Repeat("x", 64<<10+1)}, "ca_cert: it is too long: want at most 65536 bytes"},
	{sinchAt, fields{"ca_cert": true}, "ca_cert: want a text"},
	{sinchAt, fields{"request_timeout": "500ms"}, "request_timeout: " + wantDuration},
	{sinchAt, fields{"request_timeout": 0}, "request_timeout: want a duration from 1s to 1m0s"},
	{sinchAt, fields{"request_timeout": "1h"}, "request_timeout: want a duration from 1s to 1m0s"},
	{sinchAt, fields{"refresh_window": -1}, "refresh_window: " + wantDuration},
	{sinchAt, fields{"min_ttl": "1.5s"}, "min_ttl: " + wantDuration},
	{sinchAt, fields{"min_ttl": 1.5}, "min_ttl: " + wantDuration},
	{sinchAt, fields{"max_ttl": "hunter2"}, "max_ttl: " + wantDuration},
	{sinchAt, fields{"default_ttl": true}, "default_ttl: " + wantDuration},
	{sinchAt, fields{"max_ttl": "100000h"}, "max_ttl: want a duration from 0s to 87600h0m0s"},
	{sinchAt, fields{"lease": "maybe"}, "lease: want true or false"},
	{sinchAt, fields{"lease": fields{}}, "lease: want true or false"},
	{sinchAt, fields{"verify_connection": "hunter2"}, "verify_connection: want true or false"},
	{sinchAt, fields{"verify_connection": 2}, "verify_connection: want true or false"},
	{sinchAt, fields{"name": fields{}}, "name: want a text"},
	{rcsAt, fields{"app_key": nil}, "app_key: is required by enablex-rcs"},
	{rcsAt, fields{"username": "x"}, "username: is not a field of enablex-rcs, which takes app_id, app_key"},
	{rcsAt, fields{"environment": "uat"}, "environment: enablex-rcs has no environments to choose from: leave it out"},
	{oauth2At, fields{"token_url": ""}, "token_url: is required by oauth2"},
	{oauth2At, fields{"client_id": nil}, "client_id: is required by oauth2"},
	{oauth2At, fields{"environment": "production"}, "environment: oauth2 has no environments to choose from: leave it out"},
	{oauth2At, fields{"auth_style": "query"}, "auth_style: want one of header, body"},
	{oauth2At, fields{"grant_type": "implicit"}, "grant_type: want one of client_credentials, password"},
	{oauth2At, fields{"grant_type": "client_credentials"}, "username: only for grant_type=password"},
	{oauth2At, fields{"username": nil}, "username: needed where grant_type is password"},
	{oauth2At, fields{"password": nil}, "password: needed where grant_type is password"},
	{oauth2At, fields{"scopes": "a b,c"}, "scopes: " + wantWords},
	{oauth2At, fields{"scopes": ","}, "scopes: " + wantWords},
	{oauth2At, fields{"scopes": fields{"a": "b"}}, "scopes: want a list of words, or words separated by commas"},
	{oauth2At, fields{"scopes": []any{true}}, "scopes: want a list of words, or words separated by commas"},
	{oauth2At, fields{"scopes": strings.Repeat("a,", 8192) + "a"}, "scopes: it is too long: want at most 8192 bytes"},
	{oauth2At, fields{"token_params": "hunter2"}, "token_params: " + wantMap},
	{oauth2At, fields{"token_params": "=hunter2"}, "token_params: " + wantMap},
	{oauth2At, fields{"token_params": fields{"a": fields{"b": "hunter2"}}}, "token_params: " + wantMap},
	{oauth2At, fields{"token_params": fields{"a": true}}, "token_params: " + wantMap},
	{oauth2At, fields{"token_params": fields{"": "hunter2"}}, "token_params: a parameter without a name"},
	{oauth2At, fields{"token_params": fields{"grant_type": "password"}}, "token_params: grant_type is a parameter of the grant; it has a field or is set by the engine"},
	{oauth2At, fields{"token_params": fields{"client_secret": "hunter2"}}, "token_params: client_secret is a parameter of the grant; it has a field or is set by the engine"},
}

func rcsAt(m *mount) fields { return m.enablex("rcs", nil) }

func TestBadConfigs(t *testing.T) {
	m := newMount(t)
	m.write("config/old", m.sinch(nil)).want(t, http.StatusNoContent)
	token, before, requests := m.token("old"), m.storage.snapshot(), m.sim.State().Total.Requests
	for _, test := range badConfigs {
		data := also(test.base(m), test.change)
		if a := m.write("config/new", data); a.status != http.StatusBadRequest || a.text != test.text {
			t.Errorf("%.80v: %d %q, want %q", test.change, a.status, a.text, test.text)
		}
		// The same as an update and as a patch of a config that is there, where the
		// providers are the same.
		if data["provider"] == "sinch-india" {
			for _, change := range []func(string, fields) answer{m.write, m.patch} {
				if a := change("config/old", data); a.status != http.StatusBadRequest || a.text != test.text {
					t.Errorf("%.80v, of a config that is there: %d %q, want %q", test.change, a.status, a.text, test.text)
				}
			}
		}
	}
	if !maps.Equal(before, m.storage.snapshot()) {
		t.Errorf("stored: %v", m.storage.keys())
	}
	if m.token("old") != token || m.sim.State().Total.Requests != requests {
		t.Error("the cache has changed, or the provider was asked")
	}
}

func TestBadFieldNames(t *testing.T) {
	m := newMount(t)
	for _, name := range []string{"passwrd", "Password", "secrets_set", "", "token-url", "revision", "fields"} {
		a := m.write("config/new", m.sinch(fields{name: "hunter2"}))
		a.want(t, http.StatusBadRequest, name+": there is no such field; there are app_id, app_key, ", "verify_connection")
	}
}

// badRequests are other requests, and what users get.
var badRequests = []struct {
	op     logical.Operation
	path   string
	data   fields
	status int
	text   string
}{
	{logical.CreateOperation, "config/" + strings.Repeat("n", 129), fields{"provider": "sinch-india"}, 400, "name: it is too long: want at most 128 bytes"},
	{logical.CreateOperation, "config/-a", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/a b", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/a/b", nil, 404, "unsupported path"},
	{logical.CreateOperation, "config/..", nil, 404, "unsupported path"},
	{logical.UpdateOperation, "config/", nil, 405, "unsupported operation"},
	{logical.UpdateOperation, "config/old", fields{"provider": "oauth2"}, 400, "provider: is sinch-india and stays so; to change it, delete the config and write it again"},
	{logical.PatchOperation, "config/none", fields{"min_ttl": 5}, 404, `there is no config "none" to patch: write it first`},
	{logical.UpdateOperation, "config/none", fields{"min_ttl": 5}, 400, "provider: is required: one of enablex-rcs, enablex-sms, enablex-whatsapp, oauth2, sinch-conversation, sinch-india"},
	{logical.ReadOperation, "config/none", nil, 404, ""},
	{logical.ReadOperation, "creds/none", nil, 400, `there is no config "none": write config/none first`},
	{logical.ReadOperation, "creds/", nil, 404, "unsupported path"},
	{logical.ListOperation, "creds/", nil, 404, "unsupported path"},
	{logical.UpdateOperation, "creds/old", nil, 405, "unsupported operation"},
	{logical.DeleteOperation, "creds/old", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "500ms"}, 400, "min_ttl: " + wantDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "-1"}, 400, "min_ttl: " + wantDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": "hunter2"}, 400, "min_ttl: " + wantDuration},
	{logical.ReadOperation, "creds/old", fields{"min_ttl": []string{"1", "2"}}, 400, "min_ttl: " + wantDuration},
	{logical.ReadOperation, "status/none", nil, 404, ""},
	{logical.UpdateOperation, "status/old", nil, 405, "unsupported operation"},
	{logical.UpdateOperation, "rotate/none", nil, 400, `there is no config "none": write config/none first`},
	{logical.ReadOperation, "rotate/old", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "providers/none", nil, 404, ""},
	{logical.UpdateOperation, "providers/oauth2", nil, 405, "unsupported operation"},
	{logical.ReadOperation, "token/old", nil, 404, "unsupported path"},
	{logical.ReadOperation, "nothing", nil, 404, "unsupported path"},
	{logical.ReadOperation, "", nil, 404, "unsupported path"},
	{logical.RenewOperation, "creds/old", nil, 500, "request has no secret"},
}

func TestBadRequests(t *testing.T) {
	m := newMount(t)
	m.write("config/old", m.sinch(nil)).want(t, http.StatusNoContent)
	token, before, requests := m.token("old"), m.storage.snapshot(), m.sim.State().Total.Requests
	for _, test := range badRequests {
		if a := m.request(test.op, test.path, test.data); a.status != test.status || a.text != test.text {
			t.Errorf("%s %.40s %v: %d %q, want %d %q", test.op, test.path, test.data, a.status, a.text, test.status, test.text)
		}
	}
	if !maps.Equal(before, m.storage.snapshot()) {
		t.Errorf("stored: %v", m.storage.keys())
	}
	if m.token("old") != token || m.sim.State().Total.Requests != requests {
		t.Error("the cache has changed, or the provider was asked")
	}
}
