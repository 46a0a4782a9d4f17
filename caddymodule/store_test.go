package caddymodule

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// The commitments of these tests are made at storeStart, expire an hour later,
// and are redeemable for another day.
const (
	storeStart    int64        = 1_800_000_000
	storeExpires               = storeStart + 3600
	storeRedeemBy              = storeExpires + 86400
	storeUnit     money.Amount = 1000
	storeLimit                 = storeUnit * payword.MaxChainLength
)

// storeCommitments are the commitments that storeCommitment has made.
var storeCommitments sync.Map

// storeCommitment returns a signed commitment with chains of one unit and the
// greatest length; another number gives another commitment.
func storeCommitment(tb testing.TB, number uint64, chains int) *payword.Commitment {
	tb.Helper()
	key := [2]uint64{number, uint64(chains)}
	if made, isMade := storeCommitments.Load(key); isMade {
		return made.(*payword.Commitment)
	}
	made := makeStoreCommitment(tb, number, chains)
	storeCommitments.Store(key, made)
	return made
}

// storeBroker is the key of the broker of these tests.
func storeBroker() ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	copy(seed[:], "the broker of the store's tests")
	return ed25519.NewKeyFromSeed(seed[:])
}

func makeStoreCommitment(tb testing.TB, number uint64, chains int) *payword.Commitment {
	tb.Helper()
	var seed [ed25519.SeedSize]byte
	copy(seed[:], "the user of the store's tests")
	binary.BigEndian.PutUint64(seed[:], number)
	user := ed25519.NewKeyFromSeed(seed[:])
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: "https://broker.example", Subject: fmt.Sprintf("user-%d", number), Key: user.Public().(ed25519.PublicKey),
		IssuedAt: storeStart - 60, Expires: storeExpires + 3600, ID: payword.Nonce(seed[:]), Currency: "usd-micro", Limit: storeLimit,
	}, storeBroker())
	if err != nil {
		tb.Fatal(err)
	}
	commitment := payword.Commitment{
		Vendor: "https://vendor.example", Certificate: certificate, IssuedAt: storeStart, Expires: storeExpires,
		Nonce: payword.Nonce(seed[:]), Currency: "usd-micro", Limit: storeLimit,
	}
	for k := range chains {
		seed[31] = byte(k + 1)
		commitment.Chains = append(commitment.Chains, payword.ChainTerms{
			Root: sha256.Sum256(seed[:]), Unit: storeUnit, Length: payword.MaxChainLength,
		})
	}
	commitment, err = payword.SignCommitment(commitment, user)
	if err != nil {
		tb.Fatal(err)
	}
	return &commitment
}

// storeOpening reserves a number of units under a sequence number.
func storeOpening(m *payword.Commitment, units int64, sequence uint32) opening {
	return opening{
		commitment: m, reservation: fmt.Sprintf("reservation.%d", sequence), amount: storeUnit * money.Amount(units),
		sequence: sequence, redeemBy: storeRedeemBy,
	}
}

// unreservedOpening opens m without a reservation, under caps that suffice.
func unreservedOpening(m *payword.Commitment) opening {
	return opening{
		commitment: m, amount: m.Limit, redeemBy: storeRedeemBy,
		credit: creditTerms{day: storeStart / secondsPerDay, perUser: storeLimit, inAll: storeLimit},
	}
}

// storeTail is a tail as Judge hands it on. A store does not hash.
func storeTail(index uint32) payword.Tail {
	return payword.Tail{Index: index, Payword: payword.Payword{byte(index >> 16), byte(index >> 8), byte(index), 0xEE}}
}

// storeCharge asks for one unit for a request, with as many units released as
// its number says.
func storeCharge(number uint64) payword.Charge {
	return payword.Charge{
		Tail: storeTail(uint32(number)), Number: number, Fingerprint: storeFingerprint(number),
		Price: storeUnit, Now: storeStart,
	}
}

func storeFingerprint(number uint64) payword.Fingerprint {
	return payword.NewFingerprint("GET", fmt.Sprintf("https://vendor.example/%d", number), "", "")
}

// storeCase is an open commitment and the store it is in.
type storeCase struct {
	*testing.T
	store store
	m     *payword.Commitment
}

