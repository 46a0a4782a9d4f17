package payword

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/paywordhq/payword/internal/sha256chain"
)

// PaywordBytes is the size of a payword, in bytes.
const PaywordBytes = sha256.Size

// Payword is one element of a chain. Each is the SHA-256 of the next:
// W_(i-1) = SHA-256(W_i), 32 bytes in and 32 bytes out.
type Payword [PaywordBytes]byte

// Walk hashes w the given number of times and returns where that leads: from
// W_i to W_(i-steps). It allocates nothing.
func (w Payword) Walk(steps uint32) Payword {
	sha256chain.Walk((*[PaywordBytes]byte)(&w), steps)
	return w
}

// Equal compares two paywords in constant time: one of them may be a tail that
// the caller of a gate must not learn.
func (w Payword) Equal(other Payword) bool {
	return subtle.ConstantTimeCompare(w[:], other[:]) == 1
}

// TailHash returns SHA-256("payword-tail" || w): what a gate says of a tail, so
// that the owner of the chain can check it and nobody else learns the payword.
func (w Payword) TailHash() [sha256.Size]byte {
	const tag = "payword-tail"
	var message [len(tag) + PaywordBytes]byte
	copy(message[:], tag)
	copy(message[len(tag):], w[:])
	return sha256.Sum256(message[:])
}

// SeedBytes is the size of a wallet's seed, in bytes.
const SeedBytes = 32

// Seed is a wallet's secret, from which the end of every chain is derived.
// With it and the commitments, everything a wallet owns can be made again.
type Seed [SeedBytes]byte

// NonceBytes is the size of the random number in a commitment, in bytes.
const NonceBytes = 16

// Nonce is the random number in a commitment (its jti).
type Nonce [NonceBytes]byte

// Tip returns W_N, the secret end of one chain: HKDF-SHA256 (RFC 5869) of the
// seed, without salt, over the version, the vendor, the commitment's nonce, the
// chain's number and its length, each prefixed by its own length in two bytes.
// So no two chains, vendors, commitments or devices ever share a root.
func (s Seed) Tip(vendor string, nonce Nonce, chain int, length uint32) (Payword, error) {
	if len(vendor) > MaxOriginBytes || chain < 0 || chain >= MaxChains || length < 1 || length > MaxChainLength {
		return Payword{}, fmt.Errorf("deriving the tip of chain %d of %d steps: beyond the protocol's limits", chain, length)
	}
	var info []byte
	field := func(value []byte) {
		info = binary.BigEndian.AppendUint16(info, uint16(len(value)))
		info = append(info, value...)
	}
	field([]byte("payword-chain-1"))
	field([]byte(vendor))
	field(nonce[:])
	field(binary.BigEndian.AppendUint32(nil, uint32(chain)))
	field(binary.BigEndian.AppendUint32(nil, length))
	key, err := hkdf.Key(sha256.New, s[:], nil, string(info), PaywordBytes)
	if err != nil {
		return Payword{}, fmt.Errorf("deriving the tip of chain %d: %w", chain, err)
	}
	return Payword(key), nil
}

// Chain releases the paywords of one chain in order, from W_1 on. It stores
// about log2(length) values and hashes about as often per step, after Jakobsson,
// "Fractal Hash Sequence Representation and Traversal" (2002). It is not safe
// for concurrent use.
type Chain struct {
	root, tip Payword
	length    uint32
	index     uint32  // of current
	current   Payword // W_index, released last
	pebbles   []pebble
}

// pebble is a stored value that wanders, two steps at a time, from where it was
// dropped down to where it will be needed.
type pebble struct {
	position, destination uint32
	value                 Payword
	startStride           uint32 // from a destination to where the next journey starts
	destinationStride     uint32 // from a destination to the next
}

