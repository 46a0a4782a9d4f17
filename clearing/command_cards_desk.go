package clearing

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func (c *cardsCommand) loadFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.request, "request", "", "data of INIT LOAD, in `HEX`")
	flags.StringVar(&c.answer, "answer", "", "the card's answer to it, in `HEX`")
	flags.StringVar(&c.loadName, "load", "", "`REF` of a load that was authorised")
	flags.StringVar(&c.receipt, "receipt", "", "with --load: the card's answer to CREDIT, in `HEX`")
	flags.BoolVar(&c.isChallenge, "challenge", false, "with --load: print the bytes to ask LOAD STATUS with")
	flags.StringVar(&c.status, "status", "", "with --load: the card's answer to LOAD STATUS, in `HEX`")
}

func (c *cardsCommand) checkLoad() error {
	given := 0
	for _, isGiven := range []bool{c.receipt != "", c.isChallenge, c.status != ""} {
		if isGiven {
			given++
		}
	}
	switch {
	case c.loadName == "" && (c.request == "" || c.answer == "" || given > 0):
		return errors.New("want --request and --answer for a new load, or --load with one of --receipt, --challenge and --status")
	case c.loadName != "" && (given != 1 || c.request+c.answer != ""):
		return errors.New("--load wants one of --receipt, --challenge and --status")
	case c.loadName == "":
		return nil
	}
	_, err := parseIDs(map[string]string{"load": c.loadName})
	return err
}

func (c *cardsCommand) load(ctx context.Context, clearing *cards.Clearing) error {
	if c.loadName == "" {
		return c.authoriseLoad(ctx, clearing)
	}
	reference := mustID(c.loadName)
	switch {
	case c.isChallenge:
		challenge, refusal, err := clearing.ChallengeLoad(ctx, reference)
		if err := refusedBy(refusal, err); err != nil {
			return err
		}
		text := hex.EncodeToString(challenge[:])
		return c.say(map[string]string{"challenge": text}, "%s", text)
	case c.receipt != "":
		receipt, err := unhex("receipt", c.receipt)
		if err != nil {
			return err
		}
		if err := refusedBy(clearing.ConfirmLoad(ctx, reference, receipt)); err != nil {
			return err
		}
		return c.sayDone("load %s took place", reference)
	}
	status, err := unhex("status", c.status)
	if err != nil {
		return err
	}
	taken, refusal, err := clearing.ResolveLoad(ctx, reference, status)
	if err := refusedBy(refusal, err); err != nil {
		return err
	}
	if !taken {
		return c.sayDone("load %s did not take place, and never will", reference)
	}
	return c.sayDone("load %s took place", reference)
}

func (c *cardsCommand) authoriseLoad(ctx context.Context, clearing *cards.Clearing) error {
	request, err := unhex("request", c.request)
	if err != nil {
		return err
	}
	answer, err := unhex("answer", c.answer)
	if err != nil {
		return err
	}
	a, refusal, err := clearing.AuthoriseLoad(ctx, request, answer)
	if err := refusedBy(refusal, err); err != nil {
		return err
	}
	credit := strings.ToUpper(hex.EncodeToString(a.Credit))
	return c.say(map[string]string{"load": a.Reference.String(), "credit": credit}, "load %s\ncredit %s", a.Reference, credit)
}

// loadLine is an open load, in JSON.
type loadLine struct {
	Load         string       `json:"load"`
	Card         string       `json:"card"`
	Number       uint32       `json:"number"`
	AmountMicros money.Amount `json:"amountMicros"`
	Created      time.Time    `json:"created"`
}

func (c *cardsCommand) openLoads(ctx context.Context, clearing *cards.Clearing) error {
	open, err := clearing.OpenLoads(ctx, ledger.MaxPage)
	if err != nil {
		return err
	}
	lines, rows := []loadLine{}, strings.Builder{}
	for _, l := range open {
		lines = append(lines, loadLine{l.Reference.String(), l.Card.String(), l.LNo, l.Amount, l.Created})
		fmt.Fprintf(&rows, "\n%s  card %s  load %d  %s  since %s", l.Reference, l.Card, l.LNo, l.Amount.Decimal(), l.Created.Format(time.DateTime))
	}
	return c.say(lines, "%d open loads%s", len(lines), rows.String())
}

