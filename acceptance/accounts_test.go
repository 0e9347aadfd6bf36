// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"maps"
	"strings"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// account is an account that the simulator knows.
type account struct {
	config      string // the name of its config
	provider    string
	secretField string
	fields      harness.Fields // the fields of its config, except for provider and token_url
}

const (
	sinchPassword = "correct-horse"
	enablexKey    = "battery-staple-app-key"
)

var (
	enablexFields = harness.Fields{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": enablexKey}

	sinch    = account{"sinch", simulator.SinchIndia, "password", harness.Fields{"username": "acme", "password": sinchPassword}}
	whatsapp = account{"whatsapp", simulator.EnableXWhatsApp, "app_key", enablexFields}
	rcs      = account{"rcs", simulator.EnableXRCS, "app_key", enablexFields}
	accounts = []account{sinch, whatsapp, rcs}

	sms          = account{"sms", simulator.EnableXSMS, "app_key", enablexFields}
	conversation = account{"conversation", simulator.SinchConversation, "client_secret",
		harness.Fields{"client_id": "conversation-key", "client_secret": "conversation-secret"}}
	generic = account{"generic", simulator.OAuth2, "client_secret",
		harness.Fields{"client_id": "generic-client", "client_secret": "generic-secret"}}
	genericUser = account{"generic-user", simulator.OAuth2, "password", harness.Fields{"client_id": "generic-client", "client_secret": "generic-secret",
		"grant_type": "password", "username": "alice", "password": "wonderland"}}
	publicUser = genericUser.with("user-public", harness.Fields{"client_id": "public-client", "client_secret": ""})
)

func (a account) path() string       { return "messaging/config/" + a.config }
func (a account) creds() string      { return "messaging/creds/" + a.config }
func (a account) rotatePath() string { return "messaging/rotate/" + a.config }
func (a account) statusPath() string { return "messaging/status/" + a.config }

// body returns the config's fields, overridden by changes. A nil value removes a field.
func (a account) body(sim *harness.Simulator, changes ...harness.Fields) harness.Fields {
	f := harness.Fields{"provider": a.provider, "token_url": sim.TokenURL(a.provider)}
	for _, change := range append([]harness.Fields{a.fields}, changes...) {
		maps.Copy(f, change)
	}
	maps.DeleteFunc(f, func(_ string, value any) bool { return value == nil })
	return f
}

// with copies the account under another config name and changes fields.
func (a account) with(config string, changes harness.Fields) account {
	a.config, a.fields = config, maps.Clone(a.fields)
	maps.Copy(a.fields, changes)
	return a
}

// revocable adds a revocation endpoint to a copy of the account.
func (a account) revocable(sim *harness.Simulator) account {
	return a.with(a.config, harness.Fields{"revocation_url": revocationURL(sim, a.provider)})
}

// unshared sets share=false in a copy of the account and adds a revocation endpoint.
func (a account) unshared(sim *harness.Simulator) account {
	return a.revocable(sim).with(a.config, harness.Fields{"share": false})
}

func revocationURL(sim *harness.Simulator, provider string) string {
	return strings.TrimSuffix(sim.TokenURL(provider), "token") + "revoke"
}
