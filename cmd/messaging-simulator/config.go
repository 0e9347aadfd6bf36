// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
)

// config is the command line.
type config struct {
	listen    string
	tls       bool
	caOut     string
	settings  string
	accessLog string
}

const usage = `messaging-simulator plays the token endpoints of messaging providers: Sinch India (Keycloak), EnableX,
Sinch Conversation, and a generic OAuth 2 server. It listens on loopback addresses only.

Usage:

  messaging-simulator [flags]

`

const usageMore = `
Accounts:

  sinch-india         acme                      correct-horse
  enablex-*           5f0c0ffee0ddba11acce55ed  battery-staple-app-key
  sinch-conversation  conversation-key          conversation-secret
  oauth2              generic-client            generic-secret
                      public-client             (none)
                      alice                     wonderland

Get a token:

  curl -H 'Cache-Control: no-cache' -d grant_type=password -d client_id=ipmessaging-client \
    -d username=acme -d password=correct-horse \
    http://127.0.0.1:8299/realms/ipmessaging/protocol/openid-connect/token

Turn a knob while it runs (tokens of 10 s; the next two requests to EnableX's RCS API get a 503), see what happened, ask
whether a token is alive, and put everything back:

  curl -X PATCH -d '{"access_ttl": 10,
    "providers": {"enablex-rcs": {"faults": [{"kind": "status", "status": 503, "count": 2}]}}}' \
    http://127.0.0.1:8299/sim/settings
  curl http://127.0.0.1:8299/sim/state
  curl -d token=TOKEN http://127.0.0.1:8299/sim/introspect
  curl -X POST http://127.0.0.1:8299/sim/reset
`

// parse reads the command line. It prints the usage, and returns flag.ErrHelp, if that is asked for.
func parse(args []string, stderr io.Writer) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("messaging-simulator", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&cfg.listen, "listen", "127.0.0.1:8299", "loopback `address` to listen on; port 0 picks a free one")
	fs.BoolVar(&cfg.tls, "tls", false, "serve https, with a certificate of a CA made at start (needs -ca-out)")
	fs.StringVar(&cfg.caOut, "ca-out", "", "`file` to write the CA's certificate to")
	fs.StringVar(&cfg.settings, "settings", "", "JSON `file` of settings to start with, as PATCH /sim/settings takes them")
	fs.StringVar(&cfg.accessLog, "access-log", "", "`file` to append a JSON line to for each request; never a secret")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(stderr)
		_, _ = fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
		_, _ = fmt.Fprint(stderr, usageMore)
		return cfg, err
	case err != nil:
		return cfg, fmt.Errorf("%w (-h shows the flags)", err)
	case fs.NArg() > 0:
		return cfg, fmt.Errorf("unexpected argument %q (-h shows the flags)", fs.Arg(0))
	case cfg.tls != (cfg.caOut != ""):
		return cfg, errors.New("-tls and -ca-out go together")
	}
	return cfg, checkLoopback(cfg.listen)
}

// checkLoopback refuses an address that others could reach: this server hands tokens to who knows its test accounts.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("-listen wants host:port: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("-listen %s is not a loopback address: use 127.0.0.1, ::1 or localhost", address)
	}
	return nil
}
