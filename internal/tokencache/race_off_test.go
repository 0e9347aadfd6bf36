//go:build !race

package tokencache

const burst = 10
