// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Within polls ok until it returns nil, and fails the test with its last error
// if it has not done so in time.
func Within(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// freeAddress returns a loopback address that nothing listens on, nor on the port
// after it, which a dev server takes too. The port is below those that systems
// hand out by themselves, so that it is still there for a server that comes back
// after a restart.
func freeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 100 {
		port := 20000 + 2*rand.IntN(5000)
		if !ports.taken[port] && free(port) && free(port+1) {
			ports.taken[port] = true
			return loopback(port)
		}
	}
	t.Fatal("found no free port")
	return ""
}

func free(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
