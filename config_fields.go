// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/providers"
)

// The bytes that a field, or the name of a config, takes at most, so that no write
// can fill the memory of the server.
const (
	maxName    = 128
	maxText    = 1 << 10
	maxURL     = 2 << 10
	maxSecret  = 8 << 10
	maxCACert  = 64 << 10
	maxTimeout = 60 * time.Second
	maxLife    = 10 * 365 * 24 * time.Hour
)

// configField is a field that every config has, whatever its provider.
type configField struct {
	name   string
	schema framework.FieldSchema

	// steers says that the field determines where or how a secret is sent:
	// changing it takes the secrets again.
	steers bool

	// set puts a decoded value into a config; nil puts the field back to its
	// default. Its error says what is wrong with the value, without the value.
	set func(c *config, value any) error

	// show returns what a read shows; nil if the default holds and has no value.
	show func(c *config) any
}

// configFields are the fields that every config has. Their order is that in which
// they are checked.
func configFields() []configField {
	return []configField{
		textField("environment", "Which of the provider's environments the account is in, such as production (the default) or uat: providers/<name> has their names. Only for providers that have more than one.",
			func(c *config) *string { return &c.Environment }, steering, nil),
		textField("token_url", "Where tokens are minted, instead of the provider's own endpoint (see providers/<name>). https only; http only to a loopback address.",
			func(c *config) *string { return &c.TokenURL }, steering, checkURL),
		textField("ca_cert", "PEM of the CA certificates that vouch for the token endpoint; when set, only they count. The default is the system's.",
			func(c *config) *string { return &c.CACert }, steering, checkCACert),
		textField("revocation_url", "Where tokens are ended before their time (RFC 7009): by rotate/<name>, by deleting the config, and, with share=false, by revoking a lease. The default is to let them expire. For sinch-india and oauth2.",
			func(c *config) *string { return &c.RevocationURL }, steering, checkURL),
		durationField("request_timeout", "How long one exchange with the provider may take, from dialling to the last byte: 1s to 60s. The default is 10s.",
			func(c *config) **seconds { return &c.RequestTimeout }, time.Second, maxTimeout),
		durationField("refresh_window", "How long before its end a token is refreshed, while readers go on getting it. The default is 20% of the token's lifetime; 0 switches early refresh off (for a provider whose new token ends the previous one). At most 90% of the lifetime counts.",
			func(c *config) **seconds { return &c.RefreshWindow }, 0, maxLife),
		durationField("min_ttl", "The least life with which a token is handed out while a newer one can be had. The default is 30s, but at most 10% of the token's lifetime; never under 2s, and at most half the lifetime counts.",
			func(c *config) **seconds { return &c.MinTTL }, 0, maxLife),
		durationField("max_ttl", "Tokens are not used for longer than this, however long the provider lets them live. The default is no such bound.",
			func(c *config) **seconds { return &c.MaxTTL }, 0, maxLife),
		durationField("default_ttl", "The lifetime to assume of a token where the provider states none. Without it such an answer is an error.",
			func(c *config) **seconds { return &c.DefaultTTL }, 0, maxLife),
		{
			name: "lease",
			schema: framework.FieldSchema{Type: framework.TypeBool, Default: true,
				Description:  "Whether a read of creds/<name> makes a lease that ends with the token (the default). With false it makes none and says in ttl and rotation_period when to read again, which is cheaper where thousands read.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Lease", Value: true}},
			set:  func(c *config, v any) error { c.Leaseless = v != nil && !v.(bool); return nil },
			show: func(c *config) any { return !c.Leaseless },
		},
		{
			name: "share",
			schema: framework.FieldSchema{Type: framework.TypeBool, Default: true,
				Description:  "Whether all readers of creds/<name> share one token (the default). With false each read mints one of its own, and revoking its lease ends it at the provider if revocation_url is set.",
				DisplayAttrs: &framework.DisplayAttributes{Name: "Share", Value: true}},
			set:  func(c *config, v any) error { c.Unshared = v != nil && !v.(bool); return nil },
			show: func(c *config) any { return !c.Unshared },
		},
	}
}

// steering marks the fields that steer, at their definition.
const steering = true

func textField(name, description string, of func(*config) *string, steers bool, check func(string) error) configField {
	return configField{
		name:   name,
		schema: framework.FieldSchema{Type: framework.TypeString, Description: description, DisplayAttrs: &framework.DisplayAttributes{Name: displayName(name)}},
		steers: steers,
		set: func(c *config, value any) error {
			text, _ := value.(string)
			if text != "" && check != nil {
				if err := check(text); err != nil {
					return err
				}
			}
			*of(c) = text
			return nil
		},
		show: func(c *config) any {
			if *of(c) == "" {
				return nil
			}
			return *of(c)
		},
	}
}

