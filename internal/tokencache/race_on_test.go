// SPDX-License-Identifier: MPL-2.0

//go:build race

package tokencache

// burst is how many reads a test makes at once where it makes millions. The race
// detector makes each about ten times as dear.
const burst = 1
