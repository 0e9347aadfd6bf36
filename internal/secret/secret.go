// SPDX-License-Identifier: MPL-2.0

// Package secret keeps secrets out of text: of values, and of panics.
package secret

import (
	"fmt"
	"log/slog"
)

// redacted is the text of every String that is not empty.
const redacted = "[redacted]"

// String holds a credential or a token. The usual ways of turning a value into text
// (package fmt, encoding/json, log/slog, text marshalling) give "[redacted]", so that a
// careless log line or error shows no secret. Only Reveal returns the text itself. The text
// of an empty String is "", which tells that nothing is set.
//
// String does not protect the keys of a map from encoding/json, or the memory of the process.
type String string

// Reveal returns the secret. Each call is a place where a secret leaves the type that
// protects it: for a request, for storage, or for its only reader.
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

// MarshalText implements [encoding.TextMarshaler].
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements [json.Marshaler].
func (s String) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// LogValue implements [slog.LogValuer].
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
