// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-messaging/internal/secret"
	"vault-plugin-secrets-messaging/internal/token"
	"vault-plugin-secrets-messaging/providers"
)

// Limits of field values, to protect the server's memory. Sizes are in bytes.
const (
	MaxName    = 128 // of a config's name
	maxText    = 1 << 10
	maxSecret  = 8 << 10
	maxPEM     = 64 << 10
	maxTimeout = 60 * time.Second
	minLease   = 30 * time.Second // shorter leases would fill the storage
)

// configField is a field that every config has, whatever its provider.
type configField struct {
	name   string
	schema framework.FieldSchema

	// requiresSecrets is true if the field determines where or how a secret is sent. A write that
	// changes the field must then repeat the secrets.
	requiresSecrets bool

	// set stores a decoded value in a config; nil restores the default. The error does not quote
	// the value.
	set func(c *Config, value any) error

	// show returns the value for a read of the config; nil leaves the field out.
	show func(c *Config) any
}

// requiresSecrets names an argument of textField.
const requiresSecrets = true

// ConfigSchema returns the schema of the fields that every config has. A provider's fields are left
// out, because operators can add providers at any time.
func ConfigSchema() map[string]*framework.FieldSchema {
	schema := map[string]*framework.FieldSchema{}
	for _, f := range configFields() {
		schema[f.name] = &f.schema
	}
	return schema
}

// configFields returns the fields that every config has, in the order in which they are
// checked.
func configFields() []configField {
	return []configField{
		textField("environment", "Environment of the provider that the account is in, such as production (the default) or uat. Read providers/<name> for the names. Only for providers with more than one environment.",
			func(c *Config) *string { return &c.Environment }, requiresSecrets, checkText),
		textField("token_url", "Endpoint that issues the tokens, instead of the provider's own endpoint, which providers/<name> shows. Must be https; http is allowed only to a loopback address.",
			func(c *Config) *string { return &c.TokenURL }, requiresSecrets, checkURL),
		textField("ca_cert", "CA certificates in PEM that must have signed the certificate of the token endpoint. If set, only these are trusted. The default is the CA certificates of the system.",
			func(c *Config) *string { return &c.CACert }, requiresSecrets, checkPEM),
		textField("client_cert", "Client certificate in PEM that the engine presents to the token endpoint and the revocation endpoint (mutual TLS, RFC 8705). CA certificates that signed it may follow. Needs client_key.",
			func(c *Config) *string { return &c.ClientCert }, !requiresSecrets, checkPEM),
		clientKeyField(),
		textField("revocation_url", "Endpoint that revokes tokens before they expire (RFC 7009). rotate/<name>, deleting the config and, with share=false, revoking a lease use it. By default tokens are left to expire. Only for providers that can revoke tokens, such as sinch-india and oauth2.",
			func(c *Config) *string { return &c.RevocationURL }, requiresSecrets, checkURL),
		durationField("request_timeout", "How long one exchange with the provider may take, from dialing to the last byte: 1s to 60s. The default is 10s.",
			func(c *Config) **seconds { return &c.RequestTimeout }, time.Second, maxTimeout),
		durationField("refresh_window", "How long before its end a token is refreshed in the background. The default is 20% of the token's lifetime, and at most 90% of the lifetime counts. 0 switches early refresh off; use 0 if a new token ends the previous token.",
			func(c *Config) **seconds { return &c.RefreshWindow }, 0, token.MaxLifetime),
		durationField("min_ttl", "Least remaining life with which a token is served: readers of a token with less wait for a new token. The default is 30s, but at most 10% of the token's lifetime. The effective value is at least 2s and at most half the lifetime.",
			func(c *Config) **seconds { return &c.MinTTL }, 0, token.MaxLifetime),
		durationField("max_ttl", "Longest time for which a token is used, even if the provider lets it live longer. By default there is no such limit.",
			func(c *Config) **seconds { return &c.MaxTTL }, 0, token.MaxLifetime),
		durationField("default_ttl", "Lifetime to assume for a token if the provider states none. Without default_ttl, an answer that states no lifetime is an error.",
			func(c *Config) **seconds { return &c.DefaultTTL }, 0, token.MaxLifetime),
		durationField("lease_ttl", "Longest time until a reader reads again, at least 30s: leases and, with lease=false, ttl last at most this long, although the token lives on. Readers such as Vault Agent then follow a rotate within this time. By default a lease ends with the token.",
			func(c *Config) **seconds { return &c.LeaseTTL }, minLease, token.MaxLifetime),
		textField(expiresField, "When the credentials end at the provider: a date such as 2027-03-01, or a time in RFC 3339. Nothing happens on that day. Status and metrics show it, so that an alert can remind you in time. Write a new date with the new credentials.",
			func(c *Config) *string { return &c.Expire }, !requiresSecrets, checkExpire),
		boolField("lease", "Whether a read of creds/<name> makes a lease that ends with the token (the default). With false a read makes no lease and says in ttl and rotation_period when to read again, which is cheaper for thousands of readers.",
			func(c *Config) *bool { return &c.Lease }),
		boolField("share", "Whether all readers of creds/<name> share one token (the default). With false each read mints an unshared token, and revoking its lease revokes the token at the provider if revocation_url is set.",
			func(c *Config) *bool { return &c.Share }),
	}
}