func (c *storeCase) open(units int64, sequence uint32) view {
	c.Helper()
	seen, err := c.store.open(c.Context(), storeOpening(c.m, units, sequence))
	if err != nil {
		c.Fatalf("open: %v", err)
	}
	return seen
}

// charge charges and checks the reason and whether it was a repeat.
func (c *storeCase) charge(charge payword.Charge, reason payword.Reason, repeat bool) view {
	c.Helper()
	outcome, seen, err := c.store.charge(c.Context(), c.m.ID, charge)
	if err != nil || outcome.Reason != reason || outcome.Repeat != repeat {
		c.Fatalf("charge of number %d: got %v, repeat %v, error %v; want %v, repeat %v",
			charge.Number, outcome.Reason, outcome.Repeat, err, reason, repeat)
	}
	return seen
}

func (c *storeCase) giveBack(number uint64, now int64, want money.Amount) view {
	c.Helper()
	got, seen, err := c.store.giveBack(c.Context(), c.m.ID, number, now)
	if err != nil || got != want {
		c.Fatalf("giveBack of number %d: got %d, error %v; want %d", number, got, err, want)
	}
	return seen
}

func (c *storeCase) spent(want money.Amount) {
	c.Helper()
	seen, err := c.store.find(c.Context(), c.m.ID)
	if err != nil || seen.spent != want {
		c.Fatalf("find: got spent %d, error %v; want %d", seen.spent, err, want)
	}
}

// claimables returns what can be claimed, by commitment.
func (c *storeCase) claimables(now, refundSeconds int64) map[payword.CommitmentID]claimable {
	c.Helper()
	found := map[payword.CommitmentID]claimable{}
	err := c.store.claimables(c.Context(), now, refundSeconds, func(due claimable) bool {
		found[due.commitment.ID] = due
		return true
	})
	if err != nil {
		c.Fatalf("claimables: %v", err)
	}
	return found
}

// wantClaim checks that exactly this can be claimed on the commitment.
func (c *storeCase) wantClaim(now, refundSeconds int64, amount money.Amount, final bool) {
	c.Helper()
	due, isDue := c.claimables(now, refundSeconds)[c.m.ID]
	if !isDue || due.amount != amount || due.final != final {
		c.Fatalf("claimables: got %v, amount %d, final %v; want amount %d, final %v", isDue, due.amount, due.final, amount, final)
	}
	if due.commitment.Token != c.m.Token || len(due.tails) != len(c.m.Chains) {
		c.Fatalf("claimables: got %d tails and token %.20q; want %d and %.20q", len(due.tails), due.commitment.Token, len(c.m.Chains), c.m.Token)
	}
}

func (c *storeCase) wantNoClaim(now, refundSeconds int64) {
	c.Helper()
	if due, isDue := c.claimables(now, refundSeconds)[c.m.ID]; isDue {
		c.Fatalf("claimables: got amount %d, final %v; want nothing", due.amount, due.final)
	}
}

func (c *storeCase) acknowledge(amount money.Amount, final bool) {
	c.Helper()
	if err := c.store.acknowledge(c.Context(), c.m.ID, amount, final); err != nil {
		c.Fatalf("acknowledge: %v", err)
	}
}

// testStore is what every store must do. parallel is how many requests each of
// thirty payers sends.
func testStore(t *testing.T, parallel int, make func(t *testing.T) store) {
	for _, each := range []struct {
		name string
		run  func(*storeCase)
	}{
		{"opening twice changes nothing", testOpenTwice},
		{"a later reservation tops up", testTopUp},
		{"an unknown commitment", testUnknown},
		{"charging", testCharge},
		{"repeats", testRepeat},
		{"numbers that were used", testAlreadyUsed},
		{"a challenge that can be used once", testSingle},
		{"too little credit", testInsufficientCredit},
		{"giving back", testGiveBack},
		{"giving back while a repeat stands", testGiveBackRepeat},
		{"a true cost that is less", testTrueUp},
		{"an answer that flows", testFlow},
		{"a pass", testPass},
		{"a tail is raised by what is refused", testAdvance},
		{"closing", testFinish},
		{"claims", testClaimables},
		{"claims are left alone when yield returns false", testClaimablesStop},
	} {
		t.Run(each.name, func(t *testing.T) {
			each.run(&storeCase{T: t, store: make(t), m: storeCommitment(t, 1, 2)})
		})
	}
	t.Run("parallel requests", func(t *testing.T) { testParallel(t, make(t), parallel) })
	t.Run("parallel requests that are given back", func(t *testing.T) { testParallelGiveBack(t, make(t), parallel) })
	t.Run("parallel openings", func(t *testing.T) { testParallelOpen(t, make(t)) })
	testStoreCredit(t, make)
}

