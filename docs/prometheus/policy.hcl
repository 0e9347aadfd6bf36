# What Prometheus may do: read the metrics of the mount at messaging/, nothing else.
#
#   vault policy write messaging-metrics policy.hcl
#   vault token create -policy=messaging-metrics -orphan -period=768h -field=token > vault-messaging.token
#
# The token has to be renewed within its period: a Vault Agent with auto-auth and
# a file sink does that, and writes the file by itself.
path "messaging/metrics" {
  capabilities = ["read"]
}
