// SPDX-License-Identifier: MPL-2.0

// Package secret has a string type that does not give itself away.
package secret

import (
	"fmt"
	"log/slog"
)

// redacted is what a String shows of itself, whatever it holds.
const redacted = "[redacted]"

// String holds a credential or a token. Every usual way of turning a value
// into text (fmt's verbs, encoding/json, log/slog, text marshalling) gives
// "[redacted]", so that a careless log line or error is harmless; only Reveal
// gives the text itself. An empty String shows itself as "", which tells that
// nothing is set. The zero value is the empty String.
//
// As the key of a map it shows itself: encoding/json takes keys of string kind as
// they are.
//
// It is not a defence against code that reads the memory of the process.
type String string

// Reveal returns the text. Each call is a place where a secret leaves the type
// that guards it: onto the wire, into storage, or to the one reader it is for.
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

// Format implements [fmt.Formatter], so that verbs which pass by String (%x,
// %q, %d) are redacted too.
func (s String) Format(f fmt.State, verb rune) {
	if verb == 'q' || (verb == 'v' && f.Flag('#')) {
		fmt.Fprint(f, s.GoString())
		return
	}
	fmt.Fprint(f, s.String())
}

// MarshalText implements [encoding.TextMarshaler].
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements [json.Marshaler].
func (s String) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// LogValue implements [slog.LogValuer].
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
