// SPDX-License-Identifier: MPL-2.0
//
// Runs oidc-provider behind TLS until an interrupt. Clients register themselves (RFC 7591). The
// server asks for client certificates. It trusts those from the CA that also signed its own certificate.
//
// Environment: PORT; TLS_CERT, TLS_KEY and TLS_CA name files in PEM; TTL is the lifetime of access
// tokens in seconds.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

import { Provider, errors } from 'oidc-provider';

const { PORT, TLS_CERT, TLS_KEY, TLS_CA, TTL } = process.env;
const issuer = `https://127.0.0.1:${PORT}`;

const peer = (ctx) => ctx.socket.getPeerCertificate();

const provider = new Provider(issuer, {
  scopes: ['openid', 'offline_access', 'send', 'read'],
  clientAuthMethods: [
    'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth', 'none',
  ],
  enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] },
  clients: [{ // a client whose ID and secret have special characters
    client_id: 'acme & sons: 100%',
    client_secret: 'a+b %20:&="/?~\'',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  }],
  ttl: {
    ClientCredentials: Number(TTL), AccessToken: Number(TTL), RefreshToken: 3600, Grant: 3600,
  },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
    registration: { enabled: true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: (ctx) => (peer(ctx).raw ? new X509Certificate(peer(ctx).raw).toString() : undefined),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn' && `CN=${peer(ctx).subject.CN}` === expected,
    },
  },
  // By default the server refuses to fetch the key sets of clients from loopback addresses, and waits
  // only 2.5 s. A busy machine may need longer.
  fetch: (url, { dispatcher, signal, ...options }) => fetch(url, options),
});

// oidc-provider has no password grant (RFC 6749 §4.3), but it allows other grants to be added.
provider.registerGrantType('password', async (ctx) => {
  const { client, params } = ctx.oidc;
  if (params.password !== `${params.username}-password`) {
    throw new errors.InvalidGrant('invalid username or password');
  }
  const grant = new provider.Grant({ accountId: params.username, clientId: client.clientId });
  grant.addOIDCScope('openid offline_access');
  const common = {
    accountId: params.username, client, grantId: await grant.save(), gty: 'password', scope: 'openid offline_access',
  };
  const access = new provider.AccessToken(common);
  const refresh = new provider.RefreshToken(common);
  ctx.body = {
    access_token: await access.save(),
    expires_in: access.expiration,
    token_type: access.tokenType,
    refresh_token: await refresh.save(),
    scope: common.scope,
  };
}, ['username', 'password', 'scope']);

provider.on('grant.success', (ctx) => console.log('grant.success', ctx.oidc.client.clientId, ctx.oidc.params.grant_type));
provider.on('server_error', (ctx, err) => console.error(err));
for (const event of ['grant.error', 'revocation.error', 'introspection.error', 'registration_create.error']) {
  provider.on(event, (ctx, err) => console.log(event, err.message, err.error_detail ?? err.error_description ?? '', err.cause?.message ?? ''));
}

const server = createServer({
  cert: readFileSync(TLS_CERT),
  key: readFileSync(TLS_KEY),
  ca: readFileSync(TLS_CA),
  requestCert: true,
  rejectUnauthorized: false,
}, provider.callback());
server.on('tlsClientError', (err) => console.log('tlsClientError', err.message));
// By default the server closes a connection that was idle for 5 s. A client that sends a request at
// that moment gets an error.
server.keepAliveTimeout = 10 * 60 * 1000;
server.listen(Number(PORT), '127.0.0.1', () => console.log(`Listening on: ${issuer}`));

process.on('SIGINT', () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