func testOpenTwice(c *storeCase) {
	first := c.open(100, 1)
	if first.accepted != 0 || first.spent != 0 || first.closed || first.commitment.ID != c.m.ID {
		c.Fatalf("open: got %+v", first)
	}
	c.charge(storeCharge(7), payword.Accepted, false)
	second := c.open(50, 1)
	if second.accepted != 7*storeUnit || second.spent != storeUnit || second.tails[0] != storeTail(7) {
		c.Fatalf("open again: got accepted %d, spent %d; want 7000 and 1000", second.accepted, second.spent)
	}
}

func testTopUp(c *storeCase) {
	c.open(3, 1)
	charge := storeCharge(9)
	charge.Price = 4 * storeUnit
	c.charge(charge, payword.InsufficientCredit, false)
	if seen := c.open(2, 1); seen.accepted != 3*storeUnit {
		c.Fatalf("an old reservation: got accepted %d; want 3000", seen.accepted)
	}
	if seen := c.open(5, 3); seen.accepted != 5*storeUnit {
		c.Fatalf("a later reservation: got accepted %d; want 5000", seen.accepted)
	}
	if seen := c.open(900, 2); seen.accepted != 5*storeUnit {
		c.Fatalf("one in between: got accepted %d; want 5000", seen.accepted)
	}
	c.charge(charge, payword.Accepted, false)
	due := c.claimables(storeStart, 0)[c.m.ID]
	if due.reservation != "reservation.3" {
		c.Fatalf("claimables: got %q; want reservation.3", due.reservation)
	}
}

func testUnknown(c *storeCase) {
	ctx, id := c.Context(), c.m.ID
	_, findError := c.store.find(ctx, id)
	_, _, chargeError := c.store.charge(ctx, id, storeCharge(1))
	_, advanceError := c.store.advance(ctx, id, 0, storeTail(1))
	_, _, giveBackError := c.store.giveBack(ctx, id, 1, storeStart)
	_, _, trueUpError := c.store.trueUp(ctx, id, 1, 0, storeStart)
	_, _, flowError := c.store.flow(ctx, id, storeUnit)
	_, finishError := c.store.finish(ctx, id)
	acknowledgeError := c.store.acknowledge(ctx, id, 1, false)
	for k, err := range []error{findError, chargeError, advanceError, giveBackError, trueUpError, flowError, finishError, acknowledgeError} {
		if !errors.Is(err, errUnknownCommitment) {
			c.Errorf("method %d: got %v; want errUnknownCommitment", k, err)
		}
	}
}

func testCharge(c *storeCase) {
	c.open(1000, 1)
	c.charge(storeCharge(3), payword.Accepted, false)
	c.charge(storeCharge(1), payword.Accepted, false)
	second := storeCharge(2)
	second.Chain, second.Tail, second.Price = 1, storeTail(5), 6*storeUnit
	seen := c.charge(second, payword.Accepted, false)
	if seen.accepted != 8*storeUnit || seen.spent != 8*storeUnit {
		c.Fatalf("got accepted %d, spent %d; want 8000 and 8000", seen.accepted, seen.spent)
	}
	if seen.tails[0] != storeTail(3) || seen.tails[1] != storeTail(5) {
		c.Fatalf("got tails %d and %d; want 3 and 5", seen.tails[0].Index, seen.tails[1].Index)
	}
}

func testRepeat(c *storeCase) {
	c.open(1000, 1)
	charge := storeCharge(1)
	c.charge(charge, payword.Accepted, false)
	for range payword.MaxRepeats {
		c.charge(charge, payword.Accepted, true)
	}
	c.charge(charge, payword.AlreadyUsed, false)
	c.spent(storeUnit)
	late := storeCharge(2)
	c.charge(late, payword.Accepted, false)
	late.Now += payword.RepeatSeconds
	c.charge(late, payword.AlreadyUsed, false)
	c.spent(2 * storeUnit)
}

