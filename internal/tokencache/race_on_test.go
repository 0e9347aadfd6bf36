// SPDX-License-Identifier: MPL-2.0

//go:build race

package tokencache

// burst multiplies the work of long tests. It is low here, because the race detector makes reads
// about ten times slower.
const burst = 1
