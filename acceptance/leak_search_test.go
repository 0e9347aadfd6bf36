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

// form is one way to write a secret.
type form struct{ how, text string }

// formsOf returns all encodings of a secret. A text may contain only part of a long secret, so
// formsOf encodes the beginning and the end separately.
func formsOf(secret string) []form {
	if len(secret) > 2*window {
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
		{"JSON-escaped, except for HTML", strings.Trim(strings.TrimSpace(plain.String()), `"`)},
		{"JSON-escaped twice", string(twice[1 : len(twice)-1])},
		{"JSON-escaped in every character", escapeAll(secret, `\u%04x`)},
		{"JSON-escaped in every character, in capitals", escapeAll(secret, `\u%04X`)},
		{"HTML-escaped", html.EscapeString(secret)},
		{"Go-quoted", strings.Trim(fmt.Sprintf("%q", secret), `"`)},
		{"hexadecimal", hex.EncodeToString([]byte(secret))},
		{"hexadecimal, in capitals", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
	}
	for offset := range 3 {
		for how, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 for URLs": base64.RawURLEncoding} {
			for what, text := range map[string]string{"": secret, " of the URL-encoded": query} {
				all = append(all, form{fmt.Sprintf("%s%s, at offset %d", how, what, offset), inside(encoding, text, offset)})
			}
		}
	}
	return all
}

// inside returns the base64 characters of a text at an offset in a longer text. It omits characters
// that also depend on the neighboring bytes.
func inside(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + text))
	from := (offset*8 + 5) / 6
	to := (offset + len(text)) * 8 / 6
	return encoded[from:to]
}

func escapeAll(s, escape string) string {
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
	// window is the number of bytes that the search uses from each end of a long secret.
	window = 32

	// The search index holds the first keyLen bytes of each encoded secret. No encoded secret may
	// be shorter.
	keyLen = 12
)

// search looks for all forms of many secrets in a single pass.
type search struct {
	needles map[[keyLen]byte][]needle
}

type needle struct{ secret, how, text string }

// newSearch returns a search for secrets by name.
func newSearch(t *testing.T, secrets map[string]string) *search {
	t.Helper()
	s := &search{needles: map[[keyLen]byte][]needle{}}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		seen := map[string]bool{}
		for _, f := range formsOf(secrets[name]) {
			if len(f.text) < keyLen {
				t.Fatalf("%s, %s: got the form %q, want at least %d bytes", name, f.how, f.text, keyLen)
			}
			if key := [keyLen]byte([]byte(f.text[:keyLen])); !seen[f.text] {
				seen[f.text] = true
				s.needles[key] = append(s.needles[key], needle{name, f.how, f.text})
			}
		}
	}
	return s
}

// find describes the first place of each secret in a text.
func (s *search) find(text string) (found []string) {
	seen := map[string]bool{}
	for i := 0; i+keyLen <= len(text); i++ {
		for _, n := range s.needles[[keyLen]byte([]byte(text[i:i+keyLen]))] {
			if strings.HasPrefix(text[i:], n.text) && !seen[n.secret] {
				seen[n.secret] = true
				found = append(found, fmt.Sprintf("%s, %s: …%s…", n.secret, n.how, text[max(0, i-160):min(len(text), i+len(n.text)+40)]))
			}
		}
	}
	return found
}

// The search finds each form of a secret at each offset.
func TestLeakSearch(t *testing.T) {
	for name, secret := range map[string]string{
		"odd": leakySecret("odd"), "token": strings.Repeat("0123456789abcdef", 4), "JWT": "eyJhbGciOiJFUzUxMiJ9." + strings.Repeat("Zm9v", 100) + ".c2ln" + strings.Repeat("YmFy", 20),
	} {
		s := newSearch(t, map[string]string{name: secret})
		for _, f := range formsOf(secret) {
			for _, text := range []string{f.text, "xx" + f.text, f.text + "\n", `{"a":"` + f.text + `"}`} {
				if len(s.find(text)) != 1 {
					t.Errorf("%s, %s: got no find in %q, want one", name, f.how, text)
				}
			}
		}
		for before := range 7 {
			for after := range 4 {
				text := strings.Repeat("x", before) + secret + strings.Repeat("y", after)
				for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
					if len(s.find(e.EncodeToString([]byte(text)))) != 1 {
						t.Errorf("%s: got no find in the base64 of %q, want one", name, text)
					}
				}
			}
		}
		if got := s.find(strings.Repeat("nothing to be found here, acme, https://auth.example.com/token ", 20)); len(got) > 0 {
			t.Errorf("%s: got finds %q in a text without secrets, want none", name, got)
		}
	}
}
