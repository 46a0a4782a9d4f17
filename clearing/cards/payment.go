package cards

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// How a payment came to clearing first.
const (
	sourceOnline = "online"
	sourceBatch  = "batch"
	sourceClaim  = "claim"
)

// The states of a payment.
const (
	statePaid     = "paid"     // the merchant has the money
	stateDisputed = "disputed" // nobody has it yet
	stateRefunded = "refunded" // the holder has it back
)

// payment is a proof that was checked, on its way into the books.
type payment struct {
	proof   purse.Proof
	macz    purse.MAC
	balance uint32 // on the card after it, in units
	source  string
	batch   uint32 // 0: none yet
	gateway string // that gets the money; "": the merchant
	// paidTNo and paidSNo are above 0 if it is a cancellation: of the payment of
	// these numbers.
	paidTNo, paidSNo uint32
}

func (p payment) amount() money.Amount { return p.proof.Unit.Amount(p.proof.Amount) }

// said is what the card said of it: a proof, or a cancellation.
func (p payment) said() []byte {
	if p.paidTNo > 0 {
		return purse.Cancellation{Proof: p.proof, PaidTNo: p.paidTNo, PaidSNo: p.paidSNo}.Append(nil)
	}
	return p.proof.Append(nil)
}

// evidence is what the card said, and MACZ.
func (p payment) evidence() []byte { return append(p.said(), p.macz[:]...) }

// paymentRow is a payment as clearing keeps it.
type paymentRow struct {
	merchant, card purse.ID
	tno            uint32
	amount, fee    money.Amount
	proof          []byte
	batch          uint32
	source, state  string
	gateway        string // that has the money
}

const paymentColumns = `SELECT mid, tno, cid, amount, fee, proof, bno, source, state, gateway FROM cards_payments `

func scanPayment(row interface{ Scan(...any) error }) (p paymentRow, err error) {
	var merchant, card string
	err = row.Scan(&merchant, &p.tno, &card, (*int64)(&p.amount), (*int64)(&p.fee), &p.proof, &p.batch, &p.source, &p.state, &p.gateway)
	if err != nil {
		return p, err
	}
	if p.merchant, err = purse.ParseID(merchant); err == nil {
		p.card, err = purse.ParseID(card)
	}
	return p, err
}

func loadPayment(ctx context.Context, tx *ledger.Tx, merchant purse.ID, tno uint32) (paymentRow, bool, error) {
	row, err := scanPayment(tx.QueryRowContext(ctx, paymentColumns+`WHERE mid = ? AND tno = ?`, merchant.String(), int64(tno)))
	if errors.Is(err, sql.ErrNoRows) {
		return paymentRow{}, false, nil
	}
	return row, err == nil, err
}

// Receipt says what was booked for a payment.
type Receipt struct {
	Merchant purse.ID
	TNo      uint32
	Amount   money.Amount // micros
	Fee      money.Amount // of that, taken from the merchant
	// Repeated says that it was booked before.
	Repeated bool
}

// PayOnline books one payment at once: its record of 90 bytes, and the MACM of
// the record before it in the SAM's batch. The batch brings it again later and
// books nothing then. The same again changes nothing.
func (c *Clearing) PayOnline(ctx context.Context, record []byte, previous purse.MAC) (receipt Receipt, refusal *purse.Refusal, err error) {
	read, err := purse.ParseRecord(record)
	if err != nil || read.IsVoid || read.IsCancellation() {
		return Receipt{}, refuse(purse.Malformed, "want the record of a payment, 90 bytes: %v", err), nil
	}
	// What no SAM made is refused before it waits where payments are booked.
	err = c.db.View(ctx, func(tx *ledger.Tx) (err error) {
		_, refusal, err = c.checkRecord(ctx, tx, read, previous)
		return err
	})
	if err != nil || refusal != nil {
		return Receipt{}, refusal, err
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		receipt, refusal, err = c.payOnline(ctx, tx, read, previous)
		return err
	})
	return receipt, refusal, err
}

// checkRecord refuses a payment's record that is not of a SAM of a merchant who
// is registered.
func (c *Clearing) checkRecord(ctx context.Context, tx *ledger.Tx, record purse.Record, previous purse.MAC) (merchantRow, *purse.Refusal, error) {
	proof := record.Proof
	merchant, found, err := loadMerchant(ctx, tx, proof.Merchant)
	if err != nil || !found {
		return merchant, refuse(purse.UnknownMerchant, "nobody registered merchant %s", proof.Merchant), err
	}
	key, err := c.config.Keys.MerchantKey(merchant.keyVersion, merchant.id)
	if err == nil && !record.IsChained(key, previous) {
		return merchant, refuse(purse.BrokenChain, "MACM of transaction %d does not follow the record before", proof.TNo), nil
	}
	return merchant, nil, err
}

