// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// Whatever users do, right and wrong, and whatever each provider answers, by each
// fault that the simulator knows: no credential, no token and no refresh token is in
// the server's log at trace level, which has the plugin's too, in the audit log, in
// an answer other than that of a read of creds, or in what the vault command prints.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	w.EnableAudit(t)
	at, tap := tapped(t, w.sim)
	leaky := leakyAccounts()
	spies := map[string]*spy{}
	for _, a := range leaky {
		if spies[a.provider] == nil {
			spies[a.provider] = &spy{t: t, world: world{w.Server, at}, provider: a.provider}
		}
		spies[a.provider].accounts = append(spies[a.provider].accounts, a)
	}
	var working sync.WaitGroup
	for _, s := range spies {
		working.Go(s.work)
	}
	working.Wait()
	last := &spy{t: t, world: world{w.Server, at}, accounts: leaky}
	last.lookAround()
	w.KillPlugin(t)
	last.readAll()
	last.write("sys/plugins/reload/backend", harness.Fields{"plugin": harness.PluginName})
	last.readAll()
	last.cli("secrets", "disable", "messaging")

	credentials := map[string]string{}
	for _, a := range leaky {
		for name, secret := range a.secrets {
			credentials[fmt.Sprintf("%s of %s", name, a.config)] = secret
			credentials[fmt.Sprintf("wrong %s of %s", name, a.config)] = wrong(secret)
		}
	}
	tokens := tap.tokens()
	if len(tokens) < 50 {
		t.Errorf("only %d tokens were minted", len(tokens))
	}
	all := maps.Clone(credentials)
	maps.Copy(all, tokens)
	tokenless := maps.Clone(credentials) // what a read of creds has not, whosever its token is
	for name, token := range tokens {
		if strings.HasPrefix(name, "refresh") {
			tokenless[name] = token
		}
	}
	if len(tokenless) < len(credentials)+20 {
		t.Errorf("only %d refresh tokens were minted", len(tokenless)-len(credentials))
	}
	places := map[string]string{"server's log": file(t, w.Log), "audit log": file(t, w.Audit)}
	said, reads := new(strings.Builder), new(strings.Builder)
	for _, s := range append(slices.Collect(maps.Values(spies)), last) {
		said.WriteString(s.said.String())
		reads.WriteString(s.reads.String())
	}
	places["answers and output"] = said.String()
	forAll, forReads := newSearch(t, all), newSearch(t, tokenless)
	for name, text := range places {
		report(t, name, forAll.find(text))
	}
	report(t, "answers to reads of creds", forReads.find(reads.String()))

	// else there was nothing to find it in
	for name, words := range map[string][]string{
		"server's log":       {"[TRACE]", "minting a token failed", "credentials refused", "rate-limited", "malformed", "unavailable", "was not revoked", "[redacted]"},
		"audit log":          {"messaging/creds/", "messaging/config/", "hmac-sha256:", "messaging/rotate/", "sys/leases/revoke"},
		"answers and output": {"secrets_set", "[redacted]", "backing_off", "vault_messaging_reads_total", "want a text", "last_error", "nothing was stored"},
	} {
		for _, word := range words {
			if !strings.Contains(places[name], word) {
				t.Errorf("the %s of %d bytes has no %q: it is not what it should be", name, len(places[name]), word)
			}
		}
	}
	t.Logf("looked for %d credentials and %d tokens in %d bytes of log, %d of audit log, %d of answers, %d of reads", len(credentials), len(tokens),
		len(places["server's log"]), len(places["audit log"]), len(places["answers and output"]), reads.Len())

	// One leak, of each kind and form, put into a copy of each place, is found.
	for name, text := range places {
		middle := text[len(text)/2 : min(len(text), len(text)/2+1<<14)]
		for _, secret := range append(slices.Sorted(maps.Keys(tokens))[1:20], "password of sinch-odd", "wrong app_key of rcs-odd") {
			for _, f := range formsOf(all[secret]) {
				planted := middle[:len(middle)/2] + f.text + middle[len(middle)/2:]
				if got := forAll.find(planted); len(got) != 1 {
					t.Errorf("%s, %s, put into the %s: found %q", secret, f.how, name, got)
				}
			}
		}
	}
}

func report(t *testing.T, place string, found []string) {
	t.Helper()
	for i, f := range found {
		if i == 5 {
			t.Errorf("and %d more in the %s", len(found)-i, place)
			return
		}
		t.Errorf("in the %s: %s", place, f)
	}
}

