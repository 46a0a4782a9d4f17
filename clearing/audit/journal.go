package audit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// entriesPerPass is how many accounts, commitments and days of vendors are summed
// in one pass over the journal, at about 150 bytes each: 300 MB. Beyond that the
// journal is read again for the next part of them. Tests lower it.
var entriesPerPass int64 = 2_000_000

// transferRow is a line of the journal as it is stored.
type transferRow struct {
	seq                 int64
	id, phase           string
	pendingID           string // "": it ends none
	debit, credit       string
	amount              int64 // micros
	currency            string
	kind, reference     string
	expires, created    int64       // microseconds since 1970
	debitPrint, toPrint fingerprint // of its accounts
	isDebitIn, isToIn   bool        // they are in the part that is summed now
}

// accountFacts is what the journal and the evidence say of an account.
type accountFacts struct {
	moved, promised             sum   // by the journal: balance and pending
	explained, explainedPending sum   // by the evidence
	isKnown                     bool  // the ledger has it
	currency                    uint8 // its place in the list of currencies
}

// commitmentFacts is what the journal says of a commitment.
type commitmentFacts struct {
	reserved, released      sum // set aside for it, and given back
	fromReserved, fromOther sum // paid to the vendor out of what was set aside, and otherwise
	debits, credits         fingerprint
	isMixed                 bool // its money came from or went to several owners
}

// pendingTransfer is one that has not ended.
type pendingTransfer struct {
	debit, credit         fingerprint
	amount, expires       int64
	currency, kind        string
	isIn                  bool // the part that is summed now
	debitName, creditName string
}

// dayFlow is a sum of a day between two groups of accounts.
type dayFlow struct {
	day           int64
	debit, credit string
}

type flowFacts struct {
	amount sum
	count  int64
}

// journalFacts is what one pass over the journal finds out.
type journalFacts struct {
	part        part
	currencies  []string
	accounts    map[fingerprint]*accountFacts
	commitments map[fingerprint]*commitmentFacts
	pending     map[fingerprint]*pendingTransfer
	vendorDays  map[fingerprint]*vendorDay
	flows       map[dayFlow]*flowFacts
	payables    []*accountFacts         // those that runs pay
	period      map[fingerprint]*paidOn // commitments in the period of the next run
	kinds       map[string]int64        // transfers of each
	reversed    map[string]sum          // by the transfer that booked the payment
	summed      int64                   // seq of the last transfer in the daily sums
}

// vendorDay is what a day brought to a vendor.
type vendorDay struct {
	redeemed, paidOut sum
	count             int64
}

