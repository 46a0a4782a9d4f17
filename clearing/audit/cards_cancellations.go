package audit

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// cardCancellation is a payment that was taken back, or may have been, as it is
// stored.
type cardCancellation struct {
	merchant, card, state, evidence string
	tno, paidTNo, sno, lno, bno     int64
	amount, fee                     int64 // micros
	isVoid                          bool
	proof, macz                     []byte
	// Of its payment: '' and 0 if there is none.
	paidCard                        string
	paidSNo, paidBNo, paid, paidFee int64
	next                            int64 // payments of the card under its number
}

func (c *cardCancellation) name() string {
	return fmt.Sprintf("cancellation %d of %s", c.tno, c.merchant)
}

// checkCancellations checks every cancellation against its payment, what the card
// said of it, and the batch that has both.
func (a *auditor) checkCancellations(ctx context.Context, batches map[string]*cardBatch) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var c cardCancellation
		err := scan(&c.merchant, &c.card, &c.state, &c.evidence, &c.tno, &c.paidTNo, &c.sno, &c.lno, &c.bno, &c.amount, &c.fee, &c.isVoid,
			&c.proof, &c.macz, &c.paidCard, &c.paidSNo, &c.paidBNo, &c.paid, &c.paidFee, &c.next)
		if err != nil {
			return err
		}
		a.checkCancellation(&c)
		if len(c.proof)+len(c.macz) > 0 {
			a.checkTakenBack(&c)
		}
		if b := batches[batchName(c.merchant, c.bno)]; b != nil {
			b.add(c.tno)
			b.gotCancellations, b.gotCancelled = b.gotCancellations+1, b.gotCancelled+c.amount
		} else {
			a.find(BatchDiffers, batchName(c.merchant, c.bno), fmt.Sprintf("cancellation %d is in it", c.tno), "there is no such batch")
		}
		return nil
	}, `SELECT c.mid, c.cid, c.state, c.evidence, c.tno, c.paid_tno, c.sno, c.lno, c.bno, c.amount, c.fee, c.is_void, c.proof, c.macz,
			COALESCE(p.cid, ''), COALESCE(p.sno, 0), COALESCE(p.bno, 0), COALESCE(p.amount, 0), COALESCE(p.fee, 0),
			(SELECT COUNT(*) FROM cards_payments n WHERE n.cid = c.cid AND n.sno = c.sno AND n.repeated = 0)
		FROM cards_cancellations c LEFT JOIN cards_payments p ON p.mid = c.mid AND p.tno = c.paid_tno`)
}

// checkCancellation compares a cancellation with its payment, and its state with
// what decided it.
func (a *auditor) checkCancellation(c *cardCancellation) {
	got := fmt.Sprintf("payment %d of card %s, %s with a fee of %s, in batch %d", c.paidSNo, c.paidCard, micros(c.paid), micros(c.paidFee), c.paidBNo)
	want := fmt.Sprintf("payment %d of card %s, %s with a fee of %s, in batch %d", c.sno-1, c.card, micros(c.amount), micros(c.fee), c.bno)
	if got != want {
		a.find(TakenBack, c.name(), "transaction "+fmt.Sprint(c.paidTNo)+" is "+got, "it takes back "+want)
	}
	isSaid := len(c.proof) > 0
	isRight := false
	switch c.state + " " + c.evidence {
	case "done record":
		isRight = isSaid && !c.isVoid
	case "done claim":
		isRight = isSaid && c.isVoid
	case "open ":
		isRight = !isSaid && c.isVoid && c.next == 0
	case "denied payment":
		isRight = !isSaid && c.isVoid && c.next > 0
	case "done operator":
		isRight = !isSaid && c.isVoid
	case "denied operator": // or its holder was paid back before
		isRight = isSaid != c.isVoid
	}
	if !isRight {
		a.find(TakenBack, c.name(), fmt.Sprintf("the card said so: %t; the SAM knew: %t; payments under the same number: %d", isSaid, !c.isVoid, c.next),
			fmt.Sprintf("it is %s by %q", c.state, c.evidence))
	}
}

// checkTakenBack compares a cancellation with what its card said.
func (a *auditor) checkTakenBack(c *cardCancellation) {
	said, isRead := a.readCancellation(c.name(), c.proof, c.macz)
	if !isRead {
		return
	}
	form := "card %s, its number %d after load %d, %s of transaction %d of %s, as transaction %d"
	got := fmt.Sprintf(form, said.Card, said.SNo, said.LNo, micros(int64(said.Unit.Amount(said.Amount))), said.PaidTNo, said.Merchant, said.TNo)
	want := fmt.Sprintf(form, c.card, c.sno, c.lno, micros(c.amount), c.paidTNo, c.merchant, c.tno)
	if got != want {
		a.find(ProofDiffers, c.name(), got, want)
	}
}

// readCancellation reads what a card said of a cancellation, and checks the MAC
// where the keys are given.
func (a *auditor) readCancellation(name string, proof, macz []byte) (said purse.Cancellation, isRead bool) {
	said, err := purse.ParseCancellation(proof)
	if err != nil {
		a.find(ProofDiffers, name, "there is no proof: "+err.Error(), "the card said that it took something back")
		return said, false
	}
	if a.options.CardKeys == nil {
		return said, true
	}
	a.signatures.Add(1)
	key, err := a.options.CardKeys.ProofKey(said.KeyVersion, said.Card)
	if err != nil || len(macz) != len(purse.MAC{}) || !said.IsProved(key, purse.MAC(macz)) {
		a.find(ProofUnsigned, name, "the card's MAC is wrong, or its key is not known", "the card said that it took something back")
	}
	return said, true
}