func (c *cardsCommand) lostFlags(flags *flag.FlagSet) {
	c.cardFlag(flags)
	flags.BoolVar(&c.isBroken, "broken", false, "it is not lost but broken")
	flags.StringVar(&c.reference, "reference", "", "to whom cash is paid: of a white card, or where its account is closed by then; `TEXT` of 1 to 200 bytes")
}

func (c *cardsCommand) report(ctx context.Context, clearing *cards.Clearing) error {
	if err := clearing.ReportCard(ctx, c.cardID(), c.isBroken, c.reference); err != nil {
		return err
	}
	return c.sayDone("card %s is reported and on the hot list", c.card)
}

func (c *cardsCommand) found(ctx context.Context, clearing *cards.Clearing) error {
	if err := clearing.FoundCard(ctx, c.cardID()); err != nil {
		return err
	}
	return c.sayDone("card %s is active again", c.card)
}

// dueResult is what due did, in JSON.
type dueResult struct {
	PaidBack []refundLine  `json:"paidBack"`
	Waiting  []string      `json:"waiting"` // cards of closed accounts, for which nobody is named
	Decided  []disputeLine `json:"decided"`
}

type refundLine struct {
	Card         string       `json:"card"`
	AmountMicros money.Amount `json:"amountMicros"`
	To           string       `json:"to"`
}

func (c *cardsCommand) due(ctx context.Context, clearing *cards.Clearing) error {
	refunds, waiting, err := clearing.PayBackDue(ctx, ledger.MaxPage)
	if err != nil {
		return err
	}
	decided, err := clearing.DecideDue(ctx, ledger.MaxPage)
	if err != nil {
		return err
	}
	result := dueResult{PaidBack: []refundLine{}, Waiting: []string{}, Decided: disputeLines(decided)}
	for _, r := range refunds {
		result.PaidBack = append(result.PaidBack, refundLine{r.Card.String(), r.Amount, r.To})
	}
	for _, card := range waiting {
		result.Waiting = append(result.Waiting, card.String())
	}
	return c.say(result, "%d cards paid back, %d claims decided, %d cards wait for --reference", len(refunds), len(decided), len(waiting))
}

func (c *cardsCommand) hotList(ctx context.Context, clearing *cards.Clearing) error {
	listed := []string{}
	for after := (purse.ID{}); ; {
		page, err := clearing.HotList(ctx, after, ledger.MaxPage)
		if err != nil {
			return err
		}
		for _, card := range page {
			listed = append(listed, card.String())
		}
		if len(page) < ledger.MaxPage {
			break
		}
		after = page[len(page)-1]
	}
	if c.json {
		return c.printJSON(listed)
	}
	for _, card := range listed {
		fmt.Fprintln(c.stdout, card)
	}
	return nil
}

func (c *cardsCommand) alarmFlags(flags *flag.FlagSet) {
	flags.BoolVar(&c.isAll, "all", false, "list those that were acknowledged as well")
	flags.Int64Var(&c.acknowledge, "acknowledge", 0, "the `NUMBER` of an alarm that somebody has looked at")
	flags.StringVar(&c.note, "note", "", "with --acknowledge: what came of it, `TEXT` of 1 to 200 bytes")
}

// alarmLine is an alarm, in JSON.
type alarmLine struct {
	Number      int64     `json:"number"`
	Kind        string    `json:"kind"`
	Card        string    `json:"card"`
	Merchant    string    `json:"merchant,omitempty"`
	Transaction uint32    `json:"transaction,omitempty"`
	Detail      string    `json:"detail"`
	Evidence    string    `json:"evidence"` // in hexadecimal digits
	Created     time.Time `json:"created"`
	Operator    string    `json:"operator,omitempty"`
	Note        string    `json:"note,omitempty"`
}

