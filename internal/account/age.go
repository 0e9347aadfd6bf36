// SPDX-License-Identifier: MPL-2.0

package account

import (
	"errors"
	"time"
)

const expiresField = "credentials_expire"

// parseExpire parses a value of credentials_expire. A date alone means the beginning of that day in
// UTC.
func parseExpire(text string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("must be a date such as 2027-03-01, or a time such as 2027-03-01T12:00:00Z")
}

func checkExpire(text string) error {
	_, err := parseExpire(text)
	return err
}

// CredentialsExpire returns the time in credentials_expire; zero if the operator wrote none.
func (c *Config) CredentialsExpire() time.Time {
	t, _ := parseExpire(c.Expire)
	return t
}

// ShowAge adds credentials_expire and credentials_written to data, if they are set.
func (c *Config) ShowAge(data map[string]any) {
	if c.Expire != "" {
		data[expiresField] = c.Expire
	}
	if !c.Written.IsZero() {
		data["credentials_written"] = c.Written.UTC().Format(time.RFC3339)
	}
}

// SameSecrets reports whether c and old have the same secrets. A field counts as secret if either
// config's definition says so.
func (c *Config) SameSecrets(old *Config) bool {
	for _, pair := range [][2]*Config{{c, old}, {old, c}} {
		for name, value := range pair[0].Fields {
			secret := c.provider.isSecret(name) || old.provider.isSecret(name)
			if other, ok := pair[1].Fields[name]; secret && (!ok || other != value) {
				return false
			}
		}
	}
	return c.ClientKey == old.ClientKey
}

// KeepsExpire reports whether w changes a secret but keeps the old value of credentials_expire.
func (w *Write) KeepsExpire(old, next *Config) bool {
	_, named := w.configFields[expiresField]
	return old != nil && next.Expire != "" && !named && !next.SameSecrets(old)
}
