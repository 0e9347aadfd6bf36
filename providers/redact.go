// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"vault-plugin-secrets-messaging/internal/secret"
)

const (
	maxWords = 300 // characters of a provider's text in an error
	maxCode  = 64  // characters of a provider's error code in an error

	// A redactor ignores an answer's tokens shorter than minToken bytes. A sentence may contain
	// such short texts by chance.
	minToken = 8

	// maxEscapes limits the rounds of unescaping. A request may escape a text once, and the
	// provider may escape it again.
	maxEscapes = 2

	// withheld replaces a text that contains a secret.
	withheld = "(text withheld because it contains a secret)"
)

// A redactor withholds a provider's text if the text contains a secret. Do not use it for the
// engine's own texts. Users know these texts, so a withheld text would tell users where to find the
// secret. A redactor never changes. The zero redactor knows no secret.
//
// Users do not choose the provider's texts, so they cannot use a redactor to guess a secret.
type redactor struct {
	secrets []string
}

// newRedactor returns a redactor for the given tokens and the secret fields of a config.
func newRedactor(spec Spec, s Settings, tokens ...secret.String) redactor {
	for _, f := range spec.Fields {
		if f.Secret {
			tokens = append(tokens, s.Values[f.Name])
		}
	}
	var r redactor
	for _, text := range tokens {
		if text != "" {
			r.secrets = append(r.secrets, text.Reveal())
		}
	}
	return r
}

// withToken returns a redactor that also finds a token from an answer.
func (r redactor) withToken(text string) redactor {
	if len(text) >= minToken {
		r.secrets = append(slices.Clone(r.secrets), text)
	}
	return r
}

// withAssertion returns a redactor that also finds a signed assertion and its signature.
func (r redactor) withAssertion(jwt string) redactor {
	return r.withToken(jwt).withToken(jwt[strings.LastIndex(jwt, ".")+1:])
}

// show returns the text on one line, cut to maxLength characters, or [withheld].
func (r redactor) show(text string, maxLength int) string {
	text = printable(text)
	if text != "" && r.isIn(text) {
		return withheld
	}
	return clip(text, maxLength)
}

// isIn reports whether a text contains a secret: plain, escaped or base64. Letter case and white
// space do not matter.
func (r redactor) isIn(text string) bool {
	var forms []string
	for _, secret := range r.secrets {
		forms = append(forms, squash(secret)) // may be "", which every text contains
		forms = append(forms, base64Forms(secret)...)
	}
	for _, reading := range readings(text) {
		squashed := squash(reading)
		for _, form := range forms {
			if strings.Contains(squashed, form) {
				return true
			}
		}
	}
	return false
}

// base64Forms returns the base64 of a secret in lower case, without + and /. There are several
// results, because base64 depends on the secret's position in a text, and on escapes. Characters
// that also encode a part of the surrounding text are omitted.
func base64Forms(secret string) []string {
	var forms []string
	quoted, _ := json.Marshal(secret) // never fails for a string
	for _, text := range []string{secret, url.QueryEscape(secret), string(quoted[1 : len(quoted)-1])} {
		for before := range 3 {
			encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat(" ", before) + text))
			if form := squash(encoded[(before*8+5)/6 : (before+len(text))*8/6]); form != "" {
				forms = append(forms, form)
			}
		}
	}
	return forms
}

// squash changes a text to lower case. It removes characters that encodings may change: white
// space, + / - _ and \.
func squash(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(` +/-_\`, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text)
}

// Each of the unescapers decodes one kind of escape. They run separately, because the secret itself
// may look like an escape. JSON has two unescapers. One decodes escaped backslashes. The other does
// not, so it finds a \u escape after a stray backslash.
var unescapers = []struct {
	escape *regexp.Regexp
	decode func(string) string
}{
	{regexp.MustCompile(`%[0-9A-Fa-f]{2}`), func(escape string) string {
		b, _ := hex.DecodeString(escape[1:])
		return string(b)
	}},
	{regexp.MustCompile(`(\\u[0-9A-Fa-f]{4}|\\["\\/bfnrt])+`), unquote},
	{regexp.MustCompile(`(\\u[0-9A-Fa-f]{4})+`), unquote},
	{regexp.MustCompile(`&#?\w+;`), html.UnescapeString},
}

// unquote decodes a run of JSON escapes.
func unquote(escapes string) string {
	var text string
	_ = json.Unmarshal([]byte(`"`+escapes+`"`), &text) // never fails for escapes
	return text
}

// readings returns a text, and the results of decoding the escapes in the text. Each result is
// decoded again, for maxEscapes rounds in all.
func readings(text string) []string {
	all := []string{text}
	last := all // round of unescaping
	for range maxEscapes {
		var next []string
		for _, reading := range last {
			for _, u := range unescapers {
				if plain := u.escape.ReplaceAllStringFunc(reading, u.decode); plain != reading {
					next = append(next, plain)
				}
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// clip cuts text to the given number of characters.
func clip(text string, maxLength int) string {
	if utf8.RuneCountInString(text) <= maxLength {
		return text
	}
	return string([]rune(text)[:maxLength-1]) + "…"
}

// printable removes control characters, format characters and invalid UTF-8. Each run of white
// space becomes one space.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}
