package cards

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// What ended a load.
const (
	byReceipt = "receipt" // MACL3
	byStatus  = "status"  // MACL4
	byPayment = "payment" // a proof with its LNo, or a later one
	byLoad    = "load"    // the card began a later one
	byClosing = "closed"  // the card was closed, and its holder paid back
)

// Authorisation lets one card, in one session, take the value of a load.
type Authorisation struct {
	// Reference names the load.
	Reference purse.ID
	// Credit is the data of CREDIT, 32 bytes.
	Credit []byte
}

// AuthoriseLoad takes a request (the data of INIT LOAD) and the card's answer to
// it, and sets the amount aside in the account of the card, or in cash for a
// white one: the pool gets it once the card has said that it took the value.
// The same request and answer again return the same authorisation. Refusals:
// those of Malformed, OtherUnit and of this package.
func (c *Clearing) AuthoriseLoad(ctx context.Context, request, answer []byte) (a Authorisation, refusal *purse.Refusal, err error) {
	return c.authoriseLoad(ctx, request, answer, officeTill)
}

// AuthoriseLoadAt is AuthoriseLoad at a gateway of the broker, which takes the
// cash for a white card. Unsigned refuses it where gateway is ""; OverLimit, where
// that is more than the gateway may book in a day.
func (c *Clearing) AuthoriseLoadAt(ctx context.Context, gateway string, request, answer []byte) (a Authorisation, refusal *purse.Refusal, err error) {
	return c.authoriseLoad(ctx, request, answer, till{gateway, false})
}

// till is where cash for a white card is taken: at the broker's own office, or at
// a gateway of that name.
type till struct {
	gateway  string
	isOffice bool
}

var officeTill = till{isOffice: true}

func (c *Clearing) authoriseLoad(ctx context.Context, request, answer []byte, at till) (a Authorisation, refusal *purse.Refusal, err error) {
	load, err := purse.ParseLoad(request, answer)
	if err != nil {
		return Authorisation{}, refuse(purse.Malformed, "%v", err), nil
	}
	var reference purse.ID
	rand.Read(reference[:])
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		a, refusal, err = c.authorise(ctx, tx, load, reference, at)
		return err
	})
	return a, refusal, err
}

func (c *Clearing) authorise(ctx context.Context, tx *ledger.Tx, load purse.Load, reference purse.ID, at till) (Authorisation, *purse.Refusal, error) {
	card, key, refusal, err := c.loadingCard(ctx, tx, load)
	if err != nil || refusal != nil {
		return Authorisation{}, refusal, err
	}
	asked := load.Answer.Append(load.Request.Append(nil))
	open, found, err := openLoad(ctx, tx, card.id)
	if err != nil {
		return Authorisation{}, nil, err
	}
	if found && bytes.Equal(open.request, asked) {
		return Authorisation{open.reference, open.credit}, nil, nil
	}
	// The card counts a load when it takes it, so that the next number shows
	// what came of the one before.
	if found && open.lno < load.Answer.LNo {
		if err := c.post(ctx, tx, open, byLoad); err != nil {
			return Authorisation{}, nil, err
		}
	} else if found {
		// Whoever has the card can settle it: MACL4 decides, and not who asks.
		refusal := refuse(LoadOpen, "load %s is not settled: ask the card for its LOAD STATUS", open.reference)
		refusal.Load = open.reference.String()
		return Authorisation{}, refusal, nil
	}
	// Asked again after its end, by whoever did not get the answer.
	var ended string
	err = tx.QueryRowContext(ctx, `SELECT ref FROM cards_loads WHERE cid = ? AND lno = ? AND request = ?`, card.id.String(), int64(load.Answer.LNo), asked).Scan(&ended)
	if err == nil {
		return Authorisation{}, refuse(LoadEnded, "load %s is settled", ended), nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return Authorisation{}, nil, err
	}
	if refusal, err := c.checkLoad(ctx, tx, card, load, asked); err != nil || refusal != nil {
		return Authorisation{}, refusal, err
	}
	account := card.holderAccount()
	if card.account == "" && !at.isOffice {
		account = tillAccount(at.gateway)
		if refusal, err := c.checkTill(ctx, tx, at.gateway, card.unit.Amount(load.Request.Amount)); err != nil || refusal != nil {
			return Authorisation{}, refusal, err
		}
	}
	row := loadRow{reference: reference, card: card.id, lno: load.Answer.LNo, amount: card.unit.Amount(load.Request.Amount),
		request: asked, credit: load.Credit(key, reference)}
	return c.begin(ctx, tx, row, account)
}

