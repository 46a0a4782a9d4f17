package ed25519batch

import (
	"sync"

	"filippo.io/edwards25519"
)

const (
	// digitBits is how long a digit of a coefficient is: a byte, so that nothing
	// need be taken apart.
	digitBits = 8
	digits    = 1 << digitBits
)

// buckets hold sums of points, in extended coordinates of five limbs each: one
// for each digit and lane.
type buckets [digits][lanes][20]uint64

// memory is what bitSums works in: 650 KB, which the cache of a core holds.
type memory struct {
	buckets buckets
	sums    [digits]point
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// pointsPerCall bounds how long fill runs, because the garbage collector cannot
// interrupt it.
const pointsPerCall = 128

// bitSums returns eight times eight sums of points. Each point has eight bytes of
// coefficients, which are stride bytes apart. Sum b in lane l is of those points
// whose byte l has bit b set.
//
// A point is added once for each byte, to the bucket of its value (Pippenger's
// method); what the buckets hold is added up bit by bit, the highest first. What
// has that bit is the upper half, and is put on the lower one for the next bit.
func bitSums(points []affine, coefficients []byte, stride int) (bits [digitBits]point) {
	m := memories.Get().(*memory)
	defer memories.Put(m)
	m.buckets = buckets{}
	for d := range m.buckets {
		for lane := range lanes {
			m.buckets[d][lane][5], m.buckets[d][lane][10] = 1, 1 // the identity
		}
	}
	for from := 0; from < len(points); from += pointsPerCall {
		to := min(from+pointsPerCall, len(points))
		fill(&m.buckets, &points[from], &coefficients[from*stride], uint64(stride), uint64(to-from))
	}
	for d := range m.buckets {
		m.sums[d].transpose(&m.buckets[d])
	}
	for b := digitBits - 1; b >= 0; b-- {
		half := 1 << b
		bits[b] = identity
		for k := range half {
			bits[b].add(&bits[b], &m.sums[half+k])
			m.sums[k].add(&m.sums[k], &m.sums[half+k])
		}
	}
	return bits
}

func (p *point) transpose(from *[lanes][20]uint64) {
	for lane := range from {
		for k := range 5 {
			p.x[k][lane], p.y[k][lane] = from[lane][k], from[lane][5+k]
			p.z[k][lane], p.t[k][lane] = from[lane][10+k], from[lane][15+k]
		}
	}
}

// total returns the sum of the points times coefficients of eight bytes, little
// endian, of which bits are the sums, and adds it to what is above.
func total(bits *[digitBits]point, above *edwards25519.Point) (*edwards25519.Point, error) {
	sum := bits[digitBits-1]
	for b := digitBits - 2; b >= 0; b-- {
		sum.double(&sum)
		sum.add(&sum, &bits[b])
	}
	result := new(edwards25519.Point).Set(above)
	for lane := lanes - 1; lane >= 0; lane-- {
		single, err := sum.single(lane)
		if err != nil {
			return nil, err
		}
		for range digitBits {
			result.Add(result, result)
		}
		result.Add(result, single)
	}
	return result, nil
}
