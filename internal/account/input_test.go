// SPDX-License-Identifier: MPL-2.0

package account

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// merge makes a new config from data, as a write request does.
func merge(t *testing.T, data map[string]any) (*Config, error) {
	t.Helper()
	schema := ConfigSchema()
	schema["provider"] = &framework.FieldSchema{Type: framework.TypeString}
	checked, err := CheckTypes(schema, data)
	if err != nil {
		return nil, err
	}
	d := framework.FieldData{Raw: checked, Schema: schema}
	if err := d.Validate(); err != nil {
		t.Errorf("%v: the framework refuses what CheckTypes accepts: %v", data, err)
	}
	w, err := DecodeWrite(checked, schema)
	if err != nil {
		return nil, err
	}
	return newTestRegistry(&logical.InmemStorage{}).Merge(t.Context(), nil, w)
}

func oauth2Config(change map[string]any) map[string]any {
	data := map[string]any{"provider": "oauth2", "client_id": "acme", "client_secret": "s", "token_url": "https://auth.example.com/token"}
	for name, value := range change {
		data[name] = value
	}
	return data
}

func TestPairs(t *testing.T) {
	for name, test := range map[string]struct {
		raw  any
		want string // as stored
		show map[string]any
	}{
		"text":                   {"audience=a=b", "audience=a%3Db", map[string]any{"audience": "a=b"}},
		"texts with one key":     {[]any{"resource=B", "resource=A"}, "resource=B&resource=A", map[string]any{"resource": []string{"B", "A"}}},
		"texts":                  {[]any{"b=1", "a=2"}, "a=2&b=1", map[string]any{"a": "2", "b": "1"}},
		"a value with commas":    {"a=b,c", "a=b%2Cc", map[string]any{"a": "b,c"}},
		"a map":                  {map[string]any{"a": "1", "b": json.Number("2"), "c": 3, "d": nil}, "a=1&b=2&c=3", map[string]any{"a": "1", "b": "2", "c": "3"}},
		"a map of lists":         {map[string]any{"resource": []any{"A", "B"}}, "resource=A&resource=B", map[string]any{"resource": []string{"A", "B"}}},
		"a list of maps":         {[]any{map[string]any{"resource": "A"}, map[string]any{"resource": "B"}}, "resource=A&resource=B", map[string]any{"resource": []string{"A", "B"}}},
		"an empty value":         {"a=", "a=", map[string]any{"a": ""}},
		"the same pair twice":    {[]any{"a=1", "a=1"}, "a=1&a=1", map[string]any{"a": []string{"1", "1"}}},
		"after byte order marks": {[]any{"\ufeffa=1", "\ufeffb=2"}, "a=1&b=2", map[string]any{"a": "1", "b": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := merge(t, oauth2Config(map[string]any{"token_params": test.raw}))
			if err != nil {
				t.Fatalf("%v: got error %v, want none", test.raw, err)
			}
			if got := c.Fields["token_params"].Reveal(); got != test.want {
				t.Errorf("%v: got %q stored, want %q", test.raw, got, test.want)
			}
			if got := c.Show()["token_params"]; !reflect.DeepEqual(got, test.show) {
				t.Errorf("%v: got %#v shown, want %#v", test.raw, got, test.show)
			}
		})
	}
	for _, raw := range []any{
		"hunter2", "=hunter2", []any{"a=1", "hunter2"}, []any{[]any{"a=1"}}, []any{nil}, []any{true}, true, 7,
		map[string]any{"a": true}, map[string]any{"a": map[string]any{"b": "c"}}, map[string]any{"a": []any{[]any{"b"}}}, map[string]any{"a": []any{nil}},
	} {
		_, err := merge(t, oauth2Config(map[string]any{"token_params": raw}))
		if err == nil || err.Error() != "token_params: "+typeRules[framework.TypeKVPairs] {
			t.Errorf("%v: got error %v, want that the type is wrong", raw, err)
		}
	}
}

