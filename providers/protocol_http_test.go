// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
)

// ask mints with an own definition, and returns the request.
func ask(t *testing.T, d *Definition, values map[string]secret.String, force bool) *recorder {
	t.Helper()
	r := &recorder{answer: caseAnswer{Body: `{"data":{"token":"tok","expires_in":60}}`}}
	client := testClient(t)
	client.http.Transport = transport{r}
	s := Settings{TokenURL: "https://auth.example.com/login?a=b", Values: d.Spec().WithDefaults(values), Force: force}
	got, err := d.Mint(t.Context(), client, s)
	wantToken(t, got, err, "tok", time.Minute)
	return r
}

func TestHTTPRequest(t *testing.T) {
	const account = "Basic am9lOnMiYw==" // joe:s"c
	d := parse(t, acme)
	required := values("api_user", "joe", "api_password", `s"c`)
	all := values("labels", "<one> two")
	maps.Copy(all, required)
	for _, test := range []struct {
		values              map[string]secret.String
		force               bool
		query, body, labels string
	}{
		{required, false, "a=b&v=2", `{"user":"joe","remember":false,"labels":["all"],"n":1.50}`, ""},
		{required, true, "a=b&v=2", `{"user":"joe","remember":false,"labels":["all"],"n":1.50,"force_refresh":true}`, ""},
		{all, false, "a=b&labels=%3Cone%3E+two&v=2", `{"user":"joe","remember":false,"labels":["\u003cone\u003e two","all"],"n":1.50}`, "<one> two"},
	} {
		r := ask(t, d, test.values, test.force)
		h := r.request.Header
		if r.body != test.body || r.request.URL.RawQuery != test.query {
			t.Errorf("force %v: got query %s with body\n%s\nwant %s with\n%s", test.force, r.request.URL.RawQuery, r.body, test.query, test.body)
		}
		if h.Get("Authorization") != account || h.Get("X-Acme-Version") != "3" || h.Get("X-Acme-Labels") != test.labels || h.Get("Content-Type") != jsonType {
			t.Errorf("got headers %v", h)
		}
	}
}

func TestHTTPOtherRequests(t *testing.T) {
	const start = "title: T\nfields: {id: {description: ID.}, key: {description: Key., secret: true}}\nhttp:\n  token: /data/token\n  lifetime: {fixed: 1m}\n"
	account := values("id", "a&b", "key", "k=y")
	for _, test := range []struct{ definition, method, url, authorization, contentType, body string }{
		{"  form: {i: \"{id}\", key: \"{key}\", c: d}\n", "POST", "https://auth.example.com/login?a=b", "", formType, "c=d&i=a%26b&key=k%3Dy"},
		{"  method: GET\n  query: {k: \"{key}\"}\n", "GET", "https://auth.example.com/login?a=b&k=k%3Dy", "", "", ""},
		{"  auth: {bearer: \"{key}\"}\n", "POST", "https://auth.example.com/login?a=b", "Bearer k=y", "", ""},
		{"  headers: {authorization: \"Basic {id} {key}\", accept: \"*/*\", content-type: text/json}\n  json: {}\n", "POST", "https://auth.example.com/login?a=b", "Basic a&b k=y", "text/json", "{}"},
		{"  form: {i: \"{id}\"}\n  query: {k: \"{key}\"}\n  force: {form: {i: x}, query: {f: \"1\"}, headers: {X-F: \"2\"}}\n", "POST", "https://auth.example.com/login?a=b&f=1&k=k%3Dy", "", formType, "i=x"},
	} {
		r := ask(t, parse(t, start+test.definition), account, true)
		if got := r.request; got.Method != test.method || got.URL.String() != test.url || r.body != test.body ||
			got.Header.Get("Authorization") != test.authorization || got.Header.Get("Content-Type") != test.contentType {
			t.Errorf("%s\ngot  %s %s %v %q\nwant %+v", test.definition, got.Method, got.URL, got.Header, r.body, test)
		}
	}
}

