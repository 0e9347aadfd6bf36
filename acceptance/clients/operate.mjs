// SPDX-License-Identifier: MPL-2.0

// Does with node-vault what TestClients wants, and prints what came of it as JSON. Arguments: a config as JSON, its name.

import nodeVault from 'node-vault';

const [config, name] = [JSON.parse(process.argv[2]), process.argv[3]];
const vault = nodeVault();
const failure = (error) => error.message;

await vault.write(`messaging/config/${name}`, config);
const did = {
  config: (await vault.read(`messaging/config/${name}`)).data,
  names: (await vault.list('messaging/config')).data.keys,
  creds: await vault.read(`messaging/creds/${name}`),
};
const lease = { lease_id: did.creds.lease_id };
did.lease = (await vault.write('sys/leases/lookup', lease)).data;
await vault.revoke(lease);
did.gone = await vault.write('sys/leases/lookup', lease).catch(failure);
did.refused = await vault.read('messaging/creds/none').catch(failure);
console.log(JSON.stringify(did));
