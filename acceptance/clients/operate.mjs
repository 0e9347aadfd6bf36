// SPDX-License-Identifier: MPL-2.0

// The operator's program of TestClients, with node-vault. Arguments: a config as JSON, and the name of the config.
// Prints the fields of the Go type result as JSON.

import nodeVault from 'node-vault';

const [config, name] = [JSON.parse(process.argv[2]), process.argv[3]];
const vault = nodeVault();
const failure = (error) => error.message;

await vault.write(`messaging/config/${name}`, config);
const result = {
  config: (await vault.read(`messaging/config/${name}`)).data,
  names: (await vault.list('messaging/config')).data.keys,
  creds: await vault.read(`messaging/creds/${name}`),
};
const lease = { lease_id: result.creds.lease_id };
result.lease = (await vault.write('sys/leases/lookup', lease)).data;
await vault.revoke(lease);
result.gone = await vault.write('sys/leases/lookup', lease).catch(failure);
result.refused = await vault.read('messaging/creds/none').catch(failure);
console.log(JSON.stringify(result));