func (c *Clearing) payOnline(ctx context.Context, tx *ledger.Tx, record purse.Record, previous purse.MAC) (Receipt, *purse.Refusal, error) {
	proof := record.Proof
	merchant, refusal, err := c.checkRecord(ctx, tx, record, previous)
	if err != nil || refusal != nil {
		return Receipt{}, refusal, err
	}
	balance, refusal := c.checkProof(proof, record.MACZ)
	if refusal != nil {
		return Receipt{}, refusal, nil
	}
	row, found, err := loadPayment(ctx, tx, proof.Merchant, proof.TNo)
	if err != nil {
		return Receipt{}, nil, err
	}
	if found {
		return c.paidBefore(ctx, tx, row, proof)
	}
	if proof.TNo <= merchant.position.TNo {
		return Receipt{}, refuse(purse.Contradicts, "transaction %d is in a batch that was taken, and not as a payment", proof.TNo), nil
	}
	p := payment{proof: proof, macz: record.MACZ, balance: balance, source: sourceOnline}
	b := c.newBooking(merchant, fmt.Sprintf("cards/payment/%s/%d", proof.Merchant, proof.TNo))
	if err := b.add(ctx, tx, p); err != nil {
		return Receipt{}, nil, err
	}
	if err := b.post(ctx, tx); err != nil {
		return Receipt{}, nil, err
	}
	return Receipt{Merchant: proof.Merchant, TNo: proof.TNo, Amount: p.amount(), Fee: b.fees}, nil, nil
}

// paidBefore answers to a payment that is on record.
func (c *Clearing) paidBefore(ctx context.Context, tx *ledger.Tx, row paymentRow, proof purse.Proof) (Receipt, *purse.Refusal, error) {
	if !bytes.Equal(row.proof, proof.Append(nil)) {
		return Receipt{}, refuse(purse.Differs, "transaction %d was another payment before", row.tno), nil
	}
	if row.state == stateDisputed {
		// The holder was first with the proof; the merchant's record decides it.
		if _, err := c.recordDecides(ctx, tx, row); err != nil {
			return Receipt{}, nil, err
		}
		row, _, err := loadPayment(ctx, tx, row.merchant, row.tno)
		return Receipt{Merchant: row.merchant, TNo: row.tno, Amount: row.amount, Fee: row.fee, Repeated: true}, nil, err
	}
	return Receipt{Merchant: row.merchant, TNo: row.tno, Amount: row.amount, Fee: row.fee, Repeated: true}, nil, nil
}

// checkProof returns the balance that a proof says, if MACZ is the card's and
// it can be booked.
func (c *Clearing) checkProof(proof purse.Proof, macz purse.MAC) (uint32, *purse.Refusal) {
	key, err := c.config.Keys.ProofKey(proof.KeyVersion, proof.Card)
	if err != nil {
		return 0, refuse(purse.NoKey, "key version %d of card %s is not known here", proof.KeyVersion, proof.Card)
	}
	if !proof.IsProved(key, macz) {
		return 0, refuse(purse.WrongProof, "MACZ of transaction %d is not that of card %s", proof.TNo, proof.Card)
	}
	if proof.Unit.Currency != c.number() {
		return 0, refuse(purse.OtherUnit, "transaction %d is in %s: want %s", proof.TNo, proof.Unit.Currency.Money().Code(), c.config.Currency.Code())
	}
	if amount := proof.Unit.Amount(proof.Amount); amount > money.MaxAmount {
		return 0, refuse(OverLimit, "%s micros in one payment: want at most %s", amount, money.MaxAmount)
	}
	return proof.Balance(key), nil
}

// booking gathers the payments of one merchant that are booked together, and
// their cancellations.
type booking struct {
	c         *Clearing
	merchant  merchantRow
	id        string // begins the ids of its transfers
	gross     money.Amount
	fees      money.Amount
	back      money.Amount // of cancellations, to cards
	held      money.Amount // of those of which nobody knows
	feesBack  money.Amount // of both
	takenBack money.Amount // by all cancellations, those that did not take place too
	// unforwarded is what cancellations take of payments that are booked with them,
	// and returned what gateways give back of others.
	unforwarded money.Amount
	returned    map[string]money.Amount
	debits      map[purse.ID]money.Amount // of shadows
	cards       []purse.ID                // in the order in which they came
	last        map[purse.ID]payment      // of each card
	added       []payment
}

