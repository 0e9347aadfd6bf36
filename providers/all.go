// SPDX-License-Identifier: MPL-2.0

package providers

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed catalogue/*.yaml
var catalogue embed.FS

// definitions parses the catalogue. It panics if a definition is invalid.
var definitions = sync.OnceValue(func() []Provider {
	var all []Provider
	files, _ := catalogue.ReadDir("catalogue")
	for _, file := range files {
		text, _ := catalogue.ReadFile("catalogue/" + file.Name())
		d, err := ParseDefinition(strings.TrimSuffix(file.Name(), ".yaml"), text)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", file.Name(), err))
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Provider) int { return strings.Compare(a.Spec().Name, b.Spec().Name) })
	return all
})

// All returns the built-in providers, sorted by name.
func All() []Provider { return slices.Clone(definitions()) }

// Lookup returns the built-in provider with the given name, and whether it exists.
func Lookup(name string) (Provider, bool) {
	i := slices.IndexFunc(definitions(), func(p Provider) bool { return p.Spec().Name == name })
	if i < 0 {
		return nil, false
	}
	return definitions()[i], true
}
