package broker_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// The same batch sent to two brokers on one database at once is paid once, also
// when both have judged it before either pays.
func TestSameBatchAtTwoBrokers(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBank(t)
	brokers := []*bank{b, b.twin()}
	meet := newFaults(seed, 1<<30) // nothing fails
	for _, b := range brokers {
		b.SetFault(meet.reach)
	}
	u, s := b.newUser(100_000*cent), b.newShop()
	certificate, key := u.certificate()
	var sum money.Amount
	for round := range 15 {
		var claims []payword.Redemption
		var due money.Amount // in this round
		for range 1 + random.IntN(12) {
			p := u.commitWith(certificate, key, s.origin, 10*cent)
			if random.IntN(2) == 0 {
				p.mustReserve(10 * cent)
			}
			most := 0
			for range 1 + random.IntN(2) {
				index := 1 + random.IntN(10)
				most = max(most, index)
				claims = append(claims, s.claim(p, uint32(index), money.Amount(index)*cent))
			}
			due += money.Amount(most) * cent
		}
		answered := make([]money.Amount, 2*len(brokers))
		together(len(answered), func(k int) {
			mine := slices.Clone(claims)
			if k >= len(brokers) {
				slices.Reverse(mine)
			}
			for _, result := range s.at(brokers[k%len(brokers)]).send(mine...) {
				if result.Reason != payword.Accepted {
					t.Errorf("round %d: got %+v", round, result)
				}
				answered[k] += result.Due
			}
		})
		got := money.Amount(0)
		for _, amount := range answered {
			got += amount
		}
		if got != due {
			t.Fatalf("round %d: %s were due in all answers, want %s", round, got.Decimal(), due.Decimal())
		}
		sum += due
		s.wantPayable(sum)
	}
	b.wantSound()
	b.wantAudited()
}

// crowd is many clients that do everything at once, and what they were told.
type crowd struct {
	t       *testing.T
	brokers []*bank
	users   []*user
	shops   []*shop

	mutex  sync.Mutex
	purses []*promised  // guarded by mutex, as is the rest
	funded money.Amount // that was answered
	counts map[string]int
}

// promised is what was asked and answered on one commitment.
type promised struct {
	*purse
	shop     *shop
	claimed  money.Amount // the most that paywords were shown for
	asked    money.Amount // the most that a reservation was asked for
	reserved money.Amount // the most that a reservation was given for
	paid     money.Amount // the most that was said to be paid
	due      money.Amount // the sum of all that was said to be due now
	claims   []payword.Redemption
}

// Whatever many clients do at once with two brokers that lose answers, run out
// of money and see time pass, the invariants hold in the end.
func TestInvariantsOfACrowd(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	b := newBankWith(t, func(c *broker.Config) { c.Grace, c.CertificateLimit = 300*time.Second, 200*cent })
	c := &crowd{t: t, brokers: []*bank{b, b.twin()}, counts: map[string]int{}}
	for range 3 {
		c.users, c.shops = append(c.users, b.newUser(0)), append(c.shops, b.newShop())
	}
	c.users[0].tie("customer 1")
	if _, refusal, err := b.SetCredit(t.Context(), c.users[0].account, crowdCredit); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	f := newFaults(seed, 25)
	for _, b := range c.brokers {
		b.SetFault(f.reach)
	}
	together(6, func(k int) {
		random := rand.New(rand.NewPCG(seed, uint64(k)))
		steps := []func(*rand.Rand){c.fund, c.commit, c.reserve, c.reserve, c.claim, c.claim, c.claim, c.release, c.pass}
		for range 50 {
			steps[random.IntN(len(steps))](random)
		}
	})
	failed := f.end()
	t.Logf("outcomes: %v, faults: %d", c.counts, failed)
	if failed == 0 || c.counts["claim accepted"] == 0 || c.counts["reserve accepted"] == 0 {
		t.Error("too little happened to show anything")
	}
	c.check()
	b.clock.advance(30 * 24 * 3600)
	if _, err := b.Release(t.Context()); err != nil {
		t.Error(err)
	}
	c.check()
	for _, u := range c.users {
		if account := u.balance(); account.Reserved != 0 {
			t.Errorf("%s are still reserved after all time is over", account.Reserved.Decimal())
		}
	}
}

const crowdCredit = 80 * cent

// again asks random brokers until one can tell.
func (c *crowd) again(random *rand.Rand, ask func(b *bank) answer) answer {
	for range 50 {
		a := ask(c.brokers[random.IntN(len(c.brokers))])
		if a.status != http.StatusServiceUnavailable {
			return a
		}
	}
	c.t.Error("no broker could tell, fifty times")
	return answer{}
}

