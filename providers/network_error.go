// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// unreachable turns a network error into an error that can be shown, with the status of the
// answer if the answer had begun. The caller's ctx does not include the timeout.
func (a *answer) unreachable(ctx context.Context, err error, timeout time.Duration) *token.Error {
	e := a.fail(token.Unavailable, "")
	var authority x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		e.Cause = ctx.Err()
		e.Problem = "gave up before the answer was complete: " + ctx.Err().Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.Cause = context.DeadlineExceeded
		e.Problem = fmt.Sprintf("no complete answer within %s (request_timeout)", timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Problem = "the connection was closed before the answer was complete"
	case errors.As(err, &authority):
		e.Problem = "the certificate is signed by an authority that is not trusted; set ca_cert to trust this authority"
	case errors.As(err, &cert):
		e.Problem = "the certificate is not valid: " + a.redact.show(cert.Err.Error(), maxWords) // may quote the certificate
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Problem = "the server speaks HTTP instead of HTTPS"
	default:
		e.Problem = clip(printable(networkProblem(err)), maxWords)
	}
	return e
}

// networkProblem returns the text of an error of the network or of TLS. It leaves out other
// errors, because these repeat the URL with its query, or what the other side sent.
func networkProblem(err error) string {
	var (
		proxy   proxyError
		op      *net.OpError
		dns     *net.DNSError
		record  tls.RecordHeaderError
		timeout net.Error
	)
	switch {
	case errors.As(err, &proxy):
		return proxy.Error()
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &record):
		return record.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out while connecting"
	}
	return "the answer is not valid HTTP"
}
