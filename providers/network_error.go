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

// unreachable turns a network error into an error that can be shown, with the status of the
// answer if the answer had begun. The caller's ctx does not include the timeout.
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
		if e.Problem = "the server requires a client certificate; set client_cert and client_key"; a.certificate != nil {
			e.Problem = "the server refuses the certificate in client_cert: " + strings.TrimPrefix(alert.Error(), "tls: ") + a.expired()
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
		e.Problem = clip(printable(networkProblem(err)), maxWords) + a.certificateHint()
	}
	return e
}

// certificateHint returns a suspicion about a connection that the server has asked for a
// certificate on, and that has failed since. A TLS 1.3 server refuses a certificate when the
// client has sent its request already, and the alert can get lost then.
func (a *answer) certificateHint() string {
	switch {
	case !a.asked:
		return ""
	case a.certificate == nil:
		return "; if the server requires a client certificate, set client_cert and client_key"
	}
	return "; the server may have refused the certificate in client_cert" + a.expired()
}

// expired says so if the client certificate has expired; otherwise it returns "".
func (a *answer) expired() string {
	until := a.certificate.NotAfter
	if !a.now.After(until) {
		return ""
	}
	return "; it expired at " + until.UTC().Format(time.RFC3339)
}

// Alerts of a TLS server (RFC 8446 §6.2).
const handshakeFailure tls.AlertError = 40

// certificateAlerts are the alerts with which a server refuses the certificate of its client,
// or the lack of one: bad_certificate, unsupported_certificate, certificate_revoked,
// certificate_expired, certificate_unknown, unknown_ca, access_denied and certificate_required.
var certificateAlerts = []tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116}

// alertOf returns the alert that ended a connection, if it is one of the above; otherwise 0.
// The type of the alert in an error of crypto/tls is not exported.
func alertOf(err error) tls.AlertError {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		for _, alert := range append(certificateAlerts, handshakeFailure) {
			if op.Err.Error() == alert.Error() {
				return alert
			}
		}
	}
	return 0
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
