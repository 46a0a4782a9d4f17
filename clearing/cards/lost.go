package cards

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// checkNote says what is wrong with what somebody wrote down.
func checkNote(note string) error {
	if len(note) < 1 || len(note) > maxNoteBytes {
		return fmt.Errorf("note %.40q: want 1 to %d bytes", note, maxNoteBytes)
	}
	for _, c := range note {
		if c < ' ' || c == 0x7f || c == 0xFFFD {
			return fmt.Errorf("note %.40q: want text without control characters", note)
		}
	}
	return nil
}

// ErrCardState means that a card is not in the state that the call needs.
var ErrCardState = errors.New("the card is not in a state for it")

// ReportCard says that a card is lost, or broken. It is on the hot list from now
// on, and the next terminal that it is put into has it block itself. What is left
// of it is paid back when the days for claims are over:
// until then payments arrive that were made before. A white card needs a
// reference of 1 to 200 bytes: to whom cash is paid. For a card with an account
// it may be empty, and is used only if the account is closed by then; then it can
// be said later, by the same report again.
func (c *Clearing) ReportCard(ctx context.Context, card purse.ID, isBroken bool, reference string) error {
	state := "lost"
	if isBroken {
		state = "broken"
	}
	if reference != "" {
		if err := checkNote(reference); err != nil {
			return err
		}
	}
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		row, found, err := loadCard(ctx, tx, card)
		switch {
		case err != nil:
			return err
		case !found:
			return fmt.Errorf("card %s: %w", card, ErrUnknown)
		case row.state == state && reference != "" && row.refundRef == "":
			return c.nameRefund(ctx, tx, card, reference)
		case row.state != "active":
			return fmt.Errorf("card %s is %s, want active: %w", card, row.state, ErrCardState)
		case row.account == "" && reference == "":
			return fmt.Errorf("card %s is white: say to whom the rest is paid", card)
		}
		now := tx.Now().Unix()
		err = changeOne(ctx, tx, "card "+card.String(), `UPDATE cards_cards SET state = ?, reported = ?, claim_until = ?, listed = ?, refund_ref = ?
			WHERE cid = ? AND state = 'active'`, state, now, c.claimEnd(tx), now, reference, card.String())
		if err != nil {
			return err
		}
		if err := c.reportScript(ctx, tx, card, false); err != nil {
			return err
		}
		return c.config.Audit(ctx, tx, "report-card", "card:"+card.String(), state+" "+reference)
	})
}

// nameRefund says later to whom the rest of a card is paid, if nobody has said so.
func (c *Clearing) nameRefund(ctx context.Context, tx *ledger.Tx, card purse.ID, reference string) error {
	err := changeOne(ctx, tx, "card "+card.String(), `UPDATE cards_cards SET refund_ref = ? WHERE cid = ? AND state IN ('lost', 'broken') AND refund_ref = ''`,
		reference, card.String())
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "report-card", "card:"+card.String(), "paid back to "+reference)
}

// FoundCard takes a report back: the card is there again, and is unblocked by the
// next terminal if the report had it blocked. After the rest was
// paid back it is ErrCardState.
func (c *Clearing) FoundCard(ctx context.Context, card purse.ID) error {
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		isFound, err := tx.ExecOne(ctx, `UPDATE cards_cards SET state = 'active', reported = 0, claim_until = 0, listed = 0, refund_ref = ''
			WHERE cid = ? AND state IN ('lost', 'broken')`, card.String())
		if err != nil {
			return err
		}
		if !isFound {
			return fmt.Errorf("card %s is not reported as lost or broken: %w", card, ErrCardState)
		}
		if err := c.reportScript(ctx, tx, card, true); err != nil {
			return err
		}
		return c.config.Audit(ctx, tx, "found-card", "card:"+card.String(), "")
	})
}

// Refund is what was paid back of a card.
type Refund struct {
	Card   purse.ID
	Amount money.Amount // micros, 0: nothing was left
	// To is the broker's account, or, of cash, the reference.
	To string
}

// PayBackDue closes the cards whose days for claims are over and pays back what
// is left, each in a transaction of its own, at most limit of them (1 to
// ledger.MaxPage). waiting are those whose account is closed and that have no
// reference: report them with one. A card of which nobody knows whether it took a
// payment back is left as it is until somebody has decided that.
func (c *Clearing) PayBackDue(ctx context.Context, limit int) (refunds []Refund, waiting []purse.ID, err error) {
	due, err := c.dueCards(ctx, limit)
	if err != nil {
		return nil, nil, err
	}
	for _, card := range due {
		var refund Refund
		var isDone bool
		err := c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
			refund, isDone, err = c.payBack(ctx, tx, card)
			return err
		})
		if err != nil {
			return refunds, waiting, fmt.Errorf("paying back card %s: %w", card, err)
		}
		if isDone {
			refunds = append(refunds, refund)
		} else {
			waiting = append(waiting, card)
		}
	}
	return refunds, waiting, nil
}

