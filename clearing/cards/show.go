package cards

import (
	"context"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// maxShown is how many loads and payments of a card are shown, the newest.
const maxShown = 100

// Statement is what clearing knows of a card, in JSON.
type Statement struct {
	Card    string    `json:"card"`
	State   string    `json:"state"`   // active, lost, broken, closed or unknown
	Account string    `json:"account"` // of the broker; empty: a white card
	Expires time.Time `json:"expires"`
	// ShadowMicros is what is on it as far as is known: payments are late.
	ShadowMicros money.Amount `json:"shadowMicros"`
	// PendingMicros is what it may have taken besides.
	PendingMicros money.Amount `json:"pendingMicros"`
	// Loads and Payments are the newest 100 of each, by number.
	Loads    []LoadLine    `json:"loads"`
	Payments []PaymentLine `json:"payments"`
	// Cancellations are the newest 100 payments that the card took back, or may
	// have.
	Cancellations []CancellationLine `json:"cancellations"`
	// Scripts are the newest 100 of the issuer's.
	Scripts []ScriptLine `json:"scripts"`
}

// LoadLine is a load of a Statement.
type LoadLine struct {
	Number       uint32       `json:"number"`
	Load         string       `json:"load"`
	AmountMicros money.Amount `json:"amountMicros"`
	State        string       `json:"state"` // pending, posted or void
}

// PaymentLine is a payment of a Statement.
type PaymentLine struct {
	Number       uint32       `json:"number"`
	Merchant     string       `json:"merchant"`
	Transaction  uint32       `json:"transaction"`
	AmountMicros money.Amount `json:"amountMicros"`
	State        string       `json:"state"` // paid, disputed or refunded
	Made         time.Time    `json:"made"`
}

// Show returns what is known of a card. ErrUnknown means that there is none of
// that id.
func (c *Clearing) Show(ctx context.Context, card purse.ID) (s Statement, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		row, found, err := loadCard(ctx, tx, card)
		if err == nil && !found {
			err = fmt.Errorf("card %s: %w", card, ErrUnknown)
		}
		if err != nil {
			return err
		}
		s = Statement{Card: card.String(), State: row.state, Account: row.account, Expires: time.Unix(row.expires, 0).UTC(), Loads: []LoadLine{}, Payments: []PaymentLine{}}
		shadow, err := tx.Account(ctx, shadowAccount(card))
		if err != nil {
			return err
		}
		s.ShadowMicros = shadow.Balance
		if err := s.addLoads(ctx, tx); err != nil {
			return err
		}
		if err := s.addPayments(ctx, tx); err != nil {
			return err
		}
		if err := s.addCancellations(ctx, tx); err != nil {
			return err
		}
		return s.addScripts(ctx, tx)
	})
	return s, err
}

// CancellationLine is a payment of a Statement that was taken back.
type CancellationLine struct {
	Number       uint32       `json:"number"`
	Merchant     string       `json:"merchant"`
	Transaction  uint32       `json:"transaction"`
	CancelledTNo uint32       `json:"cancelledTransaction"` // that of the payment
	AmountMicros money.Amount `json:"amountMicros"`
	State        string       `json:"state"` // done, open (nobody knows yet) or denied
	Made         time.Time    `json:"made"`
}

func (s *Statement) addCancellations(ctx context.Context, tx *ledger.Tx) error {
	s.Cancellations = []CancellationLine{}
	return tx.Each(ctx, func(scan func(target ...any) error) error {
		var c CancellationLine
		var made int64
		err := scan(&c.Number, &c.Merchant, &c.Transaction, &c.CancelledTNo, (*int64)(&c.AmountMicros), &c.State, &made)
		c.Made = time.Unix(made, 0).UTC()
		s.Cancellations = append(s.Cancellations, c)
		return err
	}, `SELECT sno, mid, tno, paid_tno, amount, state, made FROM cards_cancellations WHERE cid = ? ORDER BY sno DESC, mid, tno LIMIT ?`, s.Card, maxShown)
}

func (s *Statement) addLoads(ctx context.Context, tx *ledger.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT lno, ref, amount, state FROM cards_loads WHERE cid = ? ORDER BY lno DESC, created DESC LIMIT ?`, s.Card, maxShown)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l LoadLine
		if err := rows.Scan(&l.Number, &l.Load, (*int64)(&l.AmountMicros), &l.State); err != nil {
			return err
		}
		if l.State == "pending" {
			s.PendingMicros += l.AmountMicros
		}
		s.Loads = append(s.Loads, l)
	}
	return rows.Err()
}

func (s *Statement) addPayments(ctx context.Context, tx *ledger.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT sno, mid, tno, amount, state, made FROM cards_payments WHERE cid = ? ORDER BY sno DESC, mid, tno LIMIT ?`, s.Card, maxShown)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p PaymentLine
		var made int64
		if err := rows.Scan(&p.Number, &p.Merchant, &p.Transaction, (*int64)(&p.AmountMicros), &p.State, &made); err != nil {
			return err
		}
		p.Made = time.Unix(made, 0).UTC()
		s.Payments = append(s.Payments, p)
	}
	return rows.Err()
}
