# This policy lets Prometheus read the metrics of the mount at messaging/, and nothing else.
#
#   vault policy write messaging-metrics policy.hcl
#   vault token create -policy=messaging-metrics -orphan -period=768h -field=token > vault-messaging.token
#
# Renew the token within its period. A Vault Agent with auto-auth and a file sink
# renews it and writes the file.
path "messaging/metrics" {
  capabilities = ["read"]
}