// NewChain prepares the chain that ends in tip, has length steps (1 to
// MaxChainLength) and of which the paywords up to index (0 to length) have been
// released. It hashes length times.
func NewChain(tip Payword, length, index uint32) (*Chain, error) {
	if length < 1 || length > MaxChainLength {
		return nil, fmt.Errorf("chain of %d steps: want 1 to %d", length, MaxChainLength)
	}
	if index > length {
		return nil, fmt.Errorf("index %d of a chain of %d steps", index, length)
	}
	c := &Chain{tip: tip, length: length}
	for reach := uint32(2); ; reach *= 2 {
		c.pebbles = append(c.pebbles, pebble{
			position: min(reach, length), destination: reach,
			startStride: 3 * reach, destinationStride: 2 * reach,
		})
		if reach >= length {
			break
		}
	}
	c.dropUseless()
	// Where the pebbles stand after index steps does not depend on their
	// values, so they are placed first and filled in one walk from the tip.
	for c.index < index {
		c.step(false)
	}
	c.fill()
	return c, nil
}

// Root returns W_0.
func (c *Chain) Root() Payword { return c.root }

// Length returns N, the number of steps.
func (c *Chain) Length() uint32 { return c.length }

// Released returns the deepest payword that was released and its index; index 0
// is the root.
func (c *Chain) Released() (uint32, Payword) { return c.index, c.current }

// Release goes forward to index, which must not be behind what was released
// before nor past the end, and returns W_index.
func (c *Chain) Release(index uint32) (Payword, error) {
	if index < c.index || index > c.length {
		return Payword{}, fmt.Errorf("payword %d of a chain of %d steps of which %d are released", index, c.length, c.index)
	}
	for c.index < index {
		c.step(true)
	}
	return c.current, nil
}

// step releases the next payword. Without hashing it only moves the pebbles.
func (c *Chain) step(hashing bool) {
	c.index++
	for k := range c.pebbles {
		p := &c.pebbles[k]
		if p.position == p.destination {
			continue
		}
		distance := min(2, p.position-p.destination)
		p.position -= distance
		if hashing {
			p.value = p.value.Walk(distance)
		}
	}
	if hashing {
		c.current = c.valueAt(c.index)
	}
	if c.index%2 == 0 {
		c.sendOn(c.index, hashing)
	}
}

// sendOn lets the pebble that has been waiting at position start its next
// journey.
func (c *Chain) sendOn(position uint32, hashing bool) {
	for k := range c.pebbles {
		p := &c.pebbles[k]
		if p.destination != position {
			continue
		}
		start := min(position+p.startStride, c.length)
		if p.destination += p.destinationStride; hashing && p.destination <= c.length {
			p.value = c.storedAt(start) // before it moves, or it would find itself
		}
		p.position = start
		break
	}
	c.dropUseless()
}

// dropUseless forgets pebbles whose destination is past the end.
func (c *Chain) dropUseless() {
	kept := c.pebbles[:0]
	for _, p := range c.pebbles {
		if p.destination <= c.length {
			kept = append(kept, p)
		}
	}
	c.pebbles = kept
}

// valueAt returns W_index for an index that is even and has a pebble waiting,
// or is odd and lies below such a one.
func (c *Chain) valueAt(index uint32) Payword {
	if index == c.length {
		return c.tip
	}
	if index%2 == 0 {
		return c.storedAt(index)
	}
	return c.storedAt(index + 1).Walk(1)
}

// storedAt returns the value at a position, from the nearest pebble at or above
// it. The traversal's schedule puts one exactly there; starting from a higher
// one would be right too, and slower.
func (c *Chain) storedAt(position uint32) Payword {
	nearest, value := c.length, c.tip
	for k := range c.pebbles {
		p := &c.pebbles[k]
		if p.position >= position && p.position < nearest {
			nearest, value = p.position, p.value
		}
	}
	return value.Walk(nearest - position)
}

// fill computes the value of every pebble, the payword at the index and the
// root, in one walk from the tip.
func (c *Chain) fill() {
	order := make([]int, len(c.pebbles))
	for k := range order {
		order[k] = k
	}
	sort.Slice(order, func(a, b int) bool {
		return c.pebbles[order[a]].position > c.pebbles[order[b]].position
	})
	at, value := c.length, c.tip
	walkTo := func(position uint32) Payword {
		value = value.Walk(at - position)
		at = position
		return value
	}
	for _, k := range order {
		c.pebbles[k].value = walkTo(c.pebbles[k].position)
	}
	c.current = walkTo(c.index)
	c.root = walkTo(0)
}
