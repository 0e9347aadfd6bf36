// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/internal/clock"
	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// testCase is a config, the expected request, and answers with their results. catalogue/testdata
// contains the cases of the catalogue.
type testCase struct {
	Name    string
	Config  map[string]any
	Request *wantRequest
	Force   *wantRequest
	Answers []caseAnswer

	// Token and Lifetime describe a token that the engine signs. Such cases have no request.
	Token    *wantJWT
	Lifetime time.Duration
}

// wantRequest is an expected request. Other headers are allowed. Without Form and JSON, the body
// must be empty.
type wantRequest struct {
	Method, URL string
	Headers     map[string]string
	Form        map[string]any
	JSON        any
	Signed      map[string]wantJWT // parameters of the form that are JWTs
}

// caseAnswer is a provider's answer, with the expected token or error.
type caseAnswer struct {
	Name    string
	Status  int
	Headers map[string]string
	Body    string

	Token    string
	Lifetime time.Duration
	Refresh  string
	// RefreshLifetime is 0 if the refresh token has no known end.
	RefreshLifetime time.Duration `yaml:"refresh_lifetime"`
	Outputs         map[string]string

	Kind        string
	Code, Words string
	Operator    bool
	Client      bool // the client is wrong, not the refresh token
}

// readCases returns the cases in a file.
func readCases(t testing.TB, file string) []testCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: no such file; each definition of the catalogue must have cases", file)
	}
	var cases []testCase
	decode := yaml.NewDecoder(bytes.NewReader(text))
	decode.KnownFields(true)
	if err := decode.Decode(&cases); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return cases
}

func casesOf(t testing.TB, provider string) []testCase {
	t.Helper()
	return readCases(t, filepath.Join("catalogue", "testdata", provider+".yaml"))
}

func TestCatalogue(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Spec().Name, func(t *testing.T) {
			runCases(t, p, casesOf(t, p.Spec().Name))
		})
	}
	files, err := filepath.Glob("catalogue/testdata/*.yaml")
	if err != nil || len(files) != len(All()) {
		t.Errorf("got %d files with cases, error %v; want one for each of the %d definitions", len(files), err, len(All()))
	}
}

func runCases(t *testing.T, p Provider, cases []testCase) {
	kinds := map[string]bool{}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			s := caseSettings(t, p.Spec(), c.Config)
			if err := p.Validate(s); err != nil {
				t.Fatalf("config: got %v, want it valid", err)
			}
			if p.Spec().SelfSigned {
				c.runSelfSigned(t, p, s)
				return
			}
			if c.Request == nil || len(c.Answers) == 0 {
				t.Fatal("got no request or no answers, want both")
			}
			for _, answer := range c.Answers {
				kinds[answer.Kind] = true
				t.Run(answer.Name, func(t *testing.T) { c.run(t, p, s, answer, c.Request) })
			}
			if c.Force != nil {
				if !p.Spec().CanForce {
					t.Fatal("got a forced request of a provider that has none")
				}
				s.Force = true
				t.Run("forced", func(t *testing.T) { c.run(t, p, s, c.Answers[0], c.Force) })
			}
		})
	}
	if !p.Spec().SelfSigned && (!kinds[""] || !kinds["refused"]) {
		t.Errorf("got answers of the kinds %v, want a success and a refusal among them", kinds)
	}
}

// caseSettings returns the settings of a config in a case.
func caseSettings(t testing.TB, spec Spec, config map[string]any) Settings {
	t.Helper()
	s := Settings{Values: map[string]secret.String{}}
	environment := ""
	for name, v := range config {
		text := fmt.Sprint(v)
		switch value := v.(type) {
		case []any:
			text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
		case map[string]any:
			pairs := url.Values{}
			for key, v := range value {
				pairs.Set(key, fmt.Sprint(v))
			}
			text = pairs.Encode()
		}
		if i := slices.IndexFunc(spec.Fields, func(f Field) bool { return f.Name == name }); i >= 0 && spec.Fields[i].Kind == JSON {
			text = caseFile(t, v)
		}
		var err error
		switch name {
		case "environment":
			environment = text
		case "token_url":
			s.TokenURL = text
		case "default_ttl":
			s.DefaultTTL, err = time.ParseDuration(text)
		case "max_ttl":
			s.MaxTTL, err = time.ParseDuration(text)
		default:
			if !slices.ContainsFunc(spec.Fields, func(f Field) bool { return f.Name == name }) {
				t.Fatalf("config: %s is not a field of the definition", name)
			}
			s.Values[name] = secret.String(withTestKey(text))
		}
		if err != nil {
			t.Fatalf("config: %s: %v", name, err)
		}
	}
	s.Values = spec.WithDefaults(s.Values)
	for _, f := range spec.Fields {
		if _, ok := s.Values[f.Name]; !ok && f.Required {
			t.Fatalf("config: %s is required", f.Name)
		}
	}
	for _, e := range spec.Endpoints {
		if s.TokenURL == "" && (environment == "" || environment == e.Environment) {
			s.TokenURL = e.URL(s.Values)
		}
	}
	if s.TokenURL == "" && !spec.SelfSigned {
		t.Fatal("config: no environment matches, and there is no token_url")
	}
	return s
}

