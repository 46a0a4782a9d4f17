package audit

import (
	"context"
	"fmt"
	"math/big"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// cardTables are those of purse cards, which a broker need not have.
var cardTables = []string{"cards_cards", "cards_loads", "cards_payments", "cards_batches", "cards_voids", "cards_disputes", "cards_merchants", "cards_alarms", "cards_fee_rules", "cards_cash", "cards_cancellations", "cards_scripts", "cards_early_claims"}

// checkCards checks what is recorded of purse cards by itself: every payment
// against what the card proved, its fee, and the batches that have it. The money
// is compared with the accounts like everybody's.
func (a *auditor) checkCards(ctx context.Context) error {
	if a.options.CardKeys == nil {
		a.note("the proofs of cards were not checked: give the file of their keys")
	}
	rules, err := a.cardRules(ctx)
	if err != nil {
		return err
	}
	batches := make(map[string]*cardBatch)
	for _, step := range []func(context.Context, map[string]*cardBatch) error{a.loadBatches, a.checkVoids} {
		if err := step(ctx, batches); err != nil {
			return err
		}
	}
	if err := a.checkCardPayments(ctx, rules, batches); err != nil {
		return err
	}
	if err := a.checkCancellations(ctx, batches); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{a.checkGateways, a.checkCash, a.checkEarlyClaims, a.checkScripts} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	a.compareBatches(batches)
	return a.checkCardStates(ctx)
}

func (a *auditor) cardRules(ctx context.Context) (map[string]feeRule, error) {
	rules := make(map[string]feeRule)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var version, text string
		if err := scan(&version, &text); err != nil {
			return err
		}
		rule, err := readFeeRule(text)
		if err != nil {
			a.find(FeeRule, "rule "+version, "it cannot be read: "+err.Error(), text)
			return nil
		}
		rules[version] = rule
		return nil
	}, `SELECT version, rule FROM cards_fee_rules`)
	return rules, err
}

// cardBatch is a batch as it is stored, and what its records sum to.
type cardBatch struct {
	merchant                                          string
	number, first, last, payments, voids              int64
	gross, booked, cancelled                          int64 // micros
	cancellations, gotCancellations, gotCancelled     int64
	gotPayments, gotVoids, gotGross, gotBooked, gotTo int64 // of the records
	lowest                                            int64
}

func batchName(merchant string, number int64) string {
	return fmt.Sprintf("batch %d of %s", number, merchant)
}

// loadBatches reads the batches and checks that each merchant's follow each other
// without a gap.
func (a *auditor) loadBatches(ctx context.Context, batches map[string]*cardBatch) error {
	before := new(cardBatch)
	return a.snapshot.each(ctx, func(scan scanner) error {
		b := new(cardBatch)
		var lastBatch, lastTNo int64
		err := scan(&b.merchant, &b.number, &b.first, &b.last, &b.payments, &b.voids, &b.gross, &b.booked, &b.cancellations, &b.cancelled, &lastBatch, &lastTNo)
		if err != nil {
			return err
		}
		if before.merchant != b.merchant {
			before = new(cardBatch)
		}
		if b.number != before.number+1 || b.first <= before.last || b.number > lastBatch || b.last > lastTNo || b.number == lastBatch && b.last != lastTNo {
			a.find(BatchDiffers, batchName(b.merchant, b.number), fmt.Sprintf("the one before it is %d to transaction %d, and the last one %d to %d",
				before.number, before.last, lastBatch, lastTNo), fmt.Sprintf("it is of the transactions %d to %d", b.first, b.last))
		}
		before = b
		batches[batchName(b.merchant, b.number)] = b
		a.looked.Batches++
		return nil
	}, `SELECT b.mid, b.bno, b.first, b.last, b.payments, b.voids, b.gross, b.booked, b.cancellations, b.cancelled, COALESCE(m.last_batch, 0), COALESCE(m.last_tno, 0)
		FROM cards_batches b LEFT JOIN cards_merchants m ON m.mid = b.mid ORDER BY b.mid, b.bno`)
}