func testAlreadyUsed(c *storeCase) {
	c.open(payword.MaxChainLength, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	other := storeCharge(1)
	other.Fingerprint = storeFingerprint(99)
	c.charge(other, payword.AlreadyUsed, false)
	unsafe := storeCharge(1)
	unsafe.Unsafe = true
	c.charge(unsafe, payword.AlreadyExecuted, false)
	c.charge(storeCharge(1+payword.WindowSize), payword.Accepted, false)
	c.charge(storeCharge(1), payword.StaleNumber, false)
	c.spent(2 * storeUnit)
}

// testSingle answers one charge challenge with two commitments.
func testSingle(c *storeCase) {
	c.open(1000, 1)
	other := &storeCase{T: c.T, store: c.store, m: storeCommitment(c.T, 2, 2)}
	other.open(1000, 1)
	charge := storeCharge(3)
	charge.Single = true
	c.charge(charge, payword.Accepted, false)
	elsewhere := charge
	elsewhere.Number, elsewhere.Tail = 4, storeTail(9)
	if seen := other.charge(elsewhere, payword.ChallengeUsed, false); seen.tails[0] != storeTail(9) || seen.spent != 0 {
		c.Errorf("refused on another commitment: tail %d, spent %d; want 9 and 0", seen.tails[0].Index, seen.spent)
	}
	c.charge(charge, payword.Accepted, true)
	elsewhere.Fingerprint = storeFingerprint(4)
	other.charge(elsewhere, payword.Accepted, false)
	elsewhere.Number, elsewhere.Fingerprint, elsewhere.Single = 5, charge.Fingerprint, false
	other.charge(elsewhere, payword.Accepted, false) // in a session two may read the same page
}

func testInsufficientCredit(c *storeCase) {
	c.open(1000, 1)
	charge := storeCharge(3)
	charge.Price = 4 * storeUnit
	seen := c.charge(charge, payword.InsufficientCredit, false)
	if seen.accepted != 3*storeUnit || seen.spent != 0 {
		c.Fatalf("got accepted %d, spent %d; want 3000 and 0", seen.accepted, seen.spent)
	}
	charge.Tail = storeTail(4)
	c.charge(charge, payword.Accepted, false)
}

func testGiveBack(c *storeCase) {
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	c.giveBack(2, storeStart, 0)
	if seen := c.giveBack(1, storeStart, storeUnit); seen.spent != 0 || seen.accepted != storeUnit {
		c.Fatalf("got spent %d, accepted %d; want 0 and 1000", seen.spent, seen.accepted)
	}
	c.giveBack(1, storeStart, 0)
	c.charge(storeCharge(1), payword.Accepted, false)
	c.spent(storeUnit)
	// The second charge counts as a second later than the first.
	c.giveBack(1, storeStart+1+payword.RefundSeconds, 0)
	c.spent(storeUnit)
}

func testGiveBackRepeat(c *storeCase) {
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	c.charge(storeCharge(1), payword.Accepted, true)
	c.giveBack(1, storeStart, 0)
	c.spent(storeUnit)
	c.giveBack(1, storeStart, storeUnit)
	c.spent(0)
	c.giveBack(1, storeStart, 0)
}

func (c *storeCase) trueUp(number uint64, price money.Amount, now int64, want money.Amount) {
	c.Helper()
	got, _, err := c.store.trueUp(c.Context(), c.m.ID, number, price, now)
	if err != nil || got != want {
		c.Fatalf("trueUp of number %d to %d: got %d, error %v; want %d", number, price, got, err, want)
	}
}

func testTrueUp(c *storeCase) {
	c.open(1000, 1)
	charge := storeCharge(1)
	charge.Tail, charge.Price = storeTail(10), 10*storeUnit
	c.charge(charge, payword.Accepted, false)
	c.trueUp(1, 11*storeUnit, storeStart, 0)
	c.trueUp(2, 0, storeStart, 0)
	c.trueUp(1, 4*storeUnit, storeStart, 6*storeUnit)
	c.trueUp(1, 4*storeUnit, storeStart, 0)
	c.spent(4 * storeUnit)
	// A repeat was promised the same for the price that stands.
	c.charge(charge, payword.Accepted, true)
	c.trueUp(1, storeUnit, storeStart, 0)
	c.giveBack(1, storeStart, 0)
	c.trueUp(1, storeUnit, storeStart, 3*storeUnit)
	c.giveBack(1, storeStart, storeUnit)
	c.spent(0)
	late := storeCharge(2)
	late.Tail, late.Price = storeTail(10), 10*storeUnit
	c.charge(late, payword.Accepted, false)
	c.trueUp(2, 0, storeStart+payword.RefundSeconds, 0)
	c.spent(10 * storeUnit)
}

func testFlow(c *storeCase) {
	c.open(1000, 1)
	charge := storeCharge(1)
	charge.Tail = storeTail(5)
	c.charge(charge, payword.Accepted, false)
	for _, each := range []struct {
		units money.Amount
		want  payword.Reason
	}{{3, payword.Accepted}, {2, payword.InsufficientCredit}, {1, payword.Accepted}, {0, payword.Accepted}, {1, payword.InsufficientCredit}} {
		outcome, seen, err := c.store.flow(c.Context(), c.m.ID, each.units*storeUnit)
		if err != nil || outcome.Reason != each.want || seen.accepted != 5*storeUnit {
			c.Fatalf("flow of %d units: got %v, accepted %d, error %v; want %v", each.units, outcome.Reason, seen.accepted, err, each.want)
		}
	}
	c.spent(5 * storeUnit)
	// What flowed was delivered: only the request's own price can come back.
	c.wantClaim(storeStart, payword.RefundSeconds, 4*storeUnit, false)
	c.giveBack(1, storeStart, storeUnit)
	c.spent(4 * storeUnit)
	if _, err := c.store.finish(c.Context(), c.m.ID); err != nil {
		c.Fatal(err)
	}
	if outcome, _, err := c.store.flow(c.Context(), c.m.ID, storeUnit); err != nil || outcome.Reason != payword.CommitmentClosed {
		c.Fatalf("flow of a closed commitment: got %v, error %v", outcome.Reason, err)
	}
}

func testAdvance(c *storeCase) {
	c.open(1000, 1)
	for _, each := range []struct{ index, want uint32 }{{5, 5}, {3, 5}, {6, 6}} {
		seen, err := c.store.advance(c.Context(), c.m.ID, 1, storeTail(each.index))
		if err != nil || seen.tails[1] != storeTail(each.want) || seen.accepted != storeUnit*money.Amount(each.want) {
			c.Fatalf("advance to %d: got %d, accepted %d, error %v; want %d", each.index, seen.tails[1].Index, seen.accepted, err, each.want)
		}
	}
}

func testFinish(c *storeCase) {
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	for range 2 {
		if seen, err := c.store.finish(c.Context(), c.m.ID); err != nil || !seen.closed {
			c.Fatalf("finish: got closed %v, error %v", seen.closed, err)
		}
	}
	seen := c.charge(storeCharge(4), payword.CommitmentClosed, false)
	if !seen.closed || seen.spent != storeUnit || seen.accepted != 4*storeUnit {
		c.Fatalf("got closed %v, spent %d, accepted %d; want true, 1000 and 4000", seen.closed, seen.spent, seen.accepted)
	}
}

func testClaimables(c *storeCase) {
	c.open(1000, 1)
	c.wantNoClaim(storeStart, 0)
	c.charge(storeCharge(1), payword.Accepted, false)
	c.wantNoClaim(storeStart+payword.RefundSeconds-1, payword.RefundSeconds)
	c.wantClaim(storeStart, 0, storeUnit, false)
	c.wantClaim(storeStart+payword.RefundSeconds, payword.RefundSeconds, storeUnit, false)
	c.acknowledge(storeUnit, false)
	c.acknowledge(0, false)
	c.wantNoClaim(storeStart+payword.RefundSeconds, payword.RefundSeconds)

	late := storeCharge(2)
	late.Now = storeExpires - 1
	c.charge(late, payword.Accepted, false)
	if _, err := c.store.finish(c.Context(), c.m.ID); err != nil {
		c.Fatal(err)
	}
	c.wantNoClaim(storeExpires, payword.RefundSeconds)
	c.wantClaim(storeExpires, 0, 2*storeUnit, true)
	end := late.Now + payword.RefundSeconds
	c.wantClaim(end, payword.RefundSeconds, 2*storeUnit, true)
	c.acknowledge(2*storeUnit, false)
	c.wantClaim(end, payword.RefundSeconds, 2*storeUnit, true)
	c.acknowledge(2*storeUnit, true)
	c.wantNoClaim(end, payword.RefundSeconds)

	c.m = storeCommitment(c, 2, 1)
	c.open(10, 1)
	c.wantNoClaim(storeExpires-1, payword.RefundSeconds)
	c.wantClaim(storeExpires, payword.RefundSeconds, 0, true)
	c.wantNoClaim(storeRedeemBy+payword.SkewSeconds, payword.RefundSeconds)
}

func testClaimablesStop(c *storeCase) {
	for number := range uint64(3) {
		c.m = storeCommitment(c, 10+number, 1)
		c.open(10, 1)
		c.charge(storeCharge(1), payword.Accepted, false)
	}
	calls := 0
	err := c.store.claimables(c.Context(), storeStart, 0, func(claimable) bool {
		calls++
		return calls < 2
	})
	if err != nil || calls != 2 {
		c.Fatalf("got %d calls, error %v; want 2", calls, err)
	}
}

const (
	parallelPayers = 30
	parallelSpread = 200 // how far a request may be from its turn
)

// shuffledNumbers returns 1 to count, each twice, none far from its place.
func shuffledNumbers(random *rand.Rand, count int) []uint64 {
	type turn struct {
		number uint64
		at     int
	}
	turns := make([]turn, 0, 2*count)
	for k := range count {
		for range 2 {
			turns = append(turns, turn{uint64(k + 1), k + random.Intn(parallelSpread)})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return a.at - b.at })
	numbers := make([]uint64, 2*count)
	for k := range turns {
		numbers[k] = turns[k].number
	}
	return numbers
}

// testParallel has thirty payers send requests on one commitment, half of them
// duplicates, in shuffled order.
func testParallel(t *testing.T, s store, requests int) {
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 3, 1)}
	c.open(payword.MaxChainLength, 1)
	const seed = 20261122
	t.Logf("seed %d", seed)
	numbers := shuffledNumbers(rand.New(rand.NewSource(seed)), parallelPayers*requests/2)
	charged := make([]atomic.Int32, len(numbers)/2+1)
	stale := make([]atomic.Bool, len(charged))
	inParallel(t, parallelPayers, len(numbers), func(k int) error {
		number := numbers[k]
		outcome, _, err := s.charge(t.Context(), c.m.ID, storeCharge(number))
		switch {
		case err != nil:
			return err
		case outcome.Reason == payword.Accepted && !outcome.Repeat:
			charged[number].Add(1)
		case outcome.Reason == payword.StaleNumber:
			stale[number].Store(true) // its payer was kept from running for 800 requests
		case outcome.Reason != payword.Accepted:
			return fmt.Errorf("number %d: %v", number, outcome.Reason)
		}
		return nil
	})
	served := money.Amount(0)
	for number := 1; number < len(charged); number++ {
		count := charged[number].Load()
		if count > 1 || count == 0 && !stale[number].Load() {
			t.Fatalf("number %d was charged %d times", number, count)
		}
		served += storeUnit * money.Amount(count)
	}
	c.spent(served)
}

