// SPDX-License-Identifier: MPL-2.0

// Package simulator simulates the token endpoints of the messaging providers: Sinch India's Keycloak
// realm, EnableX, Sinch Conversation and a generic OAuth 2.0 server (RFC 6749).
//
// The simulator responds as the provider's documentation says, or fails on demand. It records each
// request that differs from the documentation as a violation. It counts requests and knows which
// tokens are active. It shares no code with the plugin.
//
// Create a simulator with [New] and serve it with net/http or httptest. Use a [Client], or curl under
// /sim/, to change the [Settings] and read the [State]. [Help] lists paths, accounts, faults and
// settings.
//
// The realm behaves like Keycloak 26.7, except for the HTTP status of a failed login (see
// ProviderSettings.FailureStatus). The realm accepts what Keycloak accepts, even if the request is
// a violation. The simulator forgets a token 15 minutes after the token's end.
package simulator