func (a *auditor) checkVoids(ctx context.Context, batches map[string]*cardBatch) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant string
		var tno, number int64
		err := scan(&merchant, &tno, &number)
		if b := batches[batchName(merchant, number)]; b != nil {
			b.add(tno)
			b.gotVoids++
		} else {
			a.find(BatchDiffers, batchName(merchant, number), fmt.Sprintf("void %d is in it", tno), "there is no such batch")
		}
		return err
	}, `SELECT mid, tno, bno FROM cards_voids WHERE NOT EXISTS (
		SELECT 1 FROM cards_payments p WHERE p.mid = cards_voids.mid AND p.tno = cards_voids.tno AND p.bno = cards_voids.bno)`)
}

// add counts a record.
func (b *cardBatch) add(tno int64) {
	b.gotTo = max(b.gotTo, tno)
	if b.lowest == 0 || tno < b.lowest {
		b.lowest = tno
	}
}

// cardPayment is a payment as it is stored.
type cardPayment struct {
	merchant, card, rule, source, state string
	tno, sno, lno, bno                  int64
	amount, fee                         int64 // micros
	currency, gateway                   string
	proof, macz                         []byte
}

func (a *auditor) checkCardPayments(ctx context.Context, rules map[string]feeRule, batches map[string]*cardBatch) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var p cardPayment
		err := scan(&p.merchant, &p.tno, &p.card, &p.sno, &p.lno, &p.amount, &p.fee, &p.rule, &p.proof, &p.macz, &p.bno, &p.source, &p.state, &p.currency, &p.gateway)
		if err != nil {
			return err
		}
		a.looked.CardPayments++
		a.checkProof(&p)
		want := big.NewInt(0)
		if rule, isKnown := rules[p.rule]; isKnown && p.state == "paid" {
			want = rule.of(p.amount, int64(money.Currency(p.currency).MinorUnit()))
			if most := big.NewInt(p.amount); want.Cmp(most) > 0 {
				want = most
			}
		}
		// What goes on to a gateway pays no fee, and everything else does.
		if isFree := p.state != "paid" || p.gateway != ""; isFree != (p.rule == "") {
			a.find(LineFee, p.name(), "it is "+p.state+" and gateway \""+p.gateway+"\" has its money", "the rule for its fee is \""+p.rule+"\"")
		}
		if want.Cmp(big.NewInt(p.fee)) != 0 {
			a.find(LineFee, p.name(), "of "+micros(p.amount)+" the rule "+p.rule+" takes "+want.String(), micros(p.fee)+" was taken, and it is "+p.state)
		}
		b := batches[batchName(p.merchant, p.bno)]
		switch {
		case p.bno == 0:
		case b == nil:
			a.find(BatchDiffers, batchName(p.merchant, p.bno), fmt.Sprintf("payment %d is in it", p.tno), "there is no such batch")
		default:
			b.add(p.tno)
			b.gotPayments, b.gotGross = b.gotPayments+1, b.gotGross+p.amount
			if p.source == "batch" {
				b.gotBooked += p.amount
			}
		}
		return nil
	}, `SELECT p.mid, p.tno, p.cid, p.sno, p.lno, p.amount, p.fee, p.fee_rule, p.proof, p.macz, p.bno, p.source, p.state, COALESCE(c.currency, ''), p.gateway
		FROM cards_payments p LEFT JOIN cards_cards c ON c.cid = p.cid`)
}

func (p *cardPayment) name() string { return fmt.Sprintf("payment %d of %s", p.tno, p.merchant) }

