package cards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// Why there is a dispute.
const (
	noRecord   = "no-record"   // the holder has the proof, and no batch has the transaction yet
	voided     = "void"        // the holder has the proof, and the SAM says void, unproved
	provedVoid = "proved-void" // the same, and the SAM says that it is proved: one of them is wrong
	objection  = "objection"   // the merchant was paid, and the holder objects
)

// What decided a dispute.
const (
	ruleVoid     = "void"      // the SAM's void: the holder has the money back
	ruleRecord   = "record"    // the SAM's record: the merchant is paid
	ruleNoRecord = "no-record" // no record came: the merchant is paid on the holder's proof
	ruleOperator = "operator"
)

// The states of a dispute.
const (
	disputeOpen    = "open"
	forTheHolder   = "holder"
	forTheMerchant = "merchant"
)

// Dispute is about the money of one payment.
type Dispute struct {
	Merchant purse.ID
	TNo      uint32
	Card     purse.ID
	Amount   money.Amount
	// Reason is no-record, void, proved-void, objection, or cancellation: nobody
	// knows whether the card took the payment back.
	Reason string
	Note   string
	// State is open, holder or merchant: who has the money. Of a cancellation the
	// holder has it on the card.
	State string
	// Rule is what decided it: void, record, no-record or operator; of a
	// cancellation record, claim, payment or operator.
	Rule     string
	Operator string
	// Due is when it is decided by itself, seconds since 1970; 0: an operator
	// decides.
	Due int64
}

// Claim takes what the holder of a card has of a payment: proof (53 bytes) and
// MACZ, from the card's log. Where the SAM says that the transaction is void,
// unproved, the holder has the money back at once; where the SAM says that it is
// proved, an operator decides. Where no batch has the transaction yet, the money
// waits for one, and the merchant is paid on the holder's proof if none comes
// within the days for claims. What the merchant was paid for is AlreadyPaid.
func (c *Clearing) Claim(ctx context.Context, proof []byte, macz purse.MAC, note string) (dispute Dispute, refusal *purse.Refusal, err error) {
	read, err := purse.ParseProof(proof)
	if err != nil {
		return Dispute{}, refuse(purse.Malformed, "%v", err), nil
	}
	if err := checkNote(note); err != nil {
		return Dispute{}, nil, err
	}
	balance, refusal := c.checkProof(read, macz)
	if refusal != nil {
		return Dispute{}, refusal, nil
	}
	p := payment{proof: read, macz: macz, balance: balance, source: sourceClaim}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		dispute, refusal, err = c.claim(ctx, tx, p, note)
		return err
	})
	return dispute, refusal, err
}

func (c *Clearing) claim(ctx context.Context, tx *ledger.Tx, p payment, note string) (Dispute, *purse.Refusal, error) {
	q := p.proof
	if _, found, err := loadMerchant(ctx, tx, q.Merchant); err != nil || !found {
		return Dispute{}, refuse(purse.UnknownMerchant, "nobody registered merchant %s", q.Merchant), err
	}
	if before, found, err := loadDispute(ctx, tx, q.Merchant, q.TNo); err != nil || found {
		return before, nil, err
	}
	if _, found, err := loadPayment(ctx, tx, q.Merchant, q.TNo); err != nil || found {
		return Dispute{}, refuse(AlreadyPaid, "merchant %s recorded transaction %d and was paid for it, or for another payment under its number", q.Merchant, q.TNo), err
	}
	reason, due := noRecord, c.claimEnd(tx)
	var proved purse.Proved
	err := tx.QueryRowContext(ctx, `SELECT proved FROM cards_voids WHERE mid = ? AND tno = ?`, q.Merchant.String(), int64(q.TNo)).Scan(&proved)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Dispute{}, nil, err
	}
	if isVoid := err == nil; isVoid && proved == purse.Unproved {
		reason, due = voided, 0
	} else if isVoid {
		reason, due = provedVoid, 0
	}
	if err := c.openClaim(ctx, tx, p, reason, note, due); err != nil {
		return Dispute{}, nil, err
	}
	if row, _, err := loadPayment(ctx, tx, q.Merchant, q.TNo); err != nil {
		return Dispute{}, nil, err
	} else if reason != noRecord {
		if err := c.voidDecides(ctx, tx, row, proved); err != nil {
			return Dispute{}, nil, err
		}
	}
	dispute, _, err := loadDispute(ctx, tx, q.Merchant, q.TNo)
	return dispute, nil, err
}