// loadingCard returns the card of a load and its key, if both are sound.
func (c *Clearing) loadingCard(ctx context.Context, tx *ledger.Tx, load purse.Load) (cardRow, *purse.Key, *purse.Refusal, error) {
	card, found, err := loadCard(ctx, tx, load.Answer.Card)
	if err != nil {
		return card, nil, nil, err
	}
	if !found || card.state == "unknown" {
		return card, nil, refuse(UnknownCard, "nobody issued card %s", load.Answer.Card), nil
	}
	key, err := c.config.Keys.LoadKey(card.keyVersion, card.id)
	if err != nil {
		return card, nil, nil, err
	}
	switch {
	case !load.IsSigned(key):
		return card, nil, refuse(WrongLoadMAC, "MACL1 is not that of card %s", card.id), nil
	case load.Answer.KeyVersion != card.keyVersion || load.Answer.Holder != card.holder:
		return card, nil, refuse(WrongHolder, "card %s says another ANo or key version than it was issued with", card.id), nil
	case load.Request.Unit != card.unit:
		return card, nil, refuse(purse.OtherUnit, "card %s counts in %s, exponent %d", card.id, card.unit.Currency.Money().Code(), card.unit.Exponent), nil
	}
	return card, key, nil, nil
}

// checkLoad refuses what the card may not hold, or its account not pay.
func (c *Clearing) checkLoad(ctx context.Context, tx *ledger.Tx, card cardRow, load purse.Load, asked []byte) (*purse.Refusal, error) {
	if card.state != "active" || tx.Now().Unix() >= card.expires {
		return refuse(CardState, "card %s is %s, or has expired: want one that is active", card.id, card.state), nil
	}
	last, err := lastLoad(ctx, tx, card.id)
	if err != nil {
		return nil, err
	}
	if uint64(load.Answer.LNo) != uint64(last)+1 {
		detail := fmt.Sprintf("load %d of card %s: want %d", load.Answer.LNo, card.id, uint64(last)+1)
		return refuse(LoadNumber, "%s", detail), c.raise(ctx, tx, Alarm{Kind: LoadNumberBack, Card: card.id, Number: load.Answer.LNo, Detail: detail, Evidence: asked})
	}
	balance, amount := card.unit.Amount(load.Answer.Balance), card.unit.Amount(load.Request.Amount)
	shadow, err := tx.Account(ctx, shadowAccount(card.id))
	if err != nil {
		return nil, err
	}
	back, err := mayBeBack(ctx, tx, card.id, math.MaxUint32, last)
	if err != nil {
		return nil, err
	}
	if most := shadow.Balance + back; balance > most {
		detail := fmt.Sprintf("card %s says that it has %s micros before load %d: at most %s can be on it", card.id, balance, load.Answer.LNo, most)
		return refuse(WrongBalance, "%s", detail), c.raise(ctx, tx, Alarm{Kind: ImpossibleSum, Card: card.id, Number: load.Answer.LNo, Detail: detail, Evidence: asked})
	}
	if balance+amount > card.maxBalance { // both are below 2^53
		return refuse(OverLimit, "card %s has %s on it and may have %s", card.id, balance.Decimal(), card.maxBalance.Decimal()), nil
	}
	if card.account == "" {
		return nil, nil
	}
	return c.requireOpen(ctx, tx, card.account)
}

