package cards

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// BatchReceipt says what became of a batch.
type BatchReceipt struct {
	Merchant purse.ID
	Batch    uint32
	// Ack is the data of ACK BATCH, with which the SAM forgets its records.
	Ack      purse.MAC
	Payments uint32
	Voids    uint32
	Gross    money.Amount // of its payments, micros
	Booked   money.Amount // of that, not booked before, online or on a claim
	Fee      money.Amount // of what was booked
	// Cancellations take payments of the batch back, or may have; Cancelled is the
	// sum, micros.
	Cancellations uint32
	Cancelled     money.Amount
	// Repeated says that the batch was taken before.
	Repeated bool
}

// MarshalJSON writes it as gateways and programs read it, the acknowledgement in
// hexadecimal digits.
func (b BatchReceipt) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Merchant        string       `json:"merchant"`
		Batch           uint32       `json:"batch"`
		Ack             string       `json:"acknowledgement"`
		Payments        uint32       `json:"payments"`
		Voids           uint32       `json:"voids"`
		GrossMicros     money.Amount `json:"grossMicros"`
		BookedMicros    money.Amount `json:"bookedMicros"`
		FeeMicros       money.Amount `json:"feeMicros"`
		Cancellations   uint32       `json:"cancellations"`
		CancelledMicros money.Amount `json:"cancelledMicros"`
		Repeated        bool         `json:"repeated"`
	}{b.Merchant.String(), b.Batch, b.Ack.String(), b.Payments, b.Voids, b.Gross, b.Booked, b.Fee, b.Cancellations, b.Cancelled, b.Repeated})
}

// SubmitBatch takes a batch: its total of 68 bytes and then its records. All of
// it is booked or nothing. The same batch again returns the same and books
// nothing. What is refused comes with 1 to 16 refusals, the first of which is
// enough; where the SAM signed it, it is kept for whoever asks why.
func (c *Clearing) SubmitBatch(ctx context.Context, text []byte) (receipt BatchReceipt, refusals []purse.Refusal, err error) {
	if len(text) < purse.TotalLength || len(text) > purse.MaxBatchLength {
		return BatchReceipt{}, []purse.Refusal{*refuse(purse.Malformed, "batch of %d bytes: want %d and its records, at most %d",
			len(text), purse.TotalLength, purse.MaxBatchLength)}, nil
	}
	total, err := purse.ParseTotal(text[:purse.TotalLength])
	if err != nil {
		return BatchReceipt{}, nil, err
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		receipt, refusals, err = c.submit(ctx, tx, total, text)
		if err == nil && len(refusals) > 0 {
			err = c.keepRefusal(ctx, tx, total, refusals[0])
		}
		return err
	})
	return receipt, refusals, err
}

// checkSigned refuses the total of a batch, 68 bytes, that no SAM signed of a
// merchant who is registered. It changes nothing.
func (c *Clearing) checkSigned(ctx context.Context, text []byte) (refusal *purse.Refusal, err error) {
	total, err := purse.ParseTotal(text)
	if err != nil {
		return nil, err
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		refusal = nil
		merchant, found, err := loadMerchant(ctx, tx, total.Merchant)
		if err != nil || !found {
			refusal = refuse(purse.UnknownMerchant, "nobody registered merchant %s", total.Merchant)
			return err
		}
		key, err := c.config.Keys.MerchantKey(merchant.keyVersion, merchant.id)
		if err == nil && !total.IsSigned(key) {
			refusal = refuse(purse.WrongTotalMAC, "MACB is not this merchant's SAM's")
		}
		return err
	})
	return refusal, err
}

func (c *Clearing) submit(ctx context.Context, tx *ledger.Tx, total purse.Total, text []byte) (BatchReceipt, []purse.Refusal, error) {
	merchant, found, err := loadMerchant(ctx, tx, total.Merchant)
	if err != nil || !found {
		return BatchReceipt{}, []purse.Refusal{*refuse(purse.UnknownMerchant, "nobody registered merchant %s", total.Merchant)}, err
	}
	digest := sha256.Sum256(text)
	if receipt, refusal, found, err := c.takenBefore(ctx, tx, total, digest[:]); err != nil || found {
		if refusal != nil {
			return BatchReceipt{}, []purse.Refusal{*refusal}, err
		}
		return receipt, nil, err
	}
	batch, refusals, err := purse.CheckBatch(c.config.Keys, merchant.keyVersion, merchant.position, text[:purse.TotalLength], text[purse.TotalLength:])
	if err != nil || len(refusals) > 0 {
		return BatchReceipt{}, refusals, err
	}
	if refusals, err := c.checkBookable(ctx, tx, merchant, batch); err != nil || len(refusals) > 0 {
		return BatchReceipt{}, refusals, err
	}
	return c.book(ctx, tx, merchant, batch, digest[:])
}

