package broker_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// operation is what somebody asked about one commitment.
type operation struct {
	commitment int
	kind       string // reserve, claim or read
	amount     money.Amount
	isFinal    bool
}

// outcome is what came of it. Amounts that the answer does not name are 0.
type outcome struct {
	isUnknown bool // no answer came: it was done or not, now or later
	reason    payword.Reason
	reserved  money.Amount
	sequence  uint32
	paid, due money.Amount
	isClosed  bool
}

// position is a commitment as one after the other would leave it.
type position struct {
	reserved, paid     money.Amount
	sequence           uint32
	isStored, isClosed bool
}

const historyLimit = 50 * cent

// reserve returns the position after a reservation and its outcome.
func (p position) reserve(amount money.Amount) (position, outcome) {
	if p.isClosed {
		return p, outcome{reason: payword.CommitmentClosed}
	}
	if p.sequence == 0 || p.reserved < amount {
		p.reserved, p.sequence, p.isStored = amount, p.sequence+1, true
	}
	return p, outcome{reserved: p.reserved, sequence: p.sequence}
}

// claim returns the position after a claim whose paywords prove its amount.
func (p position) claim(amount money.Amount, isFinal bool) (position, outcome) {
	ceiling := money.Amount(historyLimit)
	if p.sequence > 0 {
		ceiling = max(p.reserved, p.paid)
	}
	if p.isClosed {
		ceiling = p.paid
	}
	if amount > ceiling {
		return p, outcome{reason: payword.ClaimOverLimit, paid: p.paid}
	}
	due := max(0, amount-p.paid)
	p.paid += due
	p.isStored = p.isStored || due > 0
	p.isClosed = p.isClosed || isFinal && p.isStored
	return p, outcome{paid: p.paid, due: due}
}

func (p position) after(did operation) (position, outcome) {
	switch did.kind {
	case "reserve":
		return p.reserve(did.amount)
	case "claim":
		return p.claim(did.amount, did.isFinal)
	}
	return p, outcome{reserved: p.reserved, paid: p.paid, isClosed: p.isClosed}
}

// steps returns where an operation with that outcome may lead: nowhere if it
// cannot be. An account without enough money may refuse what would move some.
func (p position) steps(did operation, got outcome) []any {
	next, wanted := p.after(did)
	if got.isUnknown {
		return []any{p, next}
	}
	takesMore := did.kind == "reserve" && next.sequence > p.sequence || did.kind == "claim" && wanted.due > 0 && p.sequence == 0
	if got.reason == payword.InsufficientFunds && takesMore {
		next, wanted = p, outcome{reason: payword.InsufficientFunds}
		if did.kind == "claim" {
			wanted.paid = p.paid
		}
	}
	if got != wanted {
		return nil
	}
	return []any{next}
}

var historyModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byCommitment := map[int][]porcupine.Operation{}
		for _, one := range history {
			k := one.Input.(operation).commitment
			byCommitment[k] = append(byCommitment[k], one)
		}
		for _, part := range byCommitment {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{position{}} },
	Step: func(state, input, output any) []any {
		return state.(position).steps(input.(operation), output.(outcome))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// history is what several clients asked of several brokers, and when.
type history struct {
	t       *testing.T
	brokers []*bank
	purses  []*purse
	shops   []*shop // of the purses
	start   time.Time

	mutex      sync.Mutex
	operations []porcupine.Operation // guarded by mutex
}

// client asks for something count times, at random brokers.
func (h *history) client(id int, random *rand.Rand, count int) {
	for range count {
		did := operation{
			commitment: random.IntN(len(h.purses)), kind: []string{"reserve", "claim", "claim", "read"}[random.IntN(4)],
			amount: money.Amount(1+random.IntN(int(historyLimit/cent))) * cent, isFinal: random.IntN(16) == 0,
		}
		called := time.Since(h.start)
		got := h.ask(h.brokers[random.IntN(len(h.brokers))], did)
		one := porcupine.Operation{
			ClientId: id, Input: did, Output: got, Call: called.Nanoseconds(), Return: time.Since(h.start).Nanoseconds(),
		}
		h.mutex.Lock()
		h.operations = append(h.operations, one)
		h.mutex.Unlock()
	}
}

func (h *history) ask(b *bank, did operation) outcome {
	p, s := h.purses[did.commitment].at(b), h.shops[did.commitment].at(b)
	switch did.kind {
	case "reserve":
		return h.outcomeOfReserve(p, p.reserve(did.amount))
	case "claim":
		claim := s.claim(p, uint32(did.amount/cent), did.amount, func(c *payword.Claim) { c.Final = did.isFinal })
		a := s.call(s.key, "POST", payword.PathRedemptions,
			payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{claim}})
		if a.status == http.StatusServiceUnavailable {
			return outcome{isUnknown: true}
		}
		got, err := inJSON[payword.RedemptionAnswer](a)
		if err != nil || len(got.Results) != 1 {
			h.t.Errorf("got %s (%v)", a.body, err)
			return outcome{isUnknown: true}
		}
		return outcome{reason: got.Results[0].Reason, paid: got.Results[0].Paid, due: got.Results[0].Due}
	}
	return h.outcomeOfRead(p)
}

