// SPDX-License-Identifier: MPL-2.0

//go:build race

package tokencache

// burst scales long tests, because the race detector makes reads about ten times slower.
const burst = 1
