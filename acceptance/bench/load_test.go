// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// readers is the number of concurrent readers.
const readers = 8

// load is the result of one round.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

// client reads from one Vault server over persistent connections.
type client struct {
	addr, token string
	http        *http.Client
}

func newClient(addr, token string) *client {
	return &client{addr, token, &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: readers, MaxConnsPerHost: readers},
		Timeout:   time.Minute,
	}}
}

// read reads a path and discards the response.
func (c *client) read(path string) error {
	req, err := http.NewRequest(http.MethodGet, c.addr+"/v1/"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", c.token)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		return fmt.Errorf("reading %s: got status %d, want 200: %s", path, res.StatusCode, body)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// measure lets all readers read for the duration d. The function next returns the path for each
// read.
func (c *client) measure(b *testing.B, d time.Duration, next func() string) load {
	b.Helper()
	took := make([][]time.Duration, readers)
	errs := make([]error, readers)
	start := time.Now()
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for time.Since(start) < d {
				began := time.Now()
				if errs[r] = c.read(next()); errs[r] != nil {
					return
				}
				took[r] = append(took[r], time.Since(began))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return load{
		perSecond: float64(len(all)) / elapsed.Seconds(),
		p50:       quantile(all, 0.50),
		p99:       quantile(all, 0.99),
	}
}

// quantile returns the q-quantile of sorted values, or zero if there are no values.
func quantile[T any](sorted []T, q float64) (v T) {
	if len(sorted) > 0 {
		v = sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
	}
	return v
}

// medians returns the median of each figure.
func medians(loads []load) load {
	var perSecond []float64
	var p50, p99 []time.Duration
	for _, l := range loads {
		perSecond = append(perSecond, l.perSecond)
		p50 = append(p50, l.p50)
		p99 = append(p99, l.p99)
	}
	return load{median(perSecond), median(p50), median(p99)}
}

func median[T cmp.Ordered](values []T) T { return quantile(slices.Sorted(slices.Values(values)), 0.5) }

// spread formats the median, the lowest and the highest value.
func spread(values []float64) string {
	return fmt.Sprintf("%.3f (%.3f to %.3f)", median(values), slices.Min(values), slices.Max(values))
}
