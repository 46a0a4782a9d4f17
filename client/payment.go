package client

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// How paywords and requests belong together. Each request is given a number and
// a chain, and enough new steps of that chain that together with the chain's
// surplus they cover its price. It presents the newest payword of that chain. A
// payword proves all before it, so whichever requests of a chain have arrived,
// the one debited last among them proves what all of them need: they may arrive
// in any order and every one finds credit.

// errExhausted means that a commitment cannot pay a price any more.
var errExhausted = errors.New("the commitment is exhausted")

// ticket is a debited request: what to send for it.
type ticket struct {
	vendor      string // origin
	commitment  *commitment
	payment     payword.Payment
	commitToken string // goes along until the vendor is known to have it; else empty
	reservation string
	fingerprint payword.Fingerprint
	at          int64        // when it was debited, seconds since 1970
	repeat      bool         // it was sent before, and may have been charged
	settled     bool         // it was granted before, and its amount is accounted for
	order       uint64       // among the debits of its commitment
	released    money.Amount // by the debit, in micros
	alone       bool         // no other request was under way or in doubt when it was debited
	refreshed   bool         // it presents an index that may not be durable
}

// value returns what was released on the commitment, in micros.
func (c *commitment) value() money.Amount {
	value := money.Amount(0)
	for k, chain := range c.terms.Chains {
		value += chain.Unit.MulCapped(uint64(c.Released[k]), c.Cap-value)
	}
	return value
}

// usable reports whether the commitment can be paid with at now, in seconds
// since 1970.
func (c *commitment) usable(now int64) bool {
	return c != nil && (c.Reservation != "" || c.Unreserved) && now+expiryMarginSeconds < c.terms.Expires
}

// expiryMarginSeconds is how long before D a commitment is not used any more:
// clocks differ and requests travel.
const expiryMarginSeconds = 30

// depart notes that a request presents an index of a chain.
func (c *commitment) depart(p payword.Payment) {
	c.inFlight[p.Chain] = append(c.inFlight[p.Chain], p.Index)
}

// arrive undoes depart.
func (c *commitment) arrive(p payword.Payment) {
	flying := &c.inFlight[p.Chain]
	if k := slices.Index(*flying, p.Index); k >= 0 {
		*flying = slices.Delete(*flying, k, k+1)
	}
}

// isResting reports whether no request is under way.
func (c *commitment) isResting() bool {
	return !slices.ContainsFunc(c.inFlight[:], func(flying []uint32) bool { return len(flying) > 0 })
}

// overtakes reports whether a request that presents an index of a chain could
// make another one stale by arriving before it.
func (c *commitment) overtakes(chain int, index uint32) bool {
	flying := c.inFlight[chain]
	return len(flying) > 0 && index-slices.Min(flying) > payword.MaxStale
}

// cheapest returns the chain on which paying price releases least and at most
// most, the steps to take on it and what they are worth, in micros. Chains on which no other
// request would be overtaken come first: on a coarse one a step more may be
// released than needed, and the next request finds it there.
func (c *commitment) cheapest(price, most money.Amount) (chain int, steps uint32, release money.Amount, err error) {
	left := min(c.Cap-c.value(), most)
	chain = -1
	overtaking := false
	for k, terms := range c.terms.Chains {
		need := max(0, price-c.Surplus[k])
		count := (need + terms.Unit - 1) / terms.Unit
		if count == 0 && c.Released[k] == 0 {
			count = 1 // index 0 is the root, which proves nothing
		}
		worth := terms.Unit * count // less than need + unit: it does not overflow
		fits := worth <= left && count <= money.Amount(min(c.MaxStep, terms.Length-c.Released[k]))
		if !fits {
			continue
		}
		overtakes := c.overtakes(k, c.Released[k]+uint32(count))
		better := worth < release || worth == release && uint32(count) < steps
		if overtakes != overtaking {
			better = overtaking
		}
		if chain < 0 || better {
			chain, steps, release, overtaking = k, uint32(count), worth, overtakes
		}
	}
	if chain < 0 {
		return 0, 0, 0, errExhausted
	}
	return chain, steps, release, nil
}

