//go:build !purego

package ed25519batch

import "golang.org/x/sys/cpu"

// isUsable says whether the processor has what the functions below use.
var isUsable = cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA

// multiply sets result to a * b. Here and below they may be the same.
//
//go:noescape
func multiply(result, a, b *element)

// add sets result to a + b.
//
//go:noescape
func add(result, a, b *element)

// subtract sets result to a - b.
//
//go:noescape
func subtract(result, a, b *element)

// square sets result to the square of a, squared again until that was done times
// times, at least once.
//
//go:noescape
func square(result, a *element, times uint64)

// fill adds each of count points, at least one, to eight buckets: those that its
// digits name. The digits of a point are eight bytes, and stride bytes after them
// begin those of the next.
//
//go:noescape
func fill(to *buckets, points *affine, digits *byte, stride, count uint64)
