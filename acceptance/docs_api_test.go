// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

// docs/api.md and the mount's OpenAPI document have the same operations and fields.
func TestAPIReferenceHasEveryField(t *testing.T) {
	w := newWorld(t)
	documented := apiReference(t)
	served := w.operations(t)
	for _, op := range slices.Sorted(maps.Keys(served)) {
		if documented[op] == nil {
			t.Errorf("docs/api.md: got no operation %s, want it", op)
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(served[op])) {
			kind, ok := documented[op][field]
			if !ok {
				t.Errorf("docs/api.md, %s: got no field %s, want it", op, field)
			} else if want := served[op][field]; want != "" && kind != want {
				t.Errorf("docs/api.md, %s: got type %s of field %s, want %s", op, kind, field, want)
			}
		}
		for field := range documented[op] {
			if _, ok := served[op][field]; !ok {
				t.Errorf("docs/api.md, %s: got the field %s, which does not exist", op, field)
			}
		}
	}
	for op := range documented {
		if served[op] == nil {
			t.Errorf("docs/api.md: got the operation %s, which does not exist", op)
		}
	}
}

// fieldsOf maps an operation's fields to their types, in the words of docs/api.md.
type fieldsOf map[string]string

// operations reads the mount's OpenAPI document. The result's keys are operations, such as "POST
// /messaging/config/:name".
func (w world) operations(t *testing.T) map[string]fieldsOf {
	t.Helper()
	type schema struct{ Type, Format string }
	type parameter struct {
		Name   string
		Schema schema
	}
	type operation struct {
		OperationID string
		Parameters  []parameter
		RequestBody json.RawMessage
	}
	var document struct {
		Paths map[string]struct {
			Parameters               []parameter
			Get, Post, Patch, Delete *operation
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]schema }
		}
	}
	r := w.Read(t, "sys/internal/specs/openapi").OK(t)
	if err := json.Unmarshal([]byte(r.Raw), &document); err != nil {
		t.Fatal(err)
	}
	kind := func(s schema) string {
		switch {
		case s.Format == "duration":
			return "duration"
		case s.Type == "boolean":
			return "bool"
		case s.Type == "array":
			return "list"
		case s.Type == "object":
			return "map"
		}
		return s.Type
	}
	ops := map[string]fieldsOf{}
	for path, item := range document.Paths {
		if !strings.HasPrefix(path, "/messaging/") {
			continue
		}
		for method, op := range map[string]*operation{"GET": item.Get, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			fields := fieldsOf{}
			for _, p := range append(item.Parameters, op.Parameters...) {
				if p.Name == "list" {
					method = "LIST"
					continue
				}
				fields[p.Name] = kind(p.Schema)
				if p.Name == "min_ttl" { // OpenAPI declares a duration in a query as a string
					fields[p.Name] = "duration"
				}
			}
			if op.RequestBody != nil {
				// Vault drops the reference to the schema of a plugin.
				name := ""
				for word := range strings.SplitSeq(op.OperationID, "-") {
					name += strings.ToUpper(word[:1]) + word[1:]
				}
				body := document.Components.Schemas[name+"Request"]
				if len(body.Properties) == 0 {
					t.Errorf("%s %s (%s): got a body without fields, want fields", method, path, op.OperationID)
				}
				for name, s := range body.Properties {
					fields[name] = kind(s)
				}
			}
			ops[method+" "+strings.TrimSuffix(strings.ReplaceAll(path, "{name}", ":name"), "/")] = fields
		}
	}
	if len(ops) == 0 {
		t.Fatal("OpenAPI document: got no operation of the mount, want some")
	}
	return ops
}

// apiReference returns the fields of each operation in docs/api.md.
func apiReference(t *testing.T) map[string]fieldsOf {
	t.Helper()
	ops := map[string]fieldsOf{}
	for section := range strings.SplitSeq(harness.ReadFile(t, "../docs/api.md"), "\n## ") {
		fields := fieldsOf{}
		for _, m := range regexp.MustCompile("(?m)^- `(\\w+)` `\\((\\w+): [^)]*\\)` – ").FindAllStringSubmatch(section, -1) {
			fields[m[1]] = m[2]
		}
		for _, m := range regexp.MustCompile("`([A-Z]+ /messaging/[^`]+)`").FindAllStringSubmatch(section, -1) {
			op := maps.Clone(fields)
			if strings.Contains(m[1], "/:name") {
				op["name"] = "string" // the path documents it
			}
			ops[m[1]] = op
		}
	}
	return ops
}

