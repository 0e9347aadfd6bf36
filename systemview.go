// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
)

// stateMemory is how long the replication state of the node is remembered. A standby that
// becomes active starts from a new Factory, so only other changes are noticed this late.
const stateMemory = time.Second

// cachingSystemView is Vault's system view, except that it remembers the replication state
// for a second. The framework asks for the state on every request to a path with
// Operations: a round trip to Vault that costs a cached read a quarter of its speed.
type cachingSystemView struct {
	logical.SystemView
	clock clock.Clock
	state atomic.Pointer[replicationState]
}

type replicationState struct {
	consts.ReplicationState
	asked clock.Instant
}

// newCachingSystemView returns v with a memory, or nil if v is nil: Vault sets a plugin up
// without a system view when it registers the plugin.
func newCachingSystemView(v logical.SystemView, c clock.Clock) logical.SystemView {
	if v == nil {
		return nil
	}
	return &cachingSystemView{SystemView: v, clock: c}
}

// ReplicationState implements [logical.SystemView].
func (v *cachingSystemView) ReplicationState() consts.ReplicationState {
	now := v.clock()
	if s := v.state.Load(); s != nil && now.Since(s.asked) < stateMemory {
		return s.ReplicationState
	}
	s := &replicationState{ReplicationState: v.SystemView.ReplicationState(), asked: now}
	v.state.Store(s)
	return s.ReplicationState
}
