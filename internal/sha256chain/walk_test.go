package sha256chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"

	"github.com/paywordhq/payword/internal/sha256chain"
)

type word = [sha256.Size]byte

// hashed is what the standard library makes of a word.
func hashed(w word, steps uint32) word {
	for range steps {
		w = sha256.Sum256(w[:])
	}
	return w
}

// seeded returns random numbers, and prints how to have the same again.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Log("seed", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomWord(random *rand.Rand) (w word) {
	for k := range 4 {
		binary.LittleEndian.PutUint64(w[8*k:], random.Uint64())
	}
	return w
}

// each runs a test with every kernel of this processor.
func each(t *testing.T, test func(t *testing.T, kernel sha256chain.Kernel)) {
	for _, kernel := range sha256chain.Kernels() {
		t.Run(kernel.Name, func(t *testing.T) { test(t, kernel) })
	}
}

// TestKernelsOfThisProcessor says which kernels the other tests have tried.
func TestKernelsOfThisProcessor(t *testing.T) {
	names := ""
	for _, kernel := range sha256chain.Kernels() {
		names += " " + kernel.Name
	}
	t.Logf("%s: tested are%s; the others need another processor", runtime.GOARCH, names)
	if names == "" {
		t.Error("there is no way to hash")
	}
}

// Known words, so that not only one implementation is compared with another:
// those of 32 zero bytes and of FIPS 180-4's "abc", hashed again.
func TestKnownWords(t *testing.T) {
	cases := []struct {
		from  string
		steps uint32
		want  string
	}{
		{"0000000000000000000000000000000000000000000000000000000000000000", 1, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"},
		{"0000000000000000000000000000000000000000000000000000000000000000", 2, "2b32db6c2c0a6235fb1397e8225ea85e0f0e6e8c7b126d0016ccbde0e667151e"},
		{"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 1, "4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358"},
	}
	each(t, func(t *testing.T, kernel sha256chain.Kernel) {
		for _, c := range cases {
			from, _ := hex.DecodeString(c.from)
			jobs := make([]sha256chain.Job, 20)
			for k := range jobs {
				jobs[k] = sha256chain.Job{Word: word(from), Steps: c.steps}
			}
			one := word(from)
			kernel.Walk(&one, c.steps)
			kernel.WalkAll(jobs)
			for k, got := range append(jobs, sha256chain.Job{Word: one}) {
				if hex.EncodeToString(got.Word[:]) != c.want {
					t.Errorf("%s after %d steps, job %d: got %x, want %s", c.from, c.steps, k, got.Word, c.want)
				}
			}
		}
	})
}

func TestWalkIsTheStandardLibrarys(t *testing.T) {
	random := seeded(t)
	each(t, func(t *testing.T, kernel sha256chain.Kernel) {
		for _, steps := range []uint32{0, 1, 2, 3, 100, 1023, 1024, 1025, 2048, 2049, 5000} {
			from := randomWord(random)
			got := from
			kernel.Walk(&got, steps)
			if want := hashed(from, steps); got != want {
				t.Errorf("%x after %d steps: got %x, want %x", from, steps, got, want)
			}
		}
	})
}

// A word may lie anywhere in memory, and what is beside it stays as it is.
func TestWalkOfAWordAnywhere(t *testing.T) {
	random := seeded(t)
	each(t, func(t *testing.T, kernel sha256chain.Kernel) {
		for offset := range 64 {
			memory := bytes.Repeat([]byte{0xa5}, 160)
			from := randomWord(random)
			copy(memory[offset+32:], from[:])
			want := bytes.Clone(memory)
			after := hashed(from, 3)
			copy(want[offset+32:], after[:])
			kernel.Walk((*word)(unsafe.Pointer(&memory[offset+32])), 3)
			if !bytes.Equal(memory, want) {
				t.Fatalf("offset %d: got %x, want %x", offset, memory, want)
			}
		}
	})
}

// checkAll walks jobs and compares each with the standard library.
func checkAll(t *testing.T, kernel sha256chain.Kernel, jobs []sha256chain.Job) {
	t.Helper()
	got := append([]sha256chain.Job(nil), jobs...)
	kernel.WalkAll(got)
	for k, job := range jobs {
		if want := (sha256chain.Job{Word: hashed(job.Word, job.Steps), Steps: job.Steps}); got[k] != want {
			t.Fatalf("job %d of %d, %x with %d steps: got %x, want %x", k, len(jobs), job.Word, job.Steps, got[k].Word, want.Word)
		}
	}
}

// Any number of jobs, all of a length, so that lanes end together and stay
// empty.
func TestWalkAllOfEachNumberOfJobs(t *testing.T) {
	random := seeded(t)
	each(t, func(t *testing.T, kernel sha256chain.Kernel) {
		for count := range 70 {
			for _, steps := range []uint32{0, 1, 5} {
				jobs := make([]sha256chain.Job, count)
				for k := range jobs {
					jobs[k] = sha256chain.Job{Word: randomWord(random), Steps: steps}
				}
				checkAll(t, kernel, jobs)
			}
		}
	})
}

// Random mixes: lanes end at different times and are filled again, jobs without
// steps are among them, and some are longer than one call of the kernel.
func TestWalkAllOfMixedLengths(t *testing.T) {
	random := seeded(t)
	each(t, func(t *testing.T, kernel sha256chain.Kernel) {
		for range 40 {
			jobs := make([]sha256chain.Job, random.IntN(100))
			longest := 1 + random.IntN(60)
			for k := range jobs {
				jobs[k] = sha256chain.Job{Word: randomWord(random), Steps: uint32(random.IntN(longest))}
				if random.IntN(100) == 0 {
					jobs[k].Steps = uint32(random.IntN(3000))
				}
			}
			checkAll(t, kernel, jobs)
		}
	})
}

func TestWalkAllocatesNothing(t *testing.T) {
	if allocations := testing.AllocsPerRun(10, func() {
		var w word
		sha256chain.Walk(&w, 3)
		var jobs [40]sha256chain.Job
		for k := range jobs {
			jobs[k].Steps = uint32(k)
		}
		sha256chain.WalkAll(jobs[:])
	}); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func FuzzWalkAll(f *testing.F) {
	f.Add([]byte("seed"), uint16(3), uint16(40))
	f.Add([]byte{}, uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, from []byte, steps, count uint16) {
		jobs := make([]sha256chain.Job, count%50)
		for k := range jobs {
			jobs[k].Word = sha256.Sum256(fmt.Append(from, k))
			jobs[k].Steps = uint32(jobs[k].Word[0]) * uint32(steps%64) / 64
		}
		for _, kernel := range sha256chain.Kernels() {
			checkAll(t, kernel, jobs)
			if len(jobs) > 0 {
				got := jobs[0].Word
				if kernel.Walk(&got, jobs[0].Steps); got != hashed(jobs[0].Word, jobs[0].Steps) {
					t.Fatalf("%s: walking %x %d steps gives %x", kernel.Name, jobs[0].Word, jobs[0].Steps, got)
				}
			}
		}
	})
}

// BenchmarkWalk walks one chain of 1,000 steps.
func BenchmarkWalk(b *testing.B) {
	const steps = 1000
	for _, kernel := range sha256chain.Kernels() {
		b.Run(kernel.Name, func(b *testing.B) {
			var w word
			for b.Loop() {
				kernel.Walk(&w, steps)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/steps, "ns/hash")
		})
	}
}

// BenchmarkWalkAll walks 512 chains, as a part of a redemption has them, all of
// a length or of all lengths up to one.
func BenchmarkWalkAll(b *testing.B) {
	for _, length := range []uint32{100, 1000} {
		for _, isMixed := range []bool{false, true} {
			jobs, hashes := make([]sha256chain.Job, 512), 0
			random := rand.New(rand.NewPCG(1, 0))
			for k := range jobs {
				jobs[k].Steps = length
				if isMixed {
					jobs[k].Steps = 1 + random.Uint32N(length)
				}
				hashes += int(jobs[k].Steps)
			}
			name := fmt.Sprintf("%d", length)
			if isMixed {
				name = "up to " + name
			}
			for _, kernel := range sha256chain.Kernels() {
				b.Run(name+"/"+kernel.Name, func(b *testing.B) {
					for b.Loop() {
						kernel.WalkAll(jobs)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(hashes), "ns/hash")
				})
			}
		}
	}
}