func (h *history) outcomeOfReserve(p *purse, a answer) outcome {
	switch {
	case a.status == http.StatusServiceUnavailable:
		return outcome{isUnknown: true}
	case a.status != http.StatusOK:
		reason, err := payword.ParseReason(a.reason())
		if err != nil {
			h.t.Errorf("got %d %s", a.status, a.body)
		}
		return outcome{reason: reason}
	}
	got, err := inJSON[payword.ReservationAnswer](a)
	r, refusal := payword.ParseReservation(got.Reservation, &p.m, p.user.keys())
	if err != nil || refusal.Refused() {
		h.t.Errorf("got %s (%v, %v)", a.body, err, refusal)
	}
	return outcome{reserved: r.Amount, sequence: r.Sequence}
}

// listed is one commitment in the list that its owner gets.
type listed struct {
	Commitment     string
	Reserved, Paid money.Amount
	Closed         bool
}

func (h *history) outcomeOfRead(p *purse) outcome {
	a := p.user.call(p.user.key, "GET", payword.PathReservations, nil)
	if a.status == http.StatusServiceUnavailable {
		return outcome{isUnknown: true}
	}
	got, err := inJSON[struct{ Reservations []listed }](a)
	if err != nil {
		h.t.Error(err)
	}
	for _, one := range got.Reservations {
		if one.Commitment == p.m.Token {
			return outcome{reserved: one.Reserved, paid: one.Paid, isClosed: one.Closed}
		}
	}
	return outcome{}
}

// faults makes some points fail, and lets requests meet where they have judged
// and not yet written.
type faults struct {
	rate    int // one in so many fails
	met     chan struct{}
	mutex   sync.Mutex
	random  *rand.Rand // guarded by mutex, as is count
	count   int
	isEnded bool
}

func newFaults(seed uint64, rate int) *faults {
	return &faults{rate: rate, met: make(chan struct{}), random: rand.New(rand.NewPCG(seed, 0))}
}

// meetingTime is how long a request waits for another one to come by: about as
// long as a request takes.
const meetingTime = 2 * time.Millisecond

// reach is the hook of SetFault.
func (f *faults) reach(point string) error {
	if strings.HasPrefix(point, "signed ") || strings.HasPrefix(point, "judged ") {
		select {
		case f.met <- struct{}{}:
		case <-f.met:
		case <-time.After(meetingTime):
		}
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.isEnded || f.random.IntN(f.rate) > 0 {
		return nil
	}
	f.count++
	return errDisk
}

// end lets nothing fail any more and returns how much did.
func (f *faults) end() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.isEnded = true
	return f.count
}

// Whatever many clients ask at once of two brokers on one database, which lose
// answers before and after the work was done, some order of it one after the
// other explains every answer.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	b := newBank(t)
	b.config.CertificateLimit = 1000 * cent
	b.open()
	h := &history{t: t, brokers: []*bank{b, b.twin()}, start: time.Now()}
	f := newFaults(seed, 15)
	for k := range 2 {
		balance := 1000 * cent
		if k == 0 {
			balance = 60 * cent // one of two commitments may fail
		}
		u, s := b.newUser(balance), b.newShop()
		for range 2 {
			h.purses, h.shops = append(h.purses, u.commit(s.origin, historyLimit)), append(h.shops, s)
		}
	}
	for _, b := range h.brokers {
		b.SetFault(f.reach)
	}
	together(10, func(k int) { h.client(k, rand.New(rand.NewPCG(seed, uint64(k))), 30) })
	failed := f.end()
	h.check()
	t.Logf("%d operations, %d faults", len(h.operations), failed)
	if failed == 0 {
		t.Error("nothing ever failed, so that this shows less than it should")
	}
}

func (h *history) check() {
	h.t.Helper()
	h.brokers[0].wantSound()
	counts := map[string]int{}
	for _, one := range h.operations {
		got := one.Output.(outcome)
		word := got.reason.String()
		if got.isUnknown {
			word = "unknown"
		}
		counts[one.Input.(operation).kind+" "+word]++
	}
	h.t.Logf("outcomes: %v", counts)
	if result := porcupine.CheckOperationsTimeout(historyModel.ToModel(), h.operations, time.Minute); result != porcupine.Ok {
		h.t.Errorf("no order explains what the brokers answered: %s", result)
		for _, one := range h.operations {
			h.t.Logf("%d to %d: %+v: %+v", one.Call, one.Return, one.Input, one.Output)
		}
	}
}
