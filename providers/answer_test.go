// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 120 ":                          2 * time.Minute,
		"901":                            15 * time.Minute,
		"99999999999999999999999":        15 * time.Minute,
		"-1":                             0,
		"1.5":                            0,
		"soon":                           0,
		"Sun, 04 May 2031 12:00:09 GMT":  9 * time.Second,
		"Sun, 04 May 2031 11:00:00 GMT":  0,
		"Sun, 04 May 2042 12:00:00 GMT":  15 * time.Minute,
		"Sunday, 04-May-31 12:00:09 GMT": 9 * time.Second, // the obsolete format of RFC 850
	} {
		if got := retryAfter(header, noon); got != want {
			t.Errorf("retryAfter(%q): got %v, want %v", header, got, want)
		}
	}
}
