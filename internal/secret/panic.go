// SPDX-License-Identifier: MPL-2.0

package secret

import (
	"fmt"
	"runtime/debug"
)

// PanicError is the error of a function that panicked. It withholds the value of the
// panic, because that value may hold a secret.
type PanicError struct {
	Type  string // the Go type of the value
	Stack []byte // where the function panicked, for logs
}

func (e *PanicError) Error() string { return "internal error (a panic, see the server's log)" }

// Recovered returns the error for value, a result of recover; nil if value is nil.
func Recovered(value any) *PanicError {
	if value == nil {
		return nil
	}
	return &PanicError{Type: fmt.Sprintf("%T", value), Stack: debug.Stack()}
}

// RecoverTo sets *err to a [*PanicError] if the calling function panics; use it in a defer
// statement. A panic that nobody recovers ends the process, and with the process every
// mount that it serves.
func RecoverTo(err *error) {
	if p := Recovered(recover()); p != nil {
		*err = p
	}
}