// leakyAccount is an account whose secrets are not easily missed.
type leakyAccount struct {
	account
	secrets map[string]string // by field
}

// leakySecret is a secret with what the ways of escaping differ in, and nothing in
// common with another but that.
func leakySecret(of string) string {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(of)))
	return sum[:16] + ` "<&> %/+\ü=~ ` + sum[16:32]
}

// wrong is a secret that is not the account's.
func wrong(secret string) string { return leakySecret("not " + secret) }

// leakyAccounts returns accounts of each provider, with each way of logging in, and
// with tokens that are shared and such that are not.
func leakyAccounts() []leakyAccount {
	revocable := harness.Fields{"revocation_url": "given later"}
	own := harness.Fields{"revocation_url": "given later", "share": false}
	var all []leakyAccount
	add := func(a account, config string, more harness.Fields, secretFields ...string) {
		a = a.with(config, more)
		l := leakyAccount{a, map[string]string{}}
		for _, f := range secretFields {
			l.secrets[f] = leakySecret(config + "-" + f)
			l.fields[f] = l.secrets[f]
		}
		all = append(all, l)
	}
	add(sinch, "sinch-odd", revocable, "password")
	add(sinch, "sinch-own", own, "password")
	add(whatsapp, "whatsapp-odd", nil, "app_key")
	add(rcs, "rcs-odd", nil, "app_key")
	add(sms, "sms-odd", harness.Fields{"lease": false}, "app_key")
	add(conversation, "conversation-odd", nil, "client_secret")
	add(generic, "generic-header", revocable, "client_secret")
	add(generic, "generic-own", own, "client_secret")
	add(genericUser, "generic-body", harness.Fields{"auth_style": "body", "revocation_url": "given later"}, "client_secret", "password")
	for i, a := range all {
		all[i].fields["request_timeout"] = "1s"
		for _, name := range []string{"username", "app_id", "client_id"} { // each has a name of its own at the provider
			if _, ok := a.fields[name]; ok {
				all[i].fields[name] = name + "-of-" + a.config
			}
		}
	}
	return all
}

// spy uses accounts, and keeps what is said.
type spy struct {
	world
	t        *testing.T
	provider string
	accounts []leakyAccount

	mu    sync.Mutex
	said  strings.Builder // answers, and output
	reads strings.Builder // answers to reads of creds that succeeded
}

