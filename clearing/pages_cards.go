package clearing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func registerCardPages(p *pages) {
	s := p.server
	p.page("GET "+pathCards, (*visit).cardsPage)
	p.page("GET "+pathCards+"/find", (*visit).findCard)
	p.page("GET "+pathCards+"/all", (*visit).cardList)
	p.page("GET "+pathCards+"/gateways", (*visit).unfundedPage)
	p.page("GET "+pathCards+"/card/{card}", (*visit).cardPage)
	if s.cards == nil {
		return
	}
	p.action(pathCards+"/alarms/{seq}", s.acknowledgeAction(), func(v *visit) adminpage.Subject {
		return adminpage.Subject{Kind: "Alarm", ID: v.R.PathValue("seq"), Path: pathCards, Section: "cards"}
	})
	for _, a := range s.cardActions() {
		p.action(pathCards+"/card/{card}", a, func(v *visit) adminpage.Subject {
			id := v.R.PathValue("card")
			return adminpage.Subject{Kind: "Card", ID: id, Path: cardPath(id), Section: "cards"}
		})
	}
	for _, a := range s.decideActions() {
		p.action(pathCards+"/disputes/{merchant}/{tno}", a, func(v *visit) adminpage.Subject {
			return adminpage.Subject{Kind: "Dispute", ID: v.R.PathValue("merchant") + "/" + v.R.PathValue("tno"), Path: pathCards, Section: "cards"}
		})
	}
}

func cardPath(card string) string { return pathCards + "/card/" + url.PathEscape(card) }

// cardRow is a card with its shadow.
type cardRow struct {
	ID, Holder, Account, State, RefundReference string

	Shadow, MaxBalance, Refunded           money.Amount // micros
	Currency                               money.Currency
	Expires, Reported, ClaimUntil, Created int64 // seconds since 1970, but Created: microseconds
}

const cardColumns = `SELECT c.cid, c.holder, c.account, c.state, c.refund_ref, COALESCE(a.balance, 0), c.max_balance, c.refunded,
	c.currency, c.expires, c.reported, c.claim_until, c.created
	FROM cards_cards AS c LEFT JOIN accounts AS a ON a.id = 'card:' || c.cid || ':shadow' `

func selectCards(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []cardRow, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var c cardRow
		err := scan(&c.ID, &c.Holder, &c.Account, &c.State, &c.RefundReference, (*int64)(&c.Shadow), (*int64)(&c.MaxBalance), (*int64)(&c.Refunded),
			(*string)(&c.Currency), &c.Expires, &c.Reported, &c.ClaimUntil, &c.Created)
		found = append(found, c)
		return err
	}, cardColumns+where, arguments...)
	return found, err
}

// alarmRow is what cannot be if cards and keys are sound.
type alarmRow struct {
	Seq, Created                                        int64 // Created: microseconds since 1970
	Kind, Card, Merchant, Detail, State, Operator, Note string
	TNo                                                 int64 // of the payment that it is about; 0: none
}

func selectAlarms(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []alarmRow, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var a alarmRow
		err := scan(&a.Seq, &a.Created, &a.Kind, &a.Card, &a.Merchant, &a.TNo, &a.Detail, &a.State, &a.Operator, &a.Note)
		found = append(found, a)
		return err
	}, `SELECT seq, created, kind, cid, mid, tno, detail, state, operator, note FROM cards_alarms `+where, arguments...)
	return found, err
}

// disputeRow is money that holder and merchant both may have. Nobody may know
// whether a card took a payment back, too.
type disputeRow struct {
	Merchant, Card, Reason, Note, State, Rule, Operator string
	TNo, Due, Created                                   int64        // Due: seconds since 1970; Created: microseconds
	Amount                                              money.Amount // micros
}

