// SPDX-License-Identifier: MPL-2.0

package secret

import (
	"fmt"
	"runtime/debug"
)

// PanicError reports that a function panicked. The value of the panic is left out, because it may
// contain a secret.
type PanicError struct {
	Type  string // the Go type of the value
	Stack []byte // where the function panicked, for logs
}

func (e *PanicError) Error() string { return "internal error (a panic, see the server's log)" }

// Recovered turns the result of the builtin recover into a PanicError. Without a panic, Recovered
// returns nil.
func Recovered(value any) *PanicError {
	if value == nil {
		return nil
	}
	return &PanicError{Type: fmt.Sprintf("%T", value), Stack: debug.Stack()}
}

// RecoverTo stops a panic and sets *err to a [*PanicError]. Otherwise the panic would end the
// process, with all mounts that it serves. Defer RecoverTo itself, not a function that calls it.
func RecoverTo(err *error) {
	if p := Recovered(recover()); p != nil {
		*err = p
	}
}
