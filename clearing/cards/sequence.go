package cards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// alarm raises one about a payment.
func (c *Clearing) alarm(ctx context.Context, tx *ledger.Tx, kind AlarmKind, p payment, format string, args ...any) error {
	return c.raise(ctx, tx, Alarm{
		Kind: kind, Card: p.proof.Card, Merchant: p.proof.Merchant, TNo: p.proof.TNo, Number: p.proof.SNo,
		Detail: fmt.Sprintf(format, args...), Evidence: p.evidence(),
	})
}

// checkAgreed compares a payment with what was agreed about its card.
func (c *Clearing) checkAgreed(ctx context.Context, tx *ledger.Tx, card cardRow, p payment) error {
	q := p.proof
	if card.state == "unknown" {
		return c.alarm(ctx, tx, NeverIssued, p, "nobody issued card %s, and its MACZ is right: KZD is in wrong hands", q.Card)
	}
	made := time.Unix(int64(q.Time), 0).UTC()
	checks := []struct {
		isWrong bool
		kind    AlarmKind
		detail  string
	}{
		{q.Unit.Exponent != card.unit.Exponent, ForeignUnit, fmt.Sprintf("exponent %d, issued with %d", q.Unit.Exponent, card.unit.Exponent)},
		{q.Holder != card.holder || q.KeyVersion != card.keyVersion, ForeignHolder,
			fmt.Sprintf("ANo %s and key version %d, issued with %s and %d", q.Holder, q.KeyVersion, card.holder, card.keyVersion)},
		{card.listed > 0 && (card.state == "closed" || int64(q.Time) > card.listed), PaidListed,
			fmt.Sprintf("paid %s; the card is %s and on the hot list since %s", made.Format(time.DateTime), card.state, time.Unix(card.listed, 0).UTC().Format(time.DateTime))},
		{int64(q.Time) >= card.expires+graceDays*int64(day/time.Second), PaidExpired,
			fmt.Sprintf("paid %s; the card expired %s", made.Format(time.DateTime), time.Unix(card.expires, 0).UTC().Format(time.DateTime))},
	}
	for _, check := range checks {
		if check.isWrong {
			if err := c.alarm(ctx, tx, check.kind, p, "%s", check.detail); err != nil {
				return err
			}
		}
	}
	return nil
}

// isRepeated reports whether the card used the number of this payment for
// another one before.
func (c *Clearing) isRepeated(ctx context.Context, tx *ledger.Tx, p payment) (bool, error) {
	var merchant string
	var tno int64
	card, sno := p.proof.Card.String(), int64(p.proof.SNo)
	err := tx.QueryRowContext(ctx, `SELECT mid, tno FROM cards_payments WHERE cid = ? AND sno = ? AND repeated = 0
		UNION ALL SELECT mid, tno FROM cards_cancellations WHERE cid = ? AND sno = ? AND repeated = 0 AND state = 'done' LIMIT 1`,
		card, sno, card, sno).Scan(&merchant, &tno)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, c.alarm(ctx, tx, PaymentNumber, p, "payment %d of card %s was transaction %d of merchant %s before", p.proof.SNo, p.proof.Card, tno, merchant)
}

// point is what a card's own numbers were after one of its payments.
type point struct {
	sno, lno uint32
	balance  money.Amount
	unit     money.Amount // the least that a payment in between takes
	amount   money.Amount // of that payment; below 0: a cancellation gave it back
	at       payment
}

// checkSequence compares the numbers and the balance of a payment with those of
// the nearest that are known before and after it. Payments come in any order
// and some are still on their way, but loads are known, and every payment in
// between takes one unit at least, unless the next number took it back.
func (c *Clearing) checkSequence(ctx context.Context, tx *ledger.Tx, p payment) error {
	here := pointOf(p)
	before, _, err := c.neighbour(ctx, tx, p, true)
	if err != nil {
		return err
	}
	if err := c.checkStep(ctx, tx, before, here); err != nil {
		return err
	}
	after, found, err := c.neighbour(ctx, tx, p, false)
	if err != nil || !found {
		return err
	}
	return c.checkStep(ctx, tx, here, after)
}

func pointOf(p payment) point {
	amount := p.amount()
	if p.paidTNo > 0 {
		amount = -amount
	}
	return point{p.proof.SNo, p.proof.LNo, p.proof.Unit.Amount(p.balance), p.proof.Unit.Amount(1), amount, p}
}

