// SPDX-License-Identifier: MPL-2.0

// Command messaging-simulator plays the token endpoints of the messaging providers on a loopback address, for tests and
// for trying things out. See package simulator for its endpoints, accounts, knobs and counts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run serves until ctx ends and returns the exit code: 0 after a clean end, 1 if it cannot serve, 2 if the command line
// is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		complain(stderr, err)
		return 2
	}
	srv, err := open(cfg)
	if err != nil {
		complain(stderr, err)
		return 1
	}
	// The one line on stdout; its last word is the URL.
	if _, err := fmt.Fprintln(stdout, "messaging-simulator is ready at", srv.url); err != nil {
		complain(stderr, err)
	}
	if err := srv.serve(ctx); err != nil {
		complain(stderr, err)
		return 1
	}
	return 0
}

func complain(stderr io.Writer, err error) {
	_, _ = fmt.Fprintln(stderr, "messaging-simulator:", err) // nowhere else to say it
}
