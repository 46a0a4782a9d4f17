package cards

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// The states of a script.
const (
	scriptWaiting = "waiting"
	scriptDone    = "done"
	scriptPassed  = "passed" // a later one was done: the card does this one no more
)

// Script is what the issuer wants of a card.
type Script struct {
	Card  purse.ID
	Count uint32 // CNT, 1 and up
	Kind  purse.ScriptKind
	// State is waiting, done, or passed: a later one was done.
	State string
	// Operator asked for it; empty: clearing by itself, about a reported card.
	Operator string
}

// ScriptOrder says what a script is to do.
type ScriptOrder struct {
	Kind purse.ScriptKind
	// MaxBalance and MaxPayment are the most on the card, and of one payment, of
	// SetLimits: in micros, whole units of the card.
	MaxBalance, MaxPayment money.Amount
	// PIN is the new one of SetPIN, 4 to 8 digits. It is kept encrypted alone.
	PIN string
}

// KindName returns what a kind of script is called.
func KindName(kind purse.ScriptKind) string {
	switch kind {
	case purse.BlockCard:
		return "block"
	case purse.UnblockCard:
		return "unblock"
	case purse.SetLimits:
		return "limits"
	case purse.SetPIN:
		return "pin"
	}
	return fmt.Sprintf("kind %d", kind)
}

// AddScript makes a script for a card, which the next terminal that has the card
// brings it. TooManyScripts means that as many wait as may, UnknownCard that
// nobody issued the card, WrongScript that the card cannot do it.
func (c *Clearing) AddScript(ctx context.Context, card purse.ID, order ScriptOrder, operator string) (script Script, refusal *purse.Refusal, err error) {
	if operator == "" {
		return Script{}, nil, errors.New("a script for a card: want the name of an operator")
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		script, refusal, err = c.addScript(ctx, tx, card, order, operator)
		return err
	})
	return script, refusal, err
}

func (c *Clearing) addScript(ctx context.Context, tx *ledger.Tx, id purse.ID, order ScriptOrder, operator string) (Script, *purse.Refusal, error) {
	card, found, err := loadCard(ctx, tx, id)
	if err != nil || !found || card.state == "unknown" {
		return Script{}, refuse(UnknownCard, "nobody issued card %s", id), err
	}
	var last, waiting int64
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(count), 0), CAST(COALESCE(SUM(CASE state WHEN 'waiting' THEN 1 ELSE 0 END), 0) AS BIGINT)
		FROM cards_scripts WHERE cid = ?`, id.String()).Scan(&last, &waiting)
	if err != nil {
		return Script{}, nil, err
	}
	if waiting >= purse.MaxScripts {
		return Script{}, refuse(TooManyScripts, "%d scripts wait for card %s: let a terminal bring them first", waiting, id), nil
	}
	key, err := c.config.Keys.LoadKey(card.keyVersion, id)
	if err != nil {
		return Script{}, nil, err
	}
	script := Script{Card: id, Count: uint32(last) + 1, Kind: order.Kind, State: scriptWaiting, Operator: operator}
	command, refusal := c.scriptCommand(purse.Scripts{Key: key, Card: id}, script.Count, card, order)
	if refusal != nil {
		return Script{}, refusal, nil
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO cards_scripts (cid, count, kind, command, state, answer, operator, created) VALUES (?, ?, ?, ?, 'waiting', ?, ?, ?)`,
		id.String(), int64(script.Count), int64(script.Kind), command, []byte{}, operator, tx.Now().UnixMicro())
	if err != nil {
		return Script{}, nil, err
	}
	return script, nil, c.config.Audit(ctx, tx, "card-script", "card:"+id.String(), fmt.Sprintf("%s, as script %d", KindName(script.Kind), script.Count))
}