// checkProof compares a payment with what its card proved, and checks the MAC
// where the keys are given.
func (a *auditor) checkProof(p *cardPayment) {
	proof, err := purse.ParseProof(p.proof)
	if err != nil {
		a.find(ProofDiffers, p.name(), "there is no proof: "+err.Error(), micros(p.amount)+" was paid")
		return
	}
	got := fmt.Sprintf("card %s, its payment %d after load %d, %s to %s as transaction %d", proof.Card, proof.SNo, proof.LNo,
		micros(int64(proof.Unit.Amount(proof.Amount))), proof.Merchant, proof.TNo)
	want := fmt.Sprintf("card %s, its payment %d after load %d, %s to %s as transaction %d", p.card, p.sno, p.lno, micros(p.amount), p.merchant, p.tno)
	if got != want {
		a.find(ProofDiffers, p.name(), got, want)
	}
	if a.options.CardKeys == nil {
		return
	}
	a.signatures.Add(1)
	key, err := a.options.CardKeys.ProofKey(proof.KeyVersion, proof.Card)
	if err != nil || len(p.macz) != len(purse.MAC{}) || !proof.IsProved(key, purse.MAC(p.macz)) {
		a.find(ProofUnsigned, p.name(), "the card's MAC is wrong, or its key is not known", micros(p.amount)+" was paid")
	}
}

// compareBatches compares each batch with the sum of its records. Their numbers
// follow each other, so that as many as first and last are apart are all.
func (a *auditor) compareBatches(batches map[string]*cardBatch) {
	for name, b := range batches {
		form := "%d payments of %s, %s booked, %d cancellations of %s, and %d voids"
		got := fmt.Sprintf(form, b.gotPayments, micros(b.gotGross), micros(b.gotBooked), b.gotCancellations, micros(b.gotCancelled), b.gotVoids)
		want := fmt.Sprintf(form, b.payments, micros(b.gross), micros(b.booked), b.cancellations, micros(b.cancelled), b.voids)
		records := b.gotPayments + b.gotVoids + b.gotCancellations
		if got != want || records > 0 && (b.lowest != b.first || b.gotTo != b.last || records != b.last-b.first+1) {
			a.find(BatchDiffers, name, fmt.Sprintf("it has %s, from %d to %d", got, b.lowest, b.gotTo), fmt.Sprintf("%s, from %d to %d", want, b.first, b.last))
		}
	}
}

// checkCardStates checks that every card with less than nothing raised an alarm,
// unless it may have taken back what clearing does not know yet,
// and that disputes and payments are in states that fit.
func (a *auditor) checkCardStates(ctx context.Context) error {
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var account string
		err := scan(&account)
		a.find(CardAlarm, account, "more was spent than was loaded", "nobody was told")
		return err
	}, `SELECT l.id FROM accounts l WHERE l.id LIKE 'card:%:shadow' AND l.balance < 0 AND l.balance + COALESCE(
		(SELECT CAST(SUM(p.amount) AS BIGINT) FROM cards_payments p WHERE p.cid = REPLACE(SUBSTR(l.id, 6), ':shadow', '') AND p.repeated = 0 AND p.bno = 0 AND p.state <> 'refunded'
			AND NOT EXISTS (SELECT 1 FROM cards_payments n WHERE n.cid = p.cid AND n.sno = p.sno + 1 AND n.repeated = 0)), 0) + COALESCE(
		(SELECT CAST(SUM(c.amount) AS BIGINT) FROM cards_cancellations c WHERE c.cid = REPLACE(SUBSTR(l.id, 6), ':shadow', '') AND c.state = 'open'), 0) < 0
		AND NOT EXISTS (SELECT 1 FROM cards_alarms x WHERE x.kind = 'overspent' AND x.cid = REPLACE(SUBSTR(l.id, 6), ':shadow', ''))`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant, payment, dispute string
		var tno, amount, disputed int64
		err := scan(&merchant, &tno, &payment, &amount, &dispute, &disputed)
		want := map[string]string{"open": "disputed", "holder": "refunded", "merchant": "paid", "": "paid"}[dispute]
		if payment != want || dispute != "" && amount != disputed {
			a.find(DisputeDiffers, fmt.Sprintf("payment %d of %s", tno, merchant), "the dispute about "+micros(disputed)+" is for "+dispute, micros(amount)+" is "+payment)
		}
		return err
	}, `SELECT p.mid, p.tno, p.state, p.amount, COALESCE(d.state, ''), COALESCE(d.amount, 0)
		FROM cards_payments p LEFT JOIN cards_disputes d ON d.mid = p.mid AND d.tno = p.tno`)
}

