// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// No credential or token appears in the server's log, the audit log or the output of the vault
// command. Only reads of creds return access tokens. The test sends right and wrong requests during
// each kind of fault.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	w.EnableAudit(t)
	tap := startTap(t, w.sim)
	w.sim = tap.sim
	leaky := append(leakyAccounts(w.sim), leakyMutual(t, tap))
	keySpy, keys, assertions, signed := leakKeys(t, w)
	spies := append(work(t, w, leaky), keySpy)

	credentials, tokens := union(credentialsOf(leaky), union(keys, assertions)), tap.tokens()
	refreshTokens := maps.Clone(tokens)
	maps.DeleteFunc(refreshTokens, func(name, _ string) bool { return !strings.HasPrefix(name, "refresh") })
	if len(tokens) < 50 || len(refreshTokens) < 20 {
		t.Errorf("got %d tokens, of which %d are refresh tokens, want at least 50 and 20", len(tokens), len(refreshTokens))
	}
	var answers, reads strings.Builder
	for _, s := range spies {
		answers.WriteString(s.answers.String())
		reads.WriteString(s.reads.String())
	}
	places := map[string]string{"server's log": harness.ReadFile(t, w.Log), "audit log": harness.ReadFile(t, w.Audit), "answers and output": answers.String()}
	t.Logf("looked for %d credentials and %d tokens in %d bytes of log, %d of audit log, %d of answers, %d of reads", len(credentials), len(tokens),
		len(places["server's log"]), len(places["audit log"]), len(places["answers and output"]), reads.Len())

	secrets := union(credentials, union(tokens, signed))
	everything := newSearch(t, secrets)
	for name, text := range places {
		wantNoFinds(t, name, everything.find(text))
	}
	wantNoFinds(t, "answers to reads of creds", newSearch(t, union(credentials, refreshTokens)).find(reads.String()))
	wantContent(t, places)
	planted := append(slices.Sorted(maps.Keys(tokens))[1:20], "password of sinch-odd", "wrong app_key of rcs-odd")
	wantPlantedFound(t, everything, places, secrets, planted)
}

// work uses the accounts of all providers in parallel. Then it kills and reloads the plugin, and
// disables the mount.
func work(t *testing.T, w world, leaky []leakyAccount) []*spy {
	byProvider := map[string]*spy{}
	for _, a := range leaky {
		if byProvider[a.provider] == nil {
			byProvider[a.provider] = &spy{t: t, world: w, provider: a.provider}
		}
		byProvider[a.provider].accounts = append(byProvider[a.provider].accounts, a)
	}
	var working sync.WaitGroup
	for _, s := range byProvider {
		working.Go(s.work)
	}
	working.Wait()
	last := &spy{t: t, world: w, accounts: leaky}
	last.lookAround()
	w.KillPlugin(t)
	last.readAll()
	last.write("sys/plugins/reload/backend", harness.Fields{"plugin": harness.PluginName})
	last.readAll()
	last.cli("secrets", "disable", "messaging")
	return append(slices.Collect(maps.Values(byProvider)), last)
}

// credentialsOf returns the credentials that the test sends, right or wrong. The keys say what each
// credential is.
func credentialsOf(leaky []leakyAccount) map[string]string {
	credentials := map[string]string{}
	for _, a := range leaky {
		for i, line := range keyLines(a.secrets["client_key"]) {
			credentials[fmt.Sprintf("line %d of the client_key of %s", i+1, a.config)] = line
		}
		for field, secret := range a.secrets {
			credentials[fmt.Sprintf("%s of %s", field, a.config)] = secret
			credentials[fmt.Sprintf("wrong %s of %s", field, a.config)] = wrong(secret)
		}
	}
	return credentials
}

// union merges two maps. The map b wins.
func union[V any](a, b map[string]V) map[string]V {
	both := map[string]V{}
	maps.Copy(both, a)
	maps.Copy(both, b)
	return both
}

func wantNoFinds(t *testing.T, place string, finds []string) {
	t.Helper()
	for _, f := range finds[:min(len(finds), 5)] {
		t.Errorf("%s: got a secret in it, want none: %s", place, f)
	}
	if len(finds) > 5 {
		t.Errorf("%s: got %d more secrets in it", place, len(finds)-5)
	}
}

// wantContent checks that each place contains the expected words. In empty texts, finding no secret
// would prove nothing.
func wantContent(t *testing.T, places map[string]string) {
	t.Helper()
	for name, words := range map[string][]string{
		"server's log":       {"[TRACE]", "minting a token failed", "credentials refused", "rate-limited", "malformed", "unavailable", "was not revoked", "text withheld"},
		"audit log":          {"messaging/creds/", "messaging/config/", "hmac-sha256:", "messaging/rotate/", "sys/leases/revoke"},
		"answers and output": {"secrets_set", "text withheld", "backing_off", "vault_messaging_reads_total", "last_error", "nothing was stored"},
	} {
		for _, word := range words {
			if !strings.Contains(places[name], word) {
				t.Errorf("%s: got %d bytes without %q, want it in them", name, len(places[name]), word)
			}
		}
	}
}

// wantPlantedFound checks that the search finds planted secrets in every encoding.
func wantPlantedFound(t *testing.T, s *search, places, secrets map[string]string, planted []string) {
	t.Helper()
	for name, text := range places {
		middle := text[len(text)/2 : min(len(text), len(text)/2+1<<14)]
		for _, secret := range planted {
			for _, f := range formsOf(secrets[secret]) {
				if got := s.find(middle[:len(middle)/2] + f.text + middle[len(middle)/2:]); len(got) != 1 {
					t.Errorf("%s, %s, planted in the %s: got finds %q, want one", secret, f.how, name, got)
				}
			}
		}
	}
}