// newConfigField returns a field without the functions set and show.
func newConfigField(name, description string, t framework.FieldType) configField {
	return configField{name: name, schema: framework.FieldSchema{
		Type: t, Description: description, DisplayAttrs: &framework.DisplayAttributes{Name: displayName(name)}}}
}

func textField(name, description string, of func(*Config) *string, requiresSecrets bool, check func(string) error) configField {
	f := newConfigField(name, description, framework.TypeString)
	f.requiresSecrets = requiresSecrets
	f.set = func(c *Config, value any) error {
		text, _ := value.(string)
		if strings.HasSuffix(name, "_cert") {
			text = normalPEM(text)
		}
		*of(c) = text
		if text == "" {
			return nil
		}
		return check(text)
	}
	f.show = func(c *Config) any {
		if *of(c) == "" {
			return nil
		}
		return *of(c)
	}
	return f
}

// clientKey is the only secret field that does not depend on the provider.
const clientKey = "client_key"

func clientKeyField() configField {
	f := newConfigField(clientKey, "Private key of client_cert in PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted. Write-only.", framework.TypeString)
	f.schema.DisplayAttrs.Sensitive = true
	f.set = func(c *Config, value any) error {
		text, _ := value.(string)
		if len(text) > maxSecret {
			return tooLong(maxSecret)
		}
		c.ClientKey = secret.String(normalPEM(text))
		return nil
	}
	f.show = func(*Config) any { return nil }
	return f
}

func durationField(name, description string, of func(*Config) **seconds, least, limit time.Duration) configField {
	f := newConfigField(name, description, framework.TypeDurationSecond)
	f.set = func(c *Config, value any) error {
		d, ok := value.(time.Duration)
		switch {
		case !ok:
			*of(c) = nil
			return nil
		case d < least || d > limit:
			return fmt.Errorf("must be a duration from %s to %s", least, limit)
		}
		*of(c) = new(seconds(d / time.Second))
		return nil
	}
	f.show = func(c *Config) any {
		if *of(c) == nil {
			return nil
		}
		return int64(**of(c))
	}
	return f
}

// boolField returns a field that is true by default.
func boolField(name, description string, of func(*Config) *bool) configField {
	f := newConfigField(name, description, framework.TypeBool)
	f.schema.Default, f.schema.DisplayAttrs.Value = true, true
	f.set = func(c *Config, v any) error { *of(c) = v == nil || v.(bool); return nil }
	f.show = func(c *Config) any { return *of(c) }
	return f
}

// displayName returns the name of a field as forms show it: "token_url" becomes "Token URL".
func displayName(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		if slices.Contains([]string{"url", "ca", "ttl", "id"}, w) {
			words[i] = strings.ToUpper(w)
		} else if i == 0 {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

func tooLong(limit int) error { return fmt.Errorf("must be at most %d bytes long", limit) }

// checkURL accepts a URL to which a secret may be sent.
func checkURL(text string) error {
	if invisibleEnd := checkText(text); invisibleEnd != nil && !strings.ContainsFunc(text, unprintable) {
		return invisibleEnd
	}
	return providers.CheckURL(text)
}

// checkPEM checks the size of a PEM text, and refuses control characters. Registry.Account checks
// the certificates.
func checkPEM(text string) error {
	if len(text) > maxPEM {
		return tooLong(maxPEM)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unprintable(r) && !strings.ContainsRune("\t\r\n", r) }) {
		return errors.New("must be PEM without control characters other than line breaks")
	}
	return nil
}