// checkEarlyClaims checks what cards said of cancellations before their batch came,
// and that what was brought since is decided so.
func (a *auditor) checkEarlyClaims(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant, card, state string
		var tno int64
		var proof, macz []byte
		if err := scan(&merchant, &tno, &card, &proof, &macz, &state); err != nil {
			return err
		}
		name := fmt.Sprintf("claim of cancellation %d of %s", tno, merchant)
		said, isRead := a.readCancellation(name, proof, macz)
		if isRead && (said.Merchant.String() != merchant || int64(said.TNo) != tno || said.Card.String() != card) {
			a.find(ProofDiffers, name, fmt.Sprintf("card %s, transaction %d of %s", said.Card, said.TNo, said.Merchant), "it is kept for card "+card)
		}
		if state == "open" {
			a.find(TakenBack, name, "the card has said that it did it", "nobody knows, the books say")
		}
		return nil
	}, `SELECT e.mid, e.tno, e.cid, e.proof, e.macz, COALESCE(c.state, '') FROM cards_early_claims e
		LEFT JOIN cards_cancellations c ON c.mid = e.mid AND c.tno = e.tno AND c.cid = e.cid`)
}

// explainCancellations adds what went back of payments, or waits.
func (a *auditor) explainCancellations(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant, card, state, gateway string
		var amount, fee int64
		if err := scan(&merchant, &card, &state, &gateway, &amount, &fee); err != nil {
			return err
		}
		if gateway != "" {
			a.explained("gateway:"+gateway+":in", -amount)
		} else {
			a.explained("merchant:"+merchant+":payable", fee-amount)
			a.explained("broker:fees", -fee)
		}
		if state == "open" {
			a.explained(disputesAccount, amount)
		} else {
			a.onCard(card, amount)
		}
		return nil
	}, `SELECT c.mid, c.cid, c.state, COALESCE(p.gateway, ''), c.amount, c.fee
		FROM cards_cancellations c LEFT JOIN cards_payments p ON p.mid = c.mid AND p.tno = c.paid_tno WHERE c.state <> 'denied'`)
}

// checkCash checks that what a gateway paid out in cash is a payment of a white
// card that had gone on to it, and that was moved for it.
func (a *auditor) checkCash(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant, gateway, had, owner, state string
		var tno, amount, paid, taken, moved int64
		err := scan(&merchant, &tno, &gateway, &amount, &had, &owner, &state, &paid, &taken, &moved)
		name := fmt.Sprintf("cash for payment %d of %s", tno, merchant)
		got := fmt.Sprintf("%s of account %q, %s, that gateway %q has", micros(paid), owner, state, had)
		want := fmt.Sprintf("%s of account %q, %s, that gateway %q has", micros(amount), "", "paid", gateway)
		if got != want || taken > 0 {
			a.find(TakenBack, name, got+fmt.Sprintf(", taken back %d times", taken), "it pays out "+want)
		}
		if moved != 1 {
			a.find(TransferMissing, name, "it was paid out", fmt.Sprintf("%d transfers are for it", moved))
		}
		return err
	}, `SELECT k.mid, k.tno, k.gateway, k.amount, COALESCE(p.gateway, ''), COALESCE(c.account, ''), COALESCE(p.state, ''), COALESCE(p.amount, 0),
			(SELECT COUNT(*) FROM cards_cancellations x WHERE x.mid = k.mid AND x.paid_tno = k.tno AND x.state <> 'denied'),
			(SELECT COUNT(*) FROM transfers t WHERE t.id = 'cards/cash/' || k.mid || '/' || CAST(k.tno AS TEXT))
		FROM cards_cash k LEFT JOIN cards_payments p ON p.mid = k.mid AND p.tno = k.tno LEFT JOIN cards_cards c ON c.cid = p.cid`)
}

// checkGateways checks that the account of each gateway that is backed cannot go
// below 0, which is what keeps it from making money, and that of no other has a
// floor.
func (a *auditor) checkGateways(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var account string
		var backed, floor int64
		err := scan(&account, &backed, &floor)
		if (backed == 1) != (floor == 0) {
			a.find(AccountFloor, account, fmt.Sprintf("the gateway is backed: %t", backed == 1), "it may not be below "+micros(floor))
		}
		return err
	}, `SELECT l.id, g.backed, l.floor FROM broker_gateways g JOIN accounts l ON l.id = 'gateway:' || g.name || ':in'`)
}

// explainCash adds what gateways paid out in cash, of payments that had gone on to
// them.
func (a *auditor) explainCash(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var gateway string
		var amount int64
		if err := scan(&gateway, &amount); err != nil {
			return err
		}
		a.explained("gateway:"+gateway+":in", -amount)
		a.explained("broker:cards:cash:"+gateway, amount)
		return nil
	}, `SELECT gateway, amount FROM cards_cash`)
}
