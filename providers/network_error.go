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
	"strings"
	"time"

	"vault-plugin-secrets-messaging/internal/token"
)

// unreachable returns a network error that is safe to show. The error contains the HTTP status if
// the status had arrived. ctx is the caller's context, without the request's timeout.
func (a *answer) unreachable(ctx context.Context, err error, timeout time.Duration) *token.Error {
	e := a.fail(token.Unavailable, "")
	e.Unsent = !a.connected
	var authority x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	alert := alertOf(err)
	switch {
	case ctx.Err() != nil:
		e.Cause = ctx.Err()
		e.Problem = "gave up before the answer was complete: " + ctx.Err().Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.Cause = context.DeadlineExceeded
		e.Problem = fmt.Sprintf("no complete answer within %s (request_timeout)", timeout)
	case alert != 0 && (alert != handshakeFailure || a.asked && a.certificate == nil):
		e.Kind = token.Refused
		if e.Problem = certificateMissing; a.certificate != nil {
			e.Problem = certificateRefused + ": " + strings.TrimPrefix(alert.Error(), "tls: ") + a.expired()
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Problem = "the connection was closed before the answer was complete" + a.certificateHint()
	case errors.As(err, &authority):
		e.Problem = "the certificate is signed by an authority that is not trusted; set ca_cert to trust this authority"
	case errors.As(err, &cert):
		e.Problem = "the certificate is not valid: " + a.redact.show(cert.Err.Error(), maxWords) // may quote the certificate
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Problem = "the server speaks HTTP instead of HTTPS"
	default:
		problem := networkProblem(err)
		if problem == invalidHTTP && a.asked {
			problem = "the connection failed before the answer" // probably the end of the TLS connection
		}
		e.Problem = clip(printable(problem), maxWords) + a.certificateHint()
	}
	return e
}

const (
	certificateMissing = "the server requires a client certificate; set client_cert and client_key"
	certificateRefused = "the server refuses the certificate in client_cert"
)

// certificateHint says that the client certificate may be missing or refused, or returns "". With
// TLS 1.3, a refusal may look like a broken connection.
func (a *answer) certificateHint() string {
	switch {
	case !a.asked:
		return ""
	case a.certificate == nil:
		return "; if the server requires a client certificate, set client_cert and client_key"
	}
	return "; the server may have refused the certificate in client_cert" + a.expired()
}

// expired returns when the client certificate expired, or "".
func (a *answer) expired() string {
	if a.certificate == nil || !a.now.After(a.certificate.NotAfter) {
		return ""
	}
	return "; it expired at " + a.certificate.NotAfter.UTC().Format(time.RFC3339)
}

const handshakeFailure tls.AlertError = 40

// refusalAlerts are the TLS alerts (RFC 8446 §6.2) for a refused or missing client certificate:
// handshake_failure, bad_certificate, unsupported_certificate, certificate_revoked,
// certificate_expired, certificate_unknown, unknown_ca, access_denied and certificate_required.
var refusalAlerts = []tls.AlertError{handshakeFailure, 42, 43, 44, 45, 46, 48, 49, 116}

// alertOf returns the TLS alert in err, or 0 if refusalAlerts does not contain it. It compares
// texts, because crypto/tls does not export the alert's type.
func alertOf(err error) tls.AlertError {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for _, alert := range refusalAlerts {
			if op.Err.Error() == alert.Error() {
				return alert
			}
		}
	}
	return 0
}

const invalidHTTP = "the answer is not valid HTTP"

// networkProblem returns the text of a network or TLS error. It hides other texts, because these
// may quote the URL's query or the server's data.
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
	return invalidHTTP
}
