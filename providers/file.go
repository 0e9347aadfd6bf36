// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-messaging/internal/secret"
)

// fileValues returns the values of the fields that a JSON file sets. It returns nil if the text is
// not JSON.
func (f Field) fileValues(text string) map[string]secret.String {
	var file fields
	if json.Unmarshal([]byte(text), &file) != nil {
		return nil
	}
	values := map[string]secret.String{}
	for name, at := range f.Sets {
		if value := jsonString(file.at(at)); value != "" {
			values[name] = secret.String(value)
		}
	}
	return values
}

// fileProblem returns what is wrong with a JSON file, or "" for a valid file. It does not quote
// the file.
func (f Field) fileProblem(text string) string {
	var file fields
	if json.Unmarshal([]byte(text), &file) != nil || file == nil {
		return "must be the content of a JSON file; with the vault program, write " + f.Name + "=@file.json"
	}
	for _, e := range f.Expect {
		if !e.isMet(file) {
			return fmt.Sprintf("is not the expected file: %s must be %q", e.at, strings.Join(e.values, " or "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Sets)) {
		value := jsonString(file.at(f.Sets[name]))
		if value == "" {
			return fmt.Sprintf("is not the expected file, or is not complete: it has no %s", f.Sets[name])
		}
		if name != fieldPrivateKey && value != printable(value) {
			return fmt.Sprintf("has control characters in %s", f.Sets[name])
		}
	}
	return ""
}
