// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// form is a secret as somebody might write it down.
type form struct{ how, text string }

// formsOf returns all the forms of a secret that are looked for. Of a long one its
// beginning and its end are, each by itself, so that one that was cut is found.
func formsOf(secret string) []form {
	if len(secret) > 2*window {
		// the end of a JWT is of its signature, and its beginning that of every JWT
		return append(formsOf(secret[:window]), formsOf(secret[len(secret)-window:])...)
	}
	query, path := url.QueryEscape(secret), url.PathEscape(secret)
	quoted, _ := json.Marshal(secret)
	twice, _ := json.Marshal(string(quoted[1 : len(quoted)-1]))
	plain := new(strings.Builder)
	encoder := json.NewEncoder(plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(secret)
	all := []form{
		{"in the clear", secret},
		{"URL-encoded", query},
		{"URL-encoded, in lower case", lowerHex(query)},
		{"URL-encoded for a path", path},
		{"URL-encoded twice", url.QueryEscape(query)},
		{"JSON-escaped", string(quoted[1 : len(quoted)-1])},
		{"JSON-escaped, HTML apart", strings.Trim(strings.TrimSpace(plain.String()), `"`)},
		{"JSON-escaped twice", string(twice[1 : len(twice)-1])},
		{"JSON-escaped throughout", throughout(secret, `\u%04x`)},
		{"JSON-escaped throughout, in capitals", throughout(secret, `\u%04X`)},
		{"HTML-escaped", html.EscapeString(secret)},
		{"as Go quotes it", strings.Trim(fmt.Sprintf("%q", secret), `"`)},
		{"hexadecimal", hex.EncodeToString([]byte(secret))},
		{"hexadecimal, in capitals", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
	}
	for before := range 3 {
		for how, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 for URLs": base64.RawURLEncoding} {
			for what, text := range map[string]string{"": secret, " of the URL-encoded": query} {
				all = append(all, form{fmt.Sprintf("%s%s, %d bytes into it", how, what, before), inside(encoding, text, before)})
			}
		}
	}
	return all
}

// inside returns what base64 makes of a text that stands so many bytes, counted in
// threes, after the beginning of another: as much of it as is the same whatever is
// around it, and whether or not it is padded.
func inside(encoding *base64.Encoding, text string, before int) string {
	encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + text))
	from := (before*8 + 5) / 6
	to := (before + len(text)) * 8 / 6
	return encoded[from:to]
}

func throughout(s, escape string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, escape, unit)
	}
	return b.String()
}

func lowerHex(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i+1:], strings.ToLower(s[i+1:i+3]))
		}
	}
	return string(b)
}

const (
	// window is how much of the beginning, and of the end, of a long secret is
	// looked for.
	window = 32

	// keyed is how many bytes of each form the search looks up at once: no form is
	// shorter.
	keyed = 12
)

// search looks for many secrets in one pass.
type search struct {
	needles map[[keyed]byte][]needle
}

type needle struct{ secret, how, text string }

// newSearch returns a search for secrets, each under the name that a find is
// reported with.
func newSearch(t *testing.T, secrets map[string]string) *search {
	t.Helper()
	s := &search{needles: map[[keyed]byte][]needle{}}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		seen := map[string]bool{}
		for _, f := range formsOf(secrets[name]) {
			if len(f.text) < keyed {
				t.Fatalf("%s is too short to be looked for: %s %q", name, f.how, f.text)
			}
			if key := [keyed]byte([]byte(f.text[:keyed])); !seen[f.text] {
				seen[f.text] = true
				s.needles[key] = append(s.needles[key], needle{name, f.how, f.text})
			}
		}
	}
	return s
}

// find returns what is found in a text and where; each secret once.
func (s *search) find(text string) (found []string) {
	seen := map[string]bool{}
	for i := 0; i+keyed <= len(text); i++ {
		for _, n := range s.needles[[keyed]byte([]byte(text[i:i+keyed]))] {
			if strings.HasPrefix(text[i:], n.text) && !seen[n.secret] {
				seen[n.secret] = true
				found = append(found, fmt.Sprintf("%s, %s: …%s…", n.secret, n.how, text[max(0, i-160):min(len(text), i+len(n.text)+40)]))
			}
		}
	}
	return found
}

// Each form of a secret is found wherever it stands.
func TestLeakSearch(t *testing.T) {
	for name, secret := range map[string]string{
		"odd": leakySecret("odd"), "token": strings.Repeat("0123456789abcdef", 4), "JWT": "eyJhbGciOiJFUzUxMiJ9." + strings.Repeat("Zm9v", 100) + ".c2ln" + strings.Repeat("YmFy", 20),
	} {
		s := newSearch(t, map[string]string{name: secret})
		for _, f := range formsOf(secret) {
			for _, text := range []string{f.text, "xx" + f.text, f.text + "\n", `{"a":"` + f.text + `"}`} {
				if len(s.find(text)) != 1 {
					t.Errorf("%s, %s: not found in %q", name, f.how, text)
				}
			}
		}
		for before := range 7 {
			for after := range 4 {
				text := strings.Repeat("x", before) + secret + strings.Repeat("y", after)
				for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
					if len(s.find(e.EncodeToString([]byte(text)))) != 1 {
						t.Errorf("%s: not found in the base64 of %q", name, text)
					}
				}
			}
		}
		if got := s.find(strings.Repeat("nothing to be found here, acme, https://auth.example.com/token ", 20)); len(got) > 0 {
			t.Errorf("%s: found %q", name, got)
		}
	}
}