// The engine drops a byte order mark at the beginning of a text. It refuses other invisible
// characters at either end.
func TestInvisibleCharacters(t *testing.T) {
	texts := map[string]string{ // by field, with what is stored
		"client_id": "acme", "client_secret": "s3cret", "scopes": "read", "token_params": "a=b", "grant_type": "client_credentials",
		"token_url": "https://auth.example.com/t", "revocation_url": "https://auth.example.com/r", "provider": "oauth2",
	}
	for field, text := range texts {
		c, err := merge(t, oauth2Config(map[string]any{field: "\ufeff" + text}))
		if err != nil {
			t.Errorf("%s with a byte order mark: got error %v, want none", field, err)
			continue
		}
		got := map[string]string{"token_url": c.TokenURL, "revocation_url": c.RevocationURL, "provider": c.Provider}[field]
		if got == "" {
			got = c.Fields[field].Reveal()
		}
		if got != text {
			t.Errorf("%s with a byte order mark: got %q, want %q", field, got, text)
		}
		for _, invisible := range []string{"\u200b", "\u00a0", "\u202f", "\u2060", "\u00ad", "\u3000", "\u200e", "\u3164"} {
			if field == "scopes" && strings.TrimSpace(invisible) == "" {
				continue // white space around the words of a list is dropped
			}
			for place, value := range map[string]string{"begin": invisible + text, "end": text + invisible, "end after a mark": "\ufeff" + text + invisible} {
				_, err := merge(t, oauth2Config(map[string]any{field: value}))
				if err == nil || !strings.HasPrefix(err.Error(), field+": ") || strings.Contains(err.Error(), text) && field != "provider" && field != "grant_type" && field != "scopes" {
					t.Errorf("%s with %U at the %s: got error %v, want an error of the field that does not quote it", field, []rune(invisible)[0], place, err)
				}
			}
		}
	}
	for value, ok := range map[string]bool{
		"\ufeffs3cret\r\n": true, " s3cret ": true, "s3\u200bcret": true, "pässwörd": true, "e\u0301": true,
		"s3cret\ufeff": false, "s3cret\u00a0\n": false, "s\xff": false, "s\x00": false,
	} {
		if _, err := merge(t, oauth2Config(map[string]any{"client_secret": value})); (err == nil) != ok {
			t.Errorf("client_secret %q: got error %v, want accepted: %t", value, err, ok)
		}
	}
	for value, problem := range map[string]string{
		" acme":      "must not begin or end with a space",
		"acme\u200b": "must not end with the invisible character U+200B; remove the character",
		"\u00a0acme": "must not begin with the invisible character U+00A0; remove the character",
		"\ufffda":    "must be UTF-8; a file in another encoding, such as UTF-16, must be converted first",
	} {
		if _, err := merge(t, oauth2Config(map[string]any{"client_id": value})); err == nil || err.Error() != "client_id: "+problem {
			t.Errorf("client_id %q: got error %v, want %s", value, err, problem)
		}
	}
}

// testCA is a certificate as tools write it.
const testCA = `-----BEGIN CERTIFICATE-----
MIIBITCByaADAgECAgEBMAoGCCqGSM49BAMCMAAwIBgPMDAwMTAxMDEwMDAwMDBa
-----END CERTIFICATE-----
`

func TestNormalPEM(t *testing.T) {
	indented := "    " + strings.ReplaceAll(strings.TrimSpace(testCA), "\n", "\n    ") + "\n"
	for name, text := range map[string]string{
		"as it is":                     testCA,
		"indented":                     indented,
		"indented by no-break spaces":  strings.ReplaceAll(indented, "    ", "\u00a0\t"),
		"literal line breaks":          strings.ReplaceAll(testCA, "\n", `\n`),
		"literal Windows line breaks":  strings.ReplaceAll(testCA, "\n", `\r\n`),
		"a byte order mark in between": "\ufeff" + testCA,
	} {
		if got := normalPEM(text); strings.TrimSpace(got) != strings.TrimSpace(testCA) {
			t.Errorf("%s: got %q, want %q", name, got, testCA)
		}
	}
	for _, text := range []string{"# a comment\\n of a bundle\n" + testCA, strings.ReplaceAll(testCA, "\n", "\r\n"), "no PEM", ""} {
		if got := normalPEM(text); got != text {
			t.Errorf("%q: got %q, want it unchanged", text, got)
		}
	}
}
