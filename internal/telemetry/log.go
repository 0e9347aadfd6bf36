// SPDX-License-Identifier: MPL-2.0

// Package telemetry makes the log lines, metrics and events of a mount, all without secrets.
package telemetry

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-messaging/internal/secret"
)

// Log makes loggers for a mount. Each line contains the path of the mount, because a process may
// serve several mounts. Log is safe for concurrent use.
type Log struct {
	base  hclog.Logger
	mount atomic.Pointer[string]
}

// NewLog returns a Log that writes to base. If base is nil, all lines are discarded.
func NewLog(base hclog.Logger) *Log {
	if base == nil {
		base = hclog.NewNullLogger()
	}
	l := &Log{base: base}
	l.mount.Store(new(""))
	return l
}

// SetMount sets the path of the mount. Call SetMount with the path in each request, because a mount
// can move. An empty path changes nothing.
func (l *Log) SetMount(path string) {
	if path != "" && path != *l.mount.Load() {
		l.mount.Store(new(path))
	}
}

// Logger returns the logger.
func (l *Log) Logger() hclog.Logger {
	return l.base.With("mount", *l.mount.Load())
}

// LogPanic logs the stack of a panic if err wraps a [*secret.PanicError].
func LogPanic(log hclog.Logger, err error) {
	if p := (*secret.PanicError)(nil); errors.As(err, &p) {
		log.Error("recovered from a panic: please report it", "type", p.Type, "stack", string(p.Stack))
	}
}