// debit takes what a request needs from the vendor's open commitment: a number
// (or the given one again, if the vendor has refused it) and paywords. Of the
// limit per request, before was released for it already. The caller saves
// the wallet before the ticket leaves the process. Beside errExhausted it
// returns a *BudgetError or a *StalledError. mu is held.
func (w *Wallet) debit(v *vendor, price, before money.Amount, number uint64, budget Budget) (ticket, error) {
	c := v.Open
	now := w.now()
	if err := budget.checkPrice(price, 0, c.terms.Currency, c.terms.Vendor); err != nil {
		return ticket{}, err
	}
	chain, steps, release, err := c.cheapest(price, max(0, budget.PerRequest-before))
	if over := budget.checkPrice(price, before, c.terms.Currency, c.terms.Vendor); err != nil && over != nil {
		return ticket{}, over // another commitment would not do either
	}
	if err != nil {
		return ticket{}, err
	}
	w.turnDay(dayOf(now))
	if err := budget.checkRelease(release, w.usage(v), c.terms.Currency, c.terms.Vendor); err != nil {
		return ticket{}, err
	}
	if release > 0 {
		if err := v.checkServes(price, now.Unix(), c.terms.Vendor, c.terms.Currency); err != nil {
			return ticket{}, err
		}
	}
	word, err := w.paywordOf(c, chain, c.Released[chain]+steps)
	if err != nil {
		return ticket{}, err
	}
	if release > 0 && !v.isServing(price) {
		v.Probed = now.Unix()
	}
	if number == 0 {
		number = c.NextNumber
		c.NextNumber++
	}
	c.Released[chain] += steps
	c.Surplus[chain] += release - price
	c.Agreed = addCapped(c.Agreed, price)
	v.Released += release
	w.doc.Day.Released += release
	w.doc.Total.Released += release
	v.LastPaid = now.Unix()
	w.unsaved = true
	c.debits++
	t := ticket{
		vendor: c.terms.Vendor, commitment: c, at: now.Unix(),
		order: c.debits, alone: c.isResting() && len(c.lost) == 0 && c.streams == 0, released: release,
		payment: payword.Payment{
			Commitment: c.terms.ID, Chain: uint8(chain), Index: c.Released[chain], Payword: word, Number: number, Max: price,
		},
	}
	c.depart(t.payment)
	if !c.Confirmed {
		t.commitToken, t.reservation = c.Token, c.Reservation
	}
	return t, nil
}

// usage returns what counts against a budget. mu is held.
func (w *Wallet) usage(v *vendor) usage {
	return usage{site: v.Released, day: w.doc.Day.Released, total: w.doc.Total.Released}
}

// turnDay begins the totals of a new day. mu is held.
func (w *Wallet) turnDay(day int64) {
	// Only forwards: setting the clock back must not empty the day's budget.
	if day > w.doc.Day.Day {
		w.doc.Day = dayTotal{Day: day}
		w.unsaved = true
	}
}

// paywordOf returns a payword of one of the commitment's chains. mu is held.
func (w *Wallet) paywordOf(c *commitment, chain int, index uint32) (payword.Payword, error) {
	if c.chains == nil {
		c.chains = make([]*payword.Chain, len(c.terms.Chains))
	}
	if c.chains[chain] == nil {
		terms := c.terms.Chains[chain]
		tip, err := w.seed.Tip(c.terms.Vendor, c.terms.Nonce, chain, terms.Length)
		if err != nil {
			return payword.Payword{}, err
		}
		made, err := payword.NewChain(tip, terms.Length, c.Released[chain])
		if err != nil {
			return payword.Payword{}, err
		}
		if made.Root() != terms.Root {
			return payword.Payword{}, fmt.Errorf("%w: a commitment to %s was made with another seed", ErrCorrupt, c.terms.Vendor)
		}
		c.chains[chain] = made
	}
	if released, newest := c.chains[chain].Released(); index < released {
		return newest.Walk(released - index), nil
	}
	return c.chains[chain].Release(index)
}

// refresh makes the ticket present the newest payword of its chain, which
// another request may have released and not saved yet: the caller saves the
// wallet before the ticket leaves the process. mu is held.
func (w *Wallet) refresh(t *ticket) error {
	newest := t.commitment.Released[t.payment.Chain]
	word, err := w.paywordOf(t.commitment, int(t.payment.Chain), newest)
	if err != nil {
		return err
	}
	t.commitment.arrive(t.payment)
	t.payment.Index, t.payment.Payword = newest, word
	t.commitment.depart(t.payment)
	t.refreshed = true
	return nil
}

