package client

import "github.com/paywordhq/payword/money"

// What a vendor was paid and did not serve. A ticket counts when its outcome is
// known and bad: the answer or its body did not come, it was 503, or the credit
// that it left is gone because the vendor refuses the commitment or denies it.
// Requests under way do not count, nor does credit that the next request uses.

const (
	// stalledPrices is how many requests in a row a vendor may be paid for and
	// leave unserved: a page with everything in it, lost at once.
	stalledPrices = 32
	// stalledFloor is what it may leave unserved however little it asks for, in
	// micros: 0.01.
	stalledFloor = money.Amount(10_000)
	// servedFactor is how much unserved one served request makes up for. At one,
	// a vendor that fails half of the time would sooner or later be refused.
	servedFactor = 4
	// stalledSeconds is the time between two requests that a vendor at its
	// allowance is paid for, to see whether it serves again.
	stalledSeconds = 5 * 60
)

// allowance returns what a vendor may leave unserved that asks for price, in
// micros.
func allowance(price money.Amount) money.Amount {
	return max(stalledFloor, price.MulCapped(stalledPrices, money.MaxAmount))
}

// checkServes returns a *StalledError if the vendor has left so much unserved
// that nothing is released to it now, in seconds since 1970.
func (v *vendor) checkServes(price money.Amount, now int64, origin string, currency money.Currency) error {
	if v.isServing(price) || now >= v.Probed+stalledSeconds {
		return nil
	}
	return &StalledError{
		Origin: origin, Unserved: v.Unserved, Allowance: allowance(price), Currency: currency, Retry: v.Probed + stalledSeconds,
	}
}

// isServing reports whether a request at price is inside the vendor's allowance.
func (v *vendor) isServing(price money.Amount) bool {
	return addCapped(v.Unserved, price) <= allowance(price)
}

// failed notes that what a vendor got, in micros, was not served. mu is held.
func (w *Wallet) failed(origin string, amount money.Amount) {
	if v := w.doc.Vendors[origin]; v != nil {
		v.Unserved = addCapped(v.Unserved, amount)
		w.unsaved = true
	}
}

// isOpenAgain notes that what failed is under way again, or credit after all.
// mu is held.
func (w *Wallet) isOpenAgain(origin string, amount money.Amount) {
	if v := w.doc.Vendors[origin]; v != nil {
		v.Unserved -= min(v.Unserved, amount)
		w.unsaved = true
	}
}

// served notes that a vendor served what it got for a ticket, in micros. mu is
// held.
func (w *Wallet) served(t *ticket, amount money.Amount) {
	v := w.doc.Vendors[t.vendor]
	if v == nil || amount == 0 || v.Unserved == 0 {
		return
	}
	// However much an outage took, one served request ends it.
	v.Unserved = min(v.Unserved, allowance(t.payment.Max))
	v.Unserved -= min(v.Unserved, amount.MulCapped(servedFactor, money.MaxAmount))
	w.unsaved = true
}
