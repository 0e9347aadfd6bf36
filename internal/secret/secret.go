// SPDX-License-Identifier: MPL-2.0

// Package secret keeps secrets out of logs, errors and panics.
package secret

import (
	"fmt"
	"log/slog"
)

// redacted is the text of every String that is not empty.
const redacted = "[redacted]"

// String holds a credential or a token. The packages fmt, encoding/json and log/slog print a String
// as "[redacted]", or as "" if it is empty. Only Reveal returns the secret.
//
// In memory, the secret is plain text. If a String is the key of a map, encoding/json shows the
// secret.
type String string

// Reveal returns the secret. Call Reveal only to send, store or return the secret.
func (s String) Reveal() string { return string(s) }

// String implements [fmt.Stringer].
func (s String) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString implements [fmt.GoStringer].
func (s String) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format implements [fmt.Formatter], because %x, %q and %d do not call String.
func (s String) Format(f fmt.State, verb rune) {
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		fmt.Fprint(f, s.GoString())
		return
	}
	fmt.Fprint(f, s.String())
}

// MarshalText implements [encoding.TextMarshaler], which encoding/json uses too.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements [slog.LogValuer].
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