// scriptCommand makes the command, if the card can do it.
func (c *Clearing) scriptCommand(scripts purse.Scripts, count uint32, card cardRow, order ScriptOrder) ([]byte, *purse.Refusal) {
	switch order.Kind {
	case purse.BlockCard:
		return scripts.Block(count), nil
	case purse.UnblockCard:
		return scripts.Unblock(count), nil
	case purse.SetLimits:
		unit := card.unit.Amount(1)
		if order.MaxBalance%unit != 0 || order.MaxPayment%unit != 0 || order.MaxBalance > c.config.MaxBalance || order.MaxPayment < 1 || order.MaxBalance < order.MaxPayment {
			return nil, refuse(WrongScript, "limits of %s on card %s and %s at once: want whole units of %s, at most %s on it, and at once at most what may be on it",
				order.MaxBalance.Decimal(), card.id, order.MaxPayment.Decimal(), unit.Decimal(), c.config.MaxBalance.Decimal())
		}
		// Both are at most MaxBalance, which may be more units than the card counts.
		balance, payment := order.MaxBalance/unit, order.MaxPayment/unit
		if balance > money.Amount(^uint32(0)) {
			return nil, refuse(WrongScript, "card %s cannot count to %s", card.id, order.MaxBalance.Decimal())
		}
		command, err := scripts.Limits(count, card.unit, uint32(balance), uint32(payment))
		if err != nil {
			return nil, refuse(WrongScript, "%v", err)
		}
		return command, nil
	case purse.SetPIN:
		if card.holder == (purse.ID{}) {
			return nil, refuse(WrongScript, "card %s is white: it has no PIN", card.id)
		}
		command, err := scripts.PIN(count, order.PIN)
		if err != nil {
			return nil, refuse(WrongScript, "%v", err)
		}
		return command, nil
	}
	return nil, refuse(WrongScript, "there is no script of kind %d", order.Kind)
}

// Scripts returns the commands that wait for a card, in their order, at most 16.
func (c *Clearing) Scripts(ctx context.Context, card purse.ID) (commands [][]byte, refusal *purse.Refusal, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		commands, refusal = nil, nil
		row, found, err := loadCard(ctx, tx, card)
		if err != nil || !found || row.state == "unknown" {
			refusal = refuse(UnknownCard, "nobody issued card %s", card)
			return err
		}
		return tx.Each(ctx, func(scan func(target ...any) error) error {
			var command []byte
			err := scan(&command)
			commands = append(commands, command)
			return err
		}, `SELECT command FROM cards_scripts WHERE cid = ? AND state = 'waiting' ORDER BY count LIMIT ?`, card.String(), purse.MaxScripts)
	})
	return commands, refusal, err
}

// ScriptDone takes a card's answer to a script, 20 bytes: the card did it, and
// those before it will not be done any more if they were not. The same again
// changes nothing. WrongLoadMAC means that the answer is not the card's, and
// UnknownScript that nobody made such a script.
func (c *Clearing) ScriptDone(ctx context.Context, card purse.ID, answer []byte) (script Script, refusal *purse.Refusal, err error) {
	if len(answer) != purse.ScriptAnswerLength {
		return Script{}, refuse(purse.Malformed, "%d bytes: want the %d of a card's answer to SCRIPT", len(answer), purse.ScriptAnswerLength), nil
	}
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		script, refusal, err = c.scriptDone(ctx, tx, card, answer)
		return err
	})
	return script, refusal, err
}

func (c *Clearing) scriptDone(ctx context.Context, tx *ledger.Tx, id purse.ID, answer []byte) (Script, *purse.Refusal, error) {
	count := binary.BigEndian.Uint32(answer)
	script := Script{Card: id, Count: count}
	var command []byte
	err := tx.QueryRowContext(ctx, `SELECT kind, command, state, operator FROM cards_scripts WHERE cid = ? AND count = ?`, id.String(), int64(count)).
		Scan(&script.Kind, &command, &script.State, &script.Operator)
	if errors.Is(err, sql.ErrNoRows) {
		return Script{}, refuse(UnknownScript, "there is no script %d for card %s", count, id), nil
	}
	if err != nil {
		return Script{}, nil, err
	}
	card, _, err := loadCard(ctx, tx, id)
	if err != nil {
		return Script{}, nil, err
	}
	key, err := c.config.Keys.LoadKey(card.keyVersion, id)
	if err != nil {
		return Script{}, nil, err
	}
	if !(purse.Scripts{Key: key, Card: id}).IsDone(script.Kind, count, answer) {
		return Script{}, refuse(WrongLoadMAC, "the answer to script %d is not that of card %s", count, id), nil
	}
	if script.State == scriptDone {
		return script, nil, nil
	}
	wasPassed := script.State == scriptPassed
	script.State = scriptDone
	if err := c.endScripts(ctx, tx, script, answer); err != nil {
		return Script{}, nil, err
	}
	if script.Kind == purse.SetLimits && !wasPassed {
		if err := c.limitCard(ctx, tx, card, command); err != nil {
			return Script{}, nil, err
		}
	}
	return script, nil, c.config.Audit(ctx, tx, "card-script-done", "card:"+id.String(), fmt.Sprintf("%s, script %d", KindName(script.Kind), count))
}

