// SPDX-License-Identifier: MPL-2.0

package providers

// All returns all providers, sorted by name.
func All() []Provider {
	return []Provider{
		enablex{channel: "rcs", title: "RCS", docs: "https://developer.enablex.io/"},
		enablex{channel: "sms", title: "SMS", docs: "https://developer.enablex.io/"},
		enablex{channel: "whatsapp", title: "WhatsApp", docs: "https://www.enablex.io/developer/whatsapp-api/whatsapp-token-api/"},
		oauth2{},
		sinchConversation{},
		sinchIndia{},
	}
}

// Lookup returns the provider with the given name, and whether there is one.
func Lookup(name string) (Provider, bool) {
	for _, p := range All() {
		if p.Spec().Name == name {
			return p, true
		}
	}
	return nil, false
}