// lastLoad returns the number of the card's last load that took place.
func lastLoad(ctx context.Context, tx *ledger.Tx, card purse.ID) (uint32, error) {
	var last uint32
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(lno), 0) FROM cards_loads WHERE cid = ? AND state = 'posted'`, card.String()).Scan(&last)
	return last, err
}

// begin sets the amount aside in an account and keeps the load.
func (c *Clearing) begin(ctx context.Context, tx *ledger.Tx, l loadRow, account string) (Authorisation, *purse.Refusal, error) {
	err := tx.Pend(ctx, c.transfer(loadTransfer(l.reference), kindLoad, account, poolAccount, l.amount,
		fmt.Sprintf("card %s load %d", l.card, l.lno)))
	if errors.Is(err, ledger.ErrInsufficient) {
		return Authorisation{}, refuse(Insufficient, "the account of card %s has less than %s %s", l.card, l.amount.Decimal(), c.config.Currency.Code()), nil
	}
	if err != nil {
		return Authorisation{}, nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO cards_loads (ref, cid, lno, amount, account, state, request, credit, challenge, created)
		VALUES (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?)`, l.reference.String(), l.card.String(), int64(l.lno), int64(l.amount),
		account, l.request, l.credit, []byte{}, tx.Now().UnixMicro())
	if err != nil {
		return Authorisation{}, nil, err
	}
	return Authorisation{l.reference, l.credit}, nil, c.config.Audit(ctx, tx, "authorise-load", "card:"+l.card.String(),
		fmt.Sprintf("load %d of %s micros, %s, from %s", l.lno, l.amount, l.reference, account))
}

func loadTransfer(reference purse.ID) string { return "cards/load/" + reference.String() }

// loadRow is a load as clearing keeps it.
type loadRow struct {
	reference purse.ID
	card      purse.ID
	lno       uint32
	amount    money.Amount
	state     string
	request   []byte // request and answer
	credit    []byte
	challenge []byte
	created   time.Time
}

const loadColumns = `SELECT ref, cid, lno, amount, state, request, credit, challenge, created FROM cards_loads `

func scanLoad(row interface{ Scan(...any) error }) (l loadRow, err error) {
	var reference, card string
	var created int64
	err = row.Scan(&reference, &card, &l.lno, (*int64)(&l.amount), &l.state, &l.request, &l.credit, &l.challenge, &created)
	if err != nil {
		return l, err
	}
	l.created = time.UnixMicro(created).UTC()
	if l.reference, err = purse.ParseID(reference); err == nil {
		l.card, err = purse.ParseID(card)
	}
	return l, err
}

// openLoad returns the load of a card that is pending; there is one at most.
func openLoad(ctx context.Context, tx *ledger.Tx, card purse.ID) (loadRow, bool, error) {
	load, err := scanLoad(tx.QueryRowContext(ctx, loadColumns+`WHERE cid = ? AND state = 'pending'`, card.String()))
	if errors.Is(err, sql.ErrNoRows) {
		return loadRow{}, false, nil
	}
	return load, err == nil, err
}

// post ends a load that took place: the pool has the money, the shadow the value.
func (c *Clearing) post(ctx context.Context, tx *ledger.Tx, l loadRow, evidence string) error {
	id, reference := loadTransfer(l.reference), fmt.Sprintf("card %s load %d by %s", l.card, l.lno, evidence)
	if err := tx.PostPending(ctx, ledger.Ending{ID: id + "/posted", PendingID: id, Amount: l.amount, Reference: reference}); err != nil {
		return err
	}
	if err := tx.Post(ctx, c.transfer(id+"/shadow", kindShadow, memoAccount, shadowAccount(l.card), l.amount, reference)); err != nil {
		return err
	}
	return c.endLoad(ctx, tx, l, "posted", evidence)
}

