// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"vault-plugin-secrets-messaging/providers"
)

var update = flag.Bool("update", false, "write docs/providers.md instead of checking it")

// Most providers have this usage and lifetime. docs/providers.md shows them once, at the top.
const (
	usualUsage    = "Authorization: Bearer {token}"
	usualLifetime = "`/expires_in` in the answer, in seconds"
)

const providersPageHead = `# Providers

This page lists the built-in providers. For any other provider, write a [definition](adding-a-provider.md). A config takes its
provider's fields, and the [fields that every config has](api.md#parameters).

<!-- This page is generated from the definitions. After you change a definition, run: go test -run TestProvidersPage . -update -->

Unless a section says otherwise:

- Apps send: ` + "`" + usualUsage + "`" + `
- Lifetime: ` + usualLifetime + `

Paths such as ` + "`/expires_in`" + ` are JSON Pointers (RFC 6901) into the answer of the token endpoint.

Each section links to the documentation that the definition follows. For a *verified* provider, the engine has run against the
provider or its server software. For a *reported* provider, the definition follows reports by third parties.

`

// docs/providers.md agrees with the definitions. With -update, the test writes the page.
func TestProvidersPage(t *testing.T) {
	const page = "docs/providers.md"
	var list, sections strings.Builder
	for _, p := range providers.All() {
		spec := p.Spec()
		known := ""
		if spec.Known != "documented" {
			known = fmt.Sprintf(" (*%s*)", spec.Known)
		}
		fmt.Fprintf(&list, "- [`%s`](#%s): %s%s\n", spec.Name, spec.Name, spec.Title, known)
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
	ownPages, err := filepath.Glob("docs/providers/*.md")
	if err != nil {
		t.Fatal(err)
	}
	title := spec.Title
	if spec.Docs != "" {
		title = fmt.Sprintf("[%s](%s)", title, spec.Docs)
	}
	for _, page := range ownPages {
		if name := strings.TrimSuffix(filepath.Base(page), ".md"); strings.HasPrefix(spec.Name+"-", name+"-") {
			title += fmt.Sprintf(". See also [setup and errors](providers/%s.md)", name)
		}
	}
	fmt.Fprintf(w, "%s.\n\n| field | required | secret | what it is |\n|---|---|---|---|\n", title)
	for _, f := range spec.Fields {
		secret := ""
		if f.Secret {
			secret = "yes"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", f.Name, requiredCell(spec, f), secret, descriptionCell(f))
	}
	w.WriteString("\n")
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
		header, rest, _ := strings.Cut(spec.Usage, "{token}")
		where := ""
		if parameter, ok := strings.CutPrefix(header, "query parameter "); ok {
			header, where = parameter, "the query parameter "
		}
		fmt.Fprintf(w, "- Apps send: %s`%s{token}`%s\n", where, header, rest)
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

// requiredCell says whether each config needs the field, or which fields can take its place.
func requiredCell(spec providers.Spec, f providers.Field) string {
	if len(f.Sets) > 0 {
		return "this, or " + fieldNames(slices.Sorted(maps.Keys(f.Sets)))
	}
	generated := false
	for _, other := range spec.Fields {
		if _, ok := other.Sets[f.Name]; ok {
			return "without `" + other.Name + "`"
		}
		generated = generated || other.Name == "generate_key"
	}
	switch {
	case f.Required, spec.SelfSigned && f.Name == "private_key" && !generated:
		return "yes"
	case spec.SelfSigned && f.Name == "private_key":
		return "this, or `generate_key`"
	case spec.SelfSigned && f.Name == "generate_key":
		return "this, or `private_key`"
	}
	return ""
}

// descriptionCell returns a field's description, with its type, valid values and default.
func descriptionCell(f providers.Field) string {
	text := strings.NewReplacer("<", `\<`, "|", `\|`).Replace(f.Description)
	if f.Kind == providers.PEM && !strings.Contains(text, "PEM") {
		text += " PEM."
	}
	text += map[providers.FieldKind]string{providers.List: " A list.", providers.Pairs: " A map."}[f.Kind]
	unnamed := func(value string) bool { return !strings.Contains(f.Description, value) }
	if slices.ContainsFunc(f.Allowed, unnamed) {
		text += " One of " + strings.ReplaceAll(fieldNames(f.Allowed), " and ", " or ") + "."
	}
	if f.Default != "" {
		text += " Default: `" + f.Default + "`."
	}
	return text
}

// fieldNames returns a list of names for a sentence.
func fieldNames(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return "`" + names[0] + "`"
	}
	return "`" + strings.Join(names[:last], "`, `") + "` and `" + names[last] + "`"
}

// lifetimeOf says where the provider's answer contains the token's lifetime.
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
			"jwt":           "until the time in the token's claim `exp`",
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
