// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// proxyError describes a problem with the proxy. It does not show the proxy's address, which
// may contain a password.
type proxyError string

func (e proxyError) Error() string { return string(e) }

// environmentProxy returns the proxy for a request, according to the environment. Plain HTTP
// requests use no proxy, because they stay on this machine.
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