// recorder answers requests and records the last one.
type recorder struct {
	answer  caseAnswer
	request *http.Request
	body    string
	count   int
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.request, r.body = req, string(must(io.ReadAll(req.Body)))
	r.count++
	for name, value := range r.answer.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(max(r.answer.Status, 200))
	io.WriteString(w, r.answer.Body)
}

// run requests a token, and checks the request and the result.
func (c testCase) run(t *testing.T, p Provider, s Settings, answer caseAnswer, want *wantRequest) {
	client := testClient(t)
	r := &recorder{answer: answer}
	client.http.Transport = transport{r}
	now := noon
	if date := answer.Headers["Date"]; date != "" {
		now = must(http.ParseTime(date))
	}
	client.clock = func() clock.Instant { return clock.Instant{Wall: now} }
	got, err := p.Mint(t.Context(), client, s)
	if r.count != 1 {
		t.Fatalf("got %d requests, error %v; want 1 request", r.count, err)
	}
	want.check(t, r)
	if answer.Kind == "" {
		wantToken(t, got, err, answer.Token, answer.Lifetime)
		if err == nil {
			checkToken(t, got)
		}
		if got.Refresh.Reveal() != answer.Refresh || got.RefreshLifetime != answer.RefreshLifetime {
			t.Errorf("got refresh token %q for %v, want %q for %v", got.Refresh.Reveal(), got.RefreshLifetime, answer.Refresh, answer.RefreshLifetime)
		}
		if !reflect.DeepEqual(got.Outputs, answer.Outputs) {
			t.Errorf("got outputs %v, want %v", got.Outputs, answer.Outputs)
		}
		return
	}
	var secrets []string
	for _, f := range p.Spec().Fields {
		if f.Secret && s.Value(f.Name) != "" {
			secrets = append(secrets, s.Value(f.Name))
		}
	}
	e := failure(t, err, secrets...)
	if e.Kind.String() != answer.Kind || e.Code != answer.Code || e.Words != answer.Words || e.Operator != answer.Operator || e.Client != answer.Client {
		t.Errorf("got %q\nof kind %s with code %q, words %q, operator %t, client %t\nwant    %s with code %q, words %q, operator %t, client %t",
			e, e.Kind, e.Code, e.Words, e.Operator, e.Client, answer.Kind, answer.Code, answer.Words, answer.Operator, answer.Client)
	}
}

// check compares the request that went out with want.
func (want *wantRequest) check(t *testing.T, r *recorder) {
	t.Helper()
	method := want.Method
	if method == "" {
		method = http.MethodPost
	}
	if r.request.Method != method {
		t.Errorf("got method %s, want %s", r.request.Method, method)
	}
	u := must(url.Parse(want.URL))
	if got := r.request.URL; got.Scheme != u.Scheme || got.Host != u.Host || got.EscapedPath() != u.EscapedPath() || !reflect.DeepEqual(got.Query(), u.Query()) {
		t.Errorf("got URL %s, want %s", got, u)
	}
	for name, value := range want.Headers {
		if got := r.request.Header.Get(name); got != value {
			t.Errorf("got %s: %q, want %q", name, got, value)
		}
	}
	switch {
	case want.Form != nil:
		form, err := url.ParseQuery(r.body)
		for name, jwt := range want.Signed {
			jwt.check(t, form.Get(name))
			form.Del(name)
		}
		wanted := url.Values{}
		for name, value := range want.Form {
			if list, ok := value.([]any); ok {
				for _, v := range list {
					wanted.Add(name, fmt.Sprint(v))
				}
			} else {
				wanted.Set(name, fmt.Sprint(value))
			}
		}
		if err != nil || !reflect.DeepEqual(form, wanted) || r.request.Header.Get("Content-Type") != formType {
			t.Errorf("got body %q of type %s, want the form %v", r.body, r.request.Header.Get("Content-Type"), wanted)
		}
	case want.JSON != nil:
		wanted := must(json.Marshal(want.JSON))
		if !sameJSON(r.body, string(wanted)) || r.request.Header.Get("Content-Type") != jsonType {
			t.Errorf("got body %q of type %s, want the JSON %s", r.body, r.request.Header.Get("Content-Type"), wanted)
		}
	case r.body != "":
		t.Errorf("got body %q, want none", r.body)
	}
}

func sameJSON(one, other string) bool {
	var a, b any
	return json.Unmarshal([]byte(one), &a) == nil && json.Unmarshal([]byte(other), &b) == nil && reflect.DeepEqual(a, b)
}

// successOf returns the first success.
func successOf(cases []testCase) (testCase, caseAnswer) {
	return find(cases, func(a caseAnswer) bool { return a.Kind == "" })
}

// refusalOf returns the first refusal with words.
func refusalOf(cases []testCase) (testCase, caseAnswer) {
	return find(cases, func(a caseAnswer) bool { return a.Kind == token.Refused.String() && a.Words != "" })
}

func find(cases []testCase, is func(caseAnswer) bool) (testCase, caseAnswer) {
	for _, c := range cases {
		if i := slices.IndexFunc(c.Answers, is); i >= 0 {
			return c, c.Answers[i]
		}
	}
	return testCase{}, caseAnswer{}
}
