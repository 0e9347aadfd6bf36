// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "../docs/definition.schema.json"

// places maps the objects in a definition to their places in the JSON Schema. Objects that allow
// any key are missing.
var places = map[string]string{
	"":                        "",
	"fields.a":                "$defs/field",
	"http":                    "$defs/http",
	"http.auth":               "$defs/http/properties/auth",
	"http.auth.basic":         "$defs/http/properties/auth/properties/basic",
	"http.force":              "$defs/http/properties/force",
	"http.success":            "$defs/success",
	"http.lifetime":           "$defs/lifetime",
	"http.errors":             "$defs/errors",
	"http.errors.refused":     "$defs/outcome",
	"oauth2":                  "$defs/oauth2",
	"oauth2.success":          "$defs/success",
	"oauth2.lifetime":         "$defs/lifetime",
	"oauth2.errors":           "$defs/errors",
	"oauth2.errors.operator":  "$defs/outcome",
	"oauth2.assertion":        "$defs/assertion",
	"oauth2.client_assertion": "$defs/client_assertion",
	"jwt":                     "$defs/jwt",
}

func TestSchemaHasTheKeysOfTheDecoder(t *testing.T) {
	schema := readSchema(t)
	described := map[string]bool{}
	for place, at := range places {
		node := schema
		for _, name := range strings.Split(at, "/") {
			if name != "" {
				node, _ = node[name].(map[string]any)
			}
		}
		described[at] = true
		properties, _ := node["properties"].(map[string]any)
		var keys []string
		for key, p := range properties {
			keys = append(keys, key)
			description, _ := p.(map[string]any)["description"].(string)
			if ref, _ := p.(map[string]any)["$ref"].(string); description == "" {
				target, _ := schema["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
				description, _ = target["description"].(string)
			}
			if !strings.HasSuffix(description, ".") {
				t.Errorf("%s: %s: got description %q, want a sentence", schemaFile, join(place, key), description)
			}
		}
		slices.Sort(keys)
		if known := keysOf(t, place); !slices.Equal(keys, known) {
			t.Errorf("%q: got the keys %v in the schema and %v in the decoder, want them equal", place, keys, known)
		}
	}
	text, _ := json.Marshal(schema)
	if got := strings.Count(string(text), `"additionalProperties":false`); got != len(described) {
		t.Errorf("got %d objects with fixed keys in the schema, want the %d that places names", got, len(described))
	}
}

// keysOf returns the keys that the decoder accepts in an object. The keys come from the decoder's
// error for an unknown key.
func keysOf(t *testing.T, place string) []string {
	t.Helper()
	protocol, inner := "http", map[string]any{"token": "/t", "lifetime": map[string]any{"fixed": "1h"}}
	switch {
	case strings.HasPrefix(place, "oauth2"):
		protocol, inner = "oauth2", map[string]any{"auth_style": "private_key_jwt", "client_id": "c"}
	case place == "jwt":
		protocol, inner = "jwt", map[string]any{"lifetime": "1h"}
	}
	document := map[string]any{"title": "T", protocol: inner}
	node := document
	for _, name := range strings.Split(place, ".") {
		if name != "" {
			inner, _ := node[name].(map[string]any)
			if inner == nil {
				inner = map[string]any{}
			}
			node[name] = inner
			node = inner
		}
	}
	node["zz"] = "unknown"
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseDefinition("test", text)
	var e *DefinitionError
	_, keys, found := strings.Cut(err.Error(), "is not a key here; the keys are ")
	if !errors.As(err, &e) || e.Place != join(place, "zz") || !found {
		t.Fatalf("%s: got %v, want an error about the key zz", place, err)
	}
	known := strings.Split(keys, ", ")
	slices.Sort(known)
	return known
}

func readSchema(t *testing.T) (schema map[string]any) {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err == nil {
		err = json.Unmarshal(text, &schema)
	}
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchemaAcceptsDefinitions(t *testing.T) {
	schema := compileSchema(t)
	texts := map[string]string{"acme": acme, "plain": plain}
	files, _ := filepath.Glob("catalogue/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	for name, text := range texts {
		if err := validateYAML(schema, text); err != nil {
			t.Errorf("%s: got %v, want the schema to accept the definition", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for _, change := range [][2]string{
		{"exclusive: true", "exclusive: maybe"},
		{"exclusive:", "exclusiv:"},
		{"title: Acme", "name: Acme"},
		{"known: documented", "known: guessed"},
		{"kind: list", "kind: words"},
		{"[200, 201]", "[99]"},
		{"token: /data/token", "token: data/token"},
		{"fixed: 1h", "fixed: an hour"},
		{"http:", "jwt: {lifetime: 15m}\nhttp:"},
		{"minimum_age: 20m", "minimum_age: 20"},
		{"  json: {user", "  form: {a: b}\n  json: {user"},
		{"api_user:", "API_user:"},
	} {
		text := strings.Replace(acme, change[0], change[1], 1)
		if err := validateYAML(schema, text); err == nil {
			t.Errorf("%q instead of %q: got no error, want the schema to refuse it", change[1], change[0])
		}
		if _, err := ParseDefinition("acme", []byte(text)); err == nil {
			t.Errorf("%q instead of %q: got no error, want the decoder to refuse it", change[1], change[0])
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validateYAML(schema *jsonschema.Schema, text string) error {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return schema.Validate(value)
}
