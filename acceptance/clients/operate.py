# SPDX-License-Identifier: MPL-2.0

"""Does with hvac what TestClients wants, and prints what came of it as JSON. Arguments: a config as JSON, its name."""

import json
import sys

import hvac

config, name = json.loads(sys.argv[1]), sys.argv[2]
vault = hvac.Client()

vault.write_data(f"messaging/config/{name}", data=config)
did = {
    "config": vault.read(f"messaging/config/{name}")["data"],
    "names": vault.list("messaging/config")["data"]["keys"],
    "creds": vault.read(f"messaging/creds/{name}"),
}
lease = did["creds"]["lease_id"]
did["lease"] = vault.sys.read_lease(lease)["data"]
vault.sys.revoke_lease(lease)
try:
    vault.sys.read_lease(lease)
except hvac.exceptions.InvalidRequest as error:
    did["gone"] = str(error)
try:
    vault.read("messaging/creds/none")
except hvac.exceptions.InvalidRequest as error:
    did["refused"] = str(error)
json.dump(did, sys.stdout)
