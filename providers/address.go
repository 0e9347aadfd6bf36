// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"vault-plugin-secrets-messaging/internal/secret"
)

// maxURL limits the length of an endpoint's URL, in bytes.
const maxURL = 2 << 10

// CheckURL accepts a URL that a secret may be sent to.
func CheckURL(text string) error {
	if len(text) > maxURL {
		return fmt.Errorf("must be at most %d bytes long", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || !validPort(u.Port()) ||
		strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r == unicode.ReplacementChar || unicode.IsControl(r) }) {
		return errors.New("must be a URL such as https://auth.example.com/token")
	}
	switch {
	case u.User != nil:
		return errors.New("must not contain a user name or password: write the credentials to their own fields")
	case strings.Contains(text, "#"):
		return errors.New("must not contain a fragment (#…)")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("must be https; http sends the credentials unencrypted, so http is allowed only to a loopback address")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must be https")
	}
	return nil
}

// validPort reports whether a port is valid. "" means the default port of the scheme.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// isLoopback reports whether a host is this machine. It does not resolve the name: localhost is
// always loopback (RFC 6761 §6.3).
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// hostLabel matches one label of a host name, or a part of one label.
var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// URL returns the token URL with the values of its placeholders. It returns "" if a value is not
// valid in a URL; [Provider.Validate] reports such a value.
func (e Endpoint) URL(values map[string]secret.String) string {
	t, problem := parseTemplate(e.TokenURL)
	if problem != "" {
		return ""
	}
	var b strings.Builder
	for _, p := range t {
		value := values[p.field].Reveal()
		switch place := placeInURL(b.String()); {
		case p.field == "":
			value = p.text
		case addressProblem(place, value) != "":
			return ""
		case place == inPath:
			value = url.PathEscape(value)
		case place == inQuery:
			value = url.QueryEscape(value)
		}
		b.WriteString(value)
	}
	return b.String()
}

// Places of a placeholder in a URL.
type urlPlace int

const (
	inScheme urlPlace = iota
	inHost
	inPath
	inQuery
)

// placeInURL returns the part of a URL that comes after the given beginning.
func placeInURL(before string) urlPlace {
	_, rest, found := strings.Cut(before, "://")
	switch {
	case !found:
		return inScheme
	case strings.Contains(rest, "?"):
		return inQuery
	case strings.Contains(rest, "/"):
		return inPath
	}
	return inHost
}

// addressProblem returns what is wrong with a value in a URL, or "" for a valid value.
func addressProblem(place urlPlace, value string) string {
	switch {
	case place == inHost && !hostLabel.MatchString(value):
		return "must consist of lower-case letters, digits and hyphens, because it is part of a host name"
	case place == inPath && (value == "" || value == "." || value == ".."):
		return "must be a name other than . and .., because it is part of a path"
	}
	return ""
}