// The samples in docs/api.md have the same fields as the server's answers. The page quotes the server's
// errors.
func TestAPIReferenceShowsWhatIsAnswered(t *testing.T) {
	s, _ := internetWorld(t)
	samples := func(title string) []string {
		return harness.CodeBlocks(t, harness.Section(t, "../docs/api.md", title), "json")
	}
	like := func(title string, sample int, r harness.Response) {
		t.Helper()
		var want struct{ Data map[string]any }
		if err := json.Unmarshal([]byte(samples(title)[sample]), &want); err != nil {
			t.Errorf("docs/api.md, %s: got error %v, want a sample in JSON", title, err)
		}
		if w, g := shape(want.Data), shape(r.OK(t).Data); w != g {
			t.Errorf("docs/api.md, %s: got a sample with\n%s\nwant the fields of the answer\n%s", title, w, g)
		}
	}

	var payload harness.Fields
	if err := json.Unmarshal([]byte(samples("Write an account")[0]), &payload); err != nil {
		t.Fatal(err)
	}
	if r := s.Write(t, "messaging/config/sinch", payload).OK(t); r.Status != 204 {
		t.Errorf("write: got status %d, want 204: %s", r.Status, r.Raw)
	}
	like("Read an account", 0, s.Read(t, "messaging/config/sinch"))
	like("List accounts", 0, s.List(t, "messaging/config"))
	like("Read a token", 0, s.Read(t, "messaging/creds/sinch"))
	like("List statuses", 0, s.List(t, "messaging/status"))
	s.Write(t, "messaging/config/signer", harness.Fields{"provider": "oauth2", "client_id": "acme", "token_url": "https://auth.acme.example/",
		"auth_style": "private_key_jwt", "generate_key": "ec-p256"}).OK(t)
	like("Read a key", 0, s.Read(t, "messaging/keys/signer"))
	s.Write(t, "messaging/config/signer", harness.Fields{"token_url": "https://evil.example/"}).Refused(t, 400,
		"token_url: a config with a generated key cannot change where or how signatures are sent; to change this field, delete the config and write it again, which makes a new key")
	s.Write(t, "messaging/config/signer", harness.Fields{"private_key": "x"}).Refused(t, 400,
		"generate_key: cannot be set beside private_key; the key is either written or made by the engine")
	s.Delete(t, "messaging/config/signer").OK(t)
	like("Rotate a token", 0, s.Write(t, "messaging/rotate/sinch", nil))
	s.Patch(t, "messaging/config/sinch", harness.Fields{"lease": false}).OK(t)
	like("Read a token", 1, s.Read(t, "messaging/creds/sinch"))
	like("Read a provider", 0, s.Read(t, "messaging/providers/sinch-india"))
	like("Define a provider", 0, s.Write(t, "messaging/providers/acme", harness.Fields{"definition": acmeDefinition("https://auth.acme.example/")}))
	acme := s.List(t, "messaging/providers").OK(t)
	if info, ok := acme.Data["key_info"].(map[string]any); ok { // the sample shows only one provider
		acme.Data["key_info"] = map[string]any{"acme": info["acme"]}
	}
	like("List providers", 0, acme)
	s.Write(t, "messaging/providers/oauth2", harness.Fields{"definition": acmeDefinition("https://auth.acme.example/")}).Refused(t, 400,
		"name: is the name of a built-in provider; choose another name for your definition")
	s.Delete(t, "messaging/providers/oauth2").Refused(t, 400, "name: is the name of a built-in provider, which cannot be deleted")
	s.Delete(t, "messaging/config/sinch").OK(t)

	wrong := union(payload, harness.Fields{"password": "wrong"})
	documents(t, s.Write(t, "messaging/config/sinch", wrong), 400)
	wrong["verify_connection"] = false
	s.Write(t, "messaging/config/sinch", wrong).OK(t)
	s.Read(t, "messaging/creds/sinch").Refused(t, 400, "credentials refused", "the next attempt is at the first read after")
	like("Read a status", 0, s.Read(t, "messaging/status/sinch"))
	s.Patch(t, "messaging/config/sinch", harness.Fields{"share": false, "verify_connection": false}).OK(t)
	s.Write(t, "messaging/rotate/sinch", nil).Refused(t, 400,
		`config "sinch" has share=false: there is no shared token to replace; revoke the lease of the token instead`)

	s.Read(t, "messaging/creds/none").Refused(t, 400, `there is no config "none": write config/none first`)
	s.Read(t, "messaging/creds/sinch?min_ttl=500ms").Refused(t, 400, "min_ttl: must be a duration in whole seconds, such as 30s, 5m or a number of seconds")
	s.Patch(t, "messaging/config/none", harness.Fields{"min_ttl": 1}).Refused(t, 404, `there is no config "none" to patch: write it first`)
	s.Write(t, "messaging/config/"+strings.Repeat("a", 129), payload).Refused(t, 400, "name: must be at most 128 bytes long")
	for _, path := range []string{"config/none", "status/none", "providers/none", "none"} {
		if r := s.Read(t, "messaging/"+path); r.Status != 404 {
			t.Errorf("%s: got status %d, want 404", path, r.Status)
		}
	}
	documents(t, s.Write(t, "messaging/config/sinch", harness.Fields{"token_url": "https://auth.example.com/token"}), 400)
}

