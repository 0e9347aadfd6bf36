// SPDX-License-Identifier: MPL-2.0

package telemetry

import "testing"

// Every request sets the path, which usually has not changed.
func TestSetMountAllocatesNothing(t *testing.T) {
	l := NewLog(nil)
	l.SetMount("messaging/")
	if got := testing.AllocsPerRun(100, func() { l.SetMount("messaging/") }); got > 0 {
		t.Errorf("SetMount of the same path: got %v allocations, want 0", got)
	}
}
