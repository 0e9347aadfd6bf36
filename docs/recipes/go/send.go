// SPDX-License-Identifier: MPL-2.0

// Command send posts each line of its input to a provider. A line is a message in
// the provider's JSON. The bearer token comes from Vault:
//
//	export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
//	go run send.go messaging/creds/sinch https://provider.example.com/messages <messages.jsonl
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// source reads bearer tokens from Vault. It keeps a token for nine tenths of the lease. The last
// tenth is for requests in progress.
type source struct {
	vault *api.Client
	path  string // "messaging/creds/sinch"

	mu    sync.Mutex
	token string
	id    string    // the token_id of token
	until time.Time // when to read the next token

	rejected map[string][]string // what the next read reports, if anything
}

func (s *source) Token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.until) {
		return s.token, nil
	}
	secret, err := s.vault.Logical().ReadWithDataWithContext(ctx, s.path, s.rejected)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", fmt.Errorf("there is no %s in Vault", s.path)
	}
	seconds := int64(secret.LeaseDuration)
	if ttl, ok := secret.Data["ttl"].(json.Number); ok { // a read without a lease has this
		seconds, _ = ttl.Int64()
	}
	s.token, _ = secret.Data["access_token"].(string)
	s.id, _ = secret.Data["token_id"].(string)
	s.rejected = nil
	s.until = now.Add(time.Duration(seconds) * time.Second * 9 / 10)
	return s.token, nil
}

// Refused records that the provider rejected a token. The next call of Token reports the rejection
// and reads a new token. If the token was already replaced, Refused does nothing.
func (s *source) Refused(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.token {
		s.until, s.rejected = time.Time{}, map[string][]string{"rejected": {s.id}}
	}
}

// send posts a message. If the provider rejects the token, send tries once more with a new token.
func send(ctx context.Context, tokens *source, url, message string) error {
	for try := 1; ; try++ {
		token, err := tokens.Token(ctx)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(message))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		switch {
		case res.StatusCode < 300:
			return nil
		case res.StatusCode != http.StatusUnauthorized || try == 2:
			return fmt.Errorf("the provider answered %s", res.Status)
		}
		tokens.Refused(token)
	}
}

func main() {
	vault, err := api.NewClient(nil) // uses VAULT_ADDR, VAULT_TOKEN and similar variables
	if err != nil {
		log.Fatal(err)
	}
	tokens := &source{vault: vault, path: os.Args[1]}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := send(context.Background(), tokens, os.Args[2], lines.Text()); err != nil {
			log.Fatal(err)
		}
	}
}
