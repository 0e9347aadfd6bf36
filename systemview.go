// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-messaging/internal/tokencache"
)

// stateMemory is how long the replication state of the node is remembered. A
// node that changes from standby to active starts from a fresh Factory, so this
// is the delay with which a plugin that goes on running learns of other changes.
const stateMemory = time.Second

// systemView is Vault's own, but for the replication state, which it remembers
// for a second. The framework asks for that state on every request to a path
// with Operations: a round trip from the plugin to Vault that costs a cached
// read a quarter of its speed.
type systemView struct {
	logical.SystemView
	clock tokencache.Clock
	state atomic.Pointer[replicationState]
}

type replicationState struct {
	consts.ReplicationState
	asked tokencache.Instant
}

// remembering returns v with a memory, or nil if there is no v: the registration
// of a plugin sets it up without one.
func remembering(v logical.SystemView, clock tokencache.Clock) logical.SystemView {
	if v == nil {
		return nil
	}
	return &systemView{SystemView: v, clock: clock}
}

// ReplicationState implements [logical.SystemView].
func (v *systemView) ReplicationState() consts.ReplicationState {
	now := v.clock()
	if s := v.state.Load(); s != nil && now.Since(s.asked) < stateMemory {
		return s.ReplicationState
	}
	s := &replicationState{ReplicationState: v.SystemView.ReplicationState(), asked: now}
	v.state.Store(s)
	return s.ReplicationState
}
