package broker_test

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// model is what a broker should do, in a few lines and without a database.
type model struct {
	t           *testing.T
	random      *rand.Rand
	bank        *bank
	brokers     []*bank // on one database, bank among them
	crash       crash
	users       []*modelUser
	shops       []*shop
	payable     map[*shop]money.Amount
	isBlocked   map[*shop]bool
	commitments []*modelCommitment
	funded      money.Amount
	counts      map[string]int // of outcomes, so that the test shows what it reached
}

type modelUser struct {
	*user
	parent              *modelUser // of a sub-account, or nil
	available, reserved money.Amount
	isBlocked           bool
	limits              payword.Limits // for it and its sub-accounts
	waiting             []modelPayout
	paidOut             money.Amount
}

type modelPayout struct {
	id     string
	amount money.Amount
}

type modelCommitment struct {
	*purse
	user                 *modelUser
	shop                 *shop
	reserved, held, paid money.Amount
	tail                 uint32
	day                  int64 // of the last raise
	storedDay            int64 // of the first claim, if nothing was reserved then
	isReserved, isClosed bool
	isRevoked            bool // its certificate
	claims               []payword.Redemption
}

const (
	modelGrace = 1800
	modelLimit = 60 * cent // of a vendor and day
)

var seedFlag = flag.Uint64("seed", 0, "seed of the tests that draw what they do; 0 draws one")

// newSeed returns the seed of a test and prints it, so that it can be given
// again with -seed.
func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return seed
}

// crash is a fault that may happen during the next request: the process does
// not go on past a point.
type crash struct {
	mutex    sync.Mutex
	begin    string // of the point's name, such as "before "; "": nowhere; guarded by mutex, as is the rest
	goesPast bool   // the nonce, so that it happens later
	at       string // where it happened
}

func (c *crash) arm(begin string, goesPast bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.begin, c.goesPast = begin, goesPast
}

// reach is the hook of SetFault.
func (c *crash) reach(point string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.begin == "" || !strings.HasPrefix(point, c.begin) || c.goesPast && strings.HasSuffix(point, " nonce") {
		return nil
	}
	c.begin, c.at = "", point
	return errDisk
}

// point returns where it happened, or "", and disarms it.
func (c *crash) point() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	at := c.at
	c.begin, c.at = "", ""
	return at
}

// Whatever is asked in whatever order of two brokers on one database, wherever
// they break off, they answer as the model does, and the books agree after each
// step.
func TestModel(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	b := newBank(t)
	b.config.Grace, b.config.CertificateLimit = modelGrace*1e9, modelLimit
	b.open()
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 0)), bank: b, payable: map[*shop]money.Amount{}, isBlocked: map[*shop]bool{}, counts: map[string]int{}}
	m.brokers = []*bank{b, b.twin()}
	for _, b := range m.brokers {
		b.SetFault(m.crash.reach)
	}
	for range 2 {
		m.users = append(m.users, &modelUser{user: b.newUser(0)})
		m.shops = append(m.shops, b.newShop())
	}
	for _, u := range m.users {
		m.users = append(m.users, &modelUser{user: u.newSub(0, payword.Limits{}), parent: u})
	}
	steps := []func(){m.fund, m.fund, m.commit, m.commit, m.reserve, m.reserve, m.reserve, m.claim, m.claim, m.claim, m.batch, m.repeat, m.pass,
		m.release, m.revoke, m.block, m.blockAccount, m.transfer, m.transfer, m.limit, m.payout, m.endPayout, m.sumUp}
	for step := range 300 {
		steps[m.random.IntN(len(steps))]()
		b.wantSound()
		if step%10 == 9 {
			m.check()
		}
		if t.Failed() {
			break
		}
	}
	b.wantAudited()
	t.Logf("outcomes: %v", m.counts)
}

func (m *model) now() int64 { return m.bank.clock.seconds.Load() }

