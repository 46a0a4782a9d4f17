package cards

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
)

// AlarmKind says what cannot be if cards and keys are sound.
type AlarmKind string

// The closed list of alarms.
const (
	Overspent      AlarmKind = "overspent"      // more was spent than was loaded: the shadow is below 0
	ImpossibleSum  AlarmKind = "balance"        // the balance does not come of the loads and payments before
	PaymentNumber  AlarmKind = "payment-number" // the SNo stands for another payment
	LoadNumberBack AlarmKind = "load-number"    // LNo goes back, or names a load that nobody authorised
	PaidListed     AlarmKind = "listed"         // a payment after the card was on the hot list
	PaidExpired    AlarmKind = "expired"        // a payment more than half a year after the card expired
	ForeignUnit    AlarmKind = "unit"           // another unit than the card was issued with
	ForeignHolder  AlarmKind = "holder"         // another ANo or key version than the card was issued with
	NeverIssued    AlarmKind = "unknown-card"   // nobody issued the card, and its MACZ is right: somebody has KZD
	Contradiction  AlarmKind = "contradiction"  // card and SAM, or a card twice, say what cannot both be
	ForeignMoney   AlarmKind = "currency"       // a payment in another currency, which is not booked
	// OpenCancellation: nobody knows whether a card took a payment back. It is no
	// sign of fraud; somebody has to see that the card is asked.
	OpenCancellation AlarmKind = "cancellation"
)

// Alarm is one of them, with the bytes that say it.
type Alarm struct {
	// Seq names it.
	Seq  int64
	Kind AlarmKind
	Card purse.ID
	// Merchant and TNo are of the payment that it is about; zero: of a load.
	Merchant purse.ID
	TNo      uint32
	// Number is SNo of a payment, LNo of a load.
	Number   uint32
	Detail   string
	Evidence []byte
	Created  time.Time
	// Operator acknowledged it, with a note; empty: it is open.
	Operator, Note string
}

// raise keeps an alarm, once.
func (c *Clearing) raise(ctx context.Context, tx *ledger.Tx, a Alarm) error {
	merchant := ""
	if a.Merchant != (purse.ID{}) {
		merchant = a.Merchant.String()
	}
	isNew, err := tx.ExecOne(ctx, `INSERT INTO cards_alarms (kind, cid, mid, tno, number, detail, evidence, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		string(a.Kind), a.Card.String(), merchant, int64(a.TNo), int64(a.Number), a.Detail, a.Evidence, tx.Now().UnixMicro())
	if err != nil || !isNew {
		return err
	}
	return c.config.Audit(ctx, tx, "alarm", "card:"+a.Card.String(), fmt.Sprintf("%s: %s", a.Kind, a.Detail))
}

// Alarms returns those after the one given (0 for the first page), at most
// limit of them (1 to ledger.MaxPage), in their order. Where openOnly is set,
// those that somebody acknowledged are left out.
func (c *Clearing) Alarms(ctx context.Context, openOnly bool, after int64, limit int) (alarms []Alarm, err error) {
	if limit < 1 || limit > ledger.MaxPage {
		return nil, fmt.Errorf("page of %d: want 1 to %d alarms", limit, ledger.MaxPage)
	}
	condition := ""
	if openOnly {
		condition = "AND state = 'open'"
	}
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		alarms = nil
		rows, err := tx.QueryContext(ctx, `SELECT seq, kind, cid, mid, tno, number, detail, evidence, operator, note, created
			FROM cards_alarms WHERE seq > ? `+condition+` ORDER BY seq LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a Alarm
			var card, merchant string
			var created int64
			if err := rows.Scan(&a.Seq, (*string)(&a.Kind), &card, &merchant, &a.TNo, &a.Number, &a.Detail, &a.Evidence, &a.Operator, &a.Note, &created); err != nil {
				return err
			}
			if a.Card, err = purse.ParseID(card); err != nil {
				return err
			}
			if merchant != "" {
				if a.Merchant, err = purse.ParseID(merchant); err != nil {
					return err
				}
			}
			a.Created = time.UnixMicro(created).UTC()
			alarms = append(alarms, a)
		}
		return rows.Err()
	})
	return alarms, err
}

// AcknowledgeAlarm says that an operator looked at an alarm, and what came of
// it, in 1 to 200 bytes. ErrUnknown means that there is no open one of that
// number.
func (c *Clearing) AcknowledgeAlarm(ctx context.Context, seq int64, operator, note string) error {
	if err := checkNote(note); err != nil {
		return err
	}
	if operator == "" {
		return errors.New("acknowledging an alarm: want the name of an operator")
	}
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		err := changeOne(ctx, tx, fmt.Sprintf("open alarm %d", seq), `UPDATE cards_alarms
			SET state = 'acknowledged', operator = ?, note = ?, ended = ? WHERE seq = ? AND state = 'open'`, operator, note, tx.Now().UnixMicro(), seq)
		if err != nil {
			return err
		}
		return c.config.Audit(ctx, tx, "acknowledge-alarm", fmt.Sprintf("alarm:%d", seq), note)
	})
}
