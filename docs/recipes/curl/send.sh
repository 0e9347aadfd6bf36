#!/usr/bin/env bash
# SPDX-License-Identifier: MPL-2.0
#
# Posts each line of the input to a provider. A line is a message in the provider's
# JSON. The bearer token comes from Vault. Needs curl 7.76 or newer, and jq.
#
#   export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
#   ./send.sh messaging/creds/sinch https://provider.example.com/messages <messages.jsonl
#
# Secrets go to curl through pipes, because every user of this machine can list
# command lines.
set -euo pipefail

path=$1 url=$2
token='' id='' until=0

# read_token sets token, and keeps it for nine tenths of its lease. The last tenth
# is for the request in progress. With an argument, read_token reports the token_id
# of a token that the provider rejected.
read_token() {
	local now=$SECONDS creds
	if [[ -n $token ]] && ((now < until)); then return; fi
	creds=$(curl -sS --fail-with-body -H @<(printf 'X-Vault-Token: %s\n' "$VAULT_TOKEN") "$VAULT_ADDR/v1/$path${1:+?rejected=$1}")
	token=$(jq -r .data.access_token <<<"$creds")
	id=$(jq -r .data.token_id <<<"$creds")
	until=$((now + $(jq 'if .lease_duration > 0 then .lease_duration else .data.ttl end' <<<"$creds") * 9 / 10))
}

# post sends a message and prints the status of the provider's answer.
post() {
	curl -sS -o /dev/null -w '%{http_code}' -H @<(printf 'Authorization: Bearer %s\n' "$token") \
		-H 'Content-Type: application/json' --data-raw "$1" "$url"
}

while IFS= read -r message; do
	read_token
	status=$(post "$message")
	if [[ $status == 401 ]]; then # the provider rejects the token: try once more with a new one
		token=''
		read_token "$id"
		status=$(post "$message")
	fi
	if [[ $status != 2* ]]; then
		echo "the provider answered $status" >&2
		exit 1
	fi
done
