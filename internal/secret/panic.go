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
	Stack []byte // where the function panicked; for logs
}

func (e *PanicError) Error() string { return "internal error (a panic; the server's log has the stack)" }

// RecoverTo sets *err to a [*PanicError] if the calling function panics; use it in a
// defer statement. A panic that nobody recovers ends the process, and with the process
// every mount that it serves.
func RecoverTo(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{Type: fmt.Sprintf("%T", p), Stack: debug.Stack()}
	}
}