// void ends a load that did not take place.
func (c *Clearing) void(ctx context.Context, tx *ledger.Tx, l loadRow, evidence string) error {
	id := loadTransfer(l.reference)
	reference := fmt.Sprintf("card %s load %d by %s", l.card, l.lno, evidence)
	if err := tx.VoidPending(ctx, ledger.Ending{ID: id + "/void", PendingID: id, Reference: reference}); err != nil {
		return err
	}
	return c.endLoad(ctx, tx, l, "void", evidence)
}

func (c *Clearing) endLoad(ctx context.Context, tx *ledger.Tx, l loadRow, state, evidence string) error {
	err := changeOne(ctx, tx, "pending load "+l.reference.String(), `UPDATE cards_loads SET state = ?, evidence = ?, ended = ?
		WHERE ref = ? AND state = 'pending'`, state, evidence, tx.Now().UnixMicro(), l.reference.String())
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "load-"+state, "card:"+l.card.String(), fmt.Sprintf("load %d of %s micros, %s, by %s", l.lno, l.amount, l.reference, evidence))
}

// settle returns the load of a reference with what its card asked for, and the
// card's key.
func (c *Clearing) settle(ctx context.Context, tx *ledger.Tx, reference purse.ID) (loadRow, purse.Load, *purse.Key, *purse.Refusal, error) {
	row, err := scanLoad(tx.QueryRowContext(ctx, loadColumns+`WHERE ref = ?`, reference.String()))
	if errors.Is(err, sql.ErrNoRows) {
		return row, purse.Load{}, nil, refuse(UnknownLoad, "nobody authorised load %s", reference), nil
	}
	if err != nil {
		return row, purse.Load{}, nil, nil, err
	}
	load, err := purse.ParseLoad(row.request[:purse.LoadRequestLength], row.request[purse.LoadRequestLength:])
	if err != nil {
		return row, purse.Load{}, nil, nil, err
	}
	key, err := c.config.Keys.LoadKey(load.Answer.KeyVersion, load.Answer.Card)
	return row, load, key, nil, err
}

// ConfirmLoad takes the card's answer to CREDIT: the load took place. The same
// again changes nothing.
func (c *Clearing) ConfirmLoad(ctx context.Context, reference purse.ID, answer []byte) (refusal *purse.Refusal, err error) {
	receipt, err := purse.ParseReceipt(answer)
	if err != nil {
		return refuse(purse.Malformed, "%v", err), nil
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		var row loadRow
		var load purse.Load
		var key *purse.Key
		if row, load, key, refusal, err = c.settle(ctx, tx, reference); err != nil || refusal != nil {
			return err
		}
		if !load.IsReceipt(key, reference, receipt) {
			refusal = refuse(WrongLoadMAC, "MACL3 is not that of card %s for load %s", row.card, reference)
			return nil
		}
		refusal, err = c.took(ctx, tx, row, byReceipt, answer)
		return err
	})
	return refusal, err
}

// took ends a load that the card proved to have taken.
func (c *Clearing) took(ctx context.Context, tx *ledger.Tx, row loadRow, evidence string, proof []byte) (*purse.Refusal, error) {
	switch row.state {
	case "posted":
		return nil, nil
	case "pending":
		return nil, c.post(ctx, tx, row, evidence)
	}
	detail := fmt.Sprintf("card %s took load %s, of which it was said that it did not", row.card, row.reference)
	return refuse(LoadEnded, "%s", detail), c.raise(ctx, tx, Alarm{Kind: Contradiction, Card: row.card, Number: row.lno, Detail: detail, Evidence: proof})
}