// takeBack undoes what a request agreed to spend, because the vendor refused it
// or never saw it. What was released for it becomes surplus. mu is held.
func (w *Wallet) takeBack(t *ticket) {
	c := t.commitment
	c.arrive(t.payment)
	if t.overtaken() {
		return
	}
	c.Surplus[t.payment.Chain] += t.payment.Max
	c.Agreed -= min(c.Agreed, t.payment.Max)
	if c.Abandoned {
		w.failed(t.vendor, t.payment.Max) // nothing can use it
	}
	w.unsaved = true
}

// lose notes that the answer to a request did not come, or left open whether it
// was charged. If repeatable, asking for the same again soon sends the same
// number, which is free if it was charged. mu is held.
func (w *Wallet) lose(t ticket, repeatable bool) {
	c := t.commitment
	c.arrive(t.payment)
	w.failed(t.vendor, t.payment.Max)
	if repeatable {
		c.rememberLost(t)
	}
}

// rememberLost lets the next request for the same have the same number. mu is
// held.
func (c *commitment) rememberLost(t ticket) {
	t.repeat = true
	if len(c.lost) >= maxLost {
		c.lost = c.lost[1:]
	}
	c.lost = append(c.lost, t)
}

// maxLost bounds how many requests without an answer are remembered for each
// commitment; more are paid again when they are asked for again.
const maxLost = 256

// lostMarginSeconds is how long before the vendor forgets a number it is not
// repeated any more.
const lostMarginSeconds = 10

// findLost returns the ticket of a request whose answer was lost a short time
// ago, with the newest payword of its chain. mu is held.
func (w *Wallet) findLost(v *vendor, fingerprint payword.Fingerprint) (ticket, bool) {
	if !v.Open.usable(w.now().Unix()) {
		return ticket{}, false
	}
	c := v.Open
	oldest := w.now().Unix() - payword.RepeatSeconds + lostMarginSeconds
	c.lost = slices.DeleteFunc(c.lost, func(t ticket) bool { return t.at < oldest })
	for k, t := range c.lost {
		if t.fingerprint != fingerprint {
			continue
		}
		c.depart(t.payment)
		if w.refresh(&t) != nil {
			c.arrive(t.payment)
			return ticket{}, false
		}
		c.lost = slices.Delete(c.lost, k, k+1)
		w.isOpenAgain(t.vendor, t.payment.Max)
		return t, true
	}
	return ticket{}, false
}

// settle notes what a granted request cost, in micros, and what the vendor said
// of the commitment. It is not saved at once: what it changes is in the
// wallet's favour, and the next debit saves it. mu is held.
func (w *Wallet) settle(t *ticket, amount money.Amount, status payword.Status, link *url.URL) Receipt {
	c, v := t.commitment, w.doc.Vendors[t.vendor]
	c.arrive(t.payment)
	w.adopt(t, status)
	if t.settled { // its body broke off, and it came again
		amount = 0
	} else if !t.overtaken() {
		c.Surplus[t.payment.Chain] += t.payment.Max - amount
	}
	if v != nil {
		v.Spent = addCapped(v.Spent, amount)
	}
	w.turnDay(dayOf(w.now()))
	w.doc.Day.Spent = addCapped(w.doc.Day.Spent, amount)
	w.doc.Total.Spent = addCapped(w.doc.Total.Spent, amount)
	if w.learn(t, status) {
		c.Confirmed = true
		w.adoptCredit(t, status, amount-min(status.Price, amount))
	}
	receipt := Receipt{
		Time: w.now().Unix(), URL: receiptURL(link), Vendor: t.vendor, Amount: amount, Currency: c.terms.Currency,
	}
	if amount > 0 {
		w.doc.History = append(w.doc.History, receipt)
	}
	if extra := len(w.doc.History) - maxHistory; extra > 0 {
		w.doc.History = slices.Delete(w.doc.History, 0, extra)
	}
	w.unsaved = true
	return receipt
}

// unspend takes out of the books what a stream did not cost after all, of what
// settle counted. What was released stays so: budgets are about that. mu is held.
func (w *Wallet) unspend(t ticket, rest money.Amount, link *url.URL) Receipt {
	if v := w.doc.Vendors[t.vendor]; v != nil {
		v.Spent -= min(rest, v.Spent)
	}
	w.turnDay(dayOf(w.now()))
	w.doc.Day.Spent -= min(rest, w.doc.Day.Spent)
	w.doc.Total.Spent -= min(rest, w.doc.Total.Spent)
	receipt := Receipt{
		Time: w.now().Unix(), URL: receiptURL(link), Vendor: t.vendor, Returned: rest, Currency: t.commitment.terms.Currency,
	}
	if rest > 0 {
		w.doc.History = append(w.doc.History, receipt)
		w.doc.History = slices.Delete(w.doc.History, 0, max(0, len(w.doc.History)-maxHistory))
		w.unsaved = true
	}
	return receipt
}

