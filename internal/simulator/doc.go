// SPDX-License-Identifier: MPL-2.0

// Package simulator plays the token endpoints of the messaging providers: Sinch India's Keycloak realm, EnableX, Sinch
// Conversation and a generic RFC 6749 server. It is strict about what a documented request looks like, answers the way
// the providers are documented to, fails on demand, counts what it is asked, and remembers every token it issued, so
// that a test can prove which requests were made and that no dead token was ever served. It shares no code with the
// clients it tests.
//
// Start with [New], serve the result with net/http or httptest, and turn it while it runs with [Client] or with curl
// under /sim/ (see [Settings] for the knobs and [State] for the counts).
//
// The realm answers as Keycloak 26.7 was measured to, but for the status of a refused login (see Knobs.FailureStatus).
// A request that Sinch does not document, but Keycloak takes, is answered, and counted as a violation. Tokens long dead
// are forgotten (see Options.RememberFor): they are then to the realm as if it had never issued them.
//
// Endpoints:
//
//	POST /realms/ipmessaging/protocol/openid-connect/{token,revoke,logout}       sinch-india, production
//	POST /auth/realms/ipmessaging/protocol/openid-connect/{token,revoke,logout}  sinch-india, UAT
//	POST /whatsapp/v1/token  /rcs/v1/token  /sms/v1/token                        enablex-whatsapp, -rcs, -sms
//	POST /oauth2/token                                                           sinch-conversation
//	POST /generic/token  /generic/revoke                                         oauth2
//
// Accounts that are there from the start:
//
//	sinch-india         acme                      correct-horse
//	enablex-*           5f0c0ffee0ddba11acce55ed  battery-staple-app-key
//	sinch-conversation  conversation-key          conversation-secret
//	oauth2              generic-client            generic-secret   (a client)
//	oauth2              public-client             (no secret: a public client)
//	oauth2              alice                     wonderland       (a user, for the password grant)
//
// The knob any_account lets any name in whose secret is "<name>-secret".
package simulator