func (c *crowd) note(change func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	change()
}

func (c *crowd) pick(random *rand.Rand) (p *promised) {
	c.note(func() {
		if len(c.purses) > 0 {
			p = c.purses[len(c.purses)-1-random.IntN(min(len(c.purses), 5))]
		}
	})
	return p
}

func (c *crowd) fund(random *rand.Rand) {
	u, amount := c.users[random.IntN(len(c.users))], money.Amount(1+random.IntN(60))*cent
	body := map[string]string{"id": fmt.Sprintf("crowd-%d", numbers.Add(1)), "account": u.account, "amount": amount.String(), "currency": string(usd)}
	for range 1 + random.IntN(2) { // the same one again changes nothing
		a := c.again(random, func(b *bank) answer { return b.admin("POST", "/v1/admin/fundings", body) })
		if a.status != http.StatusOK {
			c.t.Errorf("funding: got %d %s", a.status, a.body)
		}
	}
	c.note(func() { c.funded += amount })
}

func (c *crowd) commit(random *rand.Rand) {
	u, s := c.users[random.IntN(len(c.users))], c.shops[random.IntN(len(c.shops))]
	key := newKey()
	body := payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}}
	a := c.again(random, func(b *bank) answer { return b.call(u.key, "POST", payword.PathCertificates, body) })
	issued, err := inJSON[payword.CertificateAnswer](a)
	if err != nil {
		c.t.Error(err)
		return
	}
	certificate, err := payword.UnverifiedCertificate(issued.Certificates[0])
	if err != nil {
		c.t.Error(err)
		return
	}
	p := &promised{purse: u.commitWith(certificate, key, s.origin, 10*cent), shop: s}
	p.m.Expires = p.m.IssuedAt + int64(100+random.IntN(1000))
	if p.m, err = payword.SignCommitment(p.m, key); err != nil {
		c.t.Error(err)
		return
	}
	c.note(func() { c.purses = append(c.purses, p) })
}

func (c *crowd) reserve(random *rand.Rand) {
	p, amount := c.pick(random), money.Amount(1+random.IntN(10))*cent
	if p == nil {
		return
	}
	c.note(func() { p.asked = max(p.asked, amount) })
	a := c.again(random, func(b *bank) answer { return p.purse.at(b).reserve(amount) })
	if a.status != http.StatusOK {
		c.note(func() { c.counts["reserve "+a.reason()]++ })
		return
	}
	got, err := inJSON[payword.ReservationAnswer](a)
	r, refusal := payword.ParseReservation(got.Reservation, &p.m, p.user.keys())
	if err != nil || refusal.Refused() || r.Amount < amount {
		c.t.Errorf("reserving %s: got %s, %v, %v", amount.Decimal(), r.Amount.Decimal(), refusal, err)
	}
	c.note(func() {
		c.counts["reserve accepted"]++
		p.reserved = max(p.reserved, r.Amount)
	})
}

// claim claims on up to four commitments of one vendor, old claims among them.
func (c *crowd) claim(random *rand.Rand) {
	first := c.pick(random)
	if first == nil {
		return
	}
	var batch []*promised
	claims := payword.RedemptionRequest{Vendor: first.shop.origin}
	for range 1 + random.IntN(4) {
		p := c.pick(random)
		if p.shop != first.shop {
			p = first
		}
		index := 1 + random.IntN(10)
		isFinal := random.IntN(10) == 0
		one := p.shop.claim(p.purse, uint32(index), money.Amount(index)*cent, func(c *payword.Claim) { c.Final = isFinal })
		c.note(func() {
			if len(p.claims) > 0 && random.IntN(4) == 0 {
				one = p.claims[random.IntN(len(p.claims))]
			}
			p.claims = append(p.claims, one)
			p.claimed = max(p.claimed, money.Amount(index)*cent)
		})
		batch, claims.Redemptions = append(batch, p), append(claims.Redemptions, one)
	}
	a := c.again(random, func(b *bank) answer { return b.call(first.shop.key, "POST", payword.PathRedemptions, claims) })
	got, err := inJSON[payword.RedemptionAnswer](a)
	if err != nil || len(got.Results) != len(batch) {
		c.t.Errorf("got %s (%v)", a.body, err)
		return
	}
	c.note(func() {
		for k, result := range got.Results {
			c.counts["claim "+result.Reason.String()]++
			batch[k].paid = max(batch[k].paid, result.Paid)
			batch[k].due += result.Due
		}
	})
}