func (s *spy) do(method, path string, body any) harness.Response {
	r, err := s.Do(method, path, body)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := &s.said
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

// cli runs the vault command, which must not fail the test.
func (s *spy) cli(args ...string) {
	r := s.CLI(s.t, args...)
	fmt.Fprintf(&s.said, "vault %s: %d %s %s\n", args[0], r.Code, r.Stdout, r.Stderr)
}

// good returns what a config write of the account has; more goes over it.
func (s *spy) good(a leakyAccount, more harness.Fields) harness.Fields {
	f := a.body(s.sim, more)
	if f["revocation_url"] == a.fields["revocation_url"] && f["revocation_url"] != nil {
		f["revocation_url"] = revocationURL(s.sim, a.provider)
	}
	return f
}

// turn merges knobs of this spy's provider.
func (s *spy) turn(knobs string) {
	if err := s.sim.Patch(s.t.Context(), forProvider(s.provider, knobs)); err != nil {
		s.t.Error(err)
	}
}

// work has all go well, and then wrong in every way.
func (s *spy) work() {
	names := simulator.ProviderSettings{
		Accounts:    map[string]simulator.Account{},
		AccessTTL:   simulator.Ptr(simulator.Duration(3e9)),
		RefreshTTL:  simulator.Ptr(simulator.Duration(60e9)),
		EchoSecrets: simulator.EchoForms(),
	}
	for _, a := range s.accounts {
		for name, secret := range a.secrets {
			user := map[string]string{"app_key": "app_id", "client_secret": "client_id", "password": "username"}[name]
			names.Accounts[fmt.Sprint(a.fields[user])] = simulator.Account{Secret: secret}
		}
	}
	if err := s.sim.Set(s.t.Context(), simulator.Settings{Providers: map[string]simulator.ProviderSettings{s.provider: names}}); err != nil {
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
		s.each(s.end)
	}
	for _, form := range simulator.EchoForms() { // one at a time, where one could hide another
		s.turn(fmt.Sprintf(`{"echo_secrets": [%q], "faults": [{"kind": "refuse"}]}`, form))
		s.each(s.suffer)
	}
	for _, knobs := range []string{
		`{"faults": [{"kind": "status", "status": 429, "retry_after": "1"}]}`,
		`{"failure_status": 400, "faults": [{"kind": "refuse"}]}`, `{"failure_status": 503, "faults": [{"kind": "refuse"}]}`,
		`{"failure_status": null, "date_header": "garbage", "expiry_format": "absent"}`,
		`{"date_header": null, "expiry_format": null, "faults": null, "latency": 1.2}`,
	} {
		s.turn(knobs)
		s.each(s.suffer)
	}
	s.turn(`{"faults": null, "latency": null}`)
	s.each(func(a leakyAccount) {
		harness.Within(s.t, 10*time.Second, "a Retry-After is over", func() error {
			r := s.write(a.path(), s.good(a, nil))
			if r.Status >= 300 {
				return fmt.Errorf("%d %s", r.Status, r.Raw)
			}
			return nil
		})
		s.mend(a)
		s.read(a.creds())
	})
}

// each does something with all accounts at once.
func (s *spy) each(do func(leakyAccount)) {
	var working sync.WaitGroup
	for _, a := range s.accounts {
		working.Go(func() { do(a) })
	}
	working.Wait()
}

// mend writes the config as it should be.
func (s *spy) mend(a leakyAccount) {
	if r := s.write(a.path(), s.good(a, harness.Fields{"verify_connection": true})); r.Status >= 300 {
		s.t.Errorf("%s: %d %s", a.config, r.Status, r.Raw)
	}
}

// suffer does all that asks the provider for a token, which goes wrong.
func (s *spy) suffer(a leakyAccount) {
	broken := "messaging/config/broken-" + a.config
	s.write(a.path(), s.good(a, harness.Fields{"verify_connection": true}))
	for name, secret := range a.secrets {
		s.write(a.path(), harness.Fields{name: wrong(secret)})
	}
	s.do(http.MethodPatch, a.path(), harness.Fields{"min_ttl": 2})
	s.read(a.creds())
	s.write(a.rotatePath(), nil)
	s.write(broken, s.good(a, harness.Fields{"verify_connection": false}))
	s.read("messaging/creds/broken-" + a.config)
	s.read("messaging/status/broken-" + a.config)
	s.read(a.statusPath())
	s.read("messaging/metrics")
	s.do(http.MethodDelete, broken, nil)
}

// end ends a token, if it can be, which goes wrong.
func (s *spy) end(a leakyAccount) {
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

// badWrites puts secrets where they do not belong, and in forms that are not taken.
func (s *spy) badWrites(a leakyAccount) {
	for name, secret := range a.secrets {
		bad := wrong(secret)
		for _, change := range []harness.Fields{
			{name: harness.Fields{"value": bad}}, {name: []any{bad}}, {name: []any{harness.Fields{"a": bad}}}, {name: bad + "\n" + bad}, {name: bad + "\x00"},
			{name: bad + strings.Repeat("x", 9000)}, {"provider": bad}, {"environment": bad}, {"token_url": bad}, {"token_url": "https://" + "user:" + bad + "@example.com/"},
			{"token_url": "ftp://example.com/" + bad}, {"revocation_url": "http://example.com/?" + bad}, {"ca_cert": bad},
			{"ca_cert": "-----BEGIN CERTIFICATE-----\n" + bad + "\n-----END CERTIFICATE-----"},
			{"request_timeout": bad}, {"min_ttl": bad}, {"min_ttl": []any{bad}}, {"lease": bad}, {"share": bad}, {"verify_connection": bad}, {"grant_type": bad}, {"auth_style": bad},
			{"token_params": harness.Fields{"password": bad}}, {"token_params": harness.Fields{"a": harness.Fields{"b": bad}}}, {"scopes": harness.Fields{"a": bad}},
			{"no_such_field": bad}, {"app_key": bad, "client_secret": bad, "password": bad}, {"name": harness.Fields{"a": bad}},
		} {
			if r := s.write(a.path(), s.good(a, change)); r.Status < 400 && change["min_ttl"] == nil {
				s.t.Errorf("%s took %.60v: %s", a.config, change, r.Raw)
			}
			s.do(http.MethodPatch, a.path(), change)
			s.write("messaging/config/new-"+a.config, change)
		}
		s.do(http.MethodGet, a.creds()+"?min_ttl="+strings.NewReplacer("%", "%25", " ", "%20", "+", "%2B", "&", "%26", "#", "%23").Replace(bad), nil)
	}
}

// lookAround does what shows things.
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
