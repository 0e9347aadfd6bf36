// SPDX-License-Identifier: MPL-2.0

package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-secrets-messaging/internal/secret"
)

func TestStringNeverShowsItself(t *testing.T) {
	const text = "hunter2"
	s := secret.String(text)
	nested := struct {
		Password secret.String
		List     []secret.String
		Map      map[string]secret.String
		Pointer  *secret.String
	}{s, []secret.String{s}, map[string]secret.String{"key": s}, &s}

	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%#q", "%10s", "%T"} {
		shown["value "+verb] = fmt.Sprintf(verb, s)
		shown["struct "+verb] = fmt.Sprintf(verb, nested)
	}
	for name, marshal := range map[string]func(any) ([]byte, error){"json": json.Marshal, "xml": xml.Marshal} {
		out, err := marshal(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		shown[name] = string(out)
	}
	out, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	shown["json of a struct"] = string(out)

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", s, "struct", nested)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", s, "struct", nested)
	for _, asJSON := range []bool{false, true} {
		hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: asJSON}).Info("x", "value", s, "struct", nested, "error", fmt.Errorf("with %v", s))
	}
	shown["logs"] = log.String()

	for how, got := range shown {
		for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
			if strings.Contains(got, form) {
				t.Errorf("%s: got %s, which shows the secret", how, got)
			}
		}
	}
	if got := s.Reveal(); got != text {
		t.Errorf("Reveal: got %q, want %q", got, text)
	}
}

func TestEmptyString(t *testing.T) {
	if got := fmt.Sprintf("%v|%s|%#v", secret.String(""), secret.String(""), secret.String("")); got != `||""` {
		t.Errorf(`got %s, want ||""`, got)
	}
}
