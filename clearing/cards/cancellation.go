package cards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// The states of a cancellation.
const (
	cancelDone   = "done"   // the card has the money back
	cancelOpen   = "open"   // nobody knows yet
	cancelDenied = "denied" // the card did not take it back: the merchant has it
)

// What decided a cancellation.
const (
	cancelByRecord   = "record"   // the SAM's, with the card's MACZ
	cancelByClaim    = "claim"    // the same MACZ, from the card's log
	cancelByPayment  = "payment"  // the card used the number for a payment
	cancelByOperator = "operator" // who looked
)

// cancellation is the reason of a Dispute about whether a card took a payment
// back.
const cancellation = "cancellation"

// cancellationRow is a cancellation as clearing keeps it.
type cancellationRow struct {
	merchant, card purse.ID
	tno, paidTNo   uint32
	sno            uint32
	amount, fee    money.Amount
	gateway        string // that has the payment's money; not of every row that is read
	state          string
	evidence       string
	operator       string
	isVoid         bool
}

const cancellationColumns = `SELECT mid, cid, tno, paid_tno, sno, amount, fee, state, evidence, operator, is_void FROM cards_cancellations `

func scanCancellation(row interface{ Scan(...any) error }) (c cancellationRow, err error) {
	var merchant, card string
	err = row.Scan(&merchant, &card, &c.tno, &c.paidTNo, &c.sno, (*int64)(&c.amount), (*int64)(&c.fee), &c.state, &c.evidence, &c.operator, &c.isVoid)
	if err != nil {
		return c, err
	}
	if c.merchant, err = purse.ParseID(merchant); err == nil {
		c.card, err = purse.ParseID(card)
	}
	return c, err
}

// loadCancellation returns the cancellation that a condition names.
func loadCancellation(ctx context.Context, tx *ledger.Tx, condition string, args ...any) (cancellationRow, bool, error) {
	row, err := scanCancellation(tx.QueryRowContext(ctx, cancellationColumns+condition, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return cancellationRow{}, false, nil
	}
	return row, err == nil, err
}

// cancellationOf returns the cancellation of a payment that took place or may have.
func cancellationOf(ctx context.Context, tx *ledger.Tx, merchant purse.ID, paidTNo uint32) (cancellationRow, bool, error) {
	return loadCancellation(ctx, tx, `WHERE mid = ? AND paid_tno = ? AND state <> 'denied'`, merchant.String(), int64(paidTNo))
}

// takesBack reports whether a record takes a payment back, or may have.
func takesBack(entry purse.Entry) bool {
	return entry.IsCancellation() || entry.IsVoid && entry.Void.Proved == purse.UnprovedCancellation
}

// paidBy returns the payment that a record takes back, or may have, as far as it
// is on record.
func paidBy(ctx context.Context, tx *ledger.Tx, entry purse.Entry) (paymentRow, bool, error) {
	return loadPayment(ctx, tx, entry.Merchant(), entry.TakenTNo)
}

// sums are what a batch gives its merchant, and what its cancellations take of
// payments that were booked before it: fees apart.
type sums struct {
	added, addedFees money.Amount
	taken, takenFees money.Amount
}

// batchCheck looks through a batch before anything of it is booked.
type batchCheck struct {
	merchant merchantRow
	sums     sums
	gross    money.Amount            // of its payments
	added    map[uint32]addedAmount  // by TNo, of payments that are not booked yet
	returned map[string]money.Amount // by gateways, of payments that went on to them
}

type addedAmount struct{ net, fee money.Amount }

// add counts a payment that is not booked yet.
func (b *batchCheck) add(proof purse.Proof, fee money.Amount) {
	net := proof.Unit.Amount(proof.Amount) - fee
	b.added[proof.TNo] = addedAmount{net, fee}
	b.sums.added, b.sums.addedFees = b.sums.added+net, b.sums.addedFees+fee
}

// checkTakenBack refuses the cancellation of a payment whose money is not the
// merchant's to give back any more, and counts what it takes.
func (c *Clearing) checkTakenBack(ctx context.Context, tx *ledger.Tx, b *batchCheck, entry purse.Entry) (*purse.Refusal, error) {
	if isDenied, err := hasPaidInstead(ctx, tx, entry); err != nil || isDenied {
		return nil, err
	}
	if added, isNew := b.added[entry.TakenTNo]; isNew {
		b.sums.added, b.sums.addedFees = b.sums.added-added.net, b.sums.addedFees-added.fee
		return nil, nil
	}
	row, found, err := paidBy(ctx, tx, entry)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return refuse(purse.NoPayment, "transaction %d takes back a payment that is not on record", entry.TNo()), nil
	case row.state == stateRefunded:
		return nil, nil // it is not counted
	case row.state != statePaid:
		d, _, err := loadDispute(ctx, tx, row.merchant, row.tno)
		if err == nil && d.State == disputeOpen && d.Reason == noRecord {
			return nil, nil // the payment's record in this batch decides it first
		}
		return refuse(AlreadyDisputed, "transaction %d takes back transaction %d, about which there is a dispute, or was", entry.TNo(), row.tno), err
	}
	if row.gateway != "" {
		b.returned[row.gateway] += row.amount
		return c.checkReturned(ctx, tx, entry.TNo(), row)
	}
	b.sums.taken, b.sums.takenFees = b.sums.taken+row.amount-row.fee, b.sums.takenFees+row.fee
	return nil, nil
}

