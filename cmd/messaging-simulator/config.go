// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"

	"vault-plugin-secrets-messaging/internal/simulator"
)

// config holds the command-line flags.
type config struct {
	listen   string
	tls      bool
	caOut    string
	clientCA string
}

const usage = `messaging-simulator simulates the token endpoints of messaging providers: Sinch India (Keycloak), EnableX,
Sinch Conversation and a generic OAuth 2.0 server. It listens on loopback addresses only.

Usage:

  messaging-simulator [flags]

`

const examples = `
Get a token:

  curl -H 'Cache-Control: no-cache' -d grant_type=password -d client_id=ipmessaging-client \
    -d username=acme -d password=correct-horse \
    http://127.0.0.1:8299/realms/ipmessaging/protocol/openid-connect/token

Let tokens expire after 10 seconds, and fail the next two requests to EnableX's RCS API with status 503:

  curl -X PATCH -d '{"access_ttl": 10,
    "providers": {"enablex-rcs": {"faults": [{"kind": "status", "status": 503, "count": 2}]}}}' \
    http://127.0.0.1:8299/sim/settings

Show the counts, look up a token, and reset the simulator:

  curl http://127.0.0.1:8299/sim/state
  curl -d token=TOKEN http://127.0.0.1:8299/sim/introspect
  curl -X POST http://127.0.0.1:8299/sim/reset

`

// parse reads the command line. With -help, it prints the help and returns flag.ErrHelp.
func parse(args []string, stderr io.Writer) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("messaging-simulator", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&cfg.listen, "listen", "127.0.0.1:8299", "loopback `address` to listen on; port 0 picks a free port")
	fs.BoolVar(&cfg.tls, "tls", false, "serve https with a new certificate and CA; requires -ca-out")
	fs.StringVar(&cfg.caOut, "ca-out", "", "`file` for the certificate of the CA; requires -tls")
	fs.StringVar(&cfg.clientCA, "client-ca", "", "PEM `file` with the CA that must have signed the certificate of each client; requires -tls")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(stderr)
		_, _ = fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		_, _ = fmt.Fprint(stderr, examples, simulator.Help())
		return cfg, err
	case err != nil:
		return cfg, fmt.Errorf("%w (-h shows the flags)", err)
	case fs.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q (-h shows the flags)", fs.Arg(0))
	case cfg.tls != (cfg.caOut != ""):
		return cfg, errors.New("-tls and -ca-out must be set together")
	case cfg.clientCA != "" && !cfg.tls:
		return cfg, errors.New("-client-ca requires -tls")
	}
	return cfg, checkLoopback(cfg.listen)
}

// checkLoopback refuses an address that other machines can reach, because the simulator's passwords are
// public.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("-listen must be host:port: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("-listen %s is not a loopback address; use 127.0.0.1, [::1] or localhost", address)
	}
	return nil
}
