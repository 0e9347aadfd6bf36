// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// A pointer is a JSON Pointer (RFC 6901): the names and indexes that lead to a value.
type pointer []string

var validPointer = regexp.MustCompile(`^(/([^/~]|~[01])*)+$`)

// parsePointer parses a JSON Pointer and reports whether it is valid. "" is not valid here.
func parsePointer(text string) (pointer, bool) {
	if !validPointer.MatchString(text) {
		return nil, false
	}
	p := pointer(strings.Split(text[1:], "/"))
	for i, name := range p {
		p[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	}
	return p, true
}

// String returns the names in the pointer, separated by slashes.
func (p pointer) String() string { return strings.Join(p, "/") }

// at returns the value at p, or nil if there is no value or the value is null.
func (f fields) at(p pointer) json.RawMessage {
	if len(p) == 0 {
		return nil
	}
	raw := f[p[0]]
	for _, name := range p[1:] {
		raw = child(raw, name)
	}
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// child returns a member of an object, or an element of a list, or nil.
func child(raw json.RawMessage, name string) json.RawMessage {
	var list []json.RawMessage
	if len(raw) > 0 && raw[0] == '[' {
		index, err := strconv.ParseUint(name, 10, 16)
		if err != nil || strconv.FormatUint(index, 10) != name || json.Unmarshal(raw, &list) != nil || int(index) >= len(list) {
			return nil
		}
		return list[index]
	}
	var members fields
	_ = json.Unmarshal(raw, &members) // leaves members empty if raw is no object
	return members[name]
}