// endScripts marks a script as done, and those before it that were not as passed.
func (c *Clearing) endScripts(ctx context.Context, tx *ledger.Tx, script Script, answer []byte) error {
	now := tx.Now().UnixMicro()
	err := changeOne(ctx, tx, "script", `UPDATE cards_scripts SET state = 'done', answer = ?, ended = ? WHERE cid = ? AND count = ? AND state <> 'done'`,
		answer, now, script.Card.String(), int64(script.Count))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE cards_scripts SET state = 'passed', ended = ? WHERE cid = ? AND count < ? AND state = 'waiting'`,
		now, script.Card.String(), int64(script.Count))
	return err
}

// limitCard keeps what a card may hold from now on, as the command says that it
// has done: BALMAX are the first bytes of its data.
func (c *Clearing) limitCard(ctx context.Context, tx *ledger.Tx, card cardRow, command []byte) error {
	const header = 5
	if len(command) < header+4 {
		return fmt.Errorf("a script of card %s on record is cut short", card.id)
	}
	limit := card.unit.Amount(binary.BigEndian.Uint32(command[header:]))
	return changeOne(ctx, tx, "card "+card.id.String(), `UPDATE cards_cards SET max_balance = ? WHERE cid = ?`, int64(limit), card.id.String())
}

// reportScript has a card that was reported block itself at the next terminal,
// and one that was found again unblock itself: clearing's own script is then the
// last one. More than may wait are not made; the hot list is what counts.
func (c *Clearing) reportScript(ctx context.Context, tx *ledger.Tx, card purse.ID, isFound bool) error {
	order := ScriptOrder{Kind: purse.BlockCard}
	if isFound {
		order.Kind = purse.UnblockCard
		var kind purse.ScriptKind
		var operator string
		err := tx.QueryRowContext(ctx, `SELECT kind, operator FROM cards_scripts WHERE cid = ? ORDER BY count DESC LIMIT 1`, card.String()).Scan(&kind, &operator)
		if errors.Is(err, sql.ErrNoRows) || err == nil && (kind != purse.BlockCard || operator != "") {
			return nil
		}
		if err != nil {
			return err
		}
	}
	_, refusal, err := c.addScript(ctx, tx, card, order, "")
	if errors.Is(err, purse.ErrNoMaster) || err == nil && refusal != nil {
		return c.config.Audit(ctx, tx, "card-script", "card:"+card.String(), KindName(order.Kind)+" was not made: as many wait as may, or its key is not here")
	}
	return err
}

// ScriptLine is a script of a Statement.
type ScriptLine struct {
	Count    uint32     `json:"count"`
	Kind     string     `json:"kind"`               // block, unblock, limits or pin
	State    string     `json:"state"`              // waiting, done or passed
	Operator string     `json:"operator,omitempty"` // absent: clearing by itself
	Created  time.Time  `json:"created"`
	Ended    *time.Time `json:"ended,omitempty"`
}

func (s *Statement) addScripts(ctx context.Context, tx *ledger.Tx) error {
	s.Scripts = []ScriptLine{}
	return tx.Each(ctx, func(scan func(target ...any) error) error {
		var l ScriptLine
		var kind purse.ScriptKind
		var created, ended int64
		err := scan(&l.Count, &kind, &l.State, &l.Operator, &created, &ended)
		l.Kind, l.Created = KindName(kind), time.UnixMicro(created).UTC()
		if ended > 0 {
			at := time.UnixMicro(ended).UTC()
			l.Ended = &at
		}
		s.Scripts = append(s.Scripts, l)
		return err
	}, `SELECT count, kind, state, operator, created, ended FROM cards_scripts WHERE cid = ? ORDER BY count DESC LIMIT ?`, s.Card, maxShown)
}