// ask does something at one of the brokers. One time in three it breaks off
// somewhere, if it comes by there; then it is done again, perhaps at the other,
// and lost is the point where it broke off.
func (m *model) ask(do func(b *bank) (isAnswered bool)) (lost string) {
	m.t.Helper()
	if m.random.IntN(3) == 0 {
		m.crash.arm([]string{"before ", "after ", "within ", "signed ", "judged "}[m.random.IntN(5)], m.random.IntN(6) > 0)
	}
	isAnswered := do(m.brokers[m.random.IntN(len(m.brokers))])
	lost = m.crash.point()
	if isAnswered != (lost == "") {
		m.t.Errorf("broke off %q, and was answered: %t", lost, isAnswered)
	}
	if isAnswered {
		return ""
	}
	m.counts["broke off "+lost]++
	if !do(m.brokers[m.random.IntN(len(m.brokers))]) {
		m.t.Errorf("got no answer after it broke off %q", lost)
	}
	return lost
}

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
	u, amount := m.pickMain(), m.cents(60)
	id := encode([]byte(u.account))[:8] + "-" + money.Amount(m.funded).String()
	m.ask(func(b *bank) bool {
		after, refusal, err := b.Fund(m.t.Context(), id, u.account, amount)
		if err == nil && (refusal.Refused() || after.Available != u.available+amount) {
			m.t.Errorf("funding: got %+v, %v", after, refusal)
		}
		return err == nil
	})
	u.available += amount
	m.funded += amount
}

// pickMain returns a user with an account of its own.
func (m *model) pickMain() *modelUser { return m.users[m.random.IntN(len(m.users)/2)] }

// isHeld reports whether nothing new is promised from the account.
func (u *modelUser) isHeld() bool { return u.isBlocked || u.parent != nil && u.parent.isBlocked }

func (m *model) commit() {
	u, s := m.users[m.random.IntN(len(m.users))], m.shops[m.random.IntN(len(m.shops))]
	if u.isHeld() { // it gets no certificate
		if len(m.commitments) > 0 {
			return
		}
		for _, one := range m.users { // the first steps have blocked it, and one commitment there must be
			m.setBlocked(one, false)
		}
	}
	p := u.user.commit(s.origin, m.cents(50), func(c *payword.Commitment) { c.Expires = c.IssuedAt + int64(600+m.random.IntN(7200)) })
	m.commitments = append(m.commitments, &modelCommitment{purse: p, user: u, shop: s})
}

func (m *model) pass() { m.bank.clock.advance(int64(m.random.IntN(1500))) }