func selectDisputes(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []disputeRow, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var d disputeRow
		err := scan(&d.Merchant, &d.TNo, &d.Card, (*int64)(&d.Amount), &d.Reason, &d.Note, &d.State, &d.Rule, &d.Operator, &d.Due, &d.Created)
		found = append(found, d)
		return err
	}, `SELECT mid, tno, cid, amount, reason, note, state, rule, operator, due, created FROM (
		SELECT mid, tno, cid, amount, reason, note, state, rule, operator, due, created FROM cards_disputes
		UNION ALL SELECT mid, paid_tno, cid, amount, 'cancellation', 'taken back as transaction ' || CAST(tno AS TEXT),
			CASE state WHEN 'done' THEN 'holder' WHEN 'denied' THEN 'merchant' ELSE state END, evidence, operator, 0, created
			FROM cards_cancellations WHERE is_void = 1) AS disputes `+where, arguments...)
	return found, err
}

// batchRow is what a merchant handed in, or tried to.
type batchRow struct {
	Merchant           string
	Number             int64
	Payments, Voids    int64
	Cancellations      int64
	Gross, Booked, Fee money.Amount // micros
	Cancelled          money.Amount // micros, of the gross
	Created            int64        // microseconds since 1970
}

// refusalRow is a batch that was not taken.
type refusalRow struct {
	Merchant, Reason, Detail    string
	Number, Record, Times, Last int64 // Last: microseconds since 1970
	IsWaiting                   bool  // it was not taken since: its SAM takes no more payments
}

// merchantRow is who takes cards.
type merchantRow struct {
	ID, Name, Destination, State string
	Payable                      money.Amount // micros
	LastBatch                    int64
}

type cardsView struct {
	Figures   []figure
	Alarms    []alarmRow // open, the oldest first
	Disputes  []disputeRow
	Batches   []batchRow
	Refusals  []refusalRow
	Merchants []merchantRow
	MayAct    bool
}

func (v *visit) cardsPage() {
	s, ctx := v.server, v.R.Context()
	data := cardsView{MayAct: s.cards != nil && !v.Operator().ReadOnly}
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if data.Figures, err = cardFigures(ctx, tx); err != nil {
			return err
		}
		if data.Alarms, err = selectAlarms(ctx, tx, `WHERE state = 'open' ORDER BY created, seq LIMIT ?`, rowsPerPage); err != nil {
			return err
		}
		if data.Disputes, err = selectDisputes(ctx, tx, `WHERE state = 'open' ORDER BY due, mid, tno LIMIT ?`, rowsPerPage); err != nil {
			return err
		}
		return errors.Join(data.readBatches(ctx, tx), data.readMerchants(ctx, tx))
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	notice := ""
	if s.cards != nil {
		notice = adminpage.DoneNotice(v.R, append(s.decideActions(), s.acknowledgeAction())...)
	}
	v.Show(http.StatusOK, "cards", adminpage.View{Title: "Cards", Section: "cards", Data: data, Notice: notice})
}

// cardFigures are the sums about cards.
func cardFigures(ctx context.Context, tx *ledger.Tx) (figures []figure, err error) {
	for _, one := range []struct{ name, hint, query string }{
		{"On all cards", "cards: %s", `SELECT (SELECT COUNT(*) FROM cards_cards WHERE state <> 'closed'), COALESCE(CAST(SUM(balance) AS BIGINT), 0) FROM accounts WHERE id = 'broker:cards:pool'`},
		{"Loads that no card has confirmed", "loads: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM cards_loads WHERE state = 'pending'`},
		{"In dispute", "disputes: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM (
			SELECT amount FROM cards_disputes WHERE state = 'open' UNION ALL SELECT amount FROM cards_cancellations WHERE state = 'open') AS open`},
		{"Paid to gateways, on no account yet", "gateways: %s", onGateways},
		{"Lost or broken, not paid back yet", "cards: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(a.balance) AS BIGINT), 0) FROM cards_cards AS c
			JOIN accounts AS a ON a.id = 'card:' || c.cid || ':shadow' WHERE c.state IN ('lost', 'broken')`},
	} {
		count, sum, err := countAndSum(ctx, tx, one.query)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{one.name, sum, fmt.Sprintf(one.hint, adminpage.GroupedCount(count))})
	}
	return figures, nil
}