// checkReturned refuses to take back a payment that went on to a gateway, and that
// the gateway has put on an account or paid out. Where the account was closed, say,
// it could not, and the card is to have its money again.
func (c *Clearing) checkReturned(ctx context.Context, tx *ledger.Tx, tno uint32, row paymentRow) (*purse.Refusal, error) {
	if refusal, err := c.checkUnfunded(ctx, tx, row); err != nil || refusal != nil {
		return refusal, err
	}
	var paid int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM cards_cash WHERE mid = ? AND tno = ?`, row.merchant.String(), int64(row.tno)).Scan(&paid)
	if err != nil || paid == 0 {
		return nil, err
	}
	return refuse(Forwarded, "transaction %d takes back transaction %d, which gateway %s has paid out in cash", tno, row.tno, row.gateway), nil
}

// side is what a batch gives an account, and takes of it.
type side struct {
	account      string
	added, taken money.Amount
}

// checkCovered refuses a batch whose cancellations take more than the merchant
// has, since a run has paid it out, or a gateway, since it is on accounts.
func (c *Clearing) checkCovered(ctx context.Context, tx *ledger.Tx, b *batchCheck) (*purse.Refusal, error) {
	added := b.sums.added
	if b.merchant.gateway != "" {
		added = 0 // it goes on
	}
	sides := []side{{payableAccount(b.merchant.id), added, b.sums.taken}, {feesAccount, b.sums.addedFees, b.sums.takenFees}}
	for _, gateway := range slices.Sorted(maps.Keys(b.returned)) {
		sides = append(sides, side{gatewayAccount(gateway), 0, b.returned[gateway]})
	}
	for _, side := range sides {
		if side.taken == 0 {
			continue
		}
		account, err := tx.Account(ctx, side.account)
		if err != nil {
			return nil, err
		}
		if free := account.Available() + side.added; free < side.taken {
			return refuse(Insufficient, "%s has %s micros with this batch, and its cancellations take %s back: the rest went elsewhere", side.account, free, side.taken), nil
		}
	}
	return nil, nil
}

// bookCancellation keeps a cancellation and counts it in.
func (c *Clearing) bookCancellation(ctx context.Context, tx *ledger.Tx, b *booking, entry purse.Entry) error {
	paid, found, err := paidBy(ctx, tx, entry)
	if err != nil || !found {
		return errors.Join(err, fmt.Errorf("the payment that transaction %d takes back is not on record", entry.TNo()))
	}
	row := cancellationRow{merchant: paid.merchant, card: paid.card, tno: entry.TNo(), paidTNo: paid.tno, amount: paid.amount, fee: paid.fee, gateway: paid.gateway}
	b.see(paid.card)
	b.takenBack += row.amount
	if paid.state == stateRefunded {
		return c.bookRefunded(ctx, tx, row, entry)
	}
	if entry.IsVoid {
		return c.bookUnproved(ctx, tx, b, row, entry)
	}
	p := payment{proof: entry.Proof, macz: entry.MACZ, balance: entry.Balance, batch: entry.Batch, paidTNo: entry.PaidTNo, paidSNo: entry.PaidSNo}
	row.sno, row.state, row.evidence = entry.Proof.SNo, cancelDone, cancelByRecord
	return c.bookProved(ctx, tx, b, row, p)
}

// bookRefunded keeps a cancellation of a payment whose holder an operator had paid
// back. It is not counted: what came onto the card by it, its shadow does not have.
func (c *Clearing) bookRefunded(ctx context.Context, tx *ledger.Tx, row cancellationRow, entry purse.Entry) error {
	d, _, err := loadDispute(ctx, tx, row.merchant, row.paidTNo)
	if err != nil {
		return err
	}
	row.state, row.evidence, row.operator = cancelDenied, cancelByOperator, d.Operator
	if entry.IsVoid {
		row.sno, row.isVoid = entry.Void.SNo, true
		return c.insertCancellation(ctx, tx, row, payment{batch: entry.Batch, proof: purse.Proof{Time: entry.Void.Time}}, 0)
	}
	row.sno = entry.Proof.SNo
	p := payment{proof: entry.Proof, macz: entry.MACZ, balance: entry.Balance, batch: entry.Batch, paidTNo: entry.PaidTNo, paidSNo: entry.PaidSNo}
	err = c.alarm(ctx, tx, Contradiction, p, "the card took transaction %d back, which its holder was paid back already: it has that twice", row.paidTNo)
	if err != nil {
		return err
	}
	repeated, err := c.checkPayment(ctx, tx, p)
	if err != nil {
		return err
	}
	return c.insertCancellation(ctx, tx, row, p, repeated)
}

// bookUnproved keeps a cancellation of which the SAM does not know whether the
// card did it. Its money waits, unless the card has said so before, or is known to
// have used the number for a payment.
func (c *Clearing) bookUnproved(ctx context.Context, tx *ledger.Tx, b *booking, row cancellationRow, entry purse.Entry) error {
	v := entry.Void
	row.sno, row.state, row.isVoid = v.SNo, cancelOpen, true
	p, isClaimed, err := c.earlyClaim(ctx, tx, row)
	if err != nil {
		return err
	}
	if p.batch = entry.Batch; isClaimed {
		row.state, row.evidence = cancelDone, cancelByClaim
		return c.bookProved(ctx, tx, b, row, p)
	}
	p.proof.Time = v.Time
	isDenied, err := hasPaidInstead(ctx, tx, entry)
	if err != nil {
		return err
	}
	if isDenied {
		row.state, row.evidence = cancelDenied, cancelByPayment
		return c.insertCancellation(ctx, tx, row, p, 0)
	}
	b.held += row.amount
	b.take(row)
	if err := c.insertCancellation(ctx, tx, row, p, 0); err != nil {
		return err
	}
	return c.raise(ctx, tx, Alarm{Kind: OpenCancellation, Card: row.card, Merchant: row.merchant, TNo: row.tno, Number: row.sno, Evidence: entry.Append(nil),
		Detail: fmt.Sprintf("nobody knows whether the card took transaction %d back: %s micros wait until it is known", row.paidTNo, row.amount)})
}

// hasPaidInstead reports whether a card is known to have used the number of a
// cancellation that nobody has proved for a payment: so it did not cancel.
func hasPaidInstead(ctx context.Context, tx *ledger.Tx, entry purse.Entry) (bool, error) {
	if !entry.IsVoid {
		return false, nil
	}
	var paid int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM cards_payments WHERE cid = ? AND sno = ? AND repeated = 0`,
		entry.Void.Card.String(), int64(entry.Void.SNo)).Scan(&paid)
	return paid > 0, err
}

