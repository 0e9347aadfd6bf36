// SPDX-License-Identifier: MPL-2.0

// Package simulator simulates the token endpoints of the messaging providers: Sinch India's Keycloak
// realm, EnableX, Sinch Conversation and a generic OAuth 2.0 server (RFC 6749).
//
// The simulator compares each request with the provider's documentation and records every
// difference as a violation. It responds as the documentation says, or fails on demand. It counts
// requests and remembers the tokens that it issued, so that a test can check which requests a
// client made and whether its tokens are still active. It shares no code with the plugin.
//
// Create a simulator with [New] and serve it with net/http or httptest. Control it while it runs with
// a [Client], or with curl under /sim/. [Settings] change how the providers behave, and [State] has
// the counts. [Help] lists the paths, the accounts, the faults and the settings.
//
// The realm behaves like Keycloak 26.7, except for the HTTP status of a failed login (see
// ProviderSettings.FailureStatus). If Keycloak accepts a request that Sinch does not document, the
// realm accepts the request too, and records a violation. The simulator forgets a token 15 minutes
// after the token's end.
package simulator