func (d *cardsView) readBatches(ctx context.Context, tx *ledger.Tx) error {
	d.Batches, d.Refusals = nil, nil
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var b batchRow
		err := scan(&b.Merchant, &b.Number, &b.Payments, &b.Cancellations, &b.Voids, (*int64)(&b.Gross), (*int64)(&b.Cancelled), (*int64)(&b.Booked), (*int64)(&b.Fee), &b.Created)
		d.Batches = append(d.Batches, b)
		return err
	}, `SELECT mid, bno, payments, cancellations, voids, gross, cancelled, booked, fee, created FROM cards_batches ORDER BY created DESC, mid, bno LIMIT ?`, shortList)
	if err != nil {
		return err
	}
	return tx.Each(ctx, func(scan func(...any) error) error {
		var r refusalRow
		err := scan(&r.Merchant, &r.Number, &r.Reason, &r.Record, &r.Detail, &r.Times, &r.Last, &r.IsWaiting)
		d.Refusals = append(d.Refusals, r)
		return err
	}, `SELECT r.mid, r.bno, r.reason, r.record, r.detail, r.times, r.last, r.bno > m.last_batch AS waits
		FROM cards_refusals AS r JOIN cards_merchants AS m ON m.mid = r.mid ORDER BY waits DESC, r.last DESC, r.mid, r.bno LIMIT ?`, shortList)
}

func (d *cardsView) readMerchants(ctx context.Context, tx *ledger.Tx) error {
	d.Merchants = nil
	return tx.Each(ctx, func(scan func(...any) error) error {
		var m merchantRow
		err := scan(&m.ID, &m.Name, &m.Destination, &m.State, (*int64)(&m.Payable), &m.LastBatch)
		d.Merchants = append(d.Merchants, m)
		return err
	}, `SELECT m.mid, m.name, m.destination, m.state, COALESCE(a.balance - a.pending, 0), m.last_batch FROM cards_merchants AS m
		LEFT JOIN accounts AS a ON a.id = m.account ORDER BY m.mid LIMIT ?`, rowsPerPage)
}

// findCard leads to the card whose id was typed in.
func (v *visit) findCard() {
	typed := strings.ToUpper(strings.ReplaceAll(v.R.URL.Query().Get("card"), " ", ""))
	if _, err := purse.ParseID(typed); err != nil {
		v.Message(http.StatusUnprocessableEntity, "That is no card", "The id of a card has 16 hexadecimal digits, such as C100000000000001.")
		return
	}
	v.Redirect(cardPath(typed))
}

type cardListView struct {
	Cards   []cardRow
	Next    string // what the next page is after; "": this is the last
	IsFirst bool
}

func (v *visit) cardList() {
	after := v.R.URL.Query().Get("after")
	data := cardListView{IsFirst: after == ""}
	err := v.server.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		data.Cards, err = selectCards(v.R.Context(), tx, `WHERE c.cid > ? ORDER BY c.cid LIMIT ?`, after, rowsPerPage+1)
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	if len(data.Cards) > rowsPerPage {
		data.Cards = data.Cards[:rowsPerPage]
		data.Next = data.Cards[rowsPerPage-1].ID
	}
	v.Show(http.StatusOK, "cardlist", adminpage.View{Title: "All cards", Section: "cards", Data: data})
}

// loadRow is value that a card took.
type loadRow struct {
	Reference, State, Evidence string
	LNo, Created, Ended        int64        // the times: microseconds since 1970
	Amount                     money.Amount // micros
}

// cardPaymentRow is a payment that a card proved.
type cardPaymentRow struct {
	Merchant, Source, State    string
	TNo, SNo, Batch, Made      int64        // Made: seconds since 1970
	Amount, Fee, BalanceOfCard money.Amount // micros
	IsRepeated                 bool
}

type cardView struct {
	Card     cardRow
	Loads    []loadRow
	Payments []cardPaymentRow
	// Cancellations and Scripts are the newest.
	Cancellations []cancellationRow
	Scripts       []scriptRow
	Alarms        []alarmRow
	Disputes      []disputeRow
	Actions       []*adminpage.Action
	MayAct        bool
}

