package client

import (
	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// overtaken reports whether the ticket presents a payword that had left the
// wallet before, in a life that the file does not know of: what it proves was
// released and spent then. mu is held.
func (t *ticket) overtaken() bool {
	found := t.commitment.found[t.payment.Chain]
	return t.order <= found.debits && t.payment.Index <= found.index
}

// found is how far a vendor had a chain when the file did not know of it.
type found struct {
	index  uint32
	debits uint64 // of the commitment until then
}

// adopt makes up for a file that is older than what the vendor has, as a copy
// is that was restored: if the vendor names a deeper payword of the chain than
// the file says was released, and its hash is right, that payword did leave the
// wallet, for only its seed gives it. It then counts as released, against the
// budgets too, and as spent with all the surplus until the vendor tells of
// credit, and numbers go on beyond those that were used. Anything else that a
// vendor says changes nothing. mu is held.
func (w *Wallet) adopt(t *ticket, status payword.Status) {
	c, chain := t.commitment, int(t.payment.Chain)
	terms := c.terms.Chains[chain]
	if !status.Known || int(status.Chain) != chain || status.Index <= c.Released[chain] || status.Index > terms.Length {
		return
	}
	tip, err := w.seed.Tip(c.terms.Vendor, c.terms.Nonce, chain, terms.Length)
	if err != nil || tip.Walk(terms.Length-status.Index).TailHash() != status.TailHash {
		return
	}
	before := c.value()
	smallest := terms.Unit
	for k := range c.Surplus {
		c.Agreed = addCapped(c.Agreed, c.Surplus[k])
		c.Surplus[k] = 0
		smallest = min(smallest, c.terms.Chains[k].Unit)
	}
	c.Released[chain], c.found[chain] = status.Index, found{index: status.Index, debits: c.debits}
	more := c.value() - before
	c.Agreed = addCapped(c.Agreed, more)
	// One of those requests took a step of the finest chain at least.
	c.skipNumbers(payword.WindowSize + uint64(more/smallest))
	w.turnDay(dayOf(w.now()))
	counted := []*money.Amount{&w.doc.Day.Released, &w.doc.Total.Released}
	if v := w.doc.Vendors[t.vendor]; v != nil {
		counted = append(counted, &v.Released)
	}
	for _, sum := range counted {
		*sum = addCapped(*sum, more)
	}
	w.unsaved = true
}

// skipNumbers leaves numbers out.
func (c *commitment) skipNumbers(count uint64) {
	c.NextNumber = min(c.NextNumber+count, payword.MaxNumber)
}

// learn keeps what the vendor says of the commitment, if it can be true. A
// ticket that turns out to be overtaken released nothing for this trip, and its
// number is not used again.
func (t *trip) learn(status payword.Status) {
	t.locked(func() {
		t.Wallet.learn(t.ticket, status)
		if t.ticket.overtaken() {
			t.released -= min(t.released-t.forfeited, t.ticket.released)
			t.number, t.numbered = 0, nil
		}
	})
}