// mintWith requests a token with a definition made from the given parts.
func mintWith(t *testing.T, parts string, s Settings, r reply) (token.Token, error) {
	t.Helper()
	d := parse(t, "title: T\nfields: {key: {description: Key., secret: true}}\nhttp:\n  auth: {bearer: \"{key}\"}\n  token: /token\n"+parts)
	s.TokenURL, s.Values = serve(t, r).url, values("key", hidden)
	return d.Mint(t.Context(), testClient(t), s)
}

func TestLifetimes(t *testing.T) {
	soon := jwt(`{"exp":` + enablexWire.lifetime("60") + `}`)
	for _, test := range []struct {
		lifetime, body string
		want           time.Duration
		problem        string
	}{
		{"seconds: /e", `"e":60`, time.Minute, ""},
		{"seconds: /e", `"e":"60"`, time.Minute, ""},
		{"seconds: /d/0/e", `"d":[{"e":60}]`, time.Minute, ""},
		{"seconds: /e", `"x":1`, 0, "the answer has no e, so default_ttl must be set"},
		{"seconds: /e", `"e":0`, 0, "e gives a lifetime that has already ended"},
		{"seconds: /e", `"e":"soon"`, 0, "e must be a number"},
		{"milliseconds: /e", `"e":60000`, time.Minute, ""},
		{"until_unix: /e", `"e":` + enablexWire.lifetime("60"), time.Minute, ""},
		{"until_unix: /d/e", `"d":{"e":"` + enablexWire.lifetime("-60") + `"}`, 0, "d/e gives a lifetime that has already ended"},
		{"until_unix_ms: /e", `"e":` + enablexWire.lifetime("60") + `000`, time.Minute, ""},
		{"until_time: /e", `"e":"2031-05-04T12:01:00Z"`, time.Minute, ""},
		{"until_time: /e", `"e":"2031-05-04 17:31:00+05:30"`, time.Minute, ""},
		{"until_time: /e", `"e":"tomorrow"`, 0, "e must be a date and time"},
		{"until_time: /e", `"e":1935662460`, 0, "e must be a date and time"},
		{"fixed: 1m", `"x":1`, time.Minute, ""},
		{"jwt: true", `"token":"` + soon + `"`, time.Minute, ""},
		{"jwt: true", `"x":1`, 0, "the token states no end, so default_ttl must be set"},
		{"jwt: true, fixed: 2m", `"token":"` + soon + `"`, time.Minute, ""},
		{"jwt: true, fixed: 2m", `"x":1`, 2 * time.Minute, ""},
		{"seconds: /e, fixed: 1m", `"e":3600`, time.Minute, ""},
		{"seconds: /e, fixed: 1m", `"e":30`, 30 * time.Second, ""},
		{"seconds: /e, fixed: 1m", `"x":1`, 0, "the answer has no e"}, // an upper bound is no lifetime
		{"seconds: /e, until_unix: /u", `"e":60,"u":` + enablexWire.lifetime("30"), 30 * time.Second, ""},
		{"seconds: /e, until_unix: /u", `"e":60`, time.Minute, ""},
	} {
		got, err := mintWith(t, "  lifetime: {"+test.lifetime+"}\n", Settings{}, reply{body: `{"token":"tok",` + test.body + `}`})
		if test.problem != "" {
			wantFailure(t, err, token.Malformed, test.problem)
		} else if err != nil || (got.Lifetime-test.want).Abs() > time.Microsecond {
			t.Errorf("%s with %s: got %v, error %v; want %v", test.lifetime, test.body, got.Lifetime, err, test.want)
		}
	}
	got, err := mintWith(t, "  lifetime: {jwt: true}\n", Settings{DefaultTTL: time.Hour}, reply{body: `{"token":"tok"}`})
	wantToken(t, got, err, "tok", time.Hour)
}