func (c *cardsCommand) alarms(ctx context.Context, clearing *cards.Clearing) error {
	if c.acknowledge != 0 {
		if err := clearing.AcknowledgeAlarm(ctx, c.acknowledge, actor(c.by), c.note); err != nil {
			return err
		}
		return c.sayDone("alarm %d is acknowledged", c.acknowledge)
	}
	lines, rows := []alarmLine{}, strings.Builder{}
	for after := int64(0); ; {
		page, err := clearing.Alarms(ctx, !c.isAll, after, ledger.MaxPage)
		if err != nil {
			return err
		}
		for _, a := range page {
			line := alarmLine{Number: a.Seq, Kind: string(a.Kind), Card: a.Card.String(), Transaction: a.TNo, Detail: a.Detail,
				Evidence: hex.EncodeToString(a.Evidence), Created: a.Created, Operator: a.Operator, Note: a.Note}
			if a.TNo != 0 {
				line.Merchant = a.Merchant.String()
			}
			lines, after = append(lines, line), a.Seq
			fmt.Fprintf(&rows, "\n%6d  %-15s card %s  %s", a.Seq, a.Kind, a.Card, a.Detail)
		}
		if len(page) < ledger.MaxPage {
			return c.say(lines, "%d alarms%s", len(lines), rows.String())
		}
	}
}

func (c *cardsCommand) disputeFlags(flags *flag.FlagSet) {
	flags.BoolVar(&c.isAll, "all", false, "list those that are decided as well")
	flags.StringVar(&c.proof, "proof", "", "a holder's proof of payment, 53 bytes in `HEX`, to claim it")
	flags.StringVar(&c.macz, "macz", "", "with --proof: its MACZ, 16 bytes in `HEX`")
	flags.StringVar(&c.merchant, "merchant", "", "`MID` of the merchant")
	flags.Int64Var(&c.transaction, "transaction", 0, "with --merchant: the `NUMBER` of its transaction")
	flags.BoolVar(&c.isObjection, "object", false, "open a dispute about a payment that the merchant was paid for")
	flags.StringVar(&c.inFavour, "for", "", "decide an open dispute for `holder or merchant`")
	flags.StringVar(&c.note, "note", "", "with --proof or --object: what the holder says, `TEXT` of 1 to 200 bytes")
}

func (c *cardsCommand) checkDispute() error {
	isAbout := c.isObjection || c.inFavour != ""
	switch {
	case c.proof != "" && (c.macz == "" || isAbout), c.isObjection && c.inFavour != "":
		return errors.New("want --proof with --macz, or --object, or --for, or none of them to list disputes")
	case c.inFavour != "" && c.inFavour != "holder" && c.inFavour != "merchant":
		return fmt.Errorf("--for %.20q: want holder or merchant", c.inFavour)
	case !isAbout:
		return nil
	case c.transaction < 1 || c.transaction > 1<<32-1:
		return errors.New("--transaction is missing: want the number of the merchant's transaction")
	}
	_, err := parseIDs(map[string]string{"merchant": c.merchant})
	return err
}

// disputeLine is a dispute, in JSON.
type disputeLine struct {
	Merchant     string       `json:"merchant"`
	Transaction  uint32       `json:"transaction"`
	Card         string       `json:"card"`
	AmountMicros money.Amount `json:"amountMicros"`
	Reason       string       `json:"reason"`
	Note         string       `json:"note"`
	State        string       `json:"state"`
	Rule         string       `json:"rule,omitempty"`
	Operator     string       `json:"operator,omitempty"`
}

func disputeLines(disputes []cards.Dispute) []disputeLine {
	lines := []disputeLine{}
	for _, d := range disputes {
		lines = append(lines, disputeLine{d.Merchant.String(), d.TNo, d.Card.String(), d.Amount, d.Reason, d.Note, d.State, d.Rule, d.Operator})
	}
	return lines
}