// A wrong config write fails with 400. The error names the field, and says what is right.
func TestErrorsOfConfigWrites(t *testing.T) {
	s := newWorld(t)
	india := harness.Fields{"provider": "sinch-india", "username": "acme", "password": "correct-horse"}
	rcs := harness.Fields{"provider": "enablex-rcs", "app_id": "a", "app_key": "b"}
	oauth := harness.Fields{"provider": "oauth2", "client_id": "a", "token_url": "https://auth.example.com/token"}
	s.Write(t, "messaging/config/old", union(india, harness.Fields{"share": false, "verify_connection": false})).OK(t)
	for _, test := range []struct {
		config  string
		base    harness.Fields
		change  harness.Fields
		problem string
	}{
		{"old", nil, harness.Fields{"provider": "oauth2"}, `provider: cannot be changed from "sinch-india"; delete the config and write it again`},
		{"old", nil, harness.Fields{"lease": false}, "lease: must be true with share=false, because an unshared token ends with its lease"},
		{"new", nil, nil, "provider: is required; list providers/ for the names"},
		{"new", nil, harness.Fields{"provider": "none"}, "provider: there is no provider of this name; list providers/ for the names"},
		{"new", nil, harness.Fields{"provider": "sinch-india"}, "username: is required by sinch-india"},
		{"new", india, harness.Fields{"app_id": "1"}, "app_id: is not a field of sinch-india, which takes username, password"},
		{"new", india, harness.Fields{"environment": "dev"}, "environment: must be one of production, uat"},
		{"new", india, harness.Fields{"username": strings.Repeat("a", 2000)}, "username: must be at most 1024 bytes long"},
		{"new", india, harness.Fields{"username": "a\nb"}, "username: must not contain control characters such as line breaks"},
		{"new", rcs, harness.Fields{"environment": "uat"}, "environment: enablex-rcs has a single environment; remove the field"},
		{"new", rcs, harness.Fields{"revocation_url": "https://auth.example.com/revoke"}, "revocation_url: enablex-rcs cannot revoke tokens; remove the field"},
		{"new", oauth, harness.Fields{"token_url": ""}, "token_url: is required by oauth2"},
		{"new", oauth, harness.Fields{"token_url": "http://auth.example.com/token"}, "token_url: must be https; http sends the credentials unencrypted, so http is allowed only to a loopback address"},
		{"new", oauth, harness.Fields{"token_url": "auth.example.com"}, "token_url: must be a URL such as https://auth.example.com/token"},
		{"new", oauth, harness.Fields{"token_url": "https://a:b@auth.example.com/token"}, "token_url: must not contain a user name or password: write the credentials to their own fields"},
		{"new", oauth, harness.Fields{"token_url": "https://auth.example.com/token#top"}, "token_url: must not contain a fragment (#…)"},
		{"new", oauth, harness.Fields{"grant_type": "password"}, "username: must be set for grant_type=password"},
		{"new", oauth, harness.Fields{"username": "a"}, "username: can only be set for grant_type=password"},
		{"new", oauth, harness.Fields{"token_params": harness.Fields{"scope": "a"}}, "token_params: cannot contain scope, because the engine or another field sets it"},
		{"new", oauth, harness.Fields{"auth_style": "a"}, "auth_style: must be one of header, body, private_key_jwt, none"},
		{"new", oauth, harness.Fields{"scopes": []string{"a b"}}, "scopes: must be words without white space, separated by commas"},
		{"new", oauth, harness.Fields{"ca_cert": "a"}, "ca_cert: must contain at least one PEM certificate"},
		{"new", oauth, harness.Fields{"request_timeout": "2m"}, "request_timeout: must be a duration from 1s to 1m0s"},
		{"new", oauth, harness.Fields{"lease": "a"}, "lease: must be true or false"},
	} {
		s.Write(t, "messaging/config/"+test.config, union(test.base, test.change)).Refused(t, 400, test.problem)
	}
}

// documents checks that r is an error with this status, and that docs/api.md quotes the error.
func documents(t *testing.T, r harness.Response, status int) {
	t.Helper()
	if r.Status != status || len(r.Errors) == 0 {
		t.Errorf("got status %d, want %d and an error: %s", r.Status, status, r.Raw)
		return
	}
	text := strings.TrimSpace(strings.TrimPrefix(r.Errors[0], "1 error occurred:\n\t* "))
	if !strings.Contains(harness.ReadFile(t, "../docs/api.md"), "`"+text+"`") {
		t.Errorf("docs/api.md: got no error %q, want it", text)
	}
}

// shape lists the field names in data and in nested objects.
func shape(data any) string {
	object, ok := data.(map[string]any)
	if !ok {
		return ""
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if inner := shape(object[name]); inner != "" {
			name += "{" + inner + "}"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}
