// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"slices"
	"strings"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
)

func TestList(t *testing.T) {
	w := newWorld(t)
	if r := w.List(t, "messaging/config"); r.Status != 404 {
		t.Errorf("list of no configs: got status %d, want 404 as from every Vault engine", r.Status)
	}
	for _, a := range accounts {
		w.writeConfig(t, a)
	}
	out := w.CLI(t, "list", "messaging/config").OK(t).Stdout
	if got, want := strings.Fields(out), []string{"Keys", "----", "rcs", "sinch", "whatsapp"}; !slices.Equal(got, want) {
		t.Errorf("vault list: got %q, want %q", got, want)
	}
	providers := w.List(t, "messaging/providers").OK(t).Keys()
	for _, a := range accounts {
		if !slices.Contains(providers, a.provider) {
			t.Errorf("list of providers: got %q, want %s in it", providers, a.provider)
		}
		out := w.CLI(t, "read", "messaging/providers/"+a.provider).OK(t).Stdout
		if !strings.Contains(out, a.secretField) {
			t.Errorf("providers/%s: got\n%s\nwant the field %s in it", a.provider, out, a.secretField)
		}
	}
}

func TestPathHelp(t *testing.T) {
	w := newWorld(t)
	for path, words := range map[string][]string{
		"messaging":                       {"config/", "creds/", "providers/"},
		"messaging/config/sinch":          {"provider", "providers/", "token_url", "refresh_window", "verify_connection"},
		"messaging/config/":               {"config"},
		"messaging/creds/sinch":           {"token", "min_ttl"},
		"messaging/providers/sinch-india": {"provider"},
		"messaging/providers/":            {"provider"},
	} {
		help := w.CLI(t, "path-help", path).OK(t).Stdout
		for _, word := range words {
			if !strings.Contains(help, word) {
				t.Errorf("path-help of %s: got\n%s\nwant %q in it", path, help, word)
			}
		}
	}
}

// "vault secrets list" shows the plugin's version. "vault plugin info" needs this version as an
// argument.
func TestRunningVersion(t *testing.T) {
	w := newWorld(t)
	out := w.CLI(t, "secrets", "list", "-detailed").OK(t).Stdout
	line := ""
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "messaging/") {
			line = l
		}
	}
	if !strings.Contains(line, " v") || !strings.Contains(line, harness.PluginName) {
		t.Errorf("vault secrets list: got %q, want %s and its version", line, harness.PluginName)
	}

	// The plugin itself reports this version.
	version := w.CLI(t, "read", "-field=plugin_version", "sys/mounts/messaging").OK(t).Stdout
	w.CLI(t, "plugin", "info", "-version="+strings.TrimSpace(version), "secret", harness.PluginName).OK(t)
	if r := w.CLI(t, "plugin", "info", "secret", harness.PluginName); r.Code == 0 {
		t.Error("vault plugin info without -version: got the plugin, want an error, as docs/operations.md says")
	}
}
