// SPDX-License-Identifier: MPL-2.0

package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Within repeats ok until ok returns nil. After the limit, Within fails the test with the last
// error. The failure also shows the parameter what, such as "the server answers".
func Within(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %q: %v", limit, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Until is Within for a condition, with Timeout as the limit.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, Timeout, what, func() error {
		if ok() {
			return nil
		}
		return errors.New("got false, want true")
	})
}

// Repeat calls act in the background, with a pause before each call, until the test ends or calls
// stop. If act is running, stop waits for act.
func Repeat(t testing.TB, pause time.Duration, act func()) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for ticks := time.Tick(pause); ; act() {
			select {
			case <-over:
				return
			case <-ticks:
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(over)
		<-ended
	})
	t.Cleanup(stop)
	return stop
}

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// FreeAddress returns a loopback address with a free port below 30000. The next port is also free,
// because dev servers need two ports. Restarted servers find both ports free, because by itself the
// operating system assigns only ports above 30000.
func FreeAddress(t testing.TB) string {
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
	t.Fatal("found no free port between 20000 and 30000 in 100 attempts")
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
