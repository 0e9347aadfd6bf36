// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clip cuts text to the given number of characters.
func clip(text string, maxLength int) string {
	if utf8.RuneCountInString(text) <= maxLength {
		return text
	}
	return string([]rune(text)[:maxLength-1]) + "…"
}

// printable drops control and format characters and what is not UTF-8, and turns each run
// of white space into one space.
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
