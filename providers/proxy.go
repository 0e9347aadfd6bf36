// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// proxyError is a problem with the proxy, in our words, because the proxy's address may
// contain a password.
type proxyError string

func (e proxyError) Error() string { return string(e) }

// environmentProxy returns the proxy that the environment names for a request. Requests
// over plain HTTP go only to this machine, and no proxy may read them.
func environmentProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil
	}
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, proxyError("the proxy address in the environment must be a valid URL")
	}
	return proxy, nil
}

func checkProxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
	if r.StatusCode == http.StatusOK {
		return nil
	}
	return proxyError(strings.TrimSpace(fmt.Sprintf("the proxy answered %d %s", r.StatusCode, http.StatusText(r.StatusCode))))
}
