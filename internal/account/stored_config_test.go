// SPDX-License-Identifier: MPL-2.0

package account

import (
	"reflect"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// Reading a config and storing it again changes nothing.
func FuzzStoredConfigRoundTrip(f *testing.F) {
	f.Fuzz(func(t *testing.T, stored []byte) {
		c, err := decodeConfig(stored)
		if err != nil {
			return
		}
		s := &logical.InmemStorage{}
		if err := putConfig(t.Context(), s, "a", c); err != nil {
			t.Fatal(err)
		}
		entry, err := s.Get(t.Context(), ConfigPrefix+"a")
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeConfig(entry.Value)
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("stored again: got %+v, %v, want %+v", again, err, c)
		}
	})
}
