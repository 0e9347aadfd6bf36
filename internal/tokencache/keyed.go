// SPDX-License-Identifier: MPL-2.0

package tokencache

import "sync"

// keyed holds a value for each key in use. It is safe for concurrent use.
type keyed[V any] struct {
	make func() V

	mu     sync.Mutex
	values map[string]*keyedValue[V]
}

type keyedValue[V any] struct {
	value V
	users int
}

func newKeyed[V any](make func() V) *keyed[V] {
	return &keyed[V]{make: make, values: map[string]*keyedValue[V]{}}
}

// join returns the value for key. The value is deleted when each caller of join has called leave.
func (k *keyed[V]) join(key string) V {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.values[key]
	if v == nil {
		v = &keyedValue[V]{value: k.make()}
		k.values[key] = v
	}
	v.users++
	return v.value
}

// leave ends the use of key that a call of join began.
func (k *keyed[V]) leave(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.values[key]
	if v.users--; v.users == 0 {
		delete(k.values, key)
	}
}