// takenBefore answers to a number that was used before.
func (c *Clearing) takenBefore(ctx context.Context, tx *ledger.Tx, total purse.Total, digest []byte) (BatchReceipt, *purse.Refusal, bool, error) {
	receipt := BatchReceipt{Merchant: total.Merchant, Batch: total.Batch, Repeated: true}
	var kept, ack []byte
	err := tx.QueryRowContext(ctx, `SELECT digest, ack, payments, voids, gross, booked, fee, cancellations, cancelled FROM cards_batches WHERE mid = ? AND bno = ?`,
		total.Merchant.String(), int64(total.Batch)).
		Scan(&kept, &ack, &receipt.Payments, &receipt.Voids, (*int64)(&receipt.Gross), (*int64)(&receipt.Booked), (*int64)(&receipt.Fee),
			&receipt.Cancellations, (*int64)(&receipt.Cancelled))
	if errors.Is(err, sql.ErrNoRows) {
		return receipt, nil, false, nil
	}
	if err != nil || !bytes.Equal(kept, digest) {
		return receipt, refuse(purse.Differs, "batch %d was taken with other content", total.Batch), true, err
	}
	copy(receipt.Ack[:], ack)
	return receipt, nil, true, nil
}

// checkBookable refuses what is right by its MACs and against the books: money
// of another currency, what was said otherwise before, and the cancellation of
// what the merchant does not have any more.
func (c *Clearing) checkBookable(ctx context.Context, tx *ledger.Tx, merchant merchantRow, batch purse.Batch) ([]purse.Refusal, error) {
	b := &batchCheck{merchant: merchant, added: make(map[uint32]addedAmount), returned: make(map[string]money.Amount)}
	for i, entry := range batch.Entries {
		refusal, err := c.checkEntry(ctx, tx, b, entry)
		if err != nil {
			return nil, err
		}
		// No honest SAM comes near it: its limit is a day's takings.
		if refusal == nil && b.gross > money.MaxAmount {
			refusal = refuse(purse.WrongSum, "%s micros in one batch: want at most %s", b.gross, money.MaxAmount)
		}
		if refusal != nil {
			refusal.Record = i + 1
			return []purse.Refusal{*refusal}, nil
		}
	}
	refusal, err := c.checkCovered(ctx, tx, b)
	if err != nil || refusal == nil {
		return nil, err
	}
	return []purse.Refusal{*refusal}, nil
}

func (c *Clearing) checkEntry(ctx context.Context, tx *ledger.Tx, b *batchCheck, entry purse.Entry) (*purse.Refusal, error) {
	if !entry.IsVoid && entry.Proof.Unit.Currency != c.number() {
		p := payment{proof: entry.Proof, macz: entry.MACZ, balance: entry.Balance, paidTNo: entry.PaidTNo, paidSNo: entry.PaidSNo}
		detail := fmt.Sprintf("transaction %d is in %s: want %s", entry.TNo(), entry.Proof.Unit.Currency.Money().Code(), c.config.Currency.Code())
		return refuse(purse.OtherUnit, "%s", detail), c.alarm(ctx, tx, ForeignMoney, p, "%s", detail)
	}
	row, found, err := loadPayment(ctx, tx, entry.Merchant(), entry.TNo())
	switch {
	case err != nil:
		return nil, err
	case takesBack(entry) && found:
		return refuse(purse.Contradicts, "transaction %d takes a payment back, and was a payment before", entry.TNo()), nil
	case takesBack(entry):
		return c.checkTakenBack(ctx, tx, b, entry)
	case entry.IsVoid && found && row.source != sourceClaim:
		return refuse(purse.Contradicts, "a void of transaction %d, which the same SAM recorded as a payment", entry.TNo()), nil
	case entry.IsVoid:
		return nil, nil
	case found && !bytes.Equal(row.proof, entry.Proof.Append(nil)):
		return refuse(purse.Differs, "transaction %d was another payment before", entry.TNo()), nil
	}
	amount := entry.Proof.Unit.Amount(entry.Proof.Amount)
	b.gross += amount
	if found {
		return nil, nil
	}
	fee, _, err := c.feeOn(b.merchant, amount)
	b.add(entry.Proof, fee)
	return nil, err
}

// book keeps the batch and moves its money.
func (c *Clearing) book(ctx context.Context, tx *ledger.Tx, merchant merchantRow, batch purse.Batch, digest []byte) (BatchReceipt, []purse.Refusal, error) {
	t := batch.Total
	receipt := BatchReceipt{Merchant: t.Merchant, Batch: t.Batch, Ack: batch.Ack}
	b := c.newBooking(merchant, fmt.Sprintf("cards/batch/%s/%d", t.Merchant, t.Batch))
	for i, entry := range batch.Entries {
		var err error
		switch {
		case takesBack(entry):
			receipt.Cancellations++
			err = c.bookCancellation(ctx, tx, b, entry)
		case entry.IsVoid:
			receipt.Voids++
			err = c.bookVoid(ctx, tx, entry)
		default:
			p := payment{proof: entry.Proof, macz: entry.MACZ, balance: entry.Balance, source: sourceBatch, batch: t.Batch}
			receipt.Payments, receipt.Gross = receipt.Payments+1, receipt.Gross+p.amount()
			err = c.bookPayment(ctx, tx, b, p)
		}
		if err != nil {
			return BatchReceipt{}, nil, fmt.Errorf("batch %d of merchant %s, record %d: %w", t.Batch, t.Merchant, i+1, err)
		}
	}
	if err := b.post(ctx, tx); err != nil {
		return BatchReceipt{}, nil, err
	}
	receipt.Booked, receipt.Fee, receipt.Cancelled = b.gross, b.fees, b.takenBack
	return receipt, nil, c.keepBatch(ctx, tx, batch, receipt, digest)
}