func (c *Clearing) dueCards(ctx context.Context, limit int) (due []purse.ID, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d cards", limit, ledger.MaxPage)
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) (err error) {
		due, err = listCards(ctx, tx, `SELECT cid FROM cards_cards WHERE state IN ('lost', 'broken') AND claim_until <= ?
			AND NOT EXISTS (SELECT 1 FROM cards_cancellations k WHERE k.cid = cards_cards.cid AND k.state = 'open')
			ORDER BY claim_until, cid LIMIT ?`, tx.Now().Unix(), limit)
		return err
	})
	return due, err
}

// listCards reads a column of ids.
func listCards(ctx context.Context, tx *ledger.Tx, query string, args ...any) (cards []purse.ID, err error) {
	err = tx.Each(ctx, func(scan func(target ...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		card, err := purse.ParseID(text)
		cards = append(cards, card)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return cards, nil
}

// payBack closes one card. isDone is false if there is nobody to pay to.
func (c *Clearing) payBack(ctx context.Context, tx *ledger.Tx, card purse.ID) (refund Refund, isDone bool, err error) {
	row, found, err := loadCard(ctx, tx, card)
	if err != nil || !found {
		return Refund{}, false, err
	}
	if (row.state != "lost" && row.state != "broken") || tx.Now().Unix() < row.claimUntil {
		return Refund{Card: card}, true, nil // somebody was faster, or it was found
	}
	if _, isOpen, err := loadCancellation(ctx, tx, `WHERE cid = ? AND state = 'open' LIMIT 1`, card.String()); err != nil || isOpen {
		return Refund{Card: card}, true, err
	}
	account, to, err := refundTo(ctx, tx, row)
	if err != nil || account == "" {
		return Refund{}, false, err
	}
	// Whether the card took a load that is still open will not be known any
	// more. Either way its holder has the money now.
	if open, found, err := openLoad(ctx, tx, card); err != nil {
		return Refund{}, false, err
	} else if found {
		if err := c.void(ctx, tx, open, byClosing); err != nil {
			return Refund{}, false, err
		}
	}
	amount, err := c.emptyShadow(ctx, tx, card, account)
	if err != nil {
		return Refund{}, false, err
	}
	err = changeOne(ctx, tx, "card "+card.String(), `UPDATE cards_cards SET state = 'closed', refunded = ?, refund_ref = ? WHERE cid = ?`,
		int64(amount), to, card.String())
	if err != nil {
		return Refund{}, false, err
	}
	return Refund{card, amount, to}, true, c.config.Audit(ctx, tx, "pay-back-card", "card:"+card.String(), fmt.Sprintf("%s micros to %s", amount, to))
}

// refundTo returns the account of the ledger that is paid back to, and who that
// is for people; "" if there is none.
func refundTo(ctx context.Context, tx *ledger.Tx, card cardRow) (account, to string, err error) {
	if card.account != "" {
		state, err := accountState(ctx, tx, card.account)
		if err != nil || state != "closed" && state != "not there" {
			return card.holderAccount(), card.account, err
		}
	}
	if card.refundRef == "" {
		return "", "", nil
	}
	return cashAccount, card.refundRef, nil
}

// emptyShadow pays what is left on a shadow to an account.
func (c *Clearing) emptyShadow(ctx context.Context, tx *ledger.Tx, card purse.ID, account string) (money.Amount, error) {
	shadow, err := tx.Account(ctx, shadowAccount(card))
	if err != nil || shadow.Balance <= 0 {
		return 0, err
	}
	id := "cards/refund/" + card.String()
	return shadow.Balance, postAll(ctx, tx, []ledger.Transfer{
		c.transfer(id, kindRefund, poolAccount, account, shadow.Balance, "card "+card.String()),
		c.transfer(id+"/shadow", kindShadow, shadow.ID, memoAccount, shadow.Balance, "card "+card.String()),
	})
}

// HotList returns the cards that are not to be taken, sorted, from the first one
// after the card given (zero for the first page), at most limit of them (1 to
// ledger.MaxPage).
func (c *Clearing) HotList(ctx context.Context, after purse.ID, limit int) (cards []purse.ID, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d cards", limit, ledger.MaxPage)
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) (err error) {
		cards, err = listCards(ctx, tx, `SELECT cid FROM cards_cards WHERE listed > 0 AND cid > ? ORDER BY cid LIMIT ?`, after.String(), limit)
		return err
	})
	return cards, err
}
