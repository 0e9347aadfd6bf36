// SPDX-License-Identifier: MPL-2.0

//go:build race

package tokencache

// burst scales the tests that make very many reads. The race detector makes each read about ten
// times slower.
const burst = 1
