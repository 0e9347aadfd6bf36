# SPDX-License-Identifier: MPL-2.0

"""The operator's program of TestClients, with hvac. Arguments: a config as JSON, and the name of the config.

Prints the fields of the Go type result as JSON.
"""

import json
import sys

import hvac

config, name = json.loads(sys.argv[1]), sys.argv[2]
vault = hvac.Client()

vault.write_data(f"messaging/config/{name}", data=config)
result = {
    "config": vault.read(f"messaging/config/{name}")["data"],
    "names": vault.list("messaging/config")["data"]["keys"],
    "creds": vault.read(f"messaging/creds/{name}"),
}
lease = result["creds"]["lease_id"]
result["lease"] = vault.sys.read_lease(lease)["data"]
vault.sys.revoke_lease(lease)
try:
    vault.sys.read_lease(lease)
except hvac.exceptions.InvalidRequest as error:
    result["gone"] = str(error)
try:
    vault.read("messaging/creds/none")
except hvac.exceptions.InvalidRequest as error:
    result["refused"] = str(error)
json.dump(result, sys.stdout)
