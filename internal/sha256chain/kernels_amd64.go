//go:build !purego

package sha256chain

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// What this processor can do.
var (
	hasSHA   = findSHA()
	hasLanes = hasSHA && cpu.X86.HasAVX512F // and the system saves its registers
)

func walk(word *[sha256.Size]byte, steps uint32) {
	if hasSHA {
		walkOne(word, steps)
	} else {
		walkPlain(word, steps)
	}
}

func walkAll(jobs []Job) {
	switch {
	case hasLanes:
		walkAllLanes(jobs)
	case hasSHA:
		walkAllPairs(jobs)
	default:
		walkAllPlain(jobs)
	}
}

func kernels() (usable []kernel) {
	if hasLanes {
		usable = append(usable, kernel{"AVX-512", walkOne, walkAllLanes})
	}
	if hasSHA {
		usable = append(usable, kernel{"SHA-NI", walkOne, walkAllPairs})
	}
	return append(usable, plainKernel)
}

// findSHA reports whether there are instructions for SHA-256, and the others
// that walkSHA needs. golang.org/x/sys/cpu does not say the first.
func findSHA() bool {
	const sha = 1 << 29
	maxLeaf, _ := cpuid(0)
	if maxLeaf < 7 {
		return false
	}
	_, features := cpuid(7)
	return features&sha != 0 && cpu.X86.HasSSSE3 && cpu.X86.HasSSE41
}

// maxStepsPerCall bounds how long an assembly function runs, to a tenth of a
// millisecond: the garbage collector cannot interrupt it, and everybody waits
// for it.
const (
	maxStepsPerCall     = 1024 // of walkSHA and walkPairSHA
	maxLaneStepsPerCall = 256  // of walkLanes
)

// walkSHA hashes word steps times, at least once.
//
//go:noescape
func walkSHA(word *[sha256.Size]byte, steps uint64)

// walkPairSHA hashes both words steps times, at least once.
//
//go:noescape
func walkPairSHA(a, b *[sha256.Size]byte, steps uint64)

// walkLanes hashes lanes words steps times, at least once. The eight big-endian
// numbers of a word stand one below the other.
//
//go:noescape
func walkLanes(words *[8][lanes]uint32, steps uint64)

// cpuid returns two of the registers of the instruction CPUID, subleaf 0.
func cpuid(leaf uint32) (eax, ebx uint32)

func walkOne(word *[sha256.Size]byte, steps uint32) {
	for steps > 0 {
		now := min(steps, maxStepsPerCall)
		walkSHA(word, uint64(now))
		steps -= now
	}
}

// walkAllPairs walks two chains at a time: the processor begins one's round
// while it waits for the other's.
func walkAllPairs(jobs []Job) {
	if len(jobs) == 0 {
		return
	}
	first, left := &jobs[0], jobs[0].Steps
	for k := 1; k < len(jobs); k++ {
		second := &jobs[k]
		other := second.Steps
		for left > 0 && other > 0 {
			now := min(left, other, maxStepsPerCall)
			walkPairSHA(&first.Word, &second.Word, uint64(now))
			left -= now
			other -= now
		}
		if left == 0 {
			first, left = second, other
		}
	}
	walkOne(&first.Word, left)
}

const (
	// lanes is how many 32-bit numbers a register of AVX-512 holds.
	lanes = 16

	// minLanes is how many chains are worth the time of sixteen; fewer are
	// walked in pairs.
	minLanes = 9
)

// lane is where the chain of a job stands while it is walked.
type lane struct {
	job  *Job
	left uint32 // steps
}

// walkAllLanes walks sixteen chains at a time, each in a lane of the registers.
func walkAllLanes(jobs []Job) {
	var words [8][lanes]uint32
	var busy [lanes]lane
	for {
		count, steps := 0, uint32(maxLaneStepsPerCall)
		for k := range busy {
			for busy[k].left == 0 && len(jobs) > 0 {
				busy[k] = lane{&jobs[0], jobs[0].Steps}
				load(&words, k, &jobs[0].Word)
				jobs = jobs[1:]
			}
			if busy[k].left > 0 {
				count++
				steps = min(steps, busy[k].left)
			}
		}
		if count < minLanes {
			break
		}
		walkLanes(&words, uint64(steps))
		for k := range busy {
			if busy[k].left == 0 {
				continue
			}
			if busy[k].left -= steps; busy[k].left == 0 {
				store(&busy[k].job.Word, &words, k)
			}
		}
	}
	finish(&words, &busy)
}

// finish walks what is left in the lanes to its end, in pairs.
func finish(words *[8][lanes]uint32, busy *[lanes]lane) {
	var rest [lanes]Job
	count := 0
	for k := range busy {
		if busy[k].left > 0 {
			rest[count].Steps = busy[k].left
			store(&rest[count].Word, words, k)
			count++
		}
	}
	walkAllPairs(rest[:count])
	count = 0
	for k := range busy {
		if busy[k].left > 0 {
			busy[k].job.Word = rest[count].Word
			count++
		}
	}
}

func load(words *[8][lanes]uint32, k int, word *[sha256.Size]byte) {
	for n := range words {
		words[n][k] = binary.BigEndian.Uint32(word[4*n:])
	}
}

func store(word *[sha256.Size]byte, words *[8][lanes]uint32, k int) {
	for n := range words {
		binary.BigEndian.PutUint32(word[4*n:], words[n][k])
	}
}