func (c *Clearing) newBooking(merchant merchantRow, id string) *booking {
	return &booking{c: c, merchant: merchant, id: id, debits: make(map[purse.ID]money.Amount), last: make(map[purse.ID]payment), returned: make(map[string]money.Amount)}
}

// add keeps a payment, checks it against what is known of the card, and counts
// it in. Its sums cannot overflow: a batch is at most 2000 payments of 2^32
// units of a whole currency unit at most.
func (b *booking) add(ctx context.Context, tx *ledger.Tx, p payment) error {
	fee, rule, err := b.c.feeOn(b.merchant, p.amount())
	if err != nil {
		return err
	}
	p.gateway = b.merchant.gateway
	if err := b.c.keep(ctx, tx, p, fee, rule, statePaid); err != nil {
		return err
	}
	b.gross += p.amount()
	b.fees += fee
	b.see(p.proof.Card)
	b.debits[p.proof.Card] += p.amount()
	b.last[p.proof.Card], b.added = p, append(b.added, p)
	return nil
}

// isAdded reports whether a payment of the merchant is booked here.
func (b *booking) isAdded(tno uint32) bool {
	return slices.ContainsFunc(b.added, func(p payment) bool { return p.proof.TNo == tno })
}

// see keeps that a card is among them.
func (b *booking) see(card purse.ID) {
	if _, seen := b.debits[card]; !seen {
		b.cards = append(b.cards, card)
		b.debits[card] = 0
	}
}

// feeOn returns the fee on a payment, which is never more than the payment, and
// the version of its rule. What goes on to a gateway is put on accounts as a
// whole, and pays none.
func (c *Clearing) feeOn(merchant merchantRow, amount money.Amount) (money.Amount, string, error) {
	if merchant.gateway != "" {
		return 0, "", nil
	}
	fee, err := c.config.Fee.Fee(amount, c.config.Currency)
	return min(fee, amount), c.config.Fee.Version, err
}

// post moves the money of what was added, and then back what was cancelled.
func (b *booking) post(ctx context.Context, tx *ledger.Tx) error {
	payable := payableAccount(b.merchant.id)
	var transfers []ledger.Transfer
	move := func(suffix, kind, debit, credit string, amount money.Amount, reference string) {
		if amount > 0 {
			transfers = append(transfers, b.c.transfer(b.id+suffix, kind, debit, credit, amount, reference))
		}
	}
	move("", kindPayment, poolAccount, payable, b.gross, "")
	move("/fee", kindFee, payable, feesAccount, b.fees, b.c.config.Fee.Version)
	move("/cancelled/fee", kindCancel, feesAccount, payable, b.feesBack, b.c.config.Fee.Version)
	for _, gateway := range slices.Sorted(maps.Keys(b.returned)) {
		move("/returned/"+gateway, kindForward, gatewayAccount(gateway), payable, b.returned[gateway], "")
	}
	move("/cancelled", kindCancel, payable, poolAccount, b.back, "")
	move("/held", kindDispute, payable, disputesAccount, b.held, cancellation)
	if b.merchant.gateway != "" {
		move("/forward", kindForward, payable, gatewayAccount(b.merchant.gateway), b.gross-b.unforwarded, "")
	}
	for _, card := range b.cards {
		move("/"+card.String(), kindShadow, shadowAccount(card), memoAccount, b.debits[card], "")
		move("/"+card.String(), kindShadow, memoAccount, shadowAccount(card), -b.debits[card], "")
	}
	if len(transfers) > 0 {
		if err := postAll(ctx, tx, transfers); err != nil {
			return err
		}
	}
	// What waited for one of these payments has its money by now.
	for _, p := range b.added {
		if err := b.c.denyCancellation(ctx, tx, p); err != nil {
			return err
		}
	}
	for _, card := range b.cards {
		p, hasPaid := b.last[card]
		if !hasPaid {
			continue
		}
		if err := b.c.checkShadow(ctx, tx, p); err != nil {
			return err
		}
	}
	return nil
}

// postAll makes all transfers or fails.
func postAll(ctx context.Context, tx *ledger.Tx, transfers []ledger.Transfer) error {
	outcomes, err := tx.PostLists(ctx, [][]ledger.Transfer{transfers})
	if err == nil {
		err = outcomes[0].Refused
	}
	return err
}

// checkShadow raises the alarm of a card that spent more than was loaded, after
// a payment.
func (c *Clearing) checkShadow(ctx context.Context, tx *ledger.Tx, p payment) error {
	shadow, err := tx.Account(ctx, shadowAccount(p.proof.Card))
	if err != nil || shadow.Balance >= 0 {
		return err
	}
	back, err := mayBeBack(ctx, tx, p.proof.Card, p.proof.SNo, p.proof.LNo)
	if err != nil || shadow.Balance+back >= 0 {
		return err
	}
	return c.alarm(ctx, tx, Overspent, p, "%s micros more were spent than loaded", -shadow.Balance)
}

