// SPDX-License-Identifier: MPL-2.0

package secret

import (
	"fmt"
	"runtime/debug"
)

// PanicError reports that a function panicked. It omits the value of the panic, because the value
// may contain a secret.
type PanicError struct {
	Type  string // the Go type of the value
	Stack []byte // where the function panicked, for logs
}

func (e *PanicError) Error() string { return "internal error (a panic, see the server's log)" }

// Recovered returns a PanicError for value, which is the result of recover. It returns nil if
// value is nil.
func Recovered(value any) *PanicError {
	if value == nil {
		return nil
	}
	return &PanicError{Type: fmt.Sprintf("%T", value), Stack: debug.Stack()}
}

// RecoverTo sets *err to a [*PanicError] if the function that defers RecoverTo panics. Without it,
// the panic would end the process and so every mount that the process serves.
func RecoverTo(err *error) {
	if p := Recovered(recover()); p != nil {
		*err = p
	}
}
