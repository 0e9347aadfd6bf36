// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// leakyAccount is an account with secrets that a search finds easily.
type leakyAccount struct {
	account
	secrets map[string]string // by field
}

// leakySecret returns a secret with characters that most encodings escape.
func leakySecret(of string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(of)))
	return sum[:16] + ` "<&> %/+\ü=~ ` + sum[16:32]
}

// wrong returns a wrong secret in place of the right secret.
func wrong(secret string) string { return leakySecret("not " + secret) }

// leakyAccounts returns accounts for each provider and each way to log in, both shared and
// unshared.
func leakyAccounts(sim *harness.Simulator) []leakyAccount {
	var all []leakyAccount
	add := func(config string, a account, secretFields ...string) {
		l := leakyAccount{a.with(config, harness.Fields{"request_timeout": "1s"}), map[string]string{}}
		for _, f := range secretFields {
			l.secrets[f] = leakySecret(config + "-" + f)
			l.fields[f] = l.secrets[f]
		}
		for _, name := range []string{"username", "app_id", "client_id"} { // each account needs its own user at the provider
			if _, ok := l.fields[name]; ok {
				l.fields[name] = name + "-of-" + config
			}
		}
		all = append(all, l)
	}
	add("sinch-odd", sinch.revocable(sim), "password")
	add("sinch-unshared", sinch.unshared(sim), "password")
	add("whatsapp-odd", whatsapp, "app_key")
	add("rcs-odd", rcs, "app_key")
	add("sms-odd", sms.with("", harness.Fields{"lease": false}), "app_key")
	add("conversation-odd", conversation, "client_secret")
	add("generic-header", generic.revocable(sim), "client_secret")
	add("generic-unshared", generic.unshared(sim), "client_secret")
	add("generic-body", genericUser.revocable(sim).with("", harness.Fields{"auth_style": "body"}), "client_secret", "password")
	return all
}

func leakyMutual(t *testing.T, tap *tap) leakyAccount {
	t.Helper()
	server := harness.CertPEM(tap.mutual.Certificate().Raw)
	l := leakyAccount{generic.with("generic-mutual", harness.ClientCert(t, harness.NewCA(t), "acme", time.Now().Add(time.Hour))), map[string]string{}}
	maps.Copy(l.fields, harness.Fields{"request_timeout": "1s", "ca_cert": server, "client_id": "client_id-of-generic-mutual",
		"client_secret": leakySecret("generic-mutual"), "token_url": strings.Replace(tap.sim.TokenURL(simulator.OAuth2), tap.sim.URL, tap.mutual.URL, 1)})
	l.secrets["client_secret"], l.secrets["client_key"] = fmt.Sprint(l.fields["client_secret"]), fmt.Sprint(l.fields["client_key"])
	return l
}

// keyLines returns the secret lines of a private key. An EC key ends with its public key, which is
// not secret.
func keyLines(key string) (lines []string) {
	for line := range strings.Lines(key) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "-----") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 3 { // an EC key on P-256
		lines = []string{lines[0], lines[1][:24]}
	}
	return lines
}

// spy uses accounts and records the server's answers.
type spy struct {
	world
	t        *testing.T
	provider string
	accounts []leakyAccount

	mu      sync.Mutex
	answers strings.Builder // all other answers, and the output of the vault command
	reads   strings.Builder // answers to successful reads of creds
}

