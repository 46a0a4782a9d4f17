package payword

import "slices"

// Pebbles returns how many values c stores besides its ends and the payword
// released last.
func (c *Chain) Pebbles() int { return len(c.pebbles) }

// NextStepHashes returns how often c hashes for its next step, and how many of
// the hashes are for want of a pebble where one is needed.
func (c *Chain) NextStepHashes() (hashes, missing uint32) {
	next := Chain{length: c.length, pebbles: slices.Clone(c.pebbles), index: c.index + 1}
	for k := range next.pebbles {
		p := &next.pebbles[k]
		distance := min(2, p.position-p.destination)
		p.position -= distance
		hashes += distance
	}
	if next.index != next.length {
		if next.index%2 == 1 {
			hashes++
		}
		missing += next.distanceTo(next.index + next.index%2)
	}
	for _, p := range next.pebbles {
		if next.index%2 == 0 && p.destination == next.index && p.destination+p.destinationStride <= next.length {
			missing += next.distanceTo(min(next.index+p.startStride, next.length))
		}
	}
	return hashes + missing, missing
}

// distanceTo returns how far the nearest stored value is above a position.
func (c *Chain) distanceTo(position uint32) uint32 {
	nearest := c.length
	for _, p := range c.pebbles {
		if p.position >= position && p.position < nearest {
			nearest = p.position
		}
	}
	return nearest - position
}
