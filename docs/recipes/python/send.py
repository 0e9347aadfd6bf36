# SPDX-License-Identifier: MPL-2.0

"""Post each line of the input, a message in the provider's JSON, with the bearer token that Vault keeps:

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
    """Reads a bearer token from Vault and keeps it for nine tenths of its lease: what is left is for the request
    that is under way."""

    def __init__(self, vault, path):
        self._vault, self._path = vault, path
        self._lock = threading.Lock()
        self._token, self._until = None, 0

    def token(self):
        with self._lock:
            now = time.monotonic()
            if self._token is None or now >= self._until:
                creds = self._vault.read(self._path)
                if creds is None:
                    raise LookupError(f"there is no {self._path} in Vault")
                seconds = creds["lease_duration"] or creds["data"]["ttl"]  # ttl: of a read without a lease
                self._token = creds["data"]["access_token"]
                self._until = now + 0.9 * seconds
            return self._token

    def refused(self, token):
        """Has the next call of token() read a new one: the provider took this one no more."""
        with self._lock:
            if token == self._token:
                self._token = None


def send(tokens, url, message):
    """Posts a message, and once more if the token was refused."""
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
    tokens = Source(hvac.Client(), path)  # by VAULT_ADDR and VAULT_TOKEN
    for line in sys.stdin:
        send(tokens, url, line.rstrip("\n"))


if __name__ == "__main__":
    main()
