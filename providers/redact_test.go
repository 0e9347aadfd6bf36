// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRedactorWords(t *testing.T) {
	spec := Spec{Fields: []Field{{Name: "username"}, {Name: "password", Secret: true}, {Name: "other", Secret: true}, {Name: "third", Secret: true}, {Name: "fourth", Secret: true}}}
	s := Settings{Values: values("username", "acme", "password", "s3cret/word", "other", "word+more", "third", "nana-nana", "fourth", "k😀y")}
	r := newRedactor(spec, s, "refresh token")
	tests := map[string]struct{ text, want string }{
		"nothing to hide":            {"no such user: acme", "no such user: acme"},
		"a secret":                   {"bad s3cret/word!", "bad [redacted]!"},
		"twice":                      {"s3cret/word s3cret/word", "[redacted] [redacted]"},
		"side by side":               {"s3cret/words3cret/word", "[redacted]"},
		"overlapping":                {"<s3cret/word+more>", "<[redacted]>"},
		"overlapping itself":         {"nana-nana-nana", "[redacted]"},
		"a surrogate pair":           {`k\ud83d\ude00y k\uD83D\uDE00y k😀y`, "[redacted] [redacted] [redacted]"},
		"in another case":            {"S3CRET/WORD", "[redacted]"},
		"half of it escaped":         {"s3cre%74%2fword", "[redacted]"},
		"hex in mixed case":          {"wo%72d%2Bmore wo%72d%2bmore", "[redacted] [redacted]"},
		"PHP's JSON":                 {`s3cret\/word`, "[redacted]"},
		"JSON escapes in mixed case": {`s3cret\u002Fword word\u002bmore`, "[redacted] [redacted]"},
		"HTML":                       {"s3cret&#x2F;word s3cret&#47;word", "[redacted] [redacted]"},
		"a form":                     {"refresh_token=refresh+token&x", "refresh_token=[redacted]&x"},
		"escaped twice":              {"s3cret%252Fword word%252Bmore s3cret&amp;#47;word", "[redacted] [redacted] [redacted]"},
		"JSON of a form":             {`word\u00252Bmore s3cret\u00252fword`, "[redacted] [redacted]"},
		"a form of JSON":             {`s3cret%5C%2Fword`, "[redacted]"},
		"with controls in it":        {"s3\x00cr\u200bet/wo\u202erd", "[redacted]"},
		"with bytes not in UTF-8":    {"s3\xffcret/word \xc3", "[redacted]"},
		"over two lines":             {"refresh\n  token", "[redacted]"},
		"what only looks escaped":    {`50% &amp \u12 \ & %zz %`, `50% &amp \u12 \ & %zz %`},
		"white space":                {"\t a \r\n\u2028b ", "a b"},
		"other scripts":              {"पासवर्ड गलत है", "पासवर्ड गलत है"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := r.words(test.text, maxWords); got != test.want {
				t.Errorf("words(%q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}

func TestRedactorCutsOnARuneAndNeverThroughASecret(t *testing.T) {
	r := redactor{}.hide("0123456789abcdef")
	for before := 280; before <= 300; before++ {
		got := r.words(strings.Repeat("ü", before)+"0123456789abcdef"+strings.Repeat("x", 50), maxWords)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 300 || strings.ContainsAny(got, "0123456789") {
			t.Errorf("cut to %d characters: %q", utf8.RuneCountInString(got), got)
		}
	}
	if got := r.words(strings.Repeat("ü", 300), maxWords); got != strings.Repeat("ü", 300) {
		t.Errorf("300 characters were cut to %q", got)
	}
}

func TestRedactorHidesASecretWithControlsInIt(t *testing.T) {
	spec := Spec{Fields: []Field{{Name: "key", Secret: true}}}
	r := newRedactor(spec, Settings{Values: values("key", "line one\nline\ttwo")})
	for _, text := range []string{"line one\nline\ttwo", "line one line two", `line one\nline\ttwo`} {
		if got := r.words("<"+text+">", maxWords); got != "<[redacted]>" {
			t.Errorf("words(%q) = %q", text, got)
		}
	}
}

func TestRedactorOfNothing(t *testing.T) {
	r := newRedactor(sinchIndia{}.Spec(), Settings{}, "")
	if got := r.words("as it is", maxWords); got != "as it is" {
		t.Errorf("words = %q", got)
	}
}

// A provider that echoes a whole request in base64 shows no more of a secret in it
// than the parts of letters at its ends.
func TestRedactorHidesASecretInsideBase64(t *testing.T) {
	const secret = `pa"ss word/`
	r := newRedactor(sinchIndia{}.Spec(), Settings{Values: values("username", "acme", "password", secret)})
	for _, body := range []string{secret, url.QueryEscape(secret)} {
		for before := range 6 {
			text := strings.Repeat("x", before) + body + "&and=more"
			for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
				encoded := e.EncodeToString([]byte(text))
				got := r.words(encoded, maxWords)
				left := strings.Split(got, blanked)
				if len(left) != 2 || len(encoded)-len(left[0])-len(left[1]) < len(body)*8/6-2 {
					t.Errorf("%q became %q", encoded, got)
				}
			}
		}
	}
}

// What a provider sends to keep us busy is done with in no time to speak of.
func TestRedactorTakesItsTimeWithNoText(t *testing.T) {
	r := newRedactor(oauth2{}.Spec(), Settings{Values: values("client_id", "i", "client_secret", strings.Repeat("a", 8<<10), "password", `\\\\\\\\`)})
	for _, text := range []string{`\`, "a", `\u0061`, "%25", "&amp;", `%5C\&#92;`, "+"} {
		begun := time.Now()
		r.words(strings.Repeat(text, maxBody/len(text)), maxWords)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("64 KiB of %q took %s", text, took)
		}
	}
}