// explainCards adds what cards hold, and what they and their merchants had.
func (a *auditor) explainCards(ctx context.Context) error {
	if len(a.snapshot.missing(cardTables)) > 0 {
		return nil
	}
	for _, step := range []func(context.Context) error{a.explainLoads, a.explainCardPayments, a.explainCardRefunds, a.explainCash, a.explainCancellations} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	poolAccount     = "broker:cards:pool"
	memoAccount     = "broker:cards:memo"
	disputesAccount = "broker:cards:disputes"
)

// onCard adds to what a card has: in the pool and on its shadow.
func (a *auditor) onCard(card string, amount int64) {
	a.explained(poolAccount, amount)
	a.explained(memoAccount, -amount)
	a.explained("card:"+card+":shadow", amount)
}

// explainedTo adds to an account of the ledger; what a user has counts as a whole.
func (a *auditor) explainedTo(account string, amount int64) { a.explained(ownerOf(account), amount) }

func (a *auditor) explainLoads(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var card, account, state string
		var amount int64
		if err := scan(&card, &account, &state, &amount); err != nil {
			return err
		}
		switch state {
		case "pending":
			a.explainedPending(account, amount)
		case "posted":
			a.explainedTo(account, -amount)
			a.onCard(card, amount)
		}
		return nil
	}, `SELECT cid, account, state, amount FROM cards_loads`)
}

func (a *auditor) explainCardPayments(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var merchant, card, state, gateway, owner, to string
		var amount, fee int64
		if err := scan(&merchant, &card, &state, &gateway, &amount, &fee, &owner, &to); err != nil {
			return err
		}
		a.onCard(card, -amount)
		switch {
		case state == "paid" && gateway != "":
			a.explained("gateway:"+gateway+":in", amount)
		case state == "paid":
			a.explained("merchant:"+merchant+":payable", amount-fee)
			a.explained("broker:fees", fee)
		case state == "disputed":
			a.explained(disputesAccount, amount)
		case state == "refunded":
			a.explainRefund("payment to "+merchant+" by card "+card, owner, to, amount)
		}
		return nil
	}, `SELECT p.mid, p.cid, p.state, p.gateway, p.amount, p.fee, COALESCE(c.account, ''), COALESCE(t.credit, '')
		FROM cards_payments p LEFT JOIN cards_cards c ON c.cid = p.cid
		LEFT JOIN transfers t ON t.id = 'cards/dispute/' || p.mid || '/' || CAST(p.tno AS TEXT) || '/holder'`)
}

// explainRefund adds what was paid back to whom the ledger says, who must be the
// card's owner, or nobody with a name.
func (a *auditor) explainRefund(what, owner, to string, amount int64) {
	if to != "broker:cards:cash" && (owner == "" || to != "user:"+owner+":available") {
		if a.journal.part.index == 0 {
			a.find(TransferMissing, what, "it was paid back to "+owner, "the money went to "+to)
		}
		return
	}
	a.explainedTo(to, amount)
}

func (a *auditor) explainCardRefunds(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var card, owner, to string
		var refunded int64
		if err := scan(&card, &owner, &refunded, &to); err != nil {
			return err
		}
		a.onCard(card, -refunded)
		a.explainRefund("card "+card, owner, to, refunded)
		return nil
	}, `SELECT c.cid, c.account, c.refunded, COALESCE(t.credit, '') FROM cards_cards c
		LEFT JOIN transfers t ON t.id = 'cards/refund/' || c.cid WHERE c.refunded > 0`)
}
