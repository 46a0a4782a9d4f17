package audit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// compareCommitments compares what moved for each commitment of this part with
// what its row says, which is checked against the evidence by itself.
func (a *auditor) compareCommitments(ctx context.Context) error {
	if len(a.snapshot.missing([]string{"broker_commitments"})) > 0 {
		return nil
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var r commitmentRow
		if err := scan(&r.id, &r.account, &r.vendor, &r.reserved, &r.held, &r.paid); err != nil {
			return err
		}
		f := fingerprintOf(r.id)
		if !a.journal.part.has(f) {
			return nil
		}
		facts := a.journal.commitments[f]
		if facts == nil {
			facts = new(commitmentFacts)
		}
		delete(a.journal.commitments, f)
		a.compareCommitment(&r, facts)
		return nil
	}, `SELECT id, account, vendor, reserved, held, paid FROM broker_commitments`)
	if err != nil || len(a.journal.commitments) == 0 || a.journal.part.index > 0 {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var id, reference string
		err := scan(&id, &reference)
		a.find(TransferUnexplained, id, "there is no commitment "+reference, "it moved money for it")
		return err
	}, `SELECT t.id, t.reference FROM transfers t LEFT JOIN broker_commitments c ON c.id = t.reference
		WHERE t.kind IN ('redeem', 'reserve', 'release') AND c.id IS NULL`)
}

func (a *auditor) compareCommitment(r *commitmentRow, facts *commitmentFacts) {
	wrong := func(evidence, books string) { a.find(CommitmentTransfers, r.id, evidence, books) }
	if paid := facts.fromReserved.add(facts.fromOther); !paid.is(r.paid) {
		wrong(micros(r.paid)+" was paid on it", "the transfers for it pay "+paid.String()+" micros")
	}
	if held := facts.reserved.sub(facts.released).sub(facts.fromReserved); !held.is(r.held) {
		wrong(micros(r.held)+" is set aside for it", "its transfers leave "+held.String()+" micros")
	}
	if facts.fromReserved.minus(r.reserved).sign() > 0 {
		wrong(micros(r.reserved)+" was reserved", facts.fromReserved.String()+" micros were paid out of it")
	}
	isOwn := facts.debits == fingerprintOf("user:"+r.account) || facts.debits == fingerprint{}
	isTheirs := facts.credits == fingerprintOf("vendor:"+r.vendor+":payable") || facts.credits == fingerprint{}
	if facts.isMixed || !isOwn || !isTheirs {
		wrong("account "+r.account+" pays "+r.vendor, "its transfers are between others")
	}
}

// compareUsers compares what each user has in all with what the evidence
// explains.
func (a *auditor) compareUsers(ctx context.Context) error {
	if len(a.snapshot.missing([]string{"broker_accounts"})) > 0 {
		return nil
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var id, state string
		if err := scan(&id, &state); err != nil {
			return err
		}
		f, isIn := a.journal.accountPrint(all(id))
		if !isIn {
			return nil
		}
		facts := a.factsOf(f)
		if facts.moved != facts.explained {
			a.find(AccountEvidence, all(id), "the evidence explains "+facts.explained.String()+" micros in all", "its transfers give "+facts.moved.String()+" micros")
		}
		for _, word := range []string{"available", "reserved"} {
			if own := a.journal.accounts[fingerprintOf(all(id)+":"+word)]; own == nil || !own.isKnown {
				a.find(AccountUnknown, all(id)+":"+word, "account "+id+" has it", "the ledger does not")
			} else if state == "closed" && (!own.moved.isZero() || !own.promised.isZero()) {
				a.find(AccountState, all(id)+":"+word, "account "+id+" is closed", own.moved.String()+" micros are on it")
			}
		}
		return nil
	}, `SELECT id, state FROM broker_accounts`)
}

