package audit

import (
	"context"
	"fmt"
)

// owed is what an account has at this point of the journal and has not promised.
func (f *accountFacts) owed() sum { return f.moved.sub(f.promised) }

// compareCutoff compares the positions of a run with what the journal says up to
// its cut-off, which is where it has been read to.
func (a *auditor) compareCutoff(ctx context.Context, r *run) error {
	lines, j := 0, &a.journal
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var l runLine
		if err := scan(&l.number, &l.kind, &l.party, &l.account, &l.gross); err != nil {
			return err
		}
		f, isIn := j.accountPrint(l.account)
		if !isIn {
			return nil
		}
		if l.kind == "collection" {
			a.compareCollection(r, &l)
			return nil
		}
		lines++
		want := "vendor:" + l.party + ":payable"
		if l.kind == "merchant" {
			want = "merchant:" + l.party + ":payable"
		}
		if got := a.factsOf(f).owed(); !got.is(l.gross) || l.account != want {
			a.find(LinePosition, r.lineName(l.number), fmt.Sprintf("%s micros were owed to %s at transfer %d", got, l.party, r.cutoff),
				"the line is of "+micros(l.gross)+" from "+l.account)
		}
		return nil
	}, `SELECT number, kind, party, account, gross FROM clearing_lines WHERE run_id = ? AND kind IN ('vendor', 'merchant', 'collection')`, r.id)
	if err != nil || r.waiting > 0 {
		return err
	}
	owed := 0
	for _, facts := range j.payables {
		if facts.owed().sign() > 0 {
			owed++
		}
	}
	if owed > lines {
		a.find(LineMissing, "run "+r.id, fmt.Sprintf("%d vendors and merchants were owed something at transfer %d", owed, r.cutoff),
			fmt.Sprintf("%d of them are in the run", lines))
	}
	return nil
}

// compareCollection compares what is collected with what the account owes, less
// what was on its way in already.
func (a *auditor) compareCollection(r *run, l *runLine) {
	total := sum{}
	for _, word := range []string{"available", "reserved", "owed"} {
		if facts := a.journal.accounts[fingerprintOf("user:"+l.party+":"+word)]; facts != nil {
			total = total.add(facts.moved)
		}
	}
	if total.plus(l.gross).sign() > 0 || l.account != "user:"+l.party+":available" {
		a.find(LinePosition, r.lineName(l.number), fmt.Sprintf("account %s had %s micros at transfer %d", l.party, total, r.cutoff),
			"the line collects for "+micros(l.gross)+" that it owes")
	}
}
