package samgateway_test

import (
	"flag"
	"math/rand/v2"
	"testing"
)

var wildRounds = flag.Int("wild", 40, "commands to cards that answer anything")

// wild is a card that now and then answers anything, of any length.
type wild struct {
	chip
	random *rand.Rand
}

func (w *wild) Transmit(command []byte) ([]byte, error) {
	answer, err := w.chip.Transmit(command)
	if err != nil || w.random.IntN(3) > 0 {
		return answer, err
	}
	switch w.random.IntN(6) {
	case 0:
		return answer[:w.random.IntN(len(answer)+1)], nil
	case 1:
		answer = append(answer, make([]byte, w.random.IntN(66_000))...)
	case 2:
		answer[w.random.IntN(len(answer))] ^= byte(1 + w.random.IntN(255))
	case 3:
		return []byte{byte(0x60 + w.random.IntN(64)), byte(w.random.Uint32())}, nil
	case 4:
		answer = append(make([]byte, len(answer)-2), 0x90, 0x00)
		for k := range answer[:len(answer)-2] {
			answer[k] = byte(w.random.Uint32())
		}
	case 5:
		return append(answer[:len(answer)-2], 0x90, 0x00), nil
	}
	return answer, nil
}

// A card may answer anything, of any length, at any time: nothing panics, and no
// money comes of it.
func TestWildCards(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHouse(t)
	anna := h.account(1, 100*dollar)
	card := h.issue(1, anna)
	h.want("Loaded", "load", "50.00", "--pin-file", h.pinFile())
	for range *wildRounds {
		h.customer.put(&wild{card, random})
		switch random.IntN(8) {
		case 0:
			h.say("readers")
		case 1:
			h.say("card", "show", "--log", "--pin-file", h.pinFile())
		case 2, 3:
			h.say("load", "0.10", "--pin-file", h.pinFile())
		case 4:
			h.say("pay", "0.20")
		case 5:
			h.say("fund", anna, "0.30")
		case 6:
			h.say("cancel")
		case 7:
			h.say("resolve")
		}
	}
	h.customer.put(card)
	h.say("resolve")
	h.want("Loaded 0.10", "load", "0.10", "--pin-file", h.pinFile())
	h.want("Paid 0.20", "pay", "0.20")
	h.wantSound()
}