func (s *spy) do(method, path string, body any) harness.Response {
	r, err := s.Do(method, path, body)
	if err != nil {
		s.t.Errorf("%s %s: got error %v, want an answer", method, path, err)
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := &s.answers
	if method == http.MethodGet && strings.HasPrefix(path, "messaging/creds/") && r.Status == http.StatusOK {
		to = &s.reads
	}
	fmt.Fprintf(to, "%s %s: %d %v %s\n", method, path, r.Status, r.Header, r.Raw)
	return r
}

func (s *spy) read(path string) harness.Response { return s.do(http.MethodGet, path, nil) }
func (s *spy) write(path string, f harness.Fields) harness.Response {
	return s.do(http.MethodPut, path, f)
}

// cli runs the vault command, which may fail.
func (s *spy) cli(args ...string) {
	r := s.CLI(s.t, args...)
	fmt.Fprintf(&s.answers, "vault %s: %d %s %s\n", args[0], r.Code, r.Stdout, r.Stderr)
}

// turn changes the simulator's settings of the spy's provider.
func (s *spy) turn(settings string) {
	if err := s.sim.Patch(s.t.Context(), forProvider(s.provider, settings)); err != nil {
		s.t.Error(err)
	}
}

// work uses the accounts with a working provider first, and then under each fault.
func (s *spy) work() {
	settings := simulator.ProviderSettings{
		Accounts:    map[string]simulator.Account{},
		AccessTTL:   new(simulator.Duration(3 * time.Second)),
		RefreshTTL:  new(simulator.Duration(time.Minute)),
		EchoSecrets: simulator.EchoForms(),
	}
	for _, a := range s.accounts {
		for name, secret := range a.secrets {
			if name == "client_key" {
				continue // the tap accepts any certificate
			}
			user := map[string]string{"app_key": "app_id", "client_secret": "client_id", "password": "username"}[name]
			settings.Accounts[fmt.Sprint(a.fields[user])] = simulator.Account{Secret: secret}
		}
	}
	if err := s.sim.Set(s.t.Context(), simulator.Settings{Providers: map[string]simulator.ProviderSettings{s.provider: settings}}); err != nil {
		s.t.Error(err)
		return
	}
	s.each(func(a leakyAccount) {
		s.mend(a)
		s.badWrites(a)
	})
	for _, kind := range simulator.FaultKinds() {
		s.turn(fmt.Sprintf(`{"faults": [{"kind": %q}]}`, kind))
		s.each(s.suffer)
		s.turn(`{"faults": null}`)
		s.each(s.mend)
		s.turn(fmt.Sprintf(`{"faults": [{"kind": %q, "on": "revoke"}]}`, kind))
		s.each(s.revoke)
	}
	for _, form := range simulator.EchoForms() { // one form at a time, because one form could hide another
		s.turn(fmt.Sprintf(`{"echo_secrets": [%q], "faults": [{"kind": "refuse"}]}`, form))
		s.each(s.suffer)
	}
	for _, settings := range []string{
		`{"faults": [{"kind": "status", "status": 429, "retry_after": "1"}]}`,
		`{"failure_status": 400, "faults": [{"kind": "refuse"}]}`, `{"failure_status": 503, "faults": [{"kind": "refuse"}]}`,
		`{"failure_status": null, "date_header": "garbage", "expiry_format": "absent"}`,
		`{"date_header": null, "expiry_format": null, "faults": null, "latency": 1.2}`,
	} {
		s.turn(settings)
		s.each(s.suffer)
	}
	s.turn(`{"faults": null, "latency": null}`)
	s.each(func(a leakyAccount) {
		s.mend(a)
		s.read(a.creds())
	})
}

// each calls do with all accounts at once.
func (s *spy) each(do func(leakyAccount)) {
	var working sync.WaitGroup
	for _, a := range s.accounts {
		working.Go(func() { do(a) })
	}
	working.Wait()
}

// mend repeats the write of the right config until a write succeeds. A write may fail because the
// time in a Retry-After has not passed, or because a slow login takes longer than the
// request_timeout of 1 s.
func (s *spy) mend(a leakyAccount) {
	harness.Within(s.t, harness.Timeout, "the right config of "+a.config+" is accepted", func() error {
		if r := s.write(a.path(), a.body(s.sim, harness.Fields{"verify_connection": true})); r.Status >= 300 {
			return fmt.Errorf("got status %d, want success: %s", r.Status, r.Raw)
		}
		return nil
	})
}

// suffer sends all requests that cause mints, while the provider is faulty.
func (s *spy) suffer(a leakyAccount) {
	broken := "messaging/config/broken-" + a.config
	s.write(a.path(), a.body(s.sim, harness.Fields{"verify_connection": true}))
	for name, secret := range a.secrets {
		s.write(a.path(), harness.Fields{name: wrong(secret)})
	}
	s.do(http.MethodPatch, a.path(), harness.Fields{"min_ttl": 2})
	s.read(a.creds())
	s.write(a.rotatePath(), nil)
	s.write(broken, a.body(s.sim, harness.Fields{"verify_connection": false}))
	s.read("messaging/creds/broken-" + a.config)
	s.read("messaging/status/broken-" + a.config)
	s.read(a.statusPath())
	s.read("messaging/metrics")
	s.do(http.MethodDelete, broken, nil)
}

func (s *spy) revoke(a leakyAccount) {
	lease := s.read(a.creds()).LeaseID
	if lease == "" {
		return
	}
	s.write("sys/leases/lookup", harness.Fields{"lease_id": lease})
	s.write("sys/leases/revoke", harness.Fields{"lease_id": lease, "sync": true})
	if a.fields["revocation_url"] != nil {
		s.write(a.rotatePath(), nil)
	}
}

// badWrites writes secrets to wrong fields and in wrong types.
func (s *spy) badWrites(a leakyAccount) {
	for name, secret := range a.secrets {
		bad := wrong(secret)
		for _, change := range []harness.Fields{
			{name: harness.Fields{"value": bad}}, {name: []any{bad}}, {name: []any{harness.Fields{"a": bad}}}, {name: bad + "\n" + bad}, {name: bad + "\x00"},
			{name: bad + strings.Repeat("x", 9000)}, {"provider": bad}, {"environment": bad}, {"token_url": bad}, {"token_url": "https://" + "user:" + bad + "@example.com/"},
			{"token_url": "ftp://example.com/" + bad}, {"revocation_url": "http://example.com/?" + bad}, {"ca_cert": bad}, {"client_cert": bad}, {"client_key": bad}, {"client_cert": bad, "client_key": bad},
			{"ca_cert": "-----BEGIN CERTIFICATE-----\n" + bad + "\n-----END CERTIFICATE-----"},
			{"request_timeout": bad}, {"min_ttl": bad}, {"min_ttl": []any{bad}}, {"lease": bad}, {"share": bad}, {"verify_connection": bad}, {"grant_type": bad}, {"auth_style": bad},
			{"token_params": harness.Fields{"password": bad}}, {"token_params": harness.Fields{"a": harness.Fields{"b": bad}}}, {"scopes": harness.Fields{"a": bad}},
			{"no_such_field": bad}, {"app_key": bad, "client_secret": bad, "password": bad}, {"name": harness.Fields{"a": bad}},
		} {
			if r := s.write(a.path(), a.body(s.sim, change)); r.Status < 400 && change["min_ttl"] == nil {
				s.t.Errorf("write of %.60v to %s: got status %d, want an error: %s", change, a.config, r.Status, r.Raw)
			}
			s.do(http.MethodPatch, a.path(), change)
			s.write("messaging/config/new-"+a.config, change)
		}
		// Vault itself logs this URI. So the secret is escaped in a form that the search does not
		// know.
		partly := strings.NewReplacer("%", "%25", " ", "%20", "+", "%2B", "&", "%26", "#", "%23").Replace(bad)
		s.do(http.MethodGet, a.creds()+"?min_ttl="+partly, nil)
	}
}

// lookAround reads every path and runs the vault command.
func (s *spy) lookAround() {
	for _, path := range []string{"messaging/config", "messaging/status", "messaging/providers"} {
		s.do("LIST", path, nil)
		s.do(http.MethodGet, path+"?help=1", nil)
	}
	for _, path := range []string{"messaging/metrics", "messaging/?help=1", "messaging/creds/a?help=1", "messaging/rotate/a?help=1", "sys/internal/specs/openapi", "sys/mounts", "sys/internal/ui/mounts/messaging", "sys/leases/count?type=irrevocable"} {
		s.read(path)
	}
	for _, a := range s.accounts {
		s.read(a.path())
		s.read("messaging/providers/" + a.provider)
		s.do("LIST", "sys/leases/lookup/"+a.creds(), nil)
	}
	a := s.accounts[0]
	for _, args := range [][]string{
		{"read", a.path()}, {"read", "-format=json", a.statusPath()}, {"list", "-detailed", "messaging/status"}, {"read", "-format=raw", "messaging/metrics"},
		{"path-help", "messaging"}, {"path-help", a.path()}, {"path-help", a.creds()}, {"read", "messaging/creds/none"}, {"write", "-f", a.rotatePath()},
		{"write", a.path(), "password=" + wrong(a.secrets["password"])}, {"patch", a.path(), "min_ttl=" + wrong(a.secrets["password"])},
		{"secrets", "list", "-detailed"}, {"lease", "revoke", "-sync", "-prefix", "messaging/creds"}, {"delete", "messaging/config/none"}, {"plugin", "info", "secret", harness.PluginName},
	} {
		s.cli(args...)
	}
}

func (s *spy) readAll() {
	for _, a := range s.accounts {
		s.read(a.creds())
		s.read(a.statusPath())
	}
}