func durationField(name, description string, of func(*config) **seconds, least, most time.Duration) configField {
	return configField{
		name:   name,
		schema: framework.FieldSchema{Type: framework.TypeDurationSecond, Description: description, DisplayAttrs: &framework.DisplayAttributes{Name: displayName(name)}},
		set: func(c *config, value any) error {
			d, ok := value.(time.Duration)
			if !ok {
				*of(c) = nil
				return nil
			}
			if d < least || d > most {
				return fmt.Errorf("want a duration from %s to %s", least, most)
			}
			s := seconds(d / time.Second)
			*of(c) = &s
			return nil
		},
		show: func(c *config) any {
			if *of(c) == nil {
				return nil
			}
			return int64(**of(c))
		},
	}
}

// displayName returns a field's name as forms show it: "token_url" is "Token URL".
func displayName(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		switch w {
		case "url", "ca", "ttl", "id":
			words[i] = strings.ToUpper(w)
		default:
			if i == 0 {
				words[i] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
	}
	return strings.Join(words, " ")
}

// providerSchema returns the schema of a provider's own field.
func providerSchema(f providers.Field, of []string) *framework.FieldSchema {
	s := &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  fmt.Sprintf("%s For %s.", strings.TrimSuffix(f.Description, ".")+".", strings.Join(of, ", ")),
		DisplayAttrs: &framework.DisplayAttributes{Name: displayName(f.Name), Sensitive: f.Secret},
	}
	switch f.Kind {
	case providers.List:
		s.Type = framework.TypeCommaStringSlice
	case providers.Pairs:
		s.Type = framework.TypeKVPairs
	}
	for _, a := range f.Allowed {
		s.AllowedValues = append(s.AllowedValues, a)
	}
	return s
}

// fieldText returns the text of a decoded value of a provider's own field, in the
// form that its kind has in [providers.Settings]; "" for what puts it back to its
// default.
func fieldText(f providers.Field, value any) (secret.String, error) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
		if f.Secret { // as a file has it that was given as field=@file
			text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		}
	case []string:
		if slices.ContainsFunc(v, func(w string) bool { return w == "" || strings.ContainsFunc(w, unprintableOrSpace) }) {
			return "", fmt.Errorf("want words without white space, separated by commas")
		}
		text = strings.Join(v, " ")
	case map[string]string:
		pairs := url.Values{}
		for k, p := range v {
			if strings.ContainsFunc(k+p, unprintable) {
				return "", errControl
			}
			pairs.Set(k, p)
		}
		text = pairs.Encode()
	}
	most := maxText
	if f.Secret || f.Kind != providers.Text {
		most = maxSecret
	}
	switch {
	case text == "": // the default
		return "", nil
	case len(text) > most:
		return "", fmt.Errorf("it is too long: want at most %d bytes", most)
	case strings.ContainsFunc(text, unprintable):
		return "", errControl
	case len(f.Allowed) > 0 && !slices.Contains(f.Allowed, text):
		return "", fmt.Errorf("want one of %s", strings.Join(f.Allowed, ", "))
	}
	return secret.String(text), nil
}

// errControl is what a text gets that could change what a terminal shows.
var errControl = errors.New("it has a control character in it, a line break perhaps: want none")

func unprintable(r rune) bool        { return unicode.IsControl(r) || r == '\uFFFD' }
func unprintableOrSpace(r rune) bool { return unprintable(r) || r == ' ' }

// checkURL accepts an address that a secret may be sent to.
func checkURL(text string) error {
	if len(text) > maxURL {
		return fmt.Errorf("it is too long: want at most %d bytes", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || !validPort(u.Port()) || strings.ContainsFunc(text, unprintableOrSpace) {
		return fmt.Errorf("want an address such as https://auth.example.com/token")
	}
	switch {
	case u.User != nil:
		return fmt.Errorf("want an address without a user name or password in it; the credentials are fields of their own")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return fmt.Errorf("want an address without a fragment (#…)")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return fmt.Errorf("want https: http would send the credentials in the clear, so it is allowed to a loopback address only")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("want https")
	}
	return nil
}

// validPort reports whether port can be one; "" stands for the scheme's.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// loopback reports whether a host is this machine, by its name alone: RFC 6761
// §6.3 keeps localhost for that.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// checkCACert bounds the size, and keeps what a terminal would obey from the text
// around the certificates; making the HTTP client tells the rest.
func checkCACert(text string) error {
	if len(text) > maxCACert {
		return fmt.Errorf("it is too long: want at most %d bytes", maxCACert)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unprintable(r) && !strings.ContainsRune("\t\r\n", r) }) {
		return errors.New("it has a control character in it: want PEM, and text around it")
	}
	return nil
}
