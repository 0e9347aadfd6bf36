// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Help describes the settings and faults with the comments in settings.go and fault.go.
var (
	//go:embed settings.go
	settingsSource string
	//go:embed fault.go
	faultSource string

	fieldLine = regexp.MustCompile(`\t// \w+((?: .*\n)(?:\t// .*\n)*)\t\w+ +\S+ .json:"(\w+)`)
	kindLine  = regexp.MustCompile(`(?:\t// (.*)\n)?\tFault\w+ += "(\S+)" +// (.*)`)
)

// Help describes the paths, the accounts, the settings and the faults of the simulator.
func Help() string {
	s := New(Options{})
	var b strings.Builder
	b.WriteString("Paths of the providers (POST):\n\n")
	for _, path := range slices.Sorted(maps.Keys(s.endpoints)) {
		fmt.Fprintf(&b, "  %-64s %s\n", path, s.endpoints[path].provider)
	}
	b.WriteString("\nPaths of the control API:\n\n")
	for _, c := range s.controls() {
		fmt.Fprintf(&b, "  %-26s %s\n", c.pattern, c.help)
	}
	b.WriteString("\nAccounts (provider, name, secret):\n\n")
	for _, provider := range providerNames() {
		accounts := defaultAccounts(provider)
		for _, name := range slices.Sorted(maps.Keys(accounts)) {
			fmt.Fprintf(&b, "  %-18s %-25s %s\n", provider, name, cmp.Or(accounts[name].Secret, "(none)"))
		}
	}
	b.WriteString("\nSettings, as JSON. Durations are seconds, or text such as \"1h30m\":\n\n")
	b.WriteString(fieldHelp(settingsSource, "ProviderSettings"))
	b.WriteString("\nFields of an account:\n\n" + fieldHelp(settingsSource, "Account"))
	b.WriteString("\nFields of a fault:\n\n" + fieldHelp(faultSource, "Fault"))
	b.WriteString("\nKinds of fault:\n")
	for _, kind := range kindLine.FindAllStringSubmatch(faultSource, -1) {
		if group := kind[1]; group != "" {
			fmt.Fprintf(&b, "\n  %s\n", group)
		}
		fmt.Fprintf(&b, "    %-20s %s\n", kind[2], kind[3])
	}
	return b.String()
}

// fieldHelp returns the comments of a struct's fields, with JSON names instead of Go names.
func fieldHelp(source, structName string) string {
	_, fields, _ := strings.Cut(source, "\ntype "+structName+" struct {\n")
	fields, _, _ = strings.Cut(fields, "\n}\n")
	var b strings.Builder
	for _, f := range fieldLine.FindAllStringSubmatch(fields, -1) {
		b.WriteString("  " + f[2] + strings.ReplaceAll(f[1], "\t// ", "      "))
	}
	return b.String()
}