// cardPage shows a card with its shadow and all that made it what it is.
func (v *visit) cardPage() {
	s, ctx, id := v.server, v.R.Context(), v.R.PathValue("card")
	data := cardView{MayAct: s.cards != nil && !v.Operator().ReadOnly}
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		found, err := selectCards(ctx, tx, `WHERE c.cid = ?`, id)
		if err == nil && len(found) == 0 {
			err = adminpage.ErrNotFound
		}
		if err != nil {
			return err
		}
		data.Card = found[0]
		if data.Alarms, err = selectAlarms(ctx, tx, `WHERE cid = ? ORDER BY seq DESC LIMIT ?`, id, shortList); err != nil {
			return err
		}
		if data.Disputes, err = selectDisputes(ctx, tx, `WHERE cid = ? ORDER BY created DESC, mid, tno LIMIT ?`, id, shortList); err != nil {
			return err
		}
		return errors.Join(data.readLoads(ctx, tx), data.readPayments(ctx, tx), data.readCancellations(ctx, tx), data.readScripts(ctx, tx))
	})
	if err != nil {
		v.Failed(err)
		return
	}
	notice := ""
	if s.cards != nil {
		notice = adminpage.DoneNotice(v.R, s.cardActions()...)
	}
	if data.MayAct {
		data.Actions = s.actionsOnCard(data.Card)
	}
	v.Show(http.StatusOK, "card", adminpage.View{Title: "Card " + id, Section: "cards", Data: data, Notice: notice})
}

func (d *cardView) readLoads(ctx context.Context, tx *ledger.Tx) error {
	d.Loads = nil
	return tx.Each(ctx, func(scan func(...any) error) error {
		var l loadRow
		err := scan(&l.Reference, &l.LNo, (*int64)(&l.Amount), &l.State, &l.Evidence, &l.Created, &l.Ended)
		d.Loads = append(d.Loads, l)
		return err
	}, `SELECT ref, lno, amount, state, evidence, created, ended FROM cards_loads WHERE cid = ? ORDER BY lno DESC, created DESC LIMIT ?`, d.Card.ID, shortList)
}

func (d *cardView) readPayments(ctx context.Context, tx *ledger.Tx) error {
	d.Payments = nil
	return tx.Each(ctx, func(scan func(...any) error) error {
		var p cardPaymentRow
		err := scan(&p.Merchant, &p.TNo, &p.SNo, (*int64)(&p.Amount), (*int64)(&p.Fee), (*int64)(&p.BalanceOfCard), &p.Made, &p.Batch, &p.Source, &p.IsRepeated, &p.State)
		d.Payments = append(d.Payments, p)
		return err
	}, `SELECT mid, tno, sno, amount, fee, balance, made, bno, source, repeated = 1, state FROM cards_payments
		WHERE cid = ? ORDER BY sno DESC, mid, tno LIMIT ?`, d.Card.ID, rowsPerPage)
}

// cancellationRow is a payment that a card took back, or may have.
type cancellationRow struct {
	Merchant, State, Evidence      string
	TNo, Payment, SNo, Batch, Made int64        // Made: seconds since 1970
	Amount, Fee                    money.Amount // micros
}

func (d *cardView) readCancellations(ctx context.Context, tx *ledger.Tx) error {
	d.Cancellations = nil
	return tx.Each(ctx, func(scan func(...any) error) error {
		var c cancellationRow
		err := scan(&c.Merchant, &c.TNo, &c.Payment, &c.SNo, (*int64)(&c.Amount), (*int64)(&c.Fee), &c.Made, &c.Batch, &c.State, &c.Evidence)
		d.Cancellations = append(d.Cancellations, c)
		return err
	}, `SELECT mid, tno, paid_tno, sno, amount, fee, made, bno, state, evidence FROM cards_cancellations
		WHERE cid = ? ORDER BY sno DESC, mid, tno LIMIT ?`, d.Card.ID, rowsPerPage)
}

// scriptRow is what the issuer wants of a card.
type scriptRow struct {
	Count, Created, Ended int64 // the times: microseconds since 1970
	Kind, State, Operator string
}

