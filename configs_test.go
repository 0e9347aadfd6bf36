// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"maps"
	"net/http"
	"testing"

	"vault-plugin-secrets-messaging/providers"
)

// newConfigMount makes a mount whose config/a has the fields from the function config.
func newConfigMount(t testing.TB, config func(m *mount, more fields) fields, more fields) *mount {
	t.Helper()
	m := newMount(t)
	m.write("config/a", config(m, more)).want(t, http.StatusNoContent)
	return m
}

// newSinchMount makes a mount with config/a of sinch-india.
func newSinchMount(t testing.TB, more fields) *mount {
	t.Helper()
	return newConfigMount(t, (*mount).sinch, more)
}

// newRevocableMount is newSinchMount with a revocation_url.
func newRevocableMount(t testing.TB, more fields) *mount {
	t.Helper()
	return newConfigMount(t, (*mount).revocable, more)
}

// newFakeMount makes a mount with config/a of p.
func newFakeMount(t testing.TB, p providers.Provider, more fields) *mount {
	t.Helper()
	m := newMount(t, p)
	m.write("config/a", with(maps.Clone(fakeConfig), more)).want(t, http.StatusNoContent)
	return m
}

// sinch returns a sinch-india config with the given changes.
func (m *mount) sinch(more fields) fields {
	return with(fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse",
		"token_url": m.url + "/realms/ipmessaging/protocol/openid-connect/token"}, more)
}

// revocable is sinch with a revocation_url.
func (m *mount) revocable(more fields) fields {
	return with(m.sinch(fields{"revocation_url": m.url + "/realms/ipmessaging/protocol/openid-connect/revoke"}), more)
}

// oauth2 returns an oauth2 config with the given changes.
func (m *mount) oauth2(more fields) fields {
	return with(fields{"provider": "oauth2", "client_id": "generic-client", "client_secret": "generic-secret",
		"token_url": m.url + "/generic/token"}, more)
}

// rcs returns an enablex-rcs config with the given changes.
func (m *mount) rcs(more fields) fields { return m.enablex("rcs", more) }

// enablex returns the config of an EnableX API, with the given changes.
func (m *mount) enablex(channel string, more fields) fields {
	return with(fields{"provider": "enablex-" + channel, "app_id": "5f0c0ffee0ddba11acce55ed", "app_key": "battery-staple-app-key",
		"token_url": m.url + "/" + channel + "/v1/token"}, more)
}

// conversation returns a sinch-conversation config with the given changes.
func (m *mount) conversation(more fields) fields {
	return with(fields{"provider": "sinch-conversation", "client_id": "conversation-key", "client_secret": "conversation-secret",
		"token_url": m.url + "/oauth2/token"}, more)
}

// The configs that tables start from.
func sinchAt(m *mount) fields        { return m.sinch(nil) }
func rcsAt(m *mount) fields          { return m.enablex("rcs", nil) }
func smsAt(m *mount) fields          { return m.enablex("sms", nil) }
func whatsappAt(m *mount) fields     { return m.enablex("whatsapp", nil) }
func conversationAt(m *mount) fields { return m.conversation(nil) }
func oauth2At(m *mount) fields {
	return m.oauth2(fields{"grant_type": "password", "username": "alice", "password": "wonderland"})
}

// with adds more to data and returns data.
func with(data, more fields) fields {
	maps.Copy(data, more)
	return data
}
