// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// byteOrderMark is a character that some editors and shells put at the beginning of a file.
const byteOrderMark = "\ufeff"

// withoutMarks returns input without the byte order mark at the beginning of each text.
func withoutMarks(raw any) any {
	switch v := raw.(type) {
	case string:
		return strings.TrimPrefix(v, byteOrderMark)
	case []any:
		clean := make([]any, len(v))
		for i, element := range v {
			clean[i] = withoutMarks(element)
		}
		return clean
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, member := range v {
			clean[key] = withoutMarks(member)
		}
		return clean
	}
	return raw
}

// errControl refuses control characters, because they could change what a terminal shows.
var errControl = errors.New("must not contain control characters such as line breaks")

// errEncoding refuses text with utf8.RuneError, which Vault puts in place of invalid bytes.
var errEncoding = errors.New("must be UTF-8; a file in another encoding, such as UTF-16, must be converted first")

// checkLines is like checkText, but also allows line breaks and tabs.
func checkLines(text string) error {
	err := checkText(strings.Map(func(r rune) rune {
		if strings.ContainsRune("\t\r\n", r) {
			return ' '
		}
		return r
	}, text))
	if errors.Is(err, errControl) {
		return errors.New("must not contain control characters other than line breaks")
	}
	return err
}

func unprintable(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

// checkText refuses control characters and invalid UTF-8. It also refuses an invisible character at
// either end, because users copy such characters by mistake. It allows spaces, because a password
// may have them.
func checkText(text string) error {
	switch {
	case strings.ContainsRune(text, utf8.RuneError):
		return errEncoding
	case strings.ContainsFunc(text, unprintable):
		return errControl
	}
	if first, _ := utf8.DecodeRuneInString(text); text != "" && invisible(first) {
		return fmt.Errorf("must not begin with the invisible character %U; remove the character", first)
	}
	if last, _ := utf8.DecodeLastRuneInString(text); text != "" && invisible(last) {
		return fmt.Errorf("must not end with the invisible character %U; remove the character", last)
	}
	return nil
}

// invisible reports whether r is an invisible character other than a space.
func invisible(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u2800', '\u3164', '\uffa0': // blank letters and symbols
		return true
	}
	return !unicode.IsPrint(r) || unicode.Is(unicode.Variation_Selector, r)
}

// normalPEM repairs PEM for pem.Decode. It removes spaces and invisible characters around lines,
// and turns the two characters \n into a line break. It returns other text unchanged.
func normalPEM(text string) string {
	if strings.Contains(text, `-----\n`) || strings.Contains(text, `-----\r\n`) {
		text = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n").Replace(text)
	}
	lines := strings.Split(text, "\n")
	repaired := false
	for i, line := range lines {
		trimmed := strings.TrimFunc(line, func(r rune) bool { return r == ' ' || invisible(r) })
		if trimmed == "" || trimmed[0] != '#' {
			lines[i] = trimmed
		}
		repaired = repaired || strings.HasPrefix(trimmed, "-----") && !strings.HasPrefix(line, "-----")
	}
	if !repaired {
		return text
	}
	return strings.Join(lines, "\n")
}
