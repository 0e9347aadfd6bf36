// SPDX-License-Identifier: MPL-2.0

// Post each line of the input to a provider, with a bearer token from Vault. Lines are messages in the provider's JSON:
//
//   npm ci
//   export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
//   node send.mjs messaging/creds/sinch https://provider.example.com/messages <messages.jsonl

import { createInterface } from 'node:readline';
import nodeVault from 'node-vault';

/** Reads a token from Vault and keeps it for nine tenths of its lease. The last tenth is for requests in progress. */
class Source {
  #vault;
  #path;
  #token; // a promise, so that concurrent callers share one read
  #id; // the token_id of the token
  #rejected = ''; // the query of the next read, which may report a token
  #until = 0;

  constructor(vault, path) {
    this.#vault = vault;
    this.#path = path;
  }

  token() {
    if (performance.now() >= this.#until) {
      this.#until = Infinity; // until the read ends
      this.#token = this.#read();
    }
    return this.#token;
  }

  /** Says that the provider rejects token. The next call of token() reports it to Vault and reads a new one. */
  async refused(token) {
    if (token !== (await this.#token)) return;
    this.#until = 0;
    this.#rejected = `?rejected=${this.#id}`;
  }

  async #read() {
    const now = performance.now();
    try {
      const { data, lease_duration: lease } = await this.#vault.read(this.#path + this.#rejected);
      this.#rejected = '';
      this.#id = data.token_id;
      this.#until = now + 900 * (lease || data.ttl); // a read without a lease has a ttl
      return data.access_token;
    } catch (error) {
      this.#until = 0;
      throw error;
    }
  }
}

/** Posts a message. If the provider rejects the token, tries once more with a new one. */
async function send(tokens, url, message) {
  let answer;
  for (let tries = 0; tries < 2; tries++) {
    const token = await tokens.token();
    answer = await fetch(url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: message,
    });
    if (answer.status !== 401) break;
    await tokens.refused(token);
  }
  if (!answer.ok) throw new Error(`the provider answered ${answer.status}`);
}

const [path, url] = process.argv.slice(2);
const tokens = new Source(nodeVault(), path); // uses VAULT_ADDR and VAULT_TOKEN
for await (const line of createInterface({ input: process.stdin })) {
  await send(tokens, url, line);
}
