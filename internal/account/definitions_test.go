// SPDX-License-Identifier: MPL-2.0

package account

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

const acmeText = `title: Acme
fields:
  password: {description: The password., required: true, secret: true}
endpoints: {production: "https://auth.acme.example/login"}
http:
  json: {password: "{password}"}
  token: /token
  lifetime: {fixed: 1h}
`

func newTestRegistry(s logical.Storage) *Registry {
	return NewRegistry(RegistryOptions{
		Builtin: providers.All(),
		Clients: providers.NewClients(providers.ClientOptions{}),
		Observe: func(string) func() func() { return func() func() { return func() {} } },
		Log:     hclog.NewNullLogger,
		Storage: s,
	})
}

func TestConfigsShareTheirDefinition(t *testing.T) {
	const configs = 100
	s, ctx := &logical.InmemStorage{}, t.Context()
	digest, _, err := newTestRegistry(s).WriteDefinition(ctx, "acme", acmeText)
	if err != nil {
		t.Fatal(err)
	}
	for i := range configs {
		c := &Config{Revision: "r", Provider: "acme", Definition: digest, Fields: map[string]secret.String{"password": "p"}}
		if err := putConfig(ctx, s, fmt.Sprint(i), c); err != nil {
			t.Fatal(err)
		}
	}
	r := newTestRegistry(s)
	var first *provider
	for i := range configs {
		c, err := r.ReadConfig(ctx, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = c.provider
		}
		if c.provider != first {
			t.Fatalf("config %d: got a definition of its own, want the one of config 0", i)
		}
	}
}

func TestDigestHex(t *testing.T) {
	good := strings.Repeat("0a", 32)
	for digest, want := range map[string]string{
		"sha256:" + good: good, "": "", good: "", "sha256:": "", "sha256:0a": "", "sha256:" + strings.ToUpper(good): "",
		"sha256:" + good + "0a": "", "sha256:../" + good[3:]: "", "sha512:" + good: "",
	} {
		if got := digestHex(digest); got != want {
			t.Errorf("digestHex(%q): got %q, want %q", digest, got, want)
		}
	}
}
