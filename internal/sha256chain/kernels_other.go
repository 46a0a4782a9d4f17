//go:build !amd64 || purego

package sha256chain

import "crypto/sha256"

// On arm64 and others crypto/sha256 uses what the processor has for SHA-256.

func walk(word *[sha256.Size]byte, steps uint32) { walkPlain(word, steps) }

func walkAll(jobs []Job) { walkAllPlain(jobs) }

func kernels() []kernel { return []kernel{plainKernel} }