// openClaim keeps the payment and sets its money aside.
func (c *Clearing) openClaim(ctx context.Context, tx *ledger.Tx, p payment, reason, note string, due int64) error {
	q := p.proof
	if err := c.keep(ctx, tx, p, 0, "", stateDisputed); err != nil {
		return err
	}
	id := disputeID(q.Merchant, q.TNo)
	err := postAll(ctx, tx, []ledger.Transfer{
		c.transfer(id, kindDispute, poolAccount, disputesAccount, p.amount(), reason),
		c.transfer(id+"/shadow", kindShadow, shadowAccount(q.Card), memoAccount, p.amount(), reason),
	})
	if err != nil {
		return err
	}
	if err := c.denyCancellation(ctx, tx, p); err != nil {
		return err
	}
	if err := c.checkShadow(ctx, tx, p); err != nil {
		return err
	}
	return c.insertDispute(ctx, tx, Dispute{Merchant: q.Merchant, TNo: q.TNo, Card: q.Card, Amount: p.amount(), Reason: reason, Note: note, Due: due})
}

func disputeID(merchant purse.ID, tno uint32) string {
	return fmt.Sprintf("cards/dispute/%s/%d", merchant, tno)
}

func (c *Clearing) insertDispute(ctx context.Context, tx *ledger.Tx, d Dispute) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO cards_disputes (mid, tno, cid, amount, reason, note, state, due, created) VALUES (?, ?, ?, ?, ?, ?, 'open', ?, ?)`,
		d.Merchant.String(), int64(d.TNo), d.Card.String(), int64(d.Amount), d.Reason, d.Note, d.Due, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "open-dispute", fmt.Sprintf("payment:%s/%d", d.Merchant, d.TNo), fmt.Sprintf("%s, %s micros: %s", d.Reason, d.Amount, d.Note))
}

const disputeColumns = `SELECT mid, tno, cid, amount, reason, note, state, rule, operator, due FROM cards_disputes `

func scanDispute(row interface{ Scan(...any) error }) (d Dispute, err error) {
	var merchant, card string
	err = row.Scan(&merchant, &d.TNo, &card, (*int64)(&d.Amount), &d.Reason, &d.Note, &d.State, &d.Rule, &d.Operator, &d.Due)
	if err != nil {
		return d, err
	}
	if d.Merchant, err = purse.ParseID(merchant); err == nil {
		d.Card, err = purse.ParseID(card)
	}
	return d, err
}

func loadDispute(ctx context.Context, tx *ledger.Tx, merchant purse.ID, tno uint32) (Dispute, bool, error) {
	d, err := scanDispute(tx.QueryRowContext(ctx, disputeColumns+`WHERE mid = ? AND tno = ?`, merchant.String(), int64(tno)))
	if errors.Is(err, sql.ErrNoRows) {
		return Dispute{}, false, nil
	}
	return d, err == nil, err
}

// recordDecides gives a disputed payment to the merchant, whose SAM recorded it.
// decided is false if there is no open dispute.
func (c *Clearing) recordDecides(ctx context.Context, tx *ledger.Tx, row paymentRow) (decided bool, err error) {
	d, found, err := loadDispute(ctx, tx, row.merchant, row.tno)
	if err != nil || !found || d.State != disputeOpen || d.Reason == objection {
		return false, err
	}
	return true, c.decide(ctx, tx, d, forTheMerchant, ruleRecord, "")
}

// voidDecides says what a void does to a payment that its holder claimed.
func (c *Clearing) voidDecides(ctx context.Context, tx *ledger.Tx, row paymentRow, proved purse.Proved) error {
	d, found, err := loadDispute(ctx, tx, row.merchant, row.tno)
	if err != nil {
		return err
	}
	if found && d.State == disputeOpen && proved == purse.Unproved {
		return c.decide(ctx, tx, d, forTheHolder, ruleVoid, "")
	}
	err = c.raise(ctx, tx, Alarm{Kind: Contradiction, Card: row.card, Merchant: row.merchant, TNo: row.tno, Evidence: row.proof,
		Detail: fmt.Sprintf("the card proved transaction %d of merchant %s, and its SAM says that it is void (%d); the payment is %s", row.tno, row.merchant, proved, row.state)})
	if err != nil || !found || d.State != disputeOpen {
		return err
	}
	return changeOne(ctx, tx, "dispute", `UPDATE cards_disputes SET reason = ?, due = 0 WHERE mid = ? AND tno = ?`, provedVoid, row.merchant.String(), int64(row.tno))
}

// decide ends a dispute and moves its money.
func (c *Clearing) decide(ctx context.Context, tx *ledger.Tx, d Dispute, state, rule, operator string) error {
	payment, _, err := loadPayment(ctx, tx, d.Merchant, d.TNo)
	if err != nil {
		return err
	}
	id := disputeID(d.Merchant, d.TNo)
	merchant, _, err := loadMerchant(ctx, tx, d.Merchant)
	if err != nil {
		return err
	}
	var transfers []ledger.Transfer
	paymentState, fee, feeRule, gateway := stateRefunded, money.Amount(0), "", ""
	if state == forTheMerchant {
		paymentState, gateway = statePaid, merchant.gateway
		if fee, feeRule, err = c.feeOn(merchant, payment.amount); err != nil {
			return err
		}
		transfers = append(transfers, c.transfer(id+"/merchant", kindPayment, disputesAccount, payableAccount(d.Merchant), payment.amount, rule))
		if fee > 0 {
			transfers = append(transfers, c.transfer(id+"/merchant/fee", kindFee, payableAccount(d.Merchant), feesAccount, fee, feeRule))
		}
		if gateway != "" {
			transfers = append(transfers, c.forward(id+"/merchant", merchant, payment.amount))
		}
	} else {
		account, err := c.disputeRefund(ctx, tx, d.Card)
		if err != nil {
			return err
		}
		transfers = append(transfers, c.transfer(id+"/holder", kindRefund, disputesAccount, account, payment.amount, rule))
	}
	if err := postAll(ctx, tx, transfers); err != nil {
		return err
	}
	err = changeOne(ctx, tx, "payment", `UPDATE cards_payments SET state = ?, fee = ?, fee_rule = ?, gateway = ? WHERE mid = ? AND tno = ?`,
		paymentState, int64(fee), feeRule, gateway, d.Merchant.String(), int64(d.TNo))
	if err != nil {
		return err
	}
	err = changeOne(ctx, tx, "open dispute", `UPDATE cards_disputes SET state = ?, rule = ?, operator = ?, ended = ?
		WHERE mid = ? AND tno = ? AND state = 'open'`, state, rule, operator, tx.Now().UnixMicro(), d.Merchant.String(), int64(d.TNo))
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "decide-dispute", fmt.Sprintf("payment:%s/%d", d.Merchant, d.TNo), fmt.Sprintf("for the %s by %s, %s micros", state, rule, d.Amount))
}

// disputeRefund returns where a holder is paid: the account of the card, or cash
// for a white one, or where the account is closed.
func (c *Clearing) disputeRefund(ctx context.Context, tx *ledger.Tx, card purse.ID) (string, error) {
	row, found, err := loadCard(ctx, tx, card)
	if err != nil || !found || row.account == "" {
		return cashAccount, err
	}
	state, err := accountState(ctx, tx, row.account)
	if err != nil || state == "closed" || state == "not there" {
		return cashAccount, err
	}
	return row.holderAccount(), nil
}

// Object opens a dispute about a payment that the merchant was paid for: what
// the merchant got, and the fee, are taken back and wait for an operator.
// Insufficient means that the merchant has less by now: it was paid out.
// Forwarded means that a gateway has it.
func (c *Clearing) Object(ctx context.Context, merchant purse.ID, tno uint32, note string) (dispute Dispute, refusal *purse.Refusal, err error) {
	if err := checkNote(note); err != nil {
		return Dispute{}, nil, err
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		dispute, refusal, err = c.object(ctx, tx, merchant, tno, note)
		return err
	})
	return dispute, refusal, err
}

func (c *Clearing) object(ctx context.Context, tx *ledger.Tx, merchant purse.ID, tno uint32, note string) (Dispute, *purse.Refusal, error) {
	row, found, err := loadPayment(ctx, tx, merchant, tno)
	if err != nil || !found {
		return Dispute{}, refuse(UnknownPayment, "nobody brought transaction %d of merchant %s", tno, merchant), err
	}
	if row.gateway != "" {
		return Dispute{}, refuse(Forwarded, "the money of transaction %d of merchant %s went on to gateway %s, and may be on an account", tno, merchant, row.gateway), nil
	}
	if _, found, err := loadDispute(ctx, tx, merchant, tno); err != nil || found {
		return Dispute{}, refuse(AlreadyDisputed, "there is a dispute about transaction %d of merchant %s, or was", tno, merchant), err
	}
	if _, found, err := cancellationOf(ctx, tx, merchant, tno); err != nil || found {
		return Dispute{}, refuse(AlreadyDisputed, "the card took transaction %d of merchant %s back, or may have", tno, merchant), err
	}
	id := disputeID(merchant, tno)
	var transfers []ledger.Transfer
	if rest := row.amount - row.fee; rest > 0 {
		transfers = append(transfers, c.transfer(id, kindDispute, payableAccount(merchant), disputesAccount, rest, objection))
	}
	if row.fee > 0 {
		transfers = append(transfers, c.transfer(id+"/fee", kindDispute, feesAccount, disputesAccount, row.fee, objection))
	}
	// Looked at before anything is moved: a list stops half way.
	for _, t := range transfers {
		account, err := tx.Account(ctx, t.Debit)
		if err != nil {
			return Dispute{}, nil, err
		}
		if account.Available() < t.Amount {
			return Dispute{}, refuse(Insufficient, "%s has %s micros of %s: the rest was paid out", t.Debit, account.Available(), t.Amount), nil
		}
	}
	if err := postAll(ctx, tx, transfers); err != nil {
		return Dispute{}, nil, err
	}
	err = changeOne(ctx, tx, "payment", `UPDATE cards_payments SET state = 'disputed', fee = 0, fee_rule = '' WHERE mid = ? AND tno = ? AND state = 'paid'`, merchant.String(), int64(tno))
	if err != nil {
		return Dispute{}, nil, err
	}
	d := Dispute{Merchant: merchant, TNo: tno, Card: row.card, Amount: row.amount, Reason: objection, Note: note}
	if err := c.insertDispute(ctx, tx, d); err != nil {
		return Dispute{}, nil, err
	}
	d, _, err = loadDispute(ctx, tx, merchant, tno)
	return d, nil, err
}

// Decide ends an open dispute as an operator sees it, whatever rule waits.
func (c *Clearing) Decide(ctx context.Context, merchant purse.ID, tno uint32, forHolder bool, operator string) (dispute Dispute, refusal *purse.Refusal, err error) {
	if operator == "" {
		return Dispute{}, nil, errors.New("deciding a dispute: want the name of an operator")
	}
	state := forTheMerchant
	if forHolder {
		state = forTheHolder
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) error {
		d, found, err := loadDispute(ctx, tx, merchant, tno)
		if err != nil {
			return err
		}
		refusal = nil
		if row, isOpen, err := loadCancellation(ctx, tx, `WHERE mid = ? AND paid_tno = ? AND state = 'open'`, merchant.String(), int64(tno)); err != nil || isOpen {
			if err == nil {
				row, err = c.decideCancellation(ctx, tx, row, forHolder, cancelByOperator, operator)
			}
			dispute = row.dispute()
			return err
		}
		if !found || d.State != disputeOpen {
			refusal = refuse(NotOpen, "there is no open dispute about transaction %d of merchant %s", tno, merchant)
			return nil
		}
		if err := c.decide(ctx, tx, d, state, ruleOperator, operator); err != nil {
			return err
		}
		dispute, _, err = loadDispute(ctx, tx, merchant, tno)
		return err
	})
	return dispute, refusal, err
}

// DecideDue pays the merchants of claims for which no record came in time, at
// most limit of them (1 to ledger.MaxPage).
func (c *Clearing) DecideDue(ctx context.Context, limit int) (decided []Dispute, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d disputes", limit, ledger.MaxPage)
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) error {
		due, err := listDisputes(ctx, tx, `WHERE state = 'open' AND due > 0 AND due <= ? ORDER BY due, mid, tno LIMIT ?`, tx.Now().Unix(), limit)
		if err != nil {
			return err
		}
		decided = nil
		for _, d := range due {
			if err := c.decide(ctx, tx, d, forTheMerchant, ruleNoRecord, ""); err != nil {
				return err
			}
			if d, _, err = loadDispute(ctx, tx, d.Merchant, d.TNo); err != nil {
				return err
			}
			decided = append(decided, d)
		}
		return nil
	})
	return decided, err
}

// scanner is a function that reads a row.
type scanner func(target ...any) error

// Scan reads the row.
func (s scanner) Scan(target ...any) error { return s(target...) }

// Disputes returns the newest disputes, and then cancellations of which nobody knew
// whether they took place, at most limit of them (1 to ledger.MaxPage); where
// openOnly is set, those that are not decided.
func (c *Clearing) Disputes(ctx context.Context, openOnly bool, limit int) (disputes []Dispute, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d disputes", limit, ledger.MaxPage)
	}
	condition, ofCancellations := "", "WHERE is_void = 1 "
	if openOnly {
		condition, ofCancellations = "WHERE state = 'open' ", "WHERE state = 'open' "
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) (err error) {
		disputes, err = listDisputes(ctx, tx, condition+`ORDER BY created DESC, mid, tno LIMIT ?`, limit)
		if err != nil || len(disputes) == limit {
			return err
		}
		return tx.Each(ctx, func(scan func(target ...any) error) error {
			row, err := scanCancellation(scanner(scan))
			disputes = append(disputes, row.dispute())
			return err
		}, cancellationColumns+ofCancellations+`ORDER BY created DESC, mid, tno LIMIT ?`, limit-len(disputes))
	})
	return disputes, err
}

func listDisputes(ctx context.Context, tx *ledger.Tx, condition string, args ...any) (disputes []Dispute, err error) {
	rows, err := tx.QueryContext(ctx, disputeColumns+condition, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDispute(rows)
		if err != nil {
			return nil, err
		}
		disputes = append(disputes, d)
	}
	return disputes, rows.Err()
}
