# SPDX-License-Identifier: MPL-2.0

"""Post each line of the input to a provider, with a bearer token from Vault. A line is a message in the provider's JSON:

    pip install -r requirements.txt
    export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
    python send.py messaging/creds/sinch https://provider.example.com/messages <messages.jsonl
"""

import sys
import threading
import time

import hvac
import requests


class Source:
    """Reads a bearer token from Vault and keeps it for nine tenths of its lease. The last tenth is for requests in
    progress."""

    def __init__(self, vault, path):
        self._vault, self._path = vault, path
        self._lock = threading.Lock()
        self._token, self._id, self._until = None, None, 0
        self._rejected = None  # the token_id to report in the next read

    def token(self):
        with self._lock:
            now = time.monotonic()
            if self._token is None or now >= self._until:
                report = f"?rejected={self._rejected}" if self._rejected else ""
                creds = self._vault.read(self._path + report)
                if creds is None:
                    raise LookupError(f"there is no {self._path} in Vault")
                seconds = creds["lease_duration"] or creds["data"]["ttl"]  # a read without a lease has a ttl
                self._token, self._id, self._rejected = creds["data"]["access_token"], creds["data"]["token_id"], None
                self._until = now + 0.9 * seconds
            return self._token

    def refused(self, token):
        """Says that the provider rejects token. The next call of token() reports it to Vault and reads a new one."""
        with self._lock:
            if token == self._token:
                self._token, self._rejected = None, self._id


def send(tokens, url, message):
    """Posts a message. If the provider rejects the token, tries once more with a new one."""
    for _ in range(2):
        token = tokens.token()
        answer = requests.post(
            url,
            data=message.encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=30,
        )
        if answer.status_code != requests.codes.unauthorized:
            break
        tokens.refused(token)
    answer.raise_for_status()


def main():
    path, url = sys.argv[1:]
    tokens = Source(hvac.Client(), path)  # uses VAULT_ADDR and VAULT_TOKEN
    for line in sys.stdin:
        send(tokens, url, line.rstrip("\n"))


if __name__ == "__main__":
    main()