// checkBooks sums the journal up and compares it with the balances, the
// commitments and the sums of days, part by part.
func (a *auditor) checkBooks(ctx context.Context) error {
	if err := a.countBooks(ctx); err != nil {
		return err
	}
	entries := a.looked.Accounts + a.looked.Commitments + a.looked.DaySums
	passes := uint32(1 + (entries-1)/entriesPerPass)
	for k := range passes {
		a.journal = journalFacts{part: part{k, passes}, kinds: make(map[string]int64), reversed: make(map[string]sum),
			accounts: make(map[fingerprint]*accountFacts), commitments: make(map[fingerprint]*commitmentFacts),
			pending: make(map[fingerprint]*pendingTransfer), vendorDays: make(map[fingerprint]*vendorDay), flows: make(map[dayFlow]*flowFacts),
			period: make(map[fingerprint]*paidOn)}
		for _, step := range []func(context.Context) error{
			a.loadCurrencies, a.readJournal, a.explain, a.compareAccounts, a.compareCommitments, a.compareUsers, a.compareVendorDays, a.compareFlows,
		} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *auditor) countBooks(ctx context.Context) error {
	err := a.snapshot.one(ctx, `SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM transfers)`, &a.looked.Accounts, &a.looked.Transfers)
	if err == nil && len(a.snapshot.missing([]string{"broker_vendor_sums", "broker_sums"})) == 0 {
		err = a.snapshot.one(ctx, `SELECT (SELECT COUNT(*) FROM broker_vendor_sums) + (SELECT COUNT(*) FROM broker_sums)`, &a.looked.DaySums)
	}
	return err
}

// loadCurrencies reads which currency each account of this part has.
func (a *auditor) loadCurrencies(ctx context.Context) error {
	j := &a.journal
	if len(a.snapshot.missing([]string{"broker_sums_progress"})) == 0 {
		if err := a.snapshot.one(ctx, `SELECT COALESCE(MAX(seq), 0) FROM broker_sums_progress`, &j.summed); err != nil {
			return err
		}
	}
	places := make(map[string]uint8)
	return a.snapshot.each(ctx, func(scan scanner) error {
		var id, currency string
		if err := scan(&id, &currency); err != nil {
			return err
		}
		place, isKnown := places[currency]
		if !isKnown && len(j.currencies) < 255 { // more of them is no broker's book, and is found as a difference
			place = uint8(len(j.currencies))
			places[currency] = place
			j.currencies = append(j.currencies, currency)
		}
		if f, isIn := j.accountPrint(id); isIn {
			facts := &accountFacts{currency: place, isKnown: true}
			j.accounts[f] = facts
			if class := classOf(id); class == "vendor:payable" || class == "merchant:payable" {
				j.payables = append(j.payables, facts)
			}
		}
		return nil
	}, `SELECT id, currency FROM accounts`)
}

// transfersPerPage is how many transfers are read at a time, about half a
// kilobyte each.
const transfersPerPage = 5000

// readJournal reads every transfer in its order, and looks at what is owed where
// a run was cut off.
func (a *auditor) readJournal(ctx context.Context) error {
	after, done := int64(0), int64(0)
	read := func(until int64) error {
		for {
			last, count, err := a.readPage(ctx, after, until)
			if err != nil || count == 0 {
				return err
			}
			after, done = last, done+count
			a.progress("journal", done, a.looked.Transfers)
		}
	}
	for _, r := range a.runs { // by cut-off
		if err := read(r.cutoff); err != nil {
			return err
		}
		if err := a.compareCutoff(ctx, r); err != nil {
			return err
		}
		if err := a.compareEvidence(ctx, r); err != nil {
			return err
		}
	}
	return read(math.MaxInt64)
}

// readPage reads some transfers after one and up to another.
func (a *auditor) readPage(ctx context.Context, after, until int64) (last, count int64, err error) {
	j := &a.journal
	err = a.snapshot.each(ctx, func(scan scanner) error {
		var t transferRow
		err := scan(&t.seq, &t.id, &t.phase, &t.pendingID, &t.debit, &t.credit, &t.amount, &t.currency, &t.kind, &t.reference, &t.expires, &t.created)
		if err != nil {
			return err
		}
		t.debitPrint, t.isDebitIn = j.accountPrint(t.debit)
		t.toPrint, t.isToIn = j.accountPrint(t.credit)
		a.readTransfer(&t)
		last, count = t.seq, count+1
		return nil
	}, `SELECT seq, id, phase, COALESCE(pending_id, ''), debit, credit, amount, currency, kind, reference, expires, created
		FROM transfers WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`, after, until, transfersPerPage)
	return last, count, err
}

// accountPrint returns the fingerprint of an account, and whether it is in the
// part that is summed now. The accounts of a user are in one part.
func (j *journalFacts) accountPrint(id string) (f fingerprint, isIn bool) {
	f = fingerprintOf(id)
	return f, j.part.count == 1 || j.part.has(fingerprintOf(ownerOf(id)))
}

// factsOf returns what is known of an account of this part.
func (a *auditor) factsOf(f fingerprint) *accountFacts {
	facts := a.journal.accounts[f]
	if facts == nil {
		facts = new(accountFacts)
		a.journal.accounts[f] = facts
	}
	return facts
}

// readTransfer checks one transfer against the rules of the journal and adds it
// up.
func (a *auditor) readTransfer(t *transferRow) {
	j := &a.journal
	isFirst := j.part.index == 0 // each is complained of once
	if t.phase == "single" || t.phase == "pending" {
		j.kinds[t.kind]++
	}
	if isFirst {
		a.checkTransfer(t)
	}
	switch t.phase {
	case "single":
		a.move(t)
	case "pending":
		a.promise(t.isDebitIn, t.debitPrint, t.amount)
		j.pending[fingerprintOf(t.id)] = &pendingTransfer{debit: t.debitPrint, credit: t.toPrint, amount: t.amount, expires: t.expires,
			currency: t.currency, kind: t.kind, isIn: t.isDebitIn, debitName: t.debit, creditName: t.credit}
	case "post", "void", "expire":
		a.end(t, isFirst)
	}
}

// checkTransfer checks what a transfer alone and its two accounts tell.
func (a *auditor) checkTransfer(t *transferRow) {
	wrong := func(says string) { a.find(TransferImpossible, t.id, says, transferText(t)) }
	switch {
	case t.amount < 1 || t.amount > 999_999_999_999_999:
		wrong("an amount is 1 to 999999999999999 micros")
	case t.debit == t.credit:
		wrong("a transfer has two accounts")
	case (t.pendingID != "") != (t.phase == "post" || t.phase == "void" || t.phase == "expire"):
		wrong("what ends a transfer names it, and nothing else does")
	}
	if !isKnownFlow(t) {
		a.find(TransferUnexplained, t.id, "no evidence explains a transfer of that kind between such accounts", transferText(t))
	}
	if says := idOf(t); says != "" {
		a.find(TransferUnexplained, t.id, says, transferText(t))
	}
}

// transferText tells of a transfer, as far as it is known.
func transferText(t *transferRow) string {
	text := t.phase
	if t.kind != "" {
		text += " " + t.kind
	}
	if t.amount >= 0 {
		text += " of " + micros(t.amount)
	}
	if t.debit != "" {
		text += " from " + t.debit
	}
	if t.credit != "" {
		text += " to " + t.credit
	}
	return text
}

// idOf says what is wrong with the id of a transfer, or "". The ids of those
// that a row records are checked with the row.
func idOf(t *transferRow) string {
	want := t.kind + "/" + t.reference
	switch t.kind {
	case "redeem", "reserve":
		number, found := strings.CutPrefix(t.id, want+"/")
		if _, err := strconv.ParseUint(number, 10, 63); !found || err != nil {
			return "it would be called " + want + "/ and a number"
		}
	case "release":
		if t.id != want {
			return "it would be called " + want
		}
	}
	return ""
}

// move adds a transfer to the balances.
func (a *auditor) move(t *transferRow) {
	j := &a.journal
	for _, side := range []struct {
		account fingerprint
		isIn    bool
		change  int64
	}{{t.debitPrint, t.isDebitIn, -t.amount}, {t.toPrint, t.isToIn, t.amount}} {
		if !side.isIn {
			continue
		}
		facts := a.factsOf(side.account)
		facts.moved = facts.moved.plus(side.change)
		if facts.isKnown && j.currencies[facts.currency] != t.currency {
			a.find(TransferImpossible, t.id, "its accounts are in "+j.currencies[facts.currency], "it is in "+t.currency)
		}
	}
	a.moveFor(t)
	a.moveOn(t)
}

// moveFor adds a transfer to the sums of the commitment or payment that it is
// for.
func (a *auditor) moveFor(t *transferRow) {
	j := &a.journal
	switch t.kind {
	case "reverse":
		j.reversed[t.reference] = j.reversed[t.reference].plus(t.amount)
	case "restore":
		j.reversed[t.reference] = j.reversed[t.reference].minus(t.amount)
	case "redeem", "reserve", "release":
		f := fingerprintOf(t.reference)
		if !j.part.has(f) {
			return
		}
		facts := j.commitments[f]
		if facts == nil {
			facts = new(commitmentFacts)
			j.commitments[f] = facts
		}
		facts.add(t)
		if n := len(a.runs); t.kind == "redeem" && n > 0 && t.seq <= a.runs[n-1].cutoff {
			j.addToPeriod(t, f)
		}
	}
}

// add counts a transfer for a commitment.
func (c *commitmentFacts) add(t *transferRow) {
	owner := fingerprintOf(ownerOf(t.debit))
	switch {
	case t.kind == "reserve":
		c.reserved = c.reserved.plus(t.amount)
	case t.kind == "release":
		c.released = c.released.plus(t.amount)
	case strings.HasSuffix(t.debit, ":reserved"):
		c.fromReserved = c.fromReserved.plus(t.amount)
	default:
		c.fromOther = c.fromOther.plus(t.amount)
	}
	if c.debits != (fingerprint{}) && c.debits != owner {
		c.isMixed = true
	}
	c.debits = owner
	if t.kind == "redeem" {
		if c.credits != (fingerprint{}) && c.credits != t.toPrint {
			c.isMixed = true
		}
		c.credits = t.toPrint
	}
}

// end ends a pending transfer: a post moves, the others give the promise back.
func (a *auditor) end(t *transferRow, isFirst bool) {
	j := &a.journal
	key := fingerprintOf(t.pendingID)
	p := j.pending[key]
	delete(j.pending, key)
	switch {
	case p == nil:
		if isFirst {
			a.find(TransferImpossible, t.id, "nothing of the name "+t.pendingID+" was pending", transferText(t))
		}
	case isFirst && (p.debitName != t.debit || p.creditName != t.credit || p.currency != t.currency || p.kind != t.kind || p.amount < t.amount):
		a.find(TransferImpossible, t.id, fmt.Sprintf("%s was pending from %s to %s", micros(p.amount), p.debitName, p.creditName), transferText(t))
	case isFirst && t.phase == "expire" && (p.expires == 0 || t.created < p.expires):
		a.find(TransferImpossible, t.id, "it was pending for longer than that", transferText(t))
	case isFirst && t.phase == "post" && p.expires != 0 && t.created >= p.expires:
		a.find(TransferImpossible, t.id, "its time was over", transferText(t))
	}
	if p != nil {
		a.promise(p.isIn, p.debit, -p.amount)
	}
	if t.phase == "post" {
		a.move(t)
	}
}

// promise adds to what is promised from an account.
func (a *auditor) promise(isIn bool, account fingerprint, amount int64) {
	if isIn {
		facts := a.factsOf(account)
		facts.promised = facts.promised.plus(amount)
	}
}