func (c *crowd) release(random *rand.Rand) {
	// What fails is tried again by the next one, as Run does it.
	_, _ = c.brokers[random.IntN(len(c.brokers))].Release(c.t.Context())
}

func (c *crowd) pass(random *rand.Rand) { c.brokers[0].clock.advance(int64(random.IntN(60))) }

func (u *user) balance() (account payword.Account) {
	u.t.Helper()
	u.call(u.key, "GET", payword.PathAccount, nil).into(u.t, http.StatusOK, &account)
	return account
}

// listed returns all commitments of the user that the broker knows.
func (u *user) listed() (all []listed) {
	u.t.Helper()
	for after := ""; ; {
		var page struct {
			Reservations []listed
			Next         string
		}
		u.call(u.key, "GET", payword.PathReservations+after, nil).into(u.t, http.StatusOK, &page)
		all = append(all, page.Reservations...)
		if page.Next == "" {
			return all
		}
		after = "?after=" + page.Next
	}
}

// check compares everything that was answered with everything that is there.
func (c *crowd) check() {
	c.t.Helper()
	c.brokers[0].wantSound()
	c.brokers[0].wantAudited()
	byToken := map[string]*promised{}
	for _, p := range c.purses {
		byToken[p.m.Token] = p
	}
	var sum money.Amount
	payable := map[*shop]money.Amount{}
	for _, u := range c.users {
		var held, paid money.Amount
		for _, one := range u.listed() {
			p := byToken[one.Commitment]
			c.checkPurse(p, one)
			paid += one.Paid
			payable[p.shop] += one.Paid
			if !one.Closed {
				held += max(0, one.Reserved-one.Paid)
			}
			delete(byToken, one.Commitment)
		}
		account := u.balance()
		if account.Reserved != held || account.Available < 0 {
			c.t.Errorf("got %s available, %s reserved; want at least 0 and %s", account.Available.Decimal(), account.Reserved.Decimal(), held.Decimal())
		}
		// Available counts the credit line in; reserved and spent never exceed
		// what came in and what may be owed.
		sum += account.Available - account.Credit + account.Reserved + paid
	}
	for _, p := range byToken {
		if p.reserved != 0 || p.paid != 0 || p.due != 0 {
			c.t.Errorf("a commitment that was reserved or paid is lost: %+v", p)
		}
	}
	if sum != c.funded {
		c.t.Errorf("users have, and have paid, %s; %s came in", sum.Decimal(), c.funded.Decimal())
	}
	for _, s := range c.shops {
		s.wantPayable(payable[s])
	}
	c.replay()
}

// checkPurse compares one commitment with what was asked and answered.
func (c *crowd) checkPurse(p *promised, got listed) {
	c.t.Helper()
	switch {
	case got.Paid < p.paid || got.Reserved < p.reserved:
		c.t.Errorf("%+v: less than was answered: %+v", got, p)
	case got.Paid > p.claimed || got.Reserved > p.asked:
		c.t.Errorf("%+v: more than was asked for: %+v", got, p)
	case p.due > got.Paid:
		c.t.Errorf("%s were said to be due in all answers, and %s are paid", p.due.Decimal(), got.Paid.Decimal())
	}
}

// replay goes through the journal from its beginning: at every moment all
// balances sum to zero, nobody is below the floor, and a commitment was paid
// only what had been set aside for it, or what its owner had.
func (c *crowd) replay() {
	c.t.Helper()
	journal, err := c.brokers[0].Journal(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	balances, reserved := map[string]money.Amount{}, map[string]money.Amount{}
	for _, t := range journal {
		balances[t.Debit] -= t.Amount
		balances[t.Credit] += t.Amount
		switch {
		case t.Kind == "reserve":
			reserved[t.Reference] += t.Amount
		case t.Kind == "release", t.Kind == "redeem" && strings.HasSuffix(t.Debit, ":reserved"):
			reserved[t.Reference] -= t.Amount
		}
		floor := money.Amount(0)
		switch t.Debit {
		case "user:" + c.users[0].account + ":available":
			floor = -crowdCredit
		case "broker:bank:in":
			floor = -c.funded
		}
		if balances[t.Debit] < floor || reserved[t.Reference] < 0 {
			c.t.Errorf("after transfer %s: %s has %s, and %s are set aside for %s", t.ID, t.Debit, balances[t.Debit].Decimal(),
				reserved[t.Reference].Decimal(), cmp.Or(t.Reference, "nothing"))
		}
	}
	sum := money.Amount(0)
	for _, amount := range balances {
		sum += amount
	}
	if sum != 0 || len(journal) == 0 {
		c.t.Errorf("%d transfers, and the balances sum to %s", len(journal), sum.Decimal())
	}
}
