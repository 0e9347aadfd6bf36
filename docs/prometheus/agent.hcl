# This Vault Agent keeps Prometheus's Vault token in the file that scrape.yml names. The agent renews
# the token, and logs in again when the token cannot be renewed. Set up its login:
#
#   vault policy write messaging-metrics policy.hcl
#   vault write auth/approle/role/messaging-metrics token_policies=messaging-metrics token_period=24h
#   vault read -field=role_id auth/approle/role/messaging-metrics/role-id > /etc/prometheus/vault-role-id
#   vault write -f -field=secret_id auth/approle/role/messaging-metrics/secret-id > /etc/prometheus/vault-secret-id
#
# Let nobody but the agent read the secret id. Prometheus reads the token's file at each scrape.
vault {
  address = "https://vault.example.com:8200"
}
auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/prometheus/vault-role-id"
      secret_id_file_path                 = "/etc/prometheus/vault-secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
  sink "file" {
    config = {
      path = "/etc/prometheus/vault-messaging.token"
      mode = 0640
    }
  }
}
