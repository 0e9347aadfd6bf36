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

// maxDepth bounds how deep the values of a definition may be nested.
const maxDepth = 16

// decoder decodes the text of a definition. It keeps the first error. After an error, its
// methods continue with zero values.
type decoder struct {
	definition *Definition
	err        *DefinitionError
	used       map[string]bool // fields that a placeholder names
}

func (d *decoder) fail(place, format string, args ...any) {
	if d.err == nil {
		d.err = &DefinitionError{clip(printable(place), maxWords), clip(printable(fmt.Sprintf(format, args...)), maxWords)}
	}
}

// root decodes the only document in a text as an object with the given keys.
func (d *decoder) root(text []byte, keys ...string) object {
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
		return object{d: d}
	}
	root := document.Content[0]
	d.checkNode(root, "", 0)
	return d.object(root, "", keys...)
}

// checkNode applies the rules for all values. It refuses duplicate keys, and anchors and
// aliases, which make a definition hard to read.
func (d *decoder) checkNode(n *yaml.Node, place string, depth int) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(place, "anchors and aliases are not allowed; write the value out")
	case depth > maxDepth:
		d.fail(place, "is nested too deep; at most %d levels are allowed", maxDepth)
	case n.Kind == yaml.SequenceNode:
		for i, element := range n.Content {
			d.checkNode(element, fmt.Sprintf("%s[%d]", place, i), depth+1)
		}
	case n.Kind == yaml.MappingNode:
		seen := map[string]bool{}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			inner := join(place, key.Value)
			d.checkNode(key, inner, depth+1)
			if text := d.text(key, inner); seen[text] {
				d.fail(inner, "is there twice; write it once")
			} else {
				seen[text] = true
			}
			d.checkNode(n.Content[i+1], inner, depth+1)
		}
	case n.ShortTag() == "!!str":
		d.text(n, place)
	}
}

func join(place, key string) string {
	if place == "" {
		return key
	}
	return place + "." + key
}

// An object is a mapping in a definition. Its methods return the value of a key, or a zero
// value without that key.
type object struct {
	d      *decoder
	place  string
	values map[string]*yaml.Node
	keys   []string // that the mapping has, in the order of the text
}

// object returns a mapping and refuses keys other than the given keys. Without given keys, it
// allows any key.
func (d *decoder) object(n *yaml.Node, place string, keys ...string) object {
	o := object{d: d, place: place, values: map[string]*yaml.Node{}}
	if n == nil {
		return o
	}
	if n.Kind != yaml.MappingNode {
		d.fail(place, "must be a mapping of keys to values")
		return o
	}
	for i := 0; i < len(n.Content) && d.err == nil; i += 2 {
		key := n.Content[i].Value
		if len(keys) > 0 && !slices.Contains(keys, key) {
			d.fail(join(place, key), "is not a key here; the keys are %s", strings.Join(keys, ", "))
		}
		o.values[key] = n.Content[i+1]
		o.keys = append(o.keys, key)
	}
	return o
}

func (o object) has(key string) bool    { return o.values[key] != nil }
func (o object) at(key string) string   { return join(o.place, key) }
func (o object) text(key string) string { return o.d.text(o.values[key], o.at(key)) }
func (o object) object(key string, keys ...string) object {
	return o.d.object(o.values[key], o.at(key), keys...)
}

func (o object) fail(key, format string, args ...any) { o.d.fail(o.at(key), format, args...) }

// must fails if the mapping does not have the key.
func (o object) must(key, why string) {
	if !o.has(key) {
		o.fail(key, "is required; %s", why)
	}
}

// oneOf returns a text that must be one of the given texts.
func (o object) oneOf(key string, allowed ...string) string {
	text := o.text(key)
	if o.has(key) && !slices.Contains(allowed, text) {
		o.fail(key, "must be one of %s", strings.Join(allowed, ", "))
	}
	return text
}

func (o object) boolean(key string) bool {
	n := o.values[key]
	if n == nil {
		return false
	}
	var b bool
	if !isScalar(n, "!!bool") || n.Decode(&b) != nil {
		o.fail(key, "must be true or false")
	}
	return b
}

// duration returns a positive duration of at most limit.
func (o object) duration(key string, limit time.Duration) time.Duration {
	if !o.has(key) {
		return 0
	}
	duration, err := time.ParseDuration(o.text(key))
	if err != nil || duration <= 0 || duration > limit {
		o.fail(key, "must be a duration such as 30s or 1h30m, and at most %s", limit)
	}
	return duration
}

// number returns a whole number from least to limit.
func (d *decoder) number(n *yaml.Node, place string, least, limit int) int {
	var number int
	if !isScalar(n, "!!int") || n.Decode(&number) != nil || number < least || number > limit {
		d.fail(place, "must be a whole number from %d to %d", least, limit)
	}
	return number
}

// each calls use for each element of a list, with the element's place.
func (o object) each(key string, use func(n *yaml.Node, place string)) {
	n := o.values[key]
	if n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		o.fail(key, "must be a list with at least one element")
		return
	}
	for i, element := range n.Content {
		use(element, fmt.Sprintf("%s[%d]", o.at(key), i))
	}
}

func (o object) texts(key string) (texts []string) {
	o.each(key, func(n *yaml.Node, place string) { texts = append(texts, o.d.text(n, place)) })
	return texts
}

func (o object) pointer(key string) pointer {
	if !o.has(key) {
		return nil
	}
	return o.d.pointer(o.values[key], o.at(key))
}

func (d *decoder) pointer(n *yaml.Node, place string) pointer {
	p, ok := parsePointer(d.text(n, place))
	if !ok {
		d.fail(place, "must be a JSON Pointer such as /data/token (RFC 6901)")
	}
	return p
}

// pointers returns a list of pointers, or a single pointer as a list.
func (o object) pointers(key string) (pointers []pointer) {
	if n := o.values[key]; n != nil && n.Kind == yaml.ScalarNode {
		return []pointer{o.pointer(key)}
	}
	o.each(key, func(n *yaml.Node, place string) { pointers = append(pointers, o.d.pointer(n, place)) })
	return pointers
}

// text returns a text, which never contains control characters.
func (d *decoder) text(n *yaml.Node, place string) string {
	if n == nil {
		return ""
	}
	if !isScalar(n, "!!str") {
		d.fail(place, "must be text; put numbers, dates and words such as true or null in quotes")
		return ""
	}
	text := strings.TrimSuffix(n.Value, "\n") // of a block
	if strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) || r == utf8.RuneError }) {
		d.fail(place, "contains a control character, such as a line break; remove the character")
	}
	return text
}

func isScalar(n *yaml.Node, tag string) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == tag
}
