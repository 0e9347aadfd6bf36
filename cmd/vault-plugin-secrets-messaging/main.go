// SPDX-License-Identifier: MPL-2.0

// Command vault-plugin-secrets-messaging is the Vault secrets engine for messaging credentials.
// Vault starts it. You cannot use it without Vault.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/plugin"

	messaging "vault-plugin-secrets-messaging"
)

// version is the version of the release. The linker sets it.
var version = "v0.0.0-dev"

func main() {
	if err := serve(os.Args[1:]); err != nil {
		// Vault reads the log of a plugin as JSON lines on stderr.
		hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("the plugin ends", "error", err)
		os.Exit(1)
	}
}

// serve answers Vault until Vault ends the process.
func serve(args []string) error {
	if len(args) == 1 && (args[0] == "-version" || args[0] == "--version") {
		fmt.Println(version)
		return nil
	}
	// Without a TLSProviderFunc, the plugin uses AutoMTLS and does not need Vault's client
	// library.
	return plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: messaging.Factory(messaging.Options{Version: version}),
	})
}
