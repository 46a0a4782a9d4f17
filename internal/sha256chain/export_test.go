package sha256chain

import "crypto/sha256"

// Kernel is one way to hash, for tests.
type Kernel struct {
	Name    string
	Walk    func(word *[sha256.Size]byte, steps uint32)
	WalkAll func(jobs []Job)
}

// Kernels returns all that this processor can run.
func Kernels() (all []Kernel) {
	for _, k := range kernels() {
		all = append(all, Kernel{k.name, k.walk, k.walkAll})
	}
	return all
}