func (m *model) reserve() {
	c, amount := m.pick(), m.cents(52)
	if m.random.IntN(3) > 0 {
		amount = min(amount, c.m.Limit)
	}
	wanted := m.reserveOutcome(c, amount)
	var a answer
	m.ask(func(b *bank) bool {
		a = c.purse.at(b).reserve(amount)
		return a.status != http.StatusServiceUnavailable
	})
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
	case m.isBlocked[c.shop]:
		return payword.VendorBlocked
	case c.user.isHeld():
		return payword.Blocked
	case m.isOverLimit(c, amount):
		return payword.OverAccountLimit
	case c.isRevoked:
		return payword.CertificateRevoked
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

// isOverLimit reports whether reserving amount would exceed a limit that the
// owner of the account, or of the one that it belongs to, has set.
func (m *model) isOverLimit(c *modelCommitment, amount money.Amount) bool {
	owner := c.user
	if owner.parent != nil {
		owner = owner.parent
	}
	spent, held, today := money.Amount(0), money.Amount(0), m.now()/86400
	for _, other := range m.commitments {
		if other == c || other.user != owner && other.user.parent != owner {
			continue
		}
		held += other.held
		switch {
		case other.isReserved && other.day == today && !other.isClosed:
			spent += max(other.reserved, other.paid)
		case other.isReserved && other.day == today, !other.isReserved && other.storedDay == today:
			spent += other.paid
		}
	}
	limits := owner.limits
	return limits.Day != nil && spent+max(amount, c.paid) > *limits.Day ||
		limits.Reserved != nil && held+max(0, amount-c.paid) > *limits.Reserved
}

// drawn is a claim with what the model makes of it.
type drawn struct {
	c         *modelCommitment
	sent      payword.Redemption
	reason    payword.Reason
	paid, due money.Amount
}

func (m *model) draw(c *modelCommitment) drawn {
	index, amount := uint32(m.random.IntN(50)+1), m.cents(50)
	if m.random.IntN(3) > 0 { // mostly one that can be paid
		amount = min(money.Amount(index)*cent, c.m.Limit)
		if c.isReserved {
			amount = min(amount, c.reserved)
		}
	}
	isFinal := m.random.IntN(8) == 0
	d := drawn{c: c, sent: c.shop.claim(c.purse, index, amount, func(claim *payword.Claim) { claim.Final = isFinal })}
	d.reason, d.due = m.claimOutcome(c, index, amount, isFinal)
	d.paid = c.paid
	if d.reason == payword.Accepted {
		c.claims = append(c.claims, d.sent)
	}
	m.counts["claim "+d.reason.String()]++
	return d
}

func (m *model) claim() { m.send(m.draw(m.pick())) }

// batch claims on several commitments of one vendor in one request.
func (m *model) batch() {
	var batch []drawn
	first := m.pick()
	for _, k := range m.random.Perm(len(m.commitments)) {
		if c := m.commitments[k]; c.shop == first.shop && len(batch) < 12 {
			batch = append(batch, m.draw(c))
		}
	}
	m.counts["batch"]++
	m.send(batch...)
}

// send sends claims to one vendor's broker. If the answer is lost after the
// work was done, the second one says what was paid and that nothing was due.
func (m *model) send(batch ...drawn) {
	m.t.Helper()
	claims := payword.RedemptionRequest{Vendor: batch[0].c.shop.origin}
	for _, d := range batch {
		claims.Redemptions = append(claims.Redemptions, d.sent)
	}
	var got payword.RedemptionAnswer
	lost := m.ask(func(b *bank) bool {
		a := b.call(batch[0].c.shop.key, "POST", payword.PathRedemptions, claims)
		if a.status == http.StatusServiceUnavailable {
			return false
		}
		a.into(m.t, http.StatusOK, &got)
		return true
	})
	if len(got.Results) != len(batch) {
		m.t.Fatalf("got %d results for %d claims", len(got.Results), len(batch))
	}
	for k, result := range got.Results {
		d := batch[k]
		if lost == "after redeem" {
			d.due = 0
		}
		if result.Reason != d.reason || result.Paid != d.paid || result.Due != d.due {
			m.t.Errorf("claim %d of %d, after %q: got %+v, want %s, %s paid, %s due",
				k, len(batch), lost, result, d.reason, d.paid.Decimal(), d.due.Decimal())
		}
	}
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
	case m.isBlocked[c.shop] && !c.isReserved && c.paid == 0:
		return payword.VendorBlocked, 0
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
	if !c.isReserved && c.paid == 0 {
		c.storedDay = m.now() / 86400
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
	m.send(drawn{c, redemption, payword.Accepted, c.paid, 0})
}

// revoke takes a certificate back: nothing more is reserved with it, and what
// was reserved stays the vendor's.
func (m *model) revoke() {
	c := m.pick()
	if m.random.IntN(2) == 0 {
		return // or soon there is nothing to reserve with
	}
	revoked := int64(1)
	if c.isRevoked {
		revoked = 0
	}
	var got payword.RevocationAnswer
	lost := m.ask(func(b *bank) bool {
		a := b.call(c.user.key, "POST", payword.PathRevocations, payword.RevocationRequest{Subjects: []string{c.m.Certificate.Subject}})
		if a.status == http.StatusServiceUnavailable {
			return false
		}
		a.into(m.t, http.StatusOK, &got)
		return true
	})
	if lost == "after revoke" {
		revoked = 0
	}
	if got.Revoked != revoked {
		m.t.Errorf("revoked %d, want %d, after %q", got.Revoked, revoked, lost)
	}
	m.counts["revoke"]++
	c.isRevoked = true
}

// block blocks a vendor, or opens it again.
func (m *model) block() {
	s := m.shops[m.random.IntN(len(m.shops))]
	m.isBlocked[s] = !m.isBlocked[s] && m.random.IntN(3) == 0
	state := map[bool]string{true: "blocked", false: "open"}[m.isBlocked[s]]
	m.ask(func(b *bank) bool {
		refusal, err := b.SetVendorState(m.t.Context(), s.origin, state, "the model says so")
		if refusal.Refused() {
			m.t.Errorf("making the vendor %s: %v", state, refusal)
		}
		return err == nil
	})
	m.counts[state]++
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
	got := 0
	lost := m.ask(func(b *bank) bool {
		released, err := b.Release(m.t.Context())
		got += released
		return err == nil
	})
	if lost == "after release" {
		wanted = 0 // the first one did it and could not say so
	}
	if got != wanted {
		m.t.Errorf("released %d, want %d", got, wanted)
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
		sum += u.available + u.reserved + u.paidOut
		for _, p := range u.waiting {
			sum += p.amount
		}
	}
	for _, s := range m.shops {
		s.wantPayable(m.payable[s])
		sum += m.payable[s]
	}
	if sum != m.funded {
		m.t.Errorf("users and vendors have %s, %s came in", sum.Decimal(), m.funded.Decimal())
	}
}
