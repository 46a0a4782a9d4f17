package client

import (
	"fmt"
	"net/http"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxSteps is how many HEAD requests are sent to bring a vendor up to the newest
// payword of a chain.
const maxSteps = 16

// mend looks at why a payment was refused and prepares the next attempt: it
// changes the ticket, or gives it back and sets it to nil. If nothing can be
// done it returns a *RefusedError.
func (t *trip) mend(answer *http.Response, status payword.Status, stated bool) error {
	if !stated {
		return t.mendUnstated(answer)
	}
	refused := func(detail string) error {
		return t.refusal(status.Reason, status.Price, answer.StatusCode, detail)
	}
	switch status.Reason {
	case payword.PriceOverMax:
		if status.Price <= t.ticket.payment.Max {
			return refused("the server says so of a price that was agreed to")
		}
		t.offer.price = status.Price
		t.keepNumber()
		t.learn(status)
		t.dropTicket()
	case payword.InsufficientCredit:
		believed := false
		t.keepNumber()
		t.learn(status)
		t.locked(func() {
			var gone money.Amount
			gone, believed = t.Wallet.correct(t.ticket, status)
			t.forfeit(gone)
		})
		t.ticket = nil
		if !believed {
			return refused("what the server says of the commitment cannot be true")
		}
	case payword.UnknownCommitment:
		if t.ticket.commitToken != "" {
			return refused("the commitment was sent along")
		}
		t.locked(func() {
			c := t.ticket.commitment
			c.Confirmed = false
			t.ticket.commitToken, t.ticket.reservation = c.Token, c.Reservation
		})
	case payword.CommitmentExpired, payword.CommitmentClosed, payword.CertificateExpired, payword.CertificateRevoked,
		payword.ChainExhausted, payword.UnknownChain:
		if t.abandoned {
			return refused("a fresh commitment was refused too")
		}
		t.giveUp(status.Reason)
	case payword.StaleNumber, payword.AlreadyUsed:
		t.number = 0
		t.learn(status)
		t.locked(func() {
			// The number may have been used by a life of the wallet that the
			// file does not know of: what it cost is what the ticket agreed to.
			t.ticket.commitment.Agreed = addCapped(t.ticket.commitment.Agreed, t.ticket.payment.Max)
		})
		t.dropTicket()
	case payword.StalePayword:
		return t.mendStale(refused)
	case payword.StepTooFar:
		t.learnMaxStep(answer)
		return t.catchUp(refused)
	case payword.InsecureTransport:
		t.ticket.repeat = true // whoever saw the payword on the way may use it: it is no credit
		return refused("the server saw the payword come over plain http: others may have seen it too")
	default:
		return refused("")
	}
	return nil
}

// mendStale presents the newest payword of the chain. If that is what was stale,
// the vendor has paywords that the file does not know of and does not say which:
// then a fresh commitment is what is left.
func (t *trip) mendStale(refused func(string) error) error {
	var err error
	newest := false
	t.locked(func() {
		newest = t.ticket.payment.Index == t.ticket.commitment.Released[t.ticket.payment.Chain]
		if !newest {
			err = t.Wallet.refresh(t.ticket)
		}
	})
	switch {
	case !newest:
		return err
	case t.abandoned:
		return refused("a fresh commitment was refused too")
	}
	t.giveUp(payword.StalePayword)
	return nil
}

// keepNumber lets the next ticket have the number of this one: a refused request
// uses none up.
func (t *trip) keepNumber() {
	t.number, t.numbered = t.ticket.payment.Number, t.ticket.commitment
}

// giveUp puts the commitment aside, and with it the certificate if that is what
// is wrong.
func (t *trip) giveUp(reason payword.Reason) {
	t.locked(func() {
		w := t.Wallet
		w.takeBack(t.ticket)
		w.abandon(t.ticket)
		t.forfeit(t.released)
		v := w.doc.Vendors[t.ticket.vendor]
		if v != nil && (reason == payword.CertificateExpired || reason == payword.CertificateRevoked) {
			v.heldCertificate = heldCertificate{}
		}
	})
	t.abandoned = true
	t.ticket = nil
}

// mendUnstated handles a 402 that does not say what became of the payment. If
// the offer in it is another vendor's, the origin has changed hands since it was
// paid last, and the new one is paid.
func (t *trip) mendUnstated(answer *http.Response) error {
	fresh, found, err := t.readOffer(t.request.Context(), t.request, t.body.digest, answer)
	if err != nil {
		return err
	}
	if !found || fresh.vendor == t.offer.vendor {
		return t.refusal(payword.PaymentRequired, fresh.price, answer.StatusCode,
			"the server asks for a payment again and does not say what became of the one it got")
	}
	t.dropTicket()
	t.forfeit(t.released)
	t.offer = fresh
	return nil
}

// learnMaxStep notes how many steps the vendor checks at once by now.
func (t *trip) learnMaxStep(answer *http.Response) {
	fresh, found, err := t.readOffer(t.request.Context(), t.request, t.body.digest, answer)
	if found && err == nil && fresh.vendor == t.offer.vendor {
		t.locked(func() { t.ticket.commitment.MaxStep = fresh.maxStep })
	}
}

// catchUp brings the vendor, with HEAD requests that agree to pay nothing, from
// the last payword that it is known to have near the one that the ticket
// presents. A genuine payword counts even where the request is refused.
func (t *trip) catchUp(refused func(string) error) error {
	w, chain := t.Wallet, t.ticket.payment.Chain
	c := t.ticket.commitment
	for round := range maxSteps {
		var payment payword.Payment
		var err error
		near := false
		t.locked(func() {
			if round == 0 && c.Released[chain]-c.Proved[chain] <= c.MaxStep {
				c.Proved[chain] = 0 // the vendor has forgotten what it knew
			}
			at := c.Proved[chain]
			if c.Released[chain]-at <= c.MaxStep {
				near = true
				return
			}
			payment = t.ticket.payment
			payment.Index, payment.Max, payment.Number = at+c.MaxStep, 0, c.NextNumber
			c.NextNumber++
			payment.Payword, err = w.paywordOf(c, int(chain), payment.Index)
		})
		if near {
			t.locked(func() { err = w.refresh(t.ticket) })
			return err
		}
		if err != nil {
			return err
		}
		if err := w.save(); err != nil { // what others released on the way may not be durable
			return err
		}
		if err := t.step(payment); err != nil {
			return refused(err.Error())
		}
	}
	return refused(fmt.Sprintf("the vendor is more than %d requests behind", maxSteps))
}

// step sends one HEAD request with a payword on the way.
func (t *trip) step(payment payword.Payment) error {
	request, err := http.NewRequestWithContext(t.request.Context(), http.MethodHead, t.request.URL.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set(payword.HeaderPayword, payword.FormatPayment(payment))
	answer, err := t.base().RoundTrip(request)
	if err != nil {
		return fmt.Errorf("a HEAD request on the way was lost")
	}
	defer discard(answer)
	status, stated := statusOf(answer, payment)
	onTheWay := *t.ticket
	onTheWay.payment = payment
	learned := false
	t.locked(func() { learned = t.Wallet.learn(&onTheWay, status) })
	if !stated || !learned {
		return fmt.Errorf("the server does not follow in smaller steps: %s", status.Reason)
	}
	return nil
}
