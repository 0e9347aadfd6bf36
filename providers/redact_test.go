// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestRedactorWithholds(t *testing.T) {
	r := redactor{[]string{"s3cret/word", "word+more", "k😀y", "refresh token", "line one\nline\ttwo"}}
	for _, text := range []string{
		"s3cret/word",
		"bad s3cret/word!",
		"S3CRET/WORD",
		"s3cre%74%2fword",
		"wo%72d%2Bmore",
		`s3cret\/word`, // PHP's JSON
		`s3cret\u002Fword`,
		`k\ud83d\ude00y`,
		`k\uD83D\uDE00y`,
		"s3cret&#x2F;word",
		"s3cret&#47;word",
		"refresh_token=refresh+token&x",
		"s3cret%252Fword",
		"word%252Bmore",
		"s3cret&amp;#47;word",
		`word\u00252Bmore`,            // JSON of a form
		`s3cret%5C%2Fword`,            // a form of JSON
		`\\u0073\u0033cret\u002fword`, // after a stray backslash
		"s3\x00cr\u200bet/wo\u202erd",
		"s3\xffcret/word \xc3",
		"s 3 c r e t / w o r d",
		"refresh\n  token",
		"line one line two",
		`line one\nline\ttwo`,
		"Basic czNjcmV0L3d\r\n vcmQ=",
	} {
		if got := r.show(text, maxWords); got != withheld {
			t.Errorf("show(%q): got %q, want %q", text, got, withheld)
		}
	}
}

// The redactor cannot find a secret such as "+/", so it withholds all texts.
func TestRedactorOfASecretWithoutLetters(t *testing.T) {
	for _, secret := range []string{"- ", "+/", `\`} {
		if got := (redactor{[]string{secret}}).show("user not found", maxWords); got != withheld {
			t.Errorf("secret %q: got %q, want %q", secret, got, withheld)
		}
		if got := (redactor{[]string{secret}}).show("", maxWords); got != "" {
			t.Errorf("secret %q in no text: got %q, want none", secret, got)
		}
	}
}

func TestRedactorShowsOtherTexts(t *testing.T) {
	r := newRedactor(mustLookup(t, "sinch-india").Spec(), Settings{Values: values("username", "acme", "password", "s3cret/word")}, "")
	for text, want := range map[string]string{
		"no such user: acme":               "no such user: acme",
		"s3cret-sword":                     "s3cret-sword",
		`50% &amp \u12 \ & %zz &zz; \q %`:  `50% &amp \u12 \ & %zz &zz; \q %`,
		"\t a \r\n\u2028b\x00\u202e\xff c": "a b c",
		"पासवर्ड गलत है":                   "पासवर्ड गलत है",
		strings.Repeat("ü", 300):           strings.Repeat("ü", 300),
		strings.Repeat("ü", 301):           strings.Repeat("ü", 299) + "…",
	} {
		if got := r.show(text, maxWords); got != want {
			t.Errorf("show(%q): got %q, want %q", text, got, want)
		}
	}
	if got := (redactor{}).withToken("tok").show("tok", maxCode); got != "tok" {
		t.Errorf("a token of 3 bytes: got %q, want it shown", got)
	}
}

// The redactor searches the uncut text. Otherwise, a cut text could end with a part of a secret.
func TestRedactorWithholdsBeforeCutting(t *testing.T) {
	r := redactor{}.withToken("0123456789abcdef")
	for before := 280; before <= 320; before++ {
		if got := r.show(strings.Repeat("ü", before)+"0123456789abcdef", maxWords); got != withheld {
			t.Errorf("a secret after %d characters: got %q", before, got)
		}
	}
}

// A provider may repeat a whole request in base64.
func TestRedactorFindsSecretsInBase64(t *testing.T) {
	for _, secret := range []string{"p", "pa", "päs", `pa"ss word/`, strings.Repeat("?>~", 9)} {
		r := redactor{[]string{secret}}
		for _, sent := range []string{secret, url.QueryEscape(secret), strings.Trim(quote(secret), `"`)} {
			if sent != secret && secret[0] == '?' {
				continue
			}
			for before := range 6 {
				request := strings.Repeat("x", before) + sent + "&and=more"
				for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
					text := e.EncodeToString([]byte(request))
					for _, text := range []string{text, strings.ToLower(text), url.QueryEscape(text)} {
						if !r.isIn(text) {
							t.Errorf("%q in %q as %q: not found", secret, request, text)
						}
					}
				}
			}
		}
	}
}

func TestErrorsKeepOurOwnWords(t *testing.T) {
	const endpoint = "auth.aclwhatsapp.com/realms/ipmessaging/protocol/openid-connect/token"
	refusal := reply{status: 401, body: oauthWire.refused("Account aclwhatsapp is disabled, 401")}
	for _, test := range []struct {
		password string
		answer   http.Handler
		want     string
	}{
		{"hunter2!", refusal, `credentials refused: ` + endpoint + ` answered 401 Unauthorized: invalid_grant "Account aclwhatsapp is disabled, 401"`},
		{"aclwhatsapp", refusal, `credentials refused: ` + endpoint + ` answered 401 Unauthorized: invalid_grant "` + withheld + `"`},
		{"401", refusal, `credentials refused: ` + endpoint + ` answered 401 Unauthorized: invalid_grant "` + withheld + `"`},
		{"a", refusal, `credentials refused: ` + endpoint + ` answered 401 Unauthorized: ` + withheld + ` "` + withheld + `"`},
		{"token", reply{body: `{"access_token":"","expires_in":60}`}, "malformed answer: " + endpoint + " answered 200 OK: the answer contains no token"},
	} {
		c := testClient(t)
		c.http.Transport = transport{test.answer}
		s := Settings{TokenURL: "https://" + endpoint, Values: values("username", "acme", "password", test.password)}
		_, err := mustLookup(t, "sinch-india").Mint(t.Context(), c, s)
		if e := failure(t, err); e.Error() != test.want {
			t.Errorf("password %q:\ngot  %s\nwant %s", test.password, e, test.want)
		}
	}
}

func TestRedactorIsFast(t *testing.T) {
	r := redactor{[]string{strings.Repeat("a", 8<<10), `\\\\\\\\`}}
	for _, text := range []string{`\`, "a", `\u0061`, "%25", "&amp;", `%5C\&#92;`, "+"} {
		begun := time.Now()
		r.show(strings.Repeat(text, maxBody/len(text)), maxWords)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("64 KiB of %q: got %s, want less than 5s", text, took)
		}
	}
}
