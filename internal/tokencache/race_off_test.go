// SPDX-License-Identifier: MPL-2.0

//go:build !race

package tokencache

const burst = 10
