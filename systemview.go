// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/clock"
)

// stateMemory is how long a backend remembers the node's replication state. A node that becomes
// active starts a new backend, which asks anew.
const stateMemory = time.Second

// cachingSystemView is Vault's system view, but remembers the replication state for a second.
// Asking Vault on every request would make cached reads a quarter slower.
type cachingSystemView struct {
	logical.SystemView
	clock clock.Clock
	state atomic.Pointer[replicationState]
}

type replicationState struct {
	consts.ReplicationState
	asked clock.Instant
}

// newCachingSystemView returns v with a cache for the replication state. It returns nil if v is
// nil, as when Vault registers the plugin.
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
