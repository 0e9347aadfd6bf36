// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// readers is how many read at once.
const readers = 8

// load is what readers measured in one round.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

// client reads from one Vault server over connections that it keeps.
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

// read makes one read and throws the answer away.
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
		return fmt.Errorf("reading %s: status %d: %s", path, res.StatusCode, body)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// measure has readers read for the given time, each the paths that next gives it.
func (c *client) measure(t testing.TB, d time.Duration, next func(reader, i int) string) load {
	t.Helper()
	took := make([][]time.Duration, readers)
	errs := make([]error, readers)
	start := time.Now()
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := 0; time.Since(start) < d; i++ {
				began := time.Now()
				if errs[r] = c.read(next(r, i)); errs[r] != nil {
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
			t.Fatal(err)
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

// quantile returns the q-quantile of sorted values; their zero value if there are
// none.
func quantile[T any](sorted []T, q float64) (v T) {
	if len(sorted) > 0 {
		v = sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
	}
	return v
}

// median, least and most of some ratios.
func spread(ratios []float64) (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(ratios))
	return quantile(sorted, 0.5), sorted[0], sorted[len(sorted)-1]
}