// neighbour returns the nearest payment or cancellation of the same card that is
// known. Without one before it, that is the new card: no load, no payment, nothing
// on it.
func (c *Clearing) neighbour(ctx context.Context, tx *ledger.Tx, p payment, isBefore bool) (nearest point, found bool, err error) {
	compared, order := ">", "sno"
	if isBefore {
		compared, order = "<", "sno DESC"
	}
	for _, table := range []string{"cards_payments", "cards_cancellations"} {
		// One that an operator decided says nothing by the card.
		var text, macz []byte
		var balance int64
		err := tx.QueryRowContext(ctx, `SELECT proof, macz, balance FROM `+table+` WHERE cid = ? AND sno `+compared+` ? AND repeated = 0 AND LENGTH(macz) > 0
			ORDER BY `+order+` LIMIT 1`, p.proof.Card.String(), int64(p.proof.SNo)).Scan(&text, &macz, &balance)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return point{}, false, err
		}
		other, err := readPoint(text, macz, money.Amount(balance))
		if err != nil {
			return point{}, false, fmt.Errorf("a payment of card %s on record cannot be read: %w", p.proof.Card, err)
		}
		if !found || (other.sno > nearest.sno) == isBefore {
			nearest, found = other, true
		}
	}
	return nearest, found, nil
}

// readPoint reads what a card said of a payment or a cancellation.
func readPoint(text, macz []byte, balance money.Amount) (point, error) {
	if len(macz) != len(purse.MAC{}) {
		return point{}, errors.New("its MACZ has another length")
	}
	p := payment{macz: purse.MAC(macz)}
	if len(text) == purse.CancellationLength {
		read, err := purse.ParseCancellation(text)
		if err != nil {
			return point{}, err
		}
		p.proof, p.paidTNo, p.paidSNo = read.Proof, read.PaidTNo, read.PaidSNo
	} else {
		read, err := purse.ParseProof(text)
		if err != nil {
			return point{}, err
		}
		p.proof = read
	}
	found := pointOf(p)
	found.balance = balance
	return found, nil
}

// mostGained returns the most that numbers which are not known can have put on a
// card, one after the other, after a payment of paid: the first of them may have
// taken that back. A payment and its cancellation put nothing on it, and a payment
// alone takes one unit at least.
func mostGained(count int64, unit, paid money.Amount) money.Amount {
	odd := func(count int64) money.Amount { return money.Amount(count%2) * unit }
	if count == 0 {
		return 0
	}
	return max(-odd(count), max(paid, 0)-odd(count-1))
}

// isPossible reports whether the balance of a card can have grown by so much
// between two of its payments: the one that is not known between them is either a
// payment, or took the one before it back, whole.
func isPossible(gained money.Amount, between int64, unit, paid money.Amount) bool {
	most := mostGained(between, unit, paid)
	switch between {
	case 0:
		return gained == 0
	case 1:
		return gained <= -unit || gained == most
	}
	return gained <= most
}

// checkStep compares two payments of a card, the second with the higher number.
func (c *Clearing) checkStep(ctx context.Context, tx *ledger.Tx, first, second point) error {
	if second.lno < first.lno {
		return c.alarm(ctx, tx, LoadNumberBack, second.at, "payment %d after load %d, and payment %d after load %d", first.sno, first.lno, second.sno, second.lno)
	}
	var loads, count int64
	err := tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT), COUNT(*) FROM cards_loads
		WHERE cid = ? AND state = 'posted' AND lno > ? AND lno <= ?`, second.at.proof.Card.String(), int64(first.lno), int64(second.lno)).Scan(&loads, &count)
	if err != nil {
		return err
	}
	if count != int64(second.lno)-int64(first.lno) {
		return c.alarm(ctx, tx, LoadNumberBack, second.at, "after load %d, of which nobody knows", second.lno)
	}
	between := int64(second.sno) - int64(first.sno) - 1
	gained := second.balance + second.amount - first.balance - money.Amount(loads)
	if isPossible(gained, between, second.unit, first.amount) {
		return nil
	}
	most := first.balance + money.Amount(loads) - second.amount + mostGained(between, second.unit, first.amount)
	if second.balance > most {
		return c.alarm(ctx, tx, ImpossibleSum, second.at, "%s micros left on the card: at most %s can be, after payment %d", second.balance, most, first.sno)
	}
	return c.alarm(ctx, tx, ImpossibleSum, second.at, "%s micros left on the card: it must be %s, after payment %d", second.balance, most, first.sno)
}