func (c *cardsCommand) dispute(ctx context.Context, clearing *cards.Clearing) error {
	var d cards.Dispute
	var refusal *purse.Refusal
	var err error
	switch {
	case c.proof != "":
		d, refusal, err = c.claim(ctx, clearing)
	case c.isObjection:
		d, refusal, err = clearing.Object(ctx, c.merchantID(), uint32(c.transaction), c.note)
	case c.inFavour != "":
		d, refusal, err = clearing.Decide(ctx, c.merchantID(), uint32(c.transaction), c.inFavour == "holder", actor(c.by))
	default:
		return c.listDisputes(ctx, clearing)
	}
	if err := refusedBy(refusal, err); err != nil {
		return err
	}
	return c.say(disputeLines([]cards.Dispute{d})[0], "%s", disputeSentence(d))
}

func disputeSentence(d cards.Dispute) string {
	sentence := fmt.Sprintf("merchant %s  transaction %d  card %s  %s  %s: %s", d.Merchant, d.TNo, d.Card, d.Amount.Decimal(), d.Reason, d.State)
	if d.Rule != "" {
		sentence += " by " + d.Rule
	}
	return sentence
}

func (c *cardsCommand) claim(ctx context.Context, clearing *cards.Clearing) (cards.Dispute, *purse.Refusal, error) {
	proof, err := unhex("proof", c.proof)
	if err != nil {
		return cards.Dispute{}, nil, err
	}
	macz, err := unhex("macz", c.macz)
	if err == nil && len(macz) != len(purse.MAC{}) {
		err = errors.New("--macz: want 16 bytes")
	}
	if err != nil {
		return cards.Dispute{}, nil, err
	}
	return clearing.Claim(ctx, proof, purse.MAC(macz), c.note)
}

func (c *cardsCommand) listDisputes(ctx context.Context, clearing *cards.Clearing) error {
	disputes, err := clearing.Disputes(ctx, !c.isAll, ledger.MaxPage)
	if err != nil {
		return err
	}
	var rows strings.Builder
	for _, d := range disputes {
		rows.WriteString("\n" + disputeSentence(d))
	}
	return c.say(disputeLines(disputes), "%d disputes%s", len(disputes), rows.String())
}

func (c *cardsCommand) show(ctx context.Context, clearing *cards.Clearing) error {
	s, err := clearing.Show(ctx, c.cardID())
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(s)
	}
	fmt.Fprintf(c.stdout, "card %s: %s, account %q, expires %s\n", s.Card, s.State, s.Account, s.Expires.Format(time.DateOnly))
	fmt.Fprintf(c.stdout, "shadow %s, loads pending %s\n", s.ShadowMicros.Decimal(), s.PendingMicros.Decimal())
	for _, l := range s.Loads {
		fmt.Fprintf(c.stdout, "load %d  %s  %s\n", l.Number, l.AmountMicros.Decimal(), l.State)
	}
	for _, p := range s.Payments {
		fmt.Fprintf(c.stdout, "payment %d  %s  merchant %s transaction %d  %s\n", p.Number, p.AmountMicros.Decimal(), p.Merchant, p.Transaction, p.State)
	}
	for _, t := range s.Scripts {
		fmt.Fprintf(c.stdout, "script %d  %s  %s\n", t.Count, t.Kind, t.State)
	}
	for _, t := range s.Cancellations {
		fmt.Fprintf(c.stdout, "cancellation %d  %s  merchant %s transaction %d, of payment %d  %s\n", t.Number, t.AmountMicros.Decimal(), t.Merchant, t.Transaction, t.CancelledTNo, t.State)
	}
	return nil
}

func (c *cardsCommand) checkAll(ctx context.Context, clearing *cards.Clearing) error {
	found, err := clearing.Check(ctx)
	if err != nil {
		return err
	}
	var rows strings.Builder
	for _, d := range found {
		fmt.Fprintf(&rows, "WRONG %s: %s\n", d.Subject, d.What)
	}
	if err := c.say(append([]ledger.Disagreement{}, found...), "%s%d disagreements", rows.String(), len(found)); err != nil {
		return err
	}
	if len(found) > 0 {
		return &BooksError{Report: ledger.Report{Disagreements: found}}
	}
	return nil
}