// mayBeBack returns how much a card may have taken back before its payment sno,
// after its load lno, without clearing knowing it yet: payments whose batch is
// still to come, if the next number of the card is not known to be a payment, and
// cancellations that nobody has decided. Those from before the load before lno are
// not counted, and of what went on to a gateway no more than is still there: a
// merchant who turns nothing in, and a card that takes back what it paid him, could
// else make money for ever and raise no alarm.
func mayBeBack(ctx context.Context, tx *ledger.Tx, card purse.ID, sno, lno uint32) (back money.Amount, err error) {
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_cancellations WHERE cid = ? AND state = 'open'`,
		card.String()).Scan((*int64)(&back))
	if err != nil {
		return 0, err
	}
	gateways := make(map[string]money.Amount)
	err = tx.Each(ctx, func(scan func(target ...any) error) error {
		var gateway string
		var amount int64
		err := scan(&gateway, &amount)
		gateways[gateway] = money.Amount(amount)
		return err
	}, `SELECT gateway, CAST(SUM(amount) AS BIGINT) FROM cards_payments p
		WHERE cid = ? AND sno < ? AND lno >= ? AND repeated = 0 AND bno = 0 AND state <> 'refunded'
			AND NOT EXISTS (SELECT 1 FROM cards_payments n WHERE n.cid = p.cid AND n.sno = p.sno + 1 AND n.repeated = 0)
		GROUP BY gateway`, card.String(), int64(sno), int64(lno)-1)
	if err != nil {
		return 0, err
	}
	for gateway, amount := range gateways {
		if gateway != "" {
			in, err := tx.Account(ctx, gatewayAccount(gateway))
			if err != nil {
				return 0, err
			}
			amount = min(amount, max(in.Balance-in.Pending, 0))
		}
		back += amount
	}
	return back, nil
}

// keep checks a payment against what is known of its card, and keeps it.
func (c *Clearing) keep(ctx context.Context, tx *ledger.Tx, p payment, fee money.Amount, rule, state string) error {
	repeated, err := c.checkPayment(ctx, tx, p)
	if err != nil {
		return err
	}
	q := p.proof
	_, err = tx.ExecContext(ctx, `INSERT INTO cards_payments
		(mid, tno, cid, sno, lno, amount, balance, fee, fee_rule, made, proof, macz, bno, source, repeated, state, gateway, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		q.Merchant.String(), int64(q.TNo), q.Card.String(), int64(q.SNo), int64(q.LNo), int64(p.amount()), int64(q.Unit.Amount(p.balance)),
		int64(fee), rule, int64(q.Time), q.Append(nil), p.macz[:], int64(p.batch), p.source, repeated, state, p.gateway, tx.Now().UnixMicro())
	return err
}

// checkPayment checks a payment or a cancellation against what is known of its
// card, and ends a load that it shows to have taken place. repeated is 1 if the
// card used the number before.
func (c *Clearing) checkPayment(ctx context.Context, tx *ledger.Tx, p payment) (repeated int, err error) {
	card, found, err := loadCard(ctx, tx, p.proof.Card)
	if err != nil {
		return 0, err
	}
	if !found {
		card = cardRow{id: p.proof.Card, state: "unknown"}
		_, err := c.insertCard(ctx, tx, Card{ID: p.proof.Card, KeyVersion: p.proof.KeyVersion, Holder: p.proof.Holder,
			Exponent: p.proof.Unit.Exponent, Expires: time.Unix(0, 0)}, "unknown")
		if err != nil {
			return 0, err
		}
	}
	if err := c.checkAgreed(ctx, tx, card, p); err != nil {
		return 0, err
	}
	if err := c.settleBefore(ctx, tx, p); err != nil {
		return 0, err
	}
	isRepeated, err := c.isRepeated(ctx, tx, p)
	switch {
	case err != nil:
		return 0, err
	case isRepeated:
		return 1, nil
	case card.state == "unknown":
		return 0, nil
	}
	return 0, c.checkSequence(ctx, tx, p)
}

// settleBefore ends the card's pending load if the payment shows that it took
// place.
func (c *Clearing) settleBefore(ctx context.Context, tx *ledger.Tx, p payment) error {
	open, found, err := openLoad(ctx, tx, p.proof.Card)
	if err != nil || !found || open.lno > p.proof.LNo {
		return err
	}
	return c.post(ctx, tx, open, byPayment)
}
