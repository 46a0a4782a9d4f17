// Package sha256chain hashes along PayWord chains: SHA-256 of 32 bytes, again
// and again. A chain's message always has the same length, so its padding is a
// constant, and what comes out is what goes in next, so it need not leave the
// processor's registers. One chain takes half of the time of crypto/sha256, and
// many chains side by side a fifth, where the processor can do it. Everywhere
// the words are those of crypto/sha256.
package sha256chain

import "crypto/sha256"

// Walk replaces word by its SHA-256, the given number of times.
func Walk(word *[sha256.Size]byte, steps uint32) { walk(word, steps) }

// Job is one chain for WalkAll.
type Job struct {
	Word  [sha256.Size]byte
	Steps uint32 // how often to hash; WalkAll leaves it as it is
}

// WalkAll replaces the word of each job by where its steps lead. The jobs need
// not have the same length: one that has ended makes room for the next. It
// allocates nothing.
func WalkAll(jobs []Job) { walkAll(jobs) }

func walkPlain(word *[sha256.Size]byte, steps uint32) {
	for range steps {
		*word = sha256.Sum256(word[:])
	}
}

func walkAllPlain(jobs []Job) {
	for k := range jobs {
		walkPlain(&jobs[k].Word, jobs[k].Steps)
	}
}

// kernel is one way to hash that this processor has; tests try all.
type kernel struct {
	name    string
	walk    func(word *[sha256.Size]byte, steps uint32)
	walkAll func(jobs []Job)
}

var plainKernel = kernel{"crypto/sha256", walkPlain, walkAllPlain}