// bookProved keeps a cancellation that the card has proved, and counts it in.
func (c *Clearing) bookProved(ctx context.Context, tx *ledger.Tx, b *booking, row cancellationRow, p payment) error {
	b.back += row.amount
	b.take(row)
	b.debits[row.card] -= row.amount
	repeated, err := c.checkPayment(ctx, tx, p)
	if err != nil {
		return err
	}
	return c.insertCancellation(ctx, tx, row, p, repeated)
}

// take counts what a cancellation takes of whoever has the payment's money.
func (b *booking) take(row cancellationRow) {
	b.feesBack += row.fee
	switch {
	case b.isAdded(row.paidTNo): // it never goes on
		b.unforwarded += row.amount
	case row.gateway != "":
		b.returned[row.gateway] += row.amount
	}
}

// earlyClaim returns what the card said of a cancellation before its batch came,
// if it is of this one.
func (c *Clearing) earlyClaim(ctx context.Context, tx *ledger.Tx, row cancellationRow) (p payment, found bool, err error) {
	var text, macz []byte
	err = tx.QueryRowContext(ctx, `SELECT proof, macz FROM cards_early_claims WHERE mid = ? AND tno = ? AND cid = ?`,
		row.merchant.String(), int64(row.tno), row.card.String()).Scan(&text, &macz)
	if errors.Is(err, sql.ErrNoRows) {
		return payment{}, false, nil
	}
	if err != nil || len(macz) != len(purse.MAC{}) {
		return payment{}, false, errors.Join(err, fmt.Errorf("a claim of card %s on record cannot be read", row.card))
	}
	read, err := purse.ParseCancellation(text)
	if err != nil {
		return payment{}, false, fmt.Errorf("a claim of card %s on record: %w", row.card, err)
	}
	p, refusal := c.checkCancellation(read, purse.MAC(macz))
	if refusal != nil || !row.is(p) {
		return payment{}, false, nil
	}
	return p, true, nil
}

