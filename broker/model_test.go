package broker_test

import (
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// model is what a broker should do, in a few lines and without a database.
type model struct {
	t           *testing.T
	random      *rand.Rand
	bank        *bank
	users       []*modelUser
	shops       []*shop
	payable     map[*shop]money.Amount
	commitments []*modelCommitment
	funded      money.Amount
	counts      map[string]int // of outcomes, so that the test shows what it reached
}

type modelUser struct {
	*user
	available, reserved money.Amount
}

type modelCommitment struct {
	*purse
	user                 *modelUser
	shop                 *shop
	reserved, held, paid money.Amount
	tail                 uint32
	day                  int64
	isReserved, isClosed bool
	claims               []payword.Redemption
}

const (
	modelGrace = 1800
	modelLimit = 60 * cent // of a vendor and day
)

// Whatever is asked in whatever order, the broker answers as the model does,
// and its books agree after each step.
func TestModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := newBank(t)
	b.config.Grace, b.config.CertificateLimit = modelGrace*1e9, modelLimit
	b.open()
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 0)), bank: b, payable: map[*shop]money.Amount{}, counts: map[string]int{}}
	for range 2 {
		m.users = append(m.users, &modelUser{user: b.newUser(0)})
		m.shops = append(m.shops, b.newShop())
	}
	steps := []func(){m.fund, m.commit, m.commit, m.reserve, m.reserve, m.reserve, m.claim, m.claim, m.claim, m.claim, m.repeat, m.pass, m.release}
	for step := range 120 {
		steps[m.random.IntN(len(steps))]()
		b.wantSound()
		if step%10 == 9 {
			m.check()
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("outcomes: %v", m.counts)
}

func (m *model) now() int64 { return m.bank.clock.seconds.Load() }

func (m *model) cents(most int) money.Amount { return money.Amount(m.random.IntN(most)+1) * cent }

func (m *model) pick() *modelCommitment {
	if len(m.commitments) == 0 {
		m.commit()
	}
	// The newer ones are more often alive.
	from := max(0, len(m.commitments)-8)
	if m.random.IntN(5) == 0 {
		from = 0
	}
	return m.commitments[from+m.random.IntN(len(m.commitments)-from)]
}

func (m *model) fund() {
	u, amount := m.users[m.random.IntN(len(m.users))], m.cents(40)
	u.user.fund(encode([]byte(u.account))[:8]+"-"+money.Amount(m.funded).String(), amount)
	u.available += amount
	m.funded += amount
}

func (m *model) commit() {
	u, s := m.users[m.random.IntN(len(m.users))], m.shops[m.random.IntN(len(m.shops))]
	p := u.user.commit(s.origin, m.cents(50), func(c *payword.Commitment) { c.Expires = c.IssuedAt + int64(600+m.random.IntN(7200)) })
	m.commitments = append(m.commitments, &modelCommitment{purse: p, user: u, shop: s})
}

func (m *model) pass() { m.bank.clock.advance(int64(m.random.IntN(1500))) }

func (m *model) reserve() {
	c, amount := m.pick(), m.cents(52)
	wanted := m.reserveOutcome(c, amount)
	a := c.purse.reserve(amount)
	got := payword.Accepted
	if a.status != http.StatusOK {
		var err error
		if got, err = payword.ParseReason(a.reason()); err != nil {
			m.t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	m.counts["reserve "+wanted.String()]++
	if got != wanted {
		m.t.Errorf("reserving %s of %+v: got %s, want %s", amount.Decimal(), c, a.body, wanted)
	}
}

func (m *model) reserveOutcome(c *modelCommitment, amount money.Amount) payword.Reason {
	delta := max(0, amount-c.paid) - c.held
	switch {
	case amount > c.m.Limit:
		return payword.ReservationMismatch
	case c.isClosed:
		return payword.CommitmentClosed
	case c.isReserved && c.reserved >= amount:
		return payword.Accepted
	case m.now() >= c.m.Expires:
		return payword.CommitmentExpired
	case m.reservedToday(c)+amount > modelLimit:
		return payword.OverCertificateLimit
	case delta > c.user.available:
		return payword.InsufficientFunds
	}
	c.user.available -= delta
	c.user.reserved += delta
	c.isReserved, c.reserved, c.held, c.day = true, amount, c.held+delta, m.now()/86400
	return payword.Accepted
}

// reservedToday sums up what the user has reserved for the vendor today, but
// for one commitment.
func (m *model) reservedToday(except *modelCommitment) (sum money.Amount) {
	for _, c := range m.commitments {
		if c == except || c.user != except.user || c.shop != except.shop || c.day != m.now()/86400 {
			continue
		}
		if c.isClosed {
			sum += c.paid
		} else {
			sum += max(c.reserved, c.paid)
		}
	}
	return sum
}

func (m *model) claim() {
	c := m.pick()
	index, amount := uint32(m.random.IntN(50)+1), m.cents(50)
	if m.random.IntN(3) > 0 { // mostly one that can be paid
		amount = min(money.Amount(index)*cent, c.m.Limit)
		if c.isReserved {
			amount = min(amount, c.reserved)
		}
	}
	isFinal := m.random.IntN(8) == 0
	redemption := c.shop.claim(c.purse, index, amount, func(claim *payword.Claim) { claim.Final = isFinal })
	wanted, due := m.claimOutcome(c, index, amount, isFinal)
	if wanted == payword.Accepted {
		c.claims = append(c.claims, redemption)
	}
	m.counts["claim "+wanted.String()]++
	c.shop.wantResult(redemption, wanted, c.paid, due)
}

func (m *model) claimOutcome(c *modelCommitment, index uint32, amount money.Amount, isFinal bool) (payword.Reason, money.Amount) {
	ceiling := c.m.Limit
	if c.isReserved {
		ceiling = max(c.reserved, c.paid)
	}
	if c.isClosed {
		ceiling = c.paid
	}
	isLate := m.now() >= c.m.Expires+modelGrace
	due := max(0, amount-c.paid)
	switch {
	case isLate && due > 0:
		return payword.ClaimTooLate, 0
	case amount > min(money.Amount(max(index, c.tail))*cent, c.m.Limit):
		return payword.ClaimOverTails, 0
	case amount > ceiling:
		return payword.ClaimOverLimit, 0
	case !c.isReserved && due > c.user.available:
		return payword.InsufficientFunds, 0
	}
	closes := isFinal && !c.isClosed && !isLate && (c.isReserved || c.paid > 0 || due > 0)
	if due > 0 || closes {
		c.tail = max(c.tail, index)
	}
	c.paid += due
	m.payable[c.shop] += due
	if c.isReserved {
		c.held -= due
		c.user.reserved -= due
	} else {
		c.user.available -= due
	}
	if closes {
		c.close()
	}
	return payword.Accepted, due
}

func (c *modelCommitment) close() {
	c.user.available += c.held
	c.user.reserved -= c.held
	c.held, c.isClosed = 0, true
}

// repeat sends a claim again that was accepted before: nothing moves, ever.
func (m *model) repeat() {
	c := m.pick()
	if len(c.claims) == 0 {
		return
	}
	m.counts["repeat"]++
	redemption := c.claims[m.random.IntN(len(c.claims))]
	// A last claim that lost to a later one is the only repeat that acts.
	if claim, _ := payword.ParseClaim(redemption.Claim, publicKey(c.shop.key)); claim.Final && !c.isClosed {
		return
	}
	c.shop.wantResult(redemption, payword.Accepted, c.paid, 0)
}

func (m *model) release() {
	wanted := 0
	for _, c := range m.commitments {
		if c.held > 0 && m.now() >= c.m.Expires+modelGrace {
			wanted++
			c.close()
		}
	}
	m.counts["release"] += wanted
	if got, err := m.bank.Release(m.t.Context()); err != nil || got != wanted {
		m.t.Errorf("released %d (%v), want %d", got, err, wanted)
	}
}

// check compares all balances.
func (m *model) check() {
	m.t.Helper()
	sum := money.Amount(0)
	for _, u := range m.users {
		u.wantBalance(u.available, u.reserved)
		if u.available < 0 || u.reserved < 0 {
			m.t.Errorf("the model itself is below zero: %+v", u)
		}
		sum += u.available + u.reserved
	}
	for _, s := range m.shops {
		s.wantPayable(m.payable[s])
		sum += m.payable[s]
	}
	if sum != m.funded {
		m.t.Errorf("users and vendors have %s, %s came in", sum.Decimal(), m.funded.Decimal())
	}
}
