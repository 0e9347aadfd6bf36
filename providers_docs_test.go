// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/providers"
)

var update = flag.Bool("update", false, "write docs/providers.md instead of checking it")

// The usage and lifetime of most providers. The head of the page shows them, and a section shows
// only what differs.
const (
	usualUsage    = "Authorization: Bearer {token}"
	usualLifetime = "`/expires_in` in the answer, in seconds"
)

const providersPageHead = `# Providers

These providers are built in. For any other provider, write a [definition](adding-a-provider.md). A config takes the fields of its
provider, listed here, and [those of every config](api.md#parameters).

<!-- This page is generated from the definitions. After you change a definition, run: go test -run TestProvidersPage . -update -->

Unless a section says otherwise:

- Apps send: ` + "`" + usualUsage + "`" + `
- Lifetime: ` + usualLifetime + `

The paths into an answer are JSON Pointers (RFC 6901).

Each provider is known from its own page, which the list links to (*documented*), unless the list says *verified* (run against the
provider or its server software) or *reported* (by third parties).

`

// docs/providers.md agrees with the definitions. With -update, the test writes the page.
func TestProvidersPage(t *testing.T) {
	const page = "docs/providers.md"
	var list, sections strings.Builder
	for _, p := range providers.All() {
		spec := p.Spec()
		title, known := strings.TrimSuffix(spec.Title, "."), ""
		if spec.Docs != "" {
			title = fmt.Sprintf("[%s](%s)", title, spec.Docs)
		}
		if spec.Known != "documented" {
			known = fmt.Sprintf(" (*%s*)", spec.Known)
		}
		fmt.Fprintf(&list, "- [`%s`](#%s): %s%s\n", spec.Name, spec.Name, title, known)
		writeProvider(t, &sections, p)
	}
	want := providersPageHead + list.String() + sections.String()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		t.Errorf("got another %s (%v) than the definitions make; run go test -run TestProvidersPage . -update", page, err)
	}
}

// writeProvider writes the section of a provider.
func writeProvider(t *testing.T, w *strings.Builder, p providers.Provider) {
	t.Helper()
	spec := p.Spec()
	fmt.Fprintf(w, "\n## %s\n\n", spec.Name)
	inFile := map[string]bool{} // what a key file sets; the descriptions of these fields name the file
	for _, f := range spec.Fields {
		for name := range f.Sets {
			inFile[name] = true
		}
	}
	for _, f := range spec.Fields {
		f.Required = f.Required && !inFile[f.Name]
		fmt.Fprintf(w, "- `%s`%s: %s\n", f.Name, fieldNotes(f), strings.ReplaceAll(f.Description, "<", `\<`))
	}
	for _, e := range spec.Endpoints {
		environment := ""
		if len(spec.Endpoints) > 1 {
			environment = fmt.Sprintf(", `%s`", e.Environment)
		}
		fmt.Fprintf(w, "- Token endpoint%s: `%s`\n", environment, e.TokenURL)
	}
	if spec.SelfSigned {
		w.WriteString("- The engine signs the tokens.\n")
	} else if len(spec.Endpoints) == 0 {
		w.WriteString("- Token endpoint: `token_url` of the config\n")
	}
	if lifetime := lifetimeOf(t, p.(*providers.Definition).Text()); lifetime != usualLifetime {
		fmt.Fprintf(w, "- Lifetime: %s\n", lifetime)
	}
	if spec.Usage != usualUsage {
		fmt.Fprintf(w, "- Apps send: `%s`\n", spec.Usage)
	}
	if len(spec.Outputs) > 0 {
		fmt.Fprintf(w, "- Readers of `creds` also get: `%s`\n", strings.Join(spec.Outputs, "`, `"))
	}
	for _, note := range []struct {
		applies bool
		text    string
	}{
		{spec.CanRevoke, "A config can have a `revocation_url`."},
		{spec.Exclusive, "A new token ends the previous token, so early refresh is off by default."},
		{spec.Sliding, "A login before the token ends returns the same token, with a longer life."},
		{spec.CanForce, "Only a rotate demands a new token. Other logins can return the current token again."},
		{len(spec.SerialFields) > 0, "The logins of one user run one after another."},
		{spec.MinimumAge > 0, fmt.Sprintf("The engine keeps a token for at least %.0f minutes, even if you rotate.", spec.MinimumAge.Minutes())},
	} {
		if note.applies {
			fmt.Fprintf(w, "- %s\n", note.text)
		}
	}
}

// fieldNotes returns in parentheses what a value of a field must be, or "" if it may be any text.
func fieldNotes(f providers.Field) string {
	var notes []string
	if f.Kind != providers.Text {
		notes = append(notes, map[providers.FieldKind]string{providers.List: "list", providers.Pairs: "map", providers.PEM: "PEM", providers.JSON: "JSON file"}[f.Kind])
	}
	if f.Required {
		notes = append(notes, "required")
	}
	if f.Secret {
		notes = append(notes, "secret")
	}
	if n := len(f.Allowed) - 1; n > 0 {
		notes = append(notes, "`"+strings.Join(f.Allowed[:n], "`, `")+"` or `"+f.Allowed[n]+"`")
	}
	if f.Default != "" {
		notes = append(notes, "default `"+f.Default+"`")
	}
	if notes == nil {
		return ""
	}
	return " (" + strings.Join(notes, "; ") + ")"
}

// lifetimeOf returns where in an answer the definition finds a token's lifetime.
func lifetimeOf(t *testing.T, definition []byte) string {
	t.Helper()
	type protocol struct {
		Lifetime yaml.Node `yaml:"lifetime"`
	}
	var d struct{ HTTP, OAuth2, JWT *protocol }
	if err := yaml.Unmarshal(definition, &d); err != nil {
		t.Fatal(err)
	}
	lifetime := yaml.Node{}
	for _, p := range []*protocol{d.HTTP, d.OAuth2, d.JWT} {
		if p != nil {
			lifetime = p.Lifetime
		}
	}
	if lifetime.Kind == yaml.ScalarNode {
		return lifetime.Value
	}
	if lifetime.IsZero() {
		return usualLifetime
	}
	var parts []string
	for i := 0; i+1 < len(lifetime.Content); i += 2 {
		key, value := lifetime.Content[i].Value, lifetime.Content[i+1]
		at := "`" + value.Value + "`"
		if value.Kind == yaml.SequenceNode {
			at = ""
			for _, v := range value.Content {
				at += " or `" + v.Value + "`"
			}
			at = strings.TrimPrefix(at, " or ")
		}
		text, ok := map[string]string{
			"seconds":       at + " in the answer, in seconds",
			"milliseconds":  at + " in the answer, in milliseconds",
			"until_unix":    "until the Unix time " + at + " in the answer",
			"until_unix_ms": "until the Unix time in milliseconds " + at + " in the answer",
			"until_time":    "until the time " + at + " in the answer",
			"jwt":           "until the `exp` of the token, which is a JWT",
			"fixed":         value.Value,
		}[key]
		if key == "fixed" && len(lifetime.Content) > 2 {
			text = "at most " + value.Value
		}
		if !ok {
			t.Errorf("got the lifetime %s, want a text for it", key)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