// moveOn adds a transfer to the sums of its day, as far as the broker has summed
// them up.
func (a *auditor) moveOn(t *transferRow) {
	j := &a.journal
	if t.seq > j.summed || t.currency != a.currency {
		return
	}
	day := t.created / (secondsPerDay * 1_000_000)
	debit, credit := groupOf(t.debit), groupOf(t.credit)
	if j.part.index == 0 {
		for _, key := range []dayFlow{{0, debit, credit}, {day, debit, credit}} {
			if j.flows[key] == nil {
				j.flows[key] = new(flowFacts)
			}
			j.flows[key].amount = j.flows[key].amount.plus(t.amount)
			j.flows[key].count++
		}
	}
	if credit == "vendor:payable" {
		if d := j.vendorDay(t.credit, day); d != nil {
			d.redeemed, d.count = d.redeemed.plus(t.amount), d.count+1
		}
	}
	if debit == "vendor:payable" {
		if d := j.vendorDay(t.debit, day); d != nil {
			d.paidOut = d.paidOut.plus(t.amount)
		}
	}
}

// vendorDay returns what is known of a vendor's day, or nil if it is in another
// part.
func (j *journalFacts) vendorDay(account string, day int64) *vendorDay {
	f := vendorDayPrint(account, day)
	if !j.part.has(f) {
		return nil
	}
	if j.vendorDays[f] == nil {
		j.vendorDays[f] = new(vendorDay)
	}
	return j.vendorDays[f]
}

func vendorDayPrint(account string, day int64) fingerprint {
	return fingerprintOf(strconv.FormatInt(day, 10) + " " + account)
}

// maxGroupBytes is the length above which an account of the broker itself is
// summed with others, as the broker does.
const maxGroupBytes = 40

// groupOf returns the group of accounts that sums are kept of: the first and the
// last word of the id; the whole of an account of the broker itself.
func groupOf(id string) string {
	first, last := strings.IndexByte(id, ':'), strings.LastIndexByte(id, ':')
	if first < 0 || id[:first] == "broker" && len(id) <= maxGroupBytes {
		return id
	}
	return id[:first] + id[last:]
}

// compareFlows compares the sums of days with those of the journal.
func (a *auditor) compareFlows(ctx context.Context) error {
	j := &a.journal
	if j.part.index > 0 || len(a.snapshot.missing([]string{"broker_sums"})) > 0 {
		return nil
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var key dayFlow
		var amount, count int64
		if err := scan(&key.day, &key.debit, &key.credit, &amount, &count); err != nil {
			return err
		}
		facts := j.flows[key]
		if facts == nil {
			facts = new(flowFacts)
		}
		delete(j.flows, key)
		if !facts.amount.is(amount) || facts.count != count {
			a.find(DaySum, key.String(), fmt.Sprintf("%d transfers of %s micros", facts.count, facts.amount), fmt.Sprintf("%d of %s", count, micros(amount)))
		}
		return nil
	}, `SELECT day, debit, credit, amount, count FROM broker_sums`)
	for key, facts := range j.flows {
		a.find(DaySum, key.String(), fmt.Sprintf("%d transfers of %s micros", facts.count, facts.amount), "there is no sum")
	}
	return err
}

// String names the sum.
func (k dayFlow) String() string {
	return fmt.Sprintf("day %d from %s to %s", k.day, k.debit, k.credit)
}

// compareVendorDays does so for those of vendors.
func (a *auditor) compareVendorDays(ctx context.Context) error {
	j := &a.journal
	if len(a.snapshot.missing([]string{"broker_vendor_sums"})) > 0 {
		return nil
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var account string
		var day, redeemed, count, paidOut int64
		if err := scan(&account, &day, &redeemed, &count, &paidOut); err != nil {
			return err
		}
		f := vendorDayPrint(account, day)
		if !j.part.has(f) {
			return nil
		}
		facts := j.vendorDays[f]
		if facts == nil {
			facts = new(vendorDay)
		}
		delete(j.vendorDays, f)
		if !facts.redeemed.is(redeemed) || !facts.paidOut.is(paidOut) || facts.count != count {
			a.find(DaySum, fmt.Sprintf("day %d of %s", day, account),
				fmt.Sprintf("%d payments of %s micros, %s micros paid out", facts.count, facts.redeemed, facts.paidOut),
				fmt.Sprintf("%d of %s, %s paid out", count, micros(redeemed), micros(paidOut)))
		}
		return nil
	}, `SELECT account, day, redeemed, count, paid_out FROM broker_vendor_sums`)
	if left := len(j.vendorDays); left > 0 && err == nil {
		a.find(DaySum, "vendors", fmt.Sprintf("%d days of vendors have transfers", left), "there are no sums of them")
	}
	return err
}
