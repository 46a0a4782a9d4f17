//go:build !amd64 || purego

package ed25519batch

// isUsable: this needs AVX-512 IFMA.
const isUsable = false

func multiply(_, _, _ *element)                        { panic(unusable) }
func add(_, _, _ *element)                             { panic(unusable) }
func subtract(_, _, _ *element)                        { panic(unusable) }
func square(_, _ *element, _ uint64)                   { panic(unusable) }
func fill(_ *buckets, _ *affine, _ *byte, _, _ uint64) { panic(unusable) }

const unusable = "ed25519batch: this processor cannot"