func (d *cardView) readScripts(ctx context.Context, tx *ledger.Tx) error {
	d.Scripts = nil
	return tx.Each(ctx, func(scan func(...any) error) error {
		var s scriptRow
		var kind purse.ScriptKind
		err := scan(&s.Count, &kind, &s.State, &s.Operator, &s.Created, &s.Ended)
		s.Kind = cards.KindName(kind)
		d.Scripts = append(d.Scripts, s)
		return err
	}, `SELECT count, kind, state, operator, created, ended FROM cards_scripts WHERE cid = ? ORDER BY count DESC LIMIT ?`, d.Card.ID, shortList)
}

// cardRefused makes a refusal of what cards does not do.
func cardRefused(refusal *purse.Refusal, err error) error {
	switch {
	case errors.Is(err, cards.ErrUnknown):
		return adminpage.ErrNotFound
	case errors.Is(err, cards.ErrCardState):
		return &adminpage.Refused{Status: http.StatusConflict, Text: upperFirst(err.Error()) + "."}
	case err == nil && refusal != nil:
		return &adminpage.Refused{Status: http.StatusConflict, Text: upperFirst(refusal.Detail) + "."}
	}
	return err
}

// acknowledgeAction says that somebody has looked at an alarm.
func (s *Server) acknowledgeAction() *adminpage.Action {
	find := func(ctx context.Context, seq string) (a alarmRow, err error) {
		number, err := strconv.ParseInt(seq, 10, 64)
		if err != nil {
			return a, adminpage.ErrNotFound
		}
		err = s.db.View(ctx, func(tx *ledger.Tx) error {
			found, err := selectAlarms(ctx, tx, `WHERE seq = ?`, number)
			if err == nil && len(found) == 0 {
				return adminpage.ErrNotFound
			}
			if err == nil {
				a = found[0]
			}
			return err
		})
		return a, err
	}
	return &adminpage.Action{
		Word: "acknowledge", Title: "Acknowledge an alarm", Button: "I have looked at it", Done: "The alarm is acknowledged.",
		Fields: []adminpage.Field{{Name: "note", Label: "What came of it", IsLong: true, Hint: "For those who look later."}},
		Read:   readNote,
		Foresee: func(ctx context.Context, seq string, values map[string]string) ([]adminpage.Consequence, error) {
			a, err := find(ctx, seq)
			if err != nil {
				return nil, err
			}
			if a.State != "open" {
				return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "This alarm was acknowledged by " + a.Operator + "."}
			}
			return []adminpage.Consequence{{What: "Alarm of card " + a.Card + ": " + a.Kind, Before: a.Detail, After: "acknowledged"}}, nil
		},
		Perform: func(ctx context.Context, seq string, values map[string]string) error {
			a, err := find(ctx, seq)
			if err != nil || a.State != "open" && a.Note == values["note"] {
				return err // the form was sent twice
			}
			return cardRefused(nil, s.cards.AcknowledgeAlarm(ctx, a.Seq, operatorOf(ctx).Name, values["note"]))
		},
	}
}

// cardActions are what operators do to a card.
func (s *Server) cardActions() []*adminpage.Action {
	report := func(word, title, state string) *adminpage.Action {
		return s.cardAction(&adminpage.Action{
			Word: word, Title: title, Button: "Report it", Done: "The card is on the hot list.",
			Fields: []adminpage.Field{{Name: "note", Label: "To whom the rest is paid", IsLong: true, IsOptional: true,
				Hint: "Of a card without an account, such as the name on a receipt. Empty: to the account of the card."}},
			Read: readNote,
		}, "active", state, "on the hot list; what is left is paid back when the days for claims are over",
			func(ctx context.Context, card purse.ID, note string) error {
				return s.cards.ReportCard(ctx, card, state == "broken", note)
			})
	}
	return []*adminpage.Action{
		report("lost", "Report it as lost", "lost"), report("broken", "Report it as broken", "broken"),
		s.cardAction(&adminpage.Action{Word: "found", Title: "Take the report back", Button: "It is there again", Done: "The card is taken again."},
			"", "active", "off the hot list",
			func(ctx context.Context, card purse.ID, _ string) error { return s.cards.FoundCard(ctx, card) }),
	}
}

