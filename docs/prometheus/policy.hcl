# This policy lets Prometheus read the metrics of the mount at messaging/, and nothing else.
#
#   vault policy write messaging-metrics policy.hcl
#
# agent.hcl keeps a token with this policy in a file. To try it by hand:
#
#   vault token create -policy=messaging-metrics -orphan -period=768h -field=token > vault-messaging.token
path "messaging/metrics" {
  capabilities = ["read"]
}
