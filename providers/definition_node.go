// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDepth limits the nesting of values in a definition.
const maxDepth = 16

// decoder decodes a definition. It keeps the first error. After an error, decoding continues
// with zero values.
type decoder struct {
	*Definition
	err  *DefinitionError
	used map[string]bool // the fields that the request or the signature contains
}

func (d *decoder) fail(place, format string, args ...any) {
	if d.err == nil {
		d.err = &DefinitionError{clip(printable(place), maxWords), clip(printable(fmt.Sprintf(format, args...)), maxWords)}
	}
}

// root parses a text, which must be a single YAML document.
func (d *decoder) root(text []byte) node {
	var document, more yaml.Node
	switch decode := yaml.NewDecoder(bytes.NewReader(text)); {
	case len(text) > MaxDefinition:
		d.fail("", "must be at most %d bytes long", MaxDefinition)
	case !utf8.Valid(text):
		d.fail("", "must be UTF-8")
	default:
		if err := decode.Decode(&document); err != nil {
			d.fail("", "must be YAML or JSON: %v", err)
		} else if !errors.Is(decode.Decode(&more), io.EOF) {
			d.fail("", "must be a single document")
		}
	}
	if d.err != nil {
		return node{d: d}
	}
	root := node{d, "", document.Content[0]}
	root.check(0)
	return root
}

// A node is a YAML value in a definition. The methods of a missing or invalid node return zero
// values.
type node struct {
	d     *decoder
	place string     // in the definition, such as "http.lifetime.seconds"
	yaml  *yaml.Node // nil if there is no value
}

func (n node) exists() bool { return n.yaml != nil }

func (n node) fail(format string, args ...any) { n.d.fail(n.place, format, args...) }

// is reports whether n is a scalar with the given YAML tag, such as !!str.
func (n node) is(tag string) bool {
	return n.exists() && n.yaml.Kind == yaml.ScalarNode && n.yaml.ShortTag() == tag
}

// check refuses duplicate keys, deep nesting, anchors and aliases. Anchors and aliases make a
// definition hard to read.
func (n node) check(depth int) {
	switch {
	case n.yaml.Kind == yaml.AliasNode || n.yaml.Anchor != "":
		n.fail("anchors and aliases are not allowed; write the value out")
	case depth > maxDepth:
		n.fail("is nested too deep; at most %d levels are allowed", maxDepth)
	case n.yaml.Kind == yaml.SequenceNode:
		for _, element := range n.elements() {
			element.check(depth + 1)
		}
	case n.yaml.Kind == yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i < len(n.yaml.Content); i += 2 {
			key := node{n.d, join(n.place, n.yaml.Content[i].Value), n.yaml.Content[i]}
			key.check(depth + 1)
			text := key.text()
			if seen[text] {
				key.fail("is there twice; write it once")
			}
			seen[text] = true
			node{n.d, key.place, n.yaml.Content[i+1]}.check(depth + 1)
		}
	case n.is("!!str"):
		n.text()
	}
}

func join(place, key string) string {
	if place == "" {
		return key
	}
	return place + "." + key
}

// An object is a mapping in a definition.
type object struct {
	node
	values map[string]*yaml.Node
	keys   []string // that the mapping has, in the order of the text
}

// object returns a mapping. Only the given keys are allowed; without given keys, any key is
// allowed.
func (n node) object(keys ...string) object {
	o := object{node: n, values: map[string]*yaml.Node{}}
	if !n.exists() {
		return o
	}
	if n.yaml.Kind != yaml.MappingNode {
		n.fail("must be a mapping of keys to values")
		return o
	}
	for i := 0; i < len(n.yaml.Content) && n.d.err == nil; i += 2 {
		key := n.yaml.Content[i].Value
		o.values[key] = n.yaml.Content[i+1]
		o.keys = append(o.keys, key)
		if len(keys) > 0 && !slices.Contains(keys, key) {
			o.at(key).fail("is not a key here; the keys are %s", strings.Join(keys, ", "))
		}
	}
	return o
}

func (o object) has(key string) bool { return o.values[key] != nil }

// at returns the value of a key.
func (o object) at(key string) node { return node{o.d, join(o.place, key), o.values[key]} }

// must fails if there is no value.
func (n node) must(why string) {
	if !n.exists() {
		n.fail("is required; %s", why)
	}
}

// text returns a string. A control character in the string is an error.
func (n node) text() string {
	if !n.exists() {
		return ""
	}
	if !n.is("!!str") {
		n.fail("must be text; put numbers, dates and words such as true or null in quotes")
		return ""
	}
	text := strings.TrimSuffix(n.yaml.Value, "\n") // block scalars end in a line break
	if strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) || r == utf8.RuneError }) {
		n.fail("contains a control character, such as a line break; remove the character")
	}
	return text
}

// oneOf returns a text that must be one of the given texts.
func (n node) oneOf(allowed ...string) string {
	text := n.text()
	if n.exists() && !slices.Contains(allowed, text) {
		n.fail("must be one of %s", strings.Join(allowed, ", "))
	}
	return text
}

func (n node) boolean() (b bool) {
	if n.exists() && (!n.is("!!bool") || n.yaml.Decode(&b) != nil) {
		n.fail("must be true or false")
	}
	return b
}

// duration returns a positive duration of at most limit.
func (n node) duration(limit time.Duration) time.Duration {
	if !n.exists() {
		return 0
	}
	duration, err := time.ParseDuration(n.text())
	if err != nil || duration <= 0 || duration > limit {
		n.fail("must be a duration such as 30s or 1h30m, and at most %s", limit)
	}
	return duration
}

// number returns a whole number from least to limit.
func (n node) number(least, limit int) (number int) {
	if n.exists() && (!n.is("!!int") || n.yaml.Decode(&number) != nil || number < least || number > limit) {
		n.fail("must be a whole number from %d to %d", least, limit)
	}
	return number
}

func (n node) pointer() pointer {
	if !n.exists() {
		return nil
	}
	p, ok := parsePointer(n.text())
	if !ok {
		n.fail("must be a JSON Pointer such as /data/token (RFC 6901)")
	}
	return p
}

// elements returns the elements of a list.
func (n node) elements() []node {
	var elements []node
	for i, element := range n.yaml.Content {
		elements = append(elements, node{n.d, fmt.Sprintf("%s[%d]", n.place, i), element})
	}
	return elements
}

// each decodes each element of a list. An empty list is an error.
func each[T any](n node, decode func(node) T) (all []T) {
	if !n.exists() {
		return nil
	}
	if n.yaml.Kind != yaml.SequenceNode || len(n.yaml.Content) == 0 {
		n.fail("must be a list with at least one element")
		return nil
	}
	for _, element := range n.elements() {
		all = append(all, decode(element))
	}
	return all
}

func (n node) texts() []string { return each(n, node.text) }

// pointers returns a list of JSON Pointers. The value may also be a single JSON Pointer.
func (n node) pointers() []pointer {
	if n.exists() && n.yaml.Kind == yaml.ScalarNode {
		return []pointer{n.pointer()}
	}
	return each(n, node.pointer)
}