// testParallelGiveBack gives a third of what is granted back, while the
// duplicate of the request may be granted, too.
func testParallelGiveBack(t *testing.T, s store, requests int) {
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 4, 1)}
	c.open(payword.MaxChainLength, 1)
	const seed = 20261123
	t.Logf("seed %d", seed)
	numbers := shuffledNumbers(rand.New(rand.NewSource(seed)), parallelPayers*requests/20)
	standing := make([]atomic.Int32, len(numbers)/2+1)
	inParallel(t, parallelPayers, len(numbers), func(k int) error {
		number := numbers[k]
		outcome, _, err := s.charge(t.Context(), c.m.ID, storeCharge(number))
		if err != nil || outcome.Reason != payword.Accepted {
			return err
		}
		if !outcome.Repeat {
			standing[number].Add(1)
		}
		if number%3 > 0 {
			return nil
		}
		amount, _, err := s.giveBack(t.Context(), c.m.ID, number, storeStart)
		if amount == storeUnit {
			standing[number].Add(-1)
		}
		return err
	})
	left := money.Amount(0)
	for number := range standing {
		count := standing[number].Load()
		if count < 0 || count > 1 {
			t.Fatalf("number %d is charged %d times in the end", number, count)
		}
		left += storeUnit * money.Amount(count)
	}
	c.spent(left)
}