// is reports whether a card's cancellation is the one that the SAM ordered.
func (row cancellationRow) is(p payment) bool {
	return row.card == p.proof.Card && row.sno == p.proof.SNo && row.paidTNo == p.paidTNo && row.amount == p.amount()
}

// insertCancellation keeps a cancellation with what the card said of it, if it
// did.
func (c *Clearing) insertCancellation(ctx context.Context, tx *ledger.Tx, row cancellationRow, p payment, repeated int) error {
	proof, macz, isVoid := []byte{}, []byte{}, 0
	if row.isVoid {
		isVoid = 1
	}
	if row.state == cancelDone || !row.isVoid {
		proof, macz = p.said(), p.macz[:]
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO cards_cancellations
		(mid, tno, paid_tno, bno, cid, sno, amount, fee, is_void, state, evidence, operator, lno, balance, made, proof, macz, repeated, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		row.merchant.String(), int64(row.tno), int64(row.paidTNo), int64(p.batch), row.card.String(), int64(row.sno), int64(row.amount), int64(row.fee),
		isVoid, row.state, row.evidence, row.operator, int64(p.proof.LNo), int64(p.proof.Unit.Amount(p.balance)), int64(p.proof.Time), proof, macz, repeated, tx.Now().UnixMicro())
	return err
}

// ClaimCancellation takes what a card says of a cancellation, 61 bytes and MACZ,
// whose SAM did not know whether it took place. It did: what waited is on the
// card again. Where the batch is still to come, the claim is kept and decides it
// then. The same again changes nothing. UnknownPayment means that the batch has
// come, and has no such cancellation.
func (c *Clearing) ClaimCancellation(ctx context.Context, text []byte, macz purse.MAC) (dispute Dispute, refusal *purse.Refusal, err error) {
	read, err := purse.ParseCancellation(text)
	if err != nil {
		return Dispute{}, refuse(purse.Malformed, "%v", err), nil
	}
	p, refusal := c.checkCancellation(read, macz)
	if refusal != nil {
		return Dispute{}, refusal, nil
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		dispute, refusal, err = c.claimCancellation(ctx, tx, p)
		return err
	})
	return dispute, refusal, err
}

