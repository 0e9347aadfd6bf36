// SPDX-License-Identifier: MPL-2.0

//go:build race

package tokencache

// Long tests do burst times the work. The race detector makes reads about ten times slower.
const burst = 1