// ChallengeLoad returns the 16 bytes with which LOAD STATUS is to be asked about
// a load whose receipt did not come. They are good for one answer; those that
// were given out before are good no more. LoadEnded means that nobody has to ask
// any more, and UnknownLoad that nobody authorised it.
func (c *Clearing) ChallengeLoad(ctx context.Context, reference purse.ID) (challenge purse.Random, refusal *purse.Refusal, err error) {
	rand.Read(challenge[:])
	err = c.db.Update(ctx, func(tx *ledger.Tx) error {
		refusal = nil
		isSet, err := tx.ExecOne(ctx, `UPDATE cards_loads SET challenge = ? WHERE ref = ? AND state = 'pending'`, challenge[:], reference.String())
		if err != nil || isSet {
			return err
		}
		row, err := scanLoad(tx.QueryRowContext(ctx, loadColumns+`WHERE ref = ?`, reference.String()))
		if errors.Is(err, sql.ErrNoRows) {
			refusal = refuse(UnknownLoad, "nobody authorised load %s", reference)
			return nil
		}
		refusal = refuse(LoadEnded, "load %s is settled: it is %s", reference, row.state)
		return err
	})
	return challenge, refusal, err
}

// ResolveLoad takes the card's answer to LOAD STATUS, asked with the challenge
// of ChallengeLoad: the load took place, or it never will. The same again
// changes nothing.
func (c *Clearing) ResolveLoad(ctx context.Context, reference purse.ID, answer []byte) (taken bool, refusal *purse.Refusal, err error) {
	status, err := purse.ParseStatus(answer)
	if err != nil {
		return false, refuse(purse.Malformed, "%v", err), nil
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		taken = false
		var row loadRow
		var key *purse.Key
		if row, _, key, refusal, err = c.settle(ctx, tx, reference); err != nil || refusal != nil {
			return err
		}
		if len(row.challenge) != len(purse.Random{}) || status.Card != row.card || !status.IsSigned(key, purse.Random(row.challenge)) {
			refusal = refuse(WrongLoadMAC, "MACL4 is not that of card %s, in answer to the last challenge", row.card)
			return nil
		}
		taken, refusal, err = c.resolve(ctx, tx, row, status, answer)
		return err
	})
	return taken && refusal == nil && err == nil, refusal, err
}

func (c *Clearing) resolve(ctx context.Context, tx *ledger.Tx, row loadRow, status purse.Status, answer []byte) (taken bool, refusal *purse.Refusal, err error) {
	switch {
	case status.LNo == row.lno && status.Reference == row.reference:
		refusal, err = c.took(ctx, tx, row, byStatus, answer)
		return true, refusal, err
	case uint64(status.LNo)+1 == uint64(row.lno):
		if row.state == "void" {
			return false, nil, nil
		}
		if row.state == "pending" {
			return false, nil, c.void(ctx, tx, row, byStatus)
		}
	}
	detail := fmt.Sprintf("card %s says that its last load was %d, %s; load %s is %s and has number %d", row.card, status.LNo, status.Reference, row.reference, row.state, row.lno)
	return false, refuse(LoadEnded, "%s", detail), c.raise(ctx, tx, Alarm{Kind: Contradiction, Card: row.card, Number: status.LNo, Detail: detail, Evidence: answer})
}

// OpenLoad is a load of which it is not known whether the card took it.
type OpenLoad struct {
	Reference purse.ID
	Card      purse.ID
	LNo       uint32
	Amount    money.Amount
	Created   time.Time
}

// OpenLoads returns the loads that are pending, the oldest first, at most limit
// of them (1 to ledger.MaxPage).
func (c *Clearing) OpenLoads(ctx context.Context, limit int) (open []OpenLoad, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d loads", limit, ledger.MaxPage)
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		open = nil
		rows, err := tx.QueryContext(ctx, loadColumns+`WHERE state = 'pending' ORDER BY created, ref LIMIT ?`, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			l, err := scanLoad(rows)
			if err != nil {
				return err
			}
			open = append(open, OpenLoad{l.reference, l.card, l.lno, l.amount, l.created})
		}
		return rows.Err()
	})
	return open, err
}