// cardAction completes an action that brings a card from a state (""; lost or
// broken) into another.
func (s *Server) cardAction(a *adminpage.Action, from, to, effect string, do func(ctx context.Context, card purse.ID, note string) error) *adminpage.Action {
	canFollow := func(c cardRow) bool {
		return c.State == from || from == "" && (c.State == "lost" || c.State == "broken")
	}
	a.Foresee = func(ctx context.Context, id string, values map[string]string) ([]adminpage.Consequence, error) {
		c, err := s.card(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case !canFollow(c):
			return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "This card is " + c.State + "."}
		case values != nil && to != "active" && c.Account == "" && values["note"] == "":
			return nil, &adminpage.Refused{Status: http.StatusUnprocessableEntity, Text: "This card has no account: say to whom the rest is paid."}
		}
		return []adminpage.Consequence{{What: "State of the card", Before: c.State, After: to}, {What: "Then", After: effect}}, nil
	}
	a.Perform = func(ctx context.Context, id string, values map[string]string) error {
		c, err := s.card(ctx, id)
		if err != nil || c.State == to {
			return err // the form was sent twice
		}
		card, err := purse.ParseID(id)
		if err != nil {
			return adminpage.ErrNotFound
		}
		return cardRefused(nil, do(ctx, card, values["note"]))
	}
	return a
}

// actionsOnCard are what can be done to a card as it is.
func (s *Server) actionsOnCard(c cardRow) []*adminpage.Action {
	all := s.cardActions()
	switch c.State {
	case "active":
		return all[:2]
	case "lost", "broken":
		return all[2:]
	}
	return nil
}

// card returns a card, or adminpage.ErrNotFound.
func (s *Server) card(ctx context.Context, id string) (c cardRow, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found, err := selectCards(ctx, tx, `WHERE c.cid = ?`, id)
		if err == nil && len(found) == 0 {
			return adminpage.ErrNotFound
		}
		if err == nil {
			c = found[0]
		}
		return err
	})
	return c, err
}

// decideActions give the money of a dispute to one or the other.
func (s *Server) decideActions() []*adminpage.Action {
	var both []*adminpage.Action
	for _, who := range []string{"holder", "merchant"} {
		both = append(both, &adminpage.Action{
			Word: who, Title: "Decide for the " + who, Button: "Decide", Done: "The dispute is decided.",
			Foresee: func(ctx context.Context, id string, _ map[string]string) ([]adminpage.Consequence, error) {
				d, err := s.dispute(ctx, id)
				if err != nil {
					return nil, err
				}
				if d.State != "open" {
					return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "This dispute was decided for the " + d.State + "."}
				}
				return []adminpage.Consequence{
					{What: adminpage.GroupedDecimal(d.Amount) + " of card " + d.Card, Before: "held", After: "goes to the " + who},
					{What: "Why there is a dispute", After: d.Reason + ": " + d.Note},
				}, nil
			},
			Perform: func(ctx context.Context, id string, _ map[string]string) error {
				d, err := s.dispute(ctx, id)
				if err != nil || d.State == who {
					return err // the form was sent twice
				}
				merchant, err := purse.ParseID(d.Merchant)
				if err != nil {
					return err
				}
				_, refusal, err := s.cards.Decide(ctx, merchant, uint32(d.TNo), who == "holder", operatorOf(ctx).Name)
				return cardRefused(refusal, err)
			},
		})
	}
	return both
}

// dispute returns a dispute by MERCHANT/TNO, or adminpage.ErrNotFound.
func (s *Server) dispute(ctx context.Context, id string) (d disputeRow, err error) {
	merchant, text, _ := strings.Cut(id, "/")
	tno, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return d, adminpage.ErrNotFound
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found, err := selectDisputes(ctx, tx, `WHERE mid = ? AND tno = ?`, merchant, int64(tno))
		if err == nil && len(found) == 0 {
			return adminpage.ErrNotFound
		}
		if err == nil {
			d = found[0]
		}
		return err
	})
	return d, err
}
