// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"vault-plugin-secrets-messaging/internal/secret"
)

const (
	blanked   = "[redacted]"
	maxWords  = 300 // characters of a provider's text that are passed on
	maxCode   = 64  // characters of a provider's error code
	ellipsis  = "…"
	minHidden = 8 // bytes; see hide
)

// A redactor makes text from outside fit to be shown: it blanks out the secrets
// that it knows. The zero value knows none. It is not changed once made.
type redactor struct {
	forms []string // what to look for, ASCII lower case
}

// newRedactor knows the secret fields of s and the further secrets: as they
// are, in base64 with whatever is around them, and in base64 behind any other
// value of s and a colon, as HTTP Basic has them (RFC 7617 §2, RFC 6749 §2.3.1).
func newRedactor(spec Spec, s Settings, more ...secret.String) redactor {
	secrets := make([]string, 0, len(more))
	for _, m := range more {
		secrets = append(secrets, m.Reveal())
	}
	for _, f := range spec.Fields {
		if f.Secret {
			secrets = append(secrets, s.Value(f.Name))
		}
	}
	var r redactor
	for _, text := range secrets {
		if text == "" {
			continue
		}
		r.add(text)
		for user := range s.Values {
			user := s.Value(user)
			r.addBase64(user + ":" + text)
			r.addBase64(url.QueryEscape(user) + ":" + url.QueryEscape(text))
		}
	}
	return r
}

// hide returns a redactor that knows text as well, which an answer brought: a
// token. Shorter than 8 bytes it is none, and would blank half of any sentence.
func (r redactor) hide(text string) redactor {
	if len(text) < minHidden {
		return r
	}
	r.forms = slices.Clone(r.forms)
	r.add(text)
	return r
}

func (r *redactor) add(text string) {
	r.forms = append(r.forms, lower(text))
	if clean := printable(text); clean != "" && clean != text {
		r.forms = append(r.forms, lower(clean))
	}
	r.addBase64(text)
	r.addInBase64(text)
	if escaped := url.QueryEscape(text); escaped != text { // as it was sent
		r.addBase64(escaped)
		r.addInBase64(escaped)
	}
}

// addBase64 leaves the padding out: without it, both ways of writing are found.
func (r *redactor) addBase64(text string) {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		r.forms = append(r.forms, lower(encoding.EncodeToString([]byte(text))))
	}
}

// addInBase64 adds what the base64 of any text has of the one in it, wherever that
// stands: without the letters that depend on its neighbours too. Of a very short one
// so little is left that it would be found everywhere.
func (r *redactor) addInBase64(text string) {
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			letters := encoding.EncodeToString([]byte(strings.Repeat(" ", before) + text))
			inner := letters[(before*8+5)/6 : (before+len(text))*8/6]
			if len(inner) >= minHidden {
				r.forms = append(r.forms, lower(inner))
			}
		}
	}
}

// words makes text of a provider's fit to be shown. Secrets are looked for once
// whatever was put between their letters is gone, and before the text is cut,
// so that no cut leaves part of one.
func (r redactor) words(text string, limit int) string {
	text = r.blank(printable(text))
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + ellipsis
}

// blank replaces every secret in text, also where some or all of its bytes are
// written as URL, JSON or HTML escapes, or as such escapes of such escapes, and
// whatever the case of its letters (the hex digits of an escape come in both).
// Overlapping secrets go together.
func (r redactor) blank(text string) string {
	hidden := make([]bool, len(text))
	for _, v := range views(text) {
		letters := lower(v.text)
		for _, form := range r.forms {
			done := 0 // where hiding this form has got to
			for from := 0; ; from++ {
				i := strings.Index(letters[from:], form)
				if i < 0 {
					break
				}
				from += i
				for done = max(done, v.at[from]); done < v.at[from+len(form)]; done++ {
					hidden[done] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(blanked)
		}
	}
	return b.String()
}

// A view is a text with its escapes undone, and where in the text each of its
// bytes came from: at[i] for byte i, and the text's length at the end.
type view struct {
	text string
	at   []int
}

// views returns text as it is and with its escapes undone, those of each kind; and
// then again, for those that were under them: what was sent in a form may come back
// escaped once more. What has no escapes of a kind is not there twice.
func views(text string) []view {
	whole := view{text, make([]int, len(text)+1)}
	for i := range whole.at {
		whole.at[i] = i
	}
	all := []view{whole}
	for begin, depth := 0, 0; depth < 2; depth++ {
		outer := all[begin:]
		begin = len(all)
		for _, v := range outer {
			for _, unescape := range []unescaper{percent, percentPlus, jsonEscape, jsonEscapeUnpaired, htmlEntity} {
				if inner := v.undone(unescape); inner.text != v.text {
					all = append(all, inner)
				}
			}
		}
	}
	return all
}

func (v view) undone(unescape unescaper) view {
	var b strings.Builder
	at := make([]int, 0, len(v.at))
	for i := 0; i < len(v.text); {
		plain, width := unescape(v.text[i:])
		if width == 0 {
			plain, width = v.text[i:i+1], 1
		}
		for range len(plain) {
			at = append(at, v.at[i])
		}
		b.WriteString(plain)
		i += width
	}
	return view{b.String(), append(at, v.at[len(v.text)])}
}

// An unescaper returns what the escape at the start of a text stands for, and
// the escape's width; a width of 0 if none is there.
type unescaper func(text string) (plain string, width int)

func percent(text string) (string, int) {
	if text[0] != '%' || len(text) < 3 {
		return "", 0
	}
	plain, err := url.PathUnescape(text[:3])
	if err != nil {
		return "", 0
	}
	return plain, 3
}

func percentPlus(text string) (string, int) {
	if text[0] == '+' {
		return " ", 1
	}
	return percent(text)
}

// jsonEscape knows \n and its like, \u0000, and a surrogate pair of the latter.
func jsonEscape(text string) (string, int) {
	if text[0] != '\\' {
		return "", 0
	}
	for _, width := range []int{12, 6, 2} {
		var plain string
		if len(text) >= width && json.Unmarshal([]byte(`"`+text[:width]+`"`), &plain) == nil && utf8.RuneCountInString(plain) == 1 {
			return plain, width
		}
	}
	return "", 0
}

// jsonEscapeUnpaired takes a backslash for itself before another, which may be
// the start of an escape.
func jsonEscapeUnpaired(text string) (string, int) {
	if strings.HasPrefix(text, `\\`) {
		return "", 0
	}
	return jsonEscape(text)
}

func htmlEntity(text string) (string, int) {
	if text[0] != '&' {
		return "", 0
	}
	end := strings.IndexByte(text[:min(len(text), 12)], ';') + 1
	plain := html.UnescapeString(text[:end])
	if plain == text[:end] || utf8.RuneCountInString(plain) > 1 {
		return "", 0
	}
	return plain, end
}

// lower folds ASCII only, so that no byte moves.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// printable drops control and format characters and what is not UTF-8, and
// turns each run of white space into one space.
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