func testParallelOpen(t *testing.T, s store) {
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 5, 1)}
	inParallel(t, 16, 64, func(k int) error {
		if _, err := s.open(t.Context(), storeOpening(c.m, int64(k+1), uint32(k+1))); err != nil {
			return err
		}
		_, _, err := s.charge(t.Context(), c.m.ID, storeCharge(uint64(k+1)))
		return err
	})
	seen, err := s.advance(t.Context(), c.m.ID, 0, storeTail(1000))
	if err != nil || seen.accepted != 64*storeUnit || seen.spent != 64*storeUnit {
		t.Fatalf("got accepted %d, spent %d, error %v; want 64000 and 64000", seen.accepted, seen.spent, err)
	}
}

// inParallel calls run with 0 to count-1 from several goroutines, and fails the
// test with its first error.
func inParallel(t *testing.T, goroutines, count int, run func(k int) error) {
	t.Helper()
	var next atomic.Int64
	var failure atomic.Pointer[error]
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for k := int(next.Add(1)) - 1; k < count; k = int(next.Add(1)) - 1 {
				if err := run(k); err != nil {
					failure.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := failure.Load(); err != nil {
		t.Fatal(*err)
	}
}

func TestMemoryStore(t *testing.T) {
	testStore(t, 10_000, func(*testing.T) store { return newMemoryStore() })
}

func TestMemoryStoreFails(t *testing.T) {
	for _, each := range []struct {
		fault fault
		want  money.Amount
	}{{faultNotDone, 0}, {faultAnswerLost, storeUnit}} {
		s := newMemoryStore()
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		c.open(10, 1)
		s.fault = func(step string) fault {
			if step == "charge" {
				return each.fault
			}
			return faultNone
		}
		if _, _, err := s.charge(context.Background(), c.m.ID, storeCharge(1)); !errors.Is(err, errFault) {
			t.Fatalf("fault %d: got %v; want errFault", each.fault, err)
		}
		c.spent(each.want)
		// Whatever became of it, the same request again makes it right.
		s.fault = nil
		c.charge(storeCharge(1), payword.Accepted, each.fault == faultAnswerLost)
		c.spent(storeUnit)
	}
}

// digest says everything that is known of the commitments, in one order, except
// for requests that are too old at now, because those may be forgotten sooner
// or later.
func digest(entries map[payword.CommitmentID]*entry, now int64) string {
	text := []byte(nil)
	ids := slices.Collect(maps.Keys(entries))
	slices.SortFunc(ids, func(a, b payword.CommitmentID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		e := entries[id]
		e.mutex.Lock()
		s := e.state
		recent := slices.DeleteFunc(slices.Clone(s.Recent), func(r payword.Request) bool {
			return now >= r.At+payword.RefundSeconds || r.Number+payword.WindowSize <= s.Highest
		})
		text = fmt.Appendf(text, "%s: %s until %d, final %v, tails", id, e.reservation, e.redeemBy, e.final)
		if e.isUnreserved() {
			text = fmt.Appendf(text, ", unreserved on day %d", e.creditDay)
		}
		for k := range e.commitment.Chains {
			text = fmt.Appendf(text, " %d %x", s.Tails[k].Index, s.Tails[k].Payword[:4])
		}
		text = fmt.Appendf(text, ", cap %d %d, charged %d, returned %d, claimed %d, closed %v, highest %d, window %x, recent",
			s.Cap, s.Sequence, s.Charged, s.Returned, s.Claimed, s.Closed, s.Highest, s.Window)
		slices.SortFunc(recent, func(a, b payword.Request) int { return int(a.Number) - int(b.Number) })
		for _, r := range recent {
			text = fmt.Appendf(text, " %d %x %d %d %d;", r.Number, r.Fingerprint[:4], r.At, r.Price, r.Grants)
		}
		text = append(text, '\n')
		e.mutex.Unlock()
	}
	return string(text)
}

func (s *memoryStore) digest(now int64) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return digest(s.entries, now)
}

func (s *fileStore) digest(now int64) string {
	entries := map[payword.CommitmentID]*entry{}
	for k := range s.shards {
		for e := range s.shards[k].all() {
			entries[e.commitment.ID] = e
		}
	}
	return digest(entries, now)
}