func (c *Clearing) keepBatch(ctx context.Context, tx *ledger.Tx, batch purse.Batch, receipt BatchReceipt, digest []byte) error {
	t := batch.Total
	_, err := tx.ExecContext(ctx, `INSERT INTO cards_batches
		(mid, bno, first, last, payments, voids, gross, booked, fee, cancellations, cancelled, total, digest, ack, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.Merchant.String(), int64(t.Batch), int64(t.First), int64(t.Last), int64(receipt.Payments), int64(receipt.Voids),
		int64(receipt.Gross), int64(receipt.Booked), int64(receipt.Fee), int64(receipt.Cancellations), int64(receipt.Cancelled), t.Append(nil), digest, batch.Ack[:], tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	err = changeOne(ctx, tx, "position of merchant "+t.Merchant.String(), `UPDATE cards_merchants SET last_batch = ?, last_tno = ?
		WHERE mid = ? AND last_batch = ? AND last_tno = ?`,
		int64(t.Batch), int64(t.Last), t.Merchant.String(), int64(t.Batch)-1, int64(t.First)-1)
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "take-batch", "merchant:"+t.Merchant.String(),
		fmt.Sprintf("batch %d, %d payments of %s micros, %d voids, fee %s, %d cancellations of %s micros", t.Batch, receipt.Payments, receipt.Gross, receipt.Voids, receipt.Fee,
			receipt.Cancellations, receipt.Cancelled))
}

// bookPayment books a payment of a batch that was not booked before.
func (c *Clearing) bookPayment(ctx context.Context, tx *ledger.Tx, b *booking, p payment) error {
	row, found, err := loadPayment(ctx, tx, p.proof.Merchant, p.proof.TNo)
	if err != nil {
		return err
	}
	if !found {
		return b.add(ctx, tx, p)
	}
	b.see(p.proof.Card)
	b.last[p.proof.Card] = p
	if row.state == stateDisputed {
		if _, err := c.recordDecides(ctx, tx, row); err != nil {
			return err
		}
	} else if row.state == stateRefunded {
		if err := c.alarm(ctx, tx, Contradiction, p, "the SAM recorded the payment, and the holder was paid back on a claim"); err != nil {
			return err
		}
	}
	return changeOne(ctx, tx, "payment", `UPDATE cards_payments SET bno = ? WHERE mid = ? AND tno = ? AND bno = 0`,
		int64(p.batch), p.proof.Merchant.String(), int64(p.proof.TNo))
}

// bookVoid keeps a void, and decides what its transaction's holder claimed.
func (c *Clearing) bookVoid(ctx context.Context, tx *ledger.Tx, entry purse.Entry) error {
	v := entry.Void
	_, err := tx.ExecContext(ctx, `INSERT INTO cards_voids (mid, tno, bno, cid, sno, amount, made, proved, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.Merchant.String(), int64(v.TNo), int64(entry.Batch), v.Card.String(), int64(v.SNo), int64(v.Amount), int64(v.Time), int64(v.Proved), tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	row, found, err := loadPayment(ctx, tx, v.Merchant, v.TNo)
	if err != nil || !found {
		return err
	}
	return c.voidDecides(ctx, tx, row, v.Proved)
}

// keepRefusal keeps why a batch was not taken that its SAM signed. Anybody can
// send the rest.
func (c *Clearing) keepRefusal(ctx context.Context, tx *ledger.Tx, total purse.Total, refusal purse.Refusal) error {
	merchant, found, err := loadMerchant(ctx, tx, total.Merchant)
	if err != nil || !found {
		return err
	}
	key, err := c.config.Keys.MerchantKey(merchant.keyVersion, merchant.id)
	if err != nil || !total.IsSigned(key) {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO cards_refusals (mid, bno, reason, record, detail, times, first, last) VALUES (?, ?, ?, ?, ?, 1, ?, ?)
		ON CONFLICT (mid, bno, reason) DO UPDATE SET record = excluded.record, detail = excluded.detail,
		times = cards_refusals.times + 1, last = excluded.last`,
		total.Merchant.String(), int64(total.Batch), string(refusal.Reason), refusal.Record, refusal.Detail, tx.Now().UnixMicro(), tx.Now().UnixMicro())
	return err
}