func TestOutcomes(t *testing.T) {
	const parts = `  lifetime: {fixed: 1h}
  success: {status: [201], values: {/code: [0, null], /ok: true}}
  errors:
    code: [/code, /result]
    message: [/message, /info/text]
    refused: {status: [402], code: [1003, E1], message: [Bad Key]}
    operator: {code: [40164], status: [409]}
    rate_limited: {code: [45009], message: [too often]}
    unavailable: {code: [-1], status: [418]}
`
	const refused, limited, unavailable, malformed = token.Refused, token.RateLimited, token.Unavailable, token.Malformed
	for _, test := range []struct {
		status      int
		body        string
		kind        token.Kind
		code, words string
		operator    bool
	}{
		{201, `{"token":"tok","code":5,"ok":true}`, refused, "5", "", false},
		{201, `{"token":"tok","code":0,"ok":false}`, refused, "0", "", false},
		{201, `{"token":"tok"}`, malformed, "", "", false},
		{200, `{"token":"tok","ok":true}`, malformed, "", "", false},
		{200, `{"code":"1003.0","message":"a","info":{"text":"b"}}`, refused, "1003.0", "a: b", false},
		{200, `{"result":"E1"}`, refused, "E1", "", false},
		{500, `{"result":"E1"}`, refused, "E1", "", false},
		{200, `{"message":"a bad key it is"}`, refused, "", "a bad key it is", false},
		{503, `{"message":"a bad key it is"}`, refused, "", "a bad key it is", false},
		{402, `{}`, refused, "", "", false},
		{402, `<p>`, refused, "", "", false},
		{402, `{"code":-1}`, unavailable, "-1", "", false},
		{402, `{"code":7,"message":"Too often"}`, limited, "7", "Too often", false},
		{200, `{"code":40164,"message":"10.0.0.1 is not allowed"}`, refused, "40164", "10.0.0.1 is not allowed", true},
		{409, ``, refused, "", "", true},
		{200, `{"code":45009}`, limited, "45009", "", false},
		{418, `{"error":"x"}`, unavailable, "x", "", false},
		{418, `<p>`, unavailable, "", "", false},
		{200, `{"message":"suspended"}`, refused, "", "suspended", false},
		{200, `{"result":0,"message":"suspended"}`, malformed, "0", "suspended", false},
	} {
		_, err := mintWith(t, parts, Settings{}, reply{status: test.status, body: test.body})
		e := failure(t, err)
		if e.Kind != test.kind || e.Code != test.code || e.Words != test.words || e.Operator != test.operator {
			t.Errorf("%d %s:\ngot  %v (%s, code %q, words %q, operator %t)\nwant %+v", test.status, test.body, e, e.Kind, e.Code, e.Words, e.Operator, test)
		}
		if want := "account blocked: "; strings.HasPrefix(e.Error(), want) != test.operator {
			t.Errorf("%d %s: got %q, want it to begin with %q: %t", test.status, test.body, e, want, test.operator)
		}
	}
	for _, body := range []string{`{"token":"tok","ok":true}`, `{"token":"tok","code":null,"ok":true}`, `{"token":"tok","code":"0","ok":true}`, `{"token":"tok","code":0.0,"ok":true}`} {
		got, err := mintWith(t, parts, Settings{}, reply{status: 201, body: body})
		wantToken(t, got, err, "tok", time.Hour)
	}
}

func TestOutputs(t *testing.T) {
	const parts = "  lifetime: {fixed: 1h}\n  outputs: {base_url: /b, number: /n/0, flag: /f}\n"
	for body, want := range map[string]map[string]string{
		`"b":"https://x","n":[1.5],"f":true`:                          {"base_url": "https://x", "number": "1.5", "flag": "true"},
		`"b":null,"n":7,"f":{"a":1}`:                                  nil,
		`"b":"","n":[[1]],"f":false`:                                  {"flag": "false"},
		`"b":"a\u0000b","n":["c\nd"],"f":"\u202e"`:                    nil,
		`"b":"` + strings.Repeat("x", 5000) + `"`:                     nil,
		fmt.Sprintf(`"b":%s,"n":[2]`, quote(hidden)):                  {"number": "2"},
		fmt.Sprintf(`"b":%s`, quote("k="+writings(hidden)["base64"])): nil,
	} {
		got, err := mintWith(t, parts, Settings{}, reply{body: `{"token":"tok",` + body + `}`})
		if err != nil || !reflect.DeepEqual(got.Outputs, want) {
			t.Errorf("%s: got outputs %v, error %v; want %v", body, got.Outputs, err, want)
		}
	}
}
