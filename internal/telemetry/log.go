// SPDX-License-Identifier: MPL-2.0

// Package telemetry tells the outside what a mount does: log lines, metrics and events.
// Nothing in it holds a secret.
package telemetry

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-messaging/internal/secret"
)

// Log makes the logger of a mount. A process that serves many mounts logs under the name
// of the first, so each line names its mount. Log is safe for concurrent use.
type Log struct {
	base  hclog.Logger
	mount atomic.Pointer[string]
}

// NewLog returns a Log that writes to base; nil discards all lines.
func NewLog(base hclog.Logger) *Log {
	if base == nil {
		base = hclog.NewNullLogger()
	}
	return &Log{base: base}
}

// SetMount sets the path of the mount, which Vault tells with each request and which a
// move changes. An empty path changes nothing.
func (l *Log) SetMount(path string) {
	if m := l.mount.Load(); path != "" && (m == nil || *m != path) {
		moved := path // only a move costs an allocation
		l.mount.Store(&moved)
	}
}

// Logger returns the logger.
func (l *Log) Logger() hclog.Logger {
	mount := ""
	if m := l.mount.Load(); m != nil {
		mount = *m
	}
	return l.base.With("mount", mount)
}

// LogPanic logs where err panicked, if err wraps a [*secret.PanicError].
func LogPanic(log hclog.Logger, err error) {
	if p := (*secret.PanicError)(nil); errors.As(err, &p) {
		log.Error("recovered from a panic: please report it", "type", p.Type, "stack", string(p.Stack))
	}
}
