// SPDX-License-Identifier: MPL-2.0

// Command messaging-simulator simulates the token endpoints of the messaging providers on a loopback
// address, for tests and demonstrations. Run it with -help to list its paths, accounts, settings and
// faults.
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

// run serves until ctx ends. It returns the exit code: 0 for success, 1 if the server fails, 2 if
// the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return fail(stderr, err, 2)
	}
	srv, err := open(cfg)
	if err != nil {
		return fail(stderr, err, 1)
	}
	// Callers read the URL from this line, the only one on stdout.
	_, _ = fmt.Fprintln(stdout, "messaging-simulator is ready at", srv.url)
	if err := srv.serve(ctx); err != nil {
		return fail(stderr, err, 1)
	}
	return 0
}

func fail(stderr io.Writer, err error, code int) int {
	_, _ = fmt.Fprintln(stderr, "messaging-simulator:", err)
	return code
}
