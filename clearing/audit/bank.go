package audit

import (
	"context"
	"fmt"
	"math/big"
)

// checkBank checks what was done on the word of the bank: that every order is in
// a state that the bank told of, that the broker was told once, and that what is
// kept for refunds is what the policy of the run asks for.
func (a *auditor) checkBank(ctx context.Context) error {
	for _, step := range []func(context.Context) error{a.checkEntries, a.checkTold, a.checkReserves} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// checkEntries compares the entries that were matched with their orders, the
// orders with the entries, and the documents with how many entries they had.
func (a *auditor) checkEntries(ctx context.Context) error {
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var seq, amount, instructed int64
		var id, says, state string
		if err := scan(&seq, &id, &says, &amount, &state, &instructed); err != nil {
			return err
		}
		a.looked.BankEntries++
		isDone := says == state || says == "accepted" && state != "" || says == "booked" && state == "returned"
		if !isDone || amount != 0 && amount != instructed {
			a.find(BankEntryDiffers, fmt.Sprintf("bank entry %d", seq), "the bank says "+says+" of "+micros(amount),
				fmt.Sprintf("instruction %s of %s is %q", id, micros(instructed), state))
		}
		return nil
	}, `SELECT b.seq, b.end_to_end, b.says, b.amount, COALESCE(i.state, ''), COALESCE(i.amount, 0)
		FROM clearing_bank_entries b LEFT JOIN clearing_instructions i ON i.end_to_end = b.end_to_end WHERE b.state IN ('matched', 'repeated')`)
	if err != nil {
		return err
	}
	err = a.snapshot.each(ctx, func(scan scanner) error {
		var id, state string
		err := scan(&id, &state)
		a.find(InstructionState, "instruction "+id, "the bank has not said that", "it is "+state)
		return err
	}, `SELECT i.end_to_end, i.state FROM clearing_instructions i WHERE i.state <> 'sent' AND NOT EXISTS (
		SELECT 1 FROM clearing_bank_entries b WHERE b.end_to_end = i.end_to_end AND b.state IN ('matched', 'repeated', 'resolved')
			AND (b.says = i.state OR i.state = 'booked' AND b.says = 'returned'))`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var document string
		var entries, kept int64
		err := scan(&document, &entries, &kept)
		a.find(BankEntryDiffers, "document "+document, fmt.Sprintf("it has %d entries", entries), fmt.Sprintf("%d are kept", kept))
		return err
	}, `SELECT d.id, d.entries, COUNT(b.seq) FROM clearing_bank_documents d LEFT JOIN clearing_bank_entries b ON b.document = d.id
		GROUP BY d.id, d.entries HAVING d.entries <> COUNT(b.seq)`)
}

// checkTold checks that the broker was told of every order that concerns an
// account, as far as the bank has said something, and of nothing else.
func (a *auditor) checkTold(ctx context.Context) error {
	told := func(kind string) string {
		return `EXISTS (SELECT 1 FROM broker_outcomes o WHERE o.kind = '` + kind + `' AND o.amount = i.amount
			AND (i.kind = 'collection' AND o.account = i.party AND o.id = i.end_to_end OR i.kind = 'account-payout' AND o.account || '/' || o.id = i.party))`
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var id, kind, state string
		var done, refused, returned int64
		if err := scan(&id, &kind, &state, &done, &refused, &returned); err != nil {
			return err
		}
		isTold := done == 1 == (state == "booked" || state == "returned") && returned == 1 == (state == "returned") &&
			(refused == 1 == (state == "rejected") || kind == "collection")
		if !isTold {
			a.find(OutcomeDiffers, "instruction "+id, kind+" is "+state, fmt.Sprintf("the broker was told that it is done: %t, refused: %t, returned: %t",
				done == 1, refused == 1, returned == 1))
		}
		return nil
	}, `SELECT i.end_to_end, i.kind, i.state,
			CASE WHEN `+told("payout-paid")+` OR `+told("debit-collected")+` THEN 1 ELSE 0 END,
			CASE WHEN `+told("payout-refused")+` THEN 1 ELSE 0 END,
			CASE WHEN `+told("payout-returned")+` OR `+told("debit-returned")+` THEN 1 ELSE 0 END
		FROM clearing_instructions i WHERE i.kind IN ('collection', 'account-payout')`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var seq int64
		var kind, account, id string
		err := scan(&seq, &kind, &account, &id)
		a.find(OutcomeDiffers, fmt.Sprintf("outcome %d", seq), "there is no order to the bank", kind+" of account "+account+", "+id)
		return err
	}, `SELECT o.seq, o.kind, o.account, o.id FROM broker_outcomes o
		LEFT JOIN clearing_instructions c ON c.end_to_end = o.id AND c.kind = 'collection' AND c.party = o.account
		WHERE c.end_to_end IS NULL AND NOT EXISTS (
			SELECT 1 FROM clearing_instructions p WHERE p.kind = 'account-payout' AND p.party = o.account || '/' || o.id)`)
}

// checkReserves computes again what is kept of each collection for a refund.
func (a *auditor) checkReserves(ctx context.Context) error {
	runs := make(map[string]*run)
	for _, r := range a.runs {
		runs[r.id] = r
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var id, runID, state, reserve string
		var amount, kept int64
		if err := scan(&id, &runID, &state, &amount, &kept, &reserve); err != nil {
			return err
		}
		want := int64(0)
		r := runs[runID]
		if r != nil && !r.hasTerms {
			return nil
		}
		if r != nil && (state == "booked" || state == "returned") {
			want = shareUp(amount, r.terms.reservePpm)
		}
		if kept != want || state == "returned" && reserve == "held" || state == "booked" && reserve == "used" {
			a.find(ReserveDiffers, "instruction "+id, fmt.Sprintf("it is %s, and %s is to be kept of %s", state, micros(want), micros(amount)),
				fmt.Sprintf("%s is %s", micros(kept), reserve))
		}
		return nil
	}, `SELECT i.end_to_end, i.run_id, i.state, i.amount, COALESCE(r.amount, 0), COALESCE(r.state, '')
		FROM clearing_instructions i LEFT JOIN clearing_reserves r ON r.end_to_end = i.end_to_end WHERE i.kind = 'collection' OR r.amount IS NOT NULL`)
	return err
}

// shareUp returns so many millionths of an amount, rounded up.
func shareUp(amount, ppm int64) int64 {
	product := new(big.Int).Mul(big.NewInt(amount), big.NewInt(ppm))
	product.Add(product, big.NewInt(999_999))
	return product.Quo(product, big.NewInt(1_000_000)).Int64()
}

// explainReserves adds what is kept for refunds, and what refunds have used.
func (a *auditor) explainReserves(ctx context.Context) error {
	if !a.snapshot.tables["clearing_reserves"] {
		return nil
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var amount int64
		var state string
		err := scan(&amount, &state)
		switch state {
		case "held":
			a.explained("broker:provisions", -amount)
			a.explained("broker:reserve:refunds", amount)
		case "used":
			a.explained("broker:provisions", -amount)
			a.explained("broker:reserve:used", amount)
		}
		return err
	}, `SELECT amount, state FROM clearing_reserves`)
}