// learn checks what the vendor said of the commitment against what the wallet
// knows and keeps it if it can be true: the tail is ours, what was accepted lies
// between what that tail proves and what was released, and no more was spent
// than requests agreed to. mu is held.
func (w *Wallet) learn(t *ticket, status payword.Status) bool {
	w.adopt(t, status)
	c, chain := t.commitment, int(t.payment.Chain)
	if !status.Known || int(status.Chain) != chain || status.Index < t.payment.Index || status.Index > c.Released[chain] {
		return false
	}
	word, err := w.paywordOf(c, chain, status.Index)
	if err != nil || word.TailHash() != status.TailHash {
		return false
	}
	proved := c.terms.Chains[chain].Unit.MulCapped(uint64(status.Index), c.Cap)
	if status.Accepted < proved || status.Accepted > c.value() || status.Spent > min(status.Accepted, c.Agreed) {
		return false
	}
	c.Proved[chain] = max(c.Proved[chain], status.Index)
	c.Told = &told{Accepted: status.Accepted, Spent: status.Spent, At: w.now().Unix()}
	w.unsaved = true
	return true
}

// adoptCredit adds to the surplus what the vendor says is left and the wallet
// did not count, such as the price of a request that never arrived. Of that the
// answer may still take an amount, in micros, if it is a stream. If others came
// between, the vendor's numbers are not the newest. mu is held.
func (w *Wallet) adoptCredit(t *ticket, status payword.Status, untaken money.Amount) {
	c := t.commitment
	if !t.alone || t.order != c.debits || status.Accepted != c.value() {
		return
	}
	counted := money.Amount(0)
	for _, surplus := range c.Surplus {
		counted += surplus
	}
	if credit := status.Accepted - status.Spent - untaken; credit > counted {
		c.Surplus[t.payment.Chain] += credit - counted
		w.isOpenAgain(t.vendor, credit-counted)
	}
}

// correct takes a ticket back that the vendor refused for want of credit. If
// what the vendor says of the commitment can be true, the chain's surplus
// becomes what the vendor knows of, so that the next debit releases what is
// missing and no more, and correct returns true, with the credit that turned
// out to be gone, in micros. mu is held.
func (w *Wallet) correct(t *ticket, status payword.Status) (gone money.Amount, believed bool) {
	w.takeBack(t) // first: a refused request is not among those that may be spent
	if !w.learn(t, status) {
		return 0, false
	}
	t.commitment.Confirmed = true
	credit := status.Accepted - status.Spent
	if credit >= t.payment.Max {
		return 0, false
	}
	surplus := &t.commitment.Surplus[t.payment.Chain]
	gone = max(0, *surplus-credit)
	*surplus -= gone
	w.failed(t.vendor, gone)
	return gone, true
}

// abandon stops paying with a commitment that the vendor does not take any
// more. mu is held.
func (w *Wallet) abandon(t *ticket) {
	v := w.doc.Vendors[t.vendor]
	if v == nil || v.Open != t.commitment {
		return // another request was faster
	}
	v.Open.Abandoned = true
	for _, surplus := range v.Open.Surplus {
		w.failed(t.vendor, surplus)
	}
	w.retire(v)
}

// retire puts the open commitment aside and forgets those that have expired.
// What was reserved for them and not redeemed the broker releases by itself, after
// its grace. mu is held.
func (w *Wallet) retire(v *vendor) {
	if v.Open != nil {
		v.Old = append(v.Old, v.Open)
		v.Open = nil
	}
	now := w.now().Unix()
	v.Old = slices.DeleteFunc(v.Old, func(c *commitment) bool { return now >= c.terms.Expires || !c.Abandoned })
	if extra := len(v.Old) - maxOld; extra > 0 {
		v.Old = slices.Delete(v.Old, 0, extra)
	}
	w.unsaved = true
}

// receiptURL returns a URL as receipts hold it.
func receiptURL(link *url.URL) string {
	plain := *link
	plain.User, plain.Fragment, plain.RawFragment = nil, "", ""
	text := plain.String()
	if len(text) > maxURLBytes {
		text = text[:maxURLBytes]
	}
	return text
}

// addCapped adds two amounts that are not negative, in micros, up to the largest
// that there is.
func addCapped(a, b money.Amount) money.Amount {
	return min(a+b, money.MaxAmount)
}
