package broker_test

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// TestKillAtRelease kills the broker while it gives back what nobody claimed in
// time. The next process gives back the rest, each once.
func TestKillAtRelease(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"1 before release", "1 after release", "1 before forget", "1 after forget"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			b, arguments := newCrashBank(t)
			b.clock.advance(-30 * 24 * 3600) // so that the process finds what is long over
			u, s := b.newUser(100*cent), b.newShop()
			untouched, claimed := u.commit(s.origin, 20*cent), u.commit(s.origin, 20*cent)
			untouched.mustReserve(20 * cent)
			claimed.mustReserve(20 * cent)
			s.wantResult(s.claim(claimed, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)
			b.clock.advance(30 * 24 * 3600)
			for _, at := range []string{at, "1 after forget"} { // after all the work of a round
				v := b.newVictim(arguments, at)
				<-v.ended
				if v.killed != at {
					t.Fatalf("the broker ended at %q, want %q", v.killed, at)
				}
			}
			u.wantBalance(95*cent, 0)
			s.wantPayable(5 * cent)
			b.wantSound()
		})
	}
}

const (
	crashRounds  = 50
	crashWorkers = 4
	// crashAnswers is the most answers of a round before the kill.
	crashAnswers = 25
)

// TestKillUnderLoad kills a broker with SIGKILL at random moments while several
// users and vendors work with it. Whoever got no answer asks again from the
// next process; whatever was answered stays true, and everything happens once.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	b, arguments := newCrashBank(t)
	var workers []*worker
	for k := range crashWorkers {
		workers = append(workers, b.newWorker(rand.New(rand.NewPCG(seed, uint64(k)))))
	}
	random := rand.New(rand.NewPCG(seed, crashWorkers))
	var answers, repeats int
	for range crashRounds {
		v := b.newVictim(arguments, "never")
		left := atomic.Int64{}
		left.Store(1 + random.Int64N(crashAnswers))
		var group sync.WaitGroup
		for _, w := range workers {
			group.Go(func() {
				for w.turn(v.bank) {
					if left.Add(-1) == 0 {
						_ = v.child.Process.Kill()
					}
				}
			})
		}
		group.Wait()
		v.kill()
		if t.Failed() {
			break
		}
	}
	b.wantSound()
	for _, w := range workers {
		w.finish(b)
		answers, repeats = answers+w.answers, repeats+w.repeats
	}
	b.wantSound()
	b.wantAudited()
	t.Logf("%d answers, %d of them asked for again after a crash", answers, repeats)
	if repeats == 0 {
		t.Error("no crash ever cost an answer, so that this shows nothing")
	}
}

// worker is a user and a vendor, who do one thing after the other.
type worker struct {
	user        *user
	shop        *shop
	random      *rand.Rand
	certificate payword.Certificate
	key         ed25519.PrivateKey

	purse       *purse // the one that is worked with
	reserved    money.Amount
	paid        money.Amount
	isClosed    bool
	purses      int
	spent, held money.Amount // on all purses before
	pending     *step        // what was not answered yet
	isRepeat    bool
	answers     int
	repeats     int
}

const workerFunds = 10_000 * cent

func (b *bank) newWorker(random *rand.Rand) *worker {
	w := &worker{user: b.newUser(workerFunds), shop: b.newShop(), random: random, isClosed: true}
	w.certificate, w.key = w.user.certificate()
	return w
}

// turn does one thing, or again what was not answered, and reports whether the
// broker lives.
func (w *worker) turn(b *bank) bool {
	if w.pending == nil {
		w.pending, w.isRepeat = w.next(), false
	}
	a, err := attempt(w.pending.send(b))
	if err != nil {
		w.isRepeat = true
		return false
	}
	if a.status == http.StatusServiceUnavailable {
		w.isRepeat = true
		return true
	}
	w.answers++
	if w.isRepeat {
		w.repeats++
	}
	if err := w.pending.want(a); err != nil {
		b.t.Errorf("purse %d, asked again %t: %v", w.purses, w.isRepeat, err)
		return false
	}
	w.pending = nil
	return true
}

// next draws what to do.
func (w *worker) next() *step {
	draw := w.random.IntN(10)
	switch {
	case w.isClosed, draw == 0:
		w.renew()
		if w.random.IntN(3) > 0 { // the others are claimed on without a reservation
			return w.reserve(money.Amount(1+w.random.IntN(10)) * cent)
		}
		return w.claim(1+w.random.IntN(3), false)
	case draw < 4 && w.reserved > 0:
		return w.reserve(money.Amount(1+w.random.IntN(10)) * cent)
	}
	most := 10
	if w.reserved > 0 {
		most = int(max(w.reserved, w.paid) / cent)
	}
	return w.claim(1+w.random.IntN(most), draw == 9)
}

// renew leaves the purse as it is and takes a new one.
func (w *worker) renew() {
	w.leave()
	w.purse, w.reserved, w.paid, w.isClosed = w.user.commitWith(w.certificate, w.key, w.shop.origin, 10*cent), 0, 0, false
	w.purses++
}

func (w *worker) leave() {
	w.spent += w.paid
	if !w.isClosed {
		w.held += max(0, w.reserved-w.paid)
	}
	w.reserved, w.paid, w.isClosed = 0, 0, true
}

func (w *worker) reserve(amount money.Amount) *step {
	return &step{
		func(b *bank) *http.Request {
			return b.signed(w.user.key, "POST", payword.PathReservations,
				payword.ReservationRequest{Commitment: w.purse.m.Token, Amount: amount})
		},
		func(a answer) error {
			w.reserved = max(w.reserved, amount)
			got, err := inJSON[payword.ReservationAnswer](a)
			if err != nil {
				return err
			}
			r, refusal := payword.ParseReservation(got.Reservation, &w.purse.m, w.user.keys())
			if refusal.Refused() || r.Amount != w.reserved {
				err = fmt.Errorf("got a reservation of %s (%v), want %s", r.Amount.Decimal(), refusal, w.reserved.Decimal())
			}
			return err
		},
	}
}

func (w *worker) claim(cents int, isLast bool) *step {
	amount := money.Amount(cents) * cent
	claim := w.shop.claim(w.purse, uint32(cents), amount, func(c *payword.Claim) { c.Final = isLast })
	return &step{
		func(b *bank) *http.Request {
			return b.signed(w.shop.key, "POST", payword.PathRedemptions,
				payword.RedemptionRequest{Vendor: w.shop.origin, Redemptions: []payword.Redemption{claim}})
		},
		func(a answer) error {
			due := max(0, amount-w.paid)
			w.paid += due
			w.isClosed = isLast
			got, err := inJSON[payword.RedemptionAnswer](a)
			if err != nil || len(got.Results) != 1 {
				return fmt.Errorf("got %s (%w)", a.body, err)
			}
			result := got.Results[0]
			isDue := result.Due == due || w.isRepeat && result.Due == 0
			if result.Reason != payword.Accepted || result.Paid != w.paid || !isDue {
				err = fmt.Errorf("got %+v, want %s paid and %s due", result, w.paid.Decimal(), due.Decimal())
			}
			return err
		},
	}
}

// finish asks for what was not answered and compares all balances.
func (w *worker) finish(b *bank) {
	b.t.Helper()
	if w.pending != nil && !w.turn(b) {
		b.t.Error("the last request was not answered")
	}
	w.leave()
	w.user.wantBalance(workerFunds-w.spent-w.held, w.held)
	w.shop.wantPayable(w.spent)
}