// checkCancellation refuses what is not the card's, and reads the rest.
func (c *Clearing) checkCancellation(read purse.Cancellation, macz purse.MAC) (payment, *purse.Refusal) {
	key, err := c.config.Keys.ProofKey(read.KeyVersion, read.Card)
	if err != nil {
		return payment{}, refuse(purse.NoKey, "key version %d of card %s is not known here", read.KeyVersion, read.Card)
	}
	if !read.IsProved(key, macz) {
		return payment{}, refuse(purse.WrongProof, "MACZ of transaction %d is not that of card %s", read.TNo, read.Card)
	}
	return payment{proof: read.Proof, macz: macz, balance: read.Balance(key), paidTNo: read.PaidTNo, paidSNo: read.PaidSNo}, nil
}

// keepEarlyClaim keeps what a card says of a cancellation whose batch is still to
// come.
func (c *Clearing) keepEarlyClaim(ctx context.Context, tx *ledger.Tx, p payment) (Dispute, *purse.Refusal, error) {
	q := p.proof
	merchant, found, err := loadMerchant(ctx, tx, q.Merchant)
	switch {
	case err != nil:
		return Dispute{}, nil, err
	case !found:
		return Dispute{}, refuse(purse.UnknownMerchant, "nobody registered merchant %s", q.Merchant), nil
	case q.TNo <= merchant.position.TNo:
		return Dispute{}, refuse(UnknownPayment, "the batch of merchant %s with transaction %d has come, and it took nothing back", q.Merchant, q.TNo), nil
	}
	isNew, err := tx.ExecOne(ctx, `INSERT INTO cards_early_claims (mid, tno, cid, proof, macz, created) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		q.Merchant.String(), int64(q.TNo), q.Card.String(), p.said(), p.macz[:], tx.Now().UnixMicro())
	if err == nil && isNew {
		err = c.config.Audit(ctx, tx, "claim-cancellation", fmt.Sprintf("payment:%s/%d", q.Merchant, p.paidTNo), fmt.Sprintf("card %s took it back as transaction %d", q.Card, q.TNo))
	}
	row := cancellationRow{merchant: q.Merchant, card: q.Card, tno: q.TNo, paidTNo: p.paidTNo, amount: p.amount(), state: cancelOpen}
	return row.dispute(), nil, err
}

func (c *Clearing) claimCancellation(ctx context.Context, tx *ledger.Tx, p payment) (Dispute, *purse.Refusal, error) {
	q := p.proof
	row, found, err := loadCancellation(ctx, tx, `WHERE mid = ? AND tno = ?`, q.Merchant.String(), int64(q.TNo))
	if err != nil {
		return Dispute{}, nil, err
	}
	if !found {
		return c.keepEarlyClaim(ctx, tx, p)
	}
	if !row.is(p) {
		return Dispute{}, refuse(purse.Differs, "transaction %d was another one by its SAM", q.TNo), nil
	}
	switch row.state {
	case cancelDenied:
		return Dispute{}, refuse(AlreadyDisputed, "it was decided that the card did not take transaction %d back", row.paidTNo),
			c.alarm(ctx, tx, Contradiction, p, "the card proves that it took transaction %d back, and it was decided that it did not", row.paidTNo)
	case cancelOpen:
		repeated, err := c.checkPayment(ctx, tx, p)
		if err != nil {
			return Dispute{}, nil, err
		}
		err = changeOne(ctx, tx, "cancellation", `UPDATE cards_cancellations SET lno = ?, balance = ?, made = ?, proof = ?, macz = ?, repeated = ? WHERE mid = ? AND tno = ?`,
			int64(q.LNo), int64(q.Unit.Amount(p.balance)), int64(q.Time), p.said(), p.macz[:], repeated, q.Merchant.String(), int64(q.TNo))
		if err != nil {
			return Dispute{}, nil, err
		}
		if row, err = c.decideCancellation(ctx, tx, row, true, cancelByClaim, ""); err != nil {
			return Dispute{}, nil, err
		}
	}
	return row.dispute(), nil, nil
}

// decideCancellation ends a cancellation of which nobody knew whether the card did
// it, and moves the money that waited: back onto the card, or to the merchant.
func (c *Clearing) decideCancellation(ctx context.Context, tx *ledger.Tx, row cancellationRow, isDone bool, evidence, operator string) (cancellationRow, error) {
	paid, _, err := loadPayment(ctx, tx, row.merchant, row.paidTNo)
	if err != nil {
		return row, err
	}
	row.state, row.evidence, row.operator = cancelDenied, evidence, operator
	if isDone {
		row.state = cancelDone
	}
	if err := postAll(ctx, tx, c.cancellationTransfers(row, paid.gateway)); err != nil {
		return row, err
	}
	err = changeOne(ctx, tx, "open cancellation", `UPDATE cards_cancellations SET state = ?, evidence = ?, operator = ?, ended = ?
		WHERE mid = ? AND tno = ? AND state = 'open'`, row.state, evidence, operator, tx.Now().UnixMicro(), row.merchant.String(), int64(row.tno))
	if err != nil {
		return row, err
	}
	if !isDone { // what the card may have had back, it has spent
		proof, err := purse.ParseProof(paid.proof)
		if err == nil {
			err = c.checkShadow(ctx, tx, payment{proof: proof})
		}
		if err != nil {
			return row, err
		}
	}
	return row, c.config.Audit(ctx, tx, "decide-cancellation", fmt.Sprintf("payment:%s/%d", row.merchant, row.paidTNo),
		fmt.Sprintf("%s by %s, %s micros", row.state, evidence, row.amount))
}

// cancellationTransfers move what waited, as a cancellation was decided. gateway
// has the money of its payment, or "".
func (c *Clearing) cancellationTransfers(row cancellationRow, gateway string) []ledger.Transfer {
	id := cancellationID(row)
	if row.state == cancelDone {
		return []ledger.Transfer{
			c.transfer(id+"/card", kindCancel, disputesAccount, poolAccount, row.amount, row.evidence),
			c.transfer(id+"/shadow", kindShadow, memoAccount, shadowAccount(row.card), row.amount, row.evidence),
		}
	}
	payable := payableAccount(row.merchant)
	transfers := []ledger.Transfer{c.transfer(id+"/merchant", kindPayment, disputesAccount, payable, row.amount, row.evidence)}
	if row.fee > 0 {
		transfers = append(transfers, c.transfer(id+"/merchant/fee", kindFee, payable, feesAccount, row.fee, c.config.Fee.Version))
	}
	if gateway != "" {
		transfers = append(transfers, c.forward(id+"/merchant", merchantRow{id: row.merchant, gateway: gateway}, row.amount))
	}
	return transfers
}

func cancellationID(row cancellationRow) string {
	return fmt.Sprintf("cards/cancel/%s/%d", row.merchant, row.tno)
}

// denyCancellation gives a merchant what waited, if a payment shows that its card
// did not take another one back: it used the number for this one.
func (c *Clearing) denyCancellation(ctx context.Context, tx *ledger.Tx, p payment) error {
	row, found, err := loadCancellation(ctx, tx, `WHERE cid = ? AND sno = ? AND state = 'open'`, p.proof.Card.String(), int64(p.proof.SNo))
	if err != nil || !found {
		return err
	}
	_, err = c.decideCancellation(ctx, tx, row, false, cancelByPayment, "")
	return err
}

// dispute returns what a cancellation looks like to whoever decides disputes.
func (row cancellationRow) dispute() Dispute {
	d := Dispute{Merchant: row.merchant, TNo: row.paidTNo, Card: row.card, Amount: row.amount, Reason: cancellation,
		Note: fmt.Sprintf("taken back as transaction %d", row.tno), State: disputeOpen, Rule: row.evidence, Operator: row.operator}
	switch row.state {
	case cancelDone:
		d.State = forTheHolder
	case cancelDenied:
		d.State = forTheMerchant
	}
	return d
}
