package clearing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// What the bank books, rejects and returns is booked, given back and owed again,
// of every kind of order.
func TestImport(t *testing.T) {
	d := newDesk(t)
	sums := make(map[string]money.Amount) // of the broker's accounts, over all cases
	for _, c := range []struct {
		name                 string
		steps                []bankfile.Says
		state                string
		vendor, out, fees    money.Amount // what the vendor is owed, what has left, what was earned
		user, collected      money.Amount // the account of the payout, and that of the direct debit
		reserved, usedRefund money.Amount
	}{
		{"accepted", []bankfile.Says{bankfile.Accepted}, "sent", 101, 0, 0, 20, -30, 0, 0},
		{"booked", []bankfile.Says{bankfile.Accepted, bankfile.Booked}, "booked", 0, 120, 1, 0, 0, 3, 0},
		{"rejected", []bankfile.Says{bankfile.Rejected}, "rejected", 101, 0, 0, 20, -30, 0, 0},
		{"returned", []bankfile.Says{bankfile.Booked, bankfile.Returned}, "returned", 101, 0, 0, 20, -30, 0, 3},
		{"returned before its booking is read", []bankfile.Says{bankfile.Returned}, "returned", 101, 0, 0, 20, -30, 0, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			vendor, payout, debit := d.payVendor(100*money.Unit, money.Unit), d.payOut(20*money.Unit), d.collect(30*money.Unit)
			for _, says := range c.steps {
				kind := bankfile.KindStatement
				if says == bankfile.Accepted || says == bankfile.Rejected {
					kind = bankfile.KindStatus
				}
				file := d.write(kind, said{order: vendor, says: says, code: "AC04"}, said{order: payout, says: says, code: "AC04"},
					said{order: debit, says: says, code: "AC04"})
				d.read(file, 3, 0, 0)
				if again := d.read(file, 0, 0, 0); !again.Known {
					t.Error("the file is not known when it is read again")
				}
			}
			d.settled()
			code := ""
			if c.state == "rejected" || c.state == "returned" {
				code = "AC04"
			}
			for _, o := range []order{vendor, payout, debit} {
				d.wantState(o, c.state, code)
			}
			pending := money.Amount(0)
			if c.state == "sent" {
				pending = 1
			}
			d.wantAccount(vendor.account, c.vendor*money.Unit, pending*101*money.Unit)
			d.wantAccount(payout.account, c.user*money.Unit, pending*20*money.Unit)
			d.wantAccount(debit.account, min(c.collected, 0)*money.Unit*boolean(c.state != "returned"), 0)
			d.wantAccount("user:"+debit.party+":owed", -30*money.Unit*boolean(c.state == "returned"), 0)
			for account, moved := range map[string]money.Amount{"broker:bank:out": c.out, "broker:fees": c.fees, "broker:reserve:refunds": c.reserved,
				"broker:reserve:used": c.usedRefund, "broker:provisions": -c.reserved - c.usedRefund} {
				sums[account] += moved * money.Unit
				d.wantAccount(account, sums[account], 0)
			}
		})
	}
}

// boolean is 1 for true.
func boolean(isTrue bool) money.Amount {
	if isTrue {
		return 1
	}
	return 0
}

// Nothing is guessed: what is not exactly an instruction's, or contradicts what
// was said, is unmatched and says why, and moves nothing.
func TestUnmatched(t *testing.T) {
	const statement, status = bankfile.KindStatement, bankfile.KindStatus
	d := newDesk(t)
	for _, c := range []struct {
		name   string
		before []said // order is that of the test
		kind   string
		says   said
		why    string
	}{
		{"another amount", nil, statement, said{says: bankfile.Booked, amount: 99 * money.Unit}, "it is of 99.00, and the instruction of 100.00"},
		{"the wrong way", nil, statement, said{says: bankfile.Booked, turned: true}, "the money went in, and the instruction is out"},
		{"a return the wrong way", nil, statement, said{says: bankfile.Returned, turned: true}, "it is a return, and the money went out"},
		{"nobody's", nil, statement, said{says: bankfile.Booked, order: order{endToEnd: "UNKNOWN", amount: 1 * money.Unit}}, "no instruction has this end-to-end id"},
		{"without a name", nil, statement, said{says: bankfile.Booked, order: order{endToEnd: "NOTPROVIDED", amount: 1 * money.Unit}}, "it names no end-to-end id"},
		{"neither", nil, status, said{says: bankfile.Other}, "it says neither"},
		{"booked after rejected", []said{{says: bankfile.Rejected}}, statement, said{says: bankfile.Booked}, "the bank books what it rejected on 2026-11-22"},
		{"returned after rejected", []said{{says: bankfile.Rejected}}, statement, said{says: bankfile.Returned}, "the bank returns what it rejected on 2026-11-22"},
		{"accepted after rejected", []said{{says: bankfile.Rejected}}, status, said{says: bankfile.Accepted}, "the bank accepts what it rejected before"},
		{"rejected after booked", []said{{says: bankfile.Booked}}, status, said{says: bankfile.Rejected}, "the bank rejects what it booked on 2026-11-22"},
		{"booked twice", []said{{says: bankfile.Booked, ref: "A"}}, statement, said{says: bankfile.Booked, ref: "B"}, "under another reference of the bank"},
		{"returned twice", []said{{says: bankfile.Returned, ref: "A"}}, statement, said{says: bankfile.Returned, ref: "B"}, "under another reference of the bank"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := d.payVendor(100*money.Unit, money.Unit)
			for _, before := range c.before {
				before.order = o
				kind := statement
				if before.says == bankfile.Rejected {
					kind = status
				}
				d.read(d.write(kind, before), 1, 0, 0)
			}
			before := d.positions()
			if c.says.endToEnd == "" {
				c.says.order = o
			}
			report := d.read(d.write(c.kind, c.says), 0, 0, 1)
			if len(report.Open) != 1 || !strings.Contains(report.Open[0].Note, c.why) {
				t.Errorf("got %+v, want %q", report.Open, c.why)
			}
			if after := d.positions(); after != before {
				t.Errorf("it moved money: %s became %s", before, after)
			}
		})
	}
	d.settled()
}

// positions is all that accounts hold, for comparing.
func (d *desk) positions() string {
	d.t.Helper()
	var text string
	d.one(&text, `SELECT COALESCE(MAX(seq), 0) || ' transfers' FROM transfers`)
	return text
}

// An American bank knows the beginning of an end-to-end id, and an order by ACH
// is found by it if no other begins so.
func TestIdentificationsOfACH(t *testing.T) {
	d := newDesk(t)
	send := func(endToEnd, method string) order {
		vendor := "https://" + endToEnd + ".example"
		d.spend(d.account(money.Unit), vendor, money.Unit)
		return d.send(order{endToEnd: endToEnd, method: method, kind: "vendor", party: vendor, account: "vendor:" + vendor + ":payable", amount: money.Unit})
	}
	o := send("0123456789abcdef0123456789abcdef", "ach")
	send("aa23456789abcdef0123456789abcdef", "ach")
	send("aa23456789abcdef0123456789abcdee", "ach")
	send("bb23456789abcdef0123456789abcdef", "credit-transfer")
	named := func(id string) said {
		return said{order: order{endToEnd: id, amount: money.Unit}, says: bankfile.Booked, ref: "A"}
	}
	d.read(d.write(bankfile.KindStatement, named("0123456789ABCDE"), named("AA23456789ABCDE"), named("BB23456789ABCDE"), named("CC23456789ABCDE")), 1, 0, 3)
	d.wantState(o, "booked", "")
	again := named("0123456789ABCDE")
	again.ref = "B"
	d.read(d.write(bankfile.KindStatement, again), 0, 0, 1) // twice, under another reference
}

// The same said again, elsewhere or with another reference of another kind of
// file, changes nothing.
func TestRepeated(t *testing.T) {
	d := newDesk(t)
	o := d.payVendor(100*money.Unit, money.Unit)
	booked := said{order: o, says: bankfile.Booked, ref: "A"}
	d.read(d.write(bankfile.KindNotification, booked), 1, 0, 0)
	d.read(d.write(bankfile.KindStatement, said{order: o, says: bankfile.Booked, ref: "B"}), 0, 1, 0)
	d.read(d.write(bankfile.KindNotification, booked), 0, 1, 0)
	d.read(d.write(bankfile.KindStatement, said{order: o, says: bankfile.Booked, ref: "B"}, said{order: o, says: bankfile.Booked, ref: "B"}), 0, 1, 1)
	d.read(d.write(bankfile.KindStatus, said{order: o, says: bankfile.Accepted}), 1, 0, 0)
	back := said{order: o, says: bankfile.Returned, code: "AC04"}
	d.read(d.write(bankfile.KindStatement, back), 1, 0, 0)
	d.read(d.write(bankfile.KindStatement, back), 0, 1, 0)
	d.read(d.write(bankfile.KindStatus, said{order: o, says: bankfile.Rejected, code: "AC04"}), 0, 1, 0)
	d.settled()
	d.wantAccount(o.account, 101*money.Unit, 0)
}

// A file of a message id that was read with other content is refused.
func TestMessageThatDiffers(t *testing.T) {
	d := newDesk(t)
	o := d.payVendor(100*money.Unit, 0)
	d.read(document(bankfile.KindStatus, "ONE", said{order: o, says: bankfile.Accepted}), 1, 0, 0)
	_, err := clearing.Import(t.Context(), d.db, document(bankfile.KindStatus, "ONE", said{order: o, says: bankfile.Rejected}))
	if !errors.Is(err, clearing.ErrMessageDiffers) {
		t.Errorf("got %v", err)
	}
	d.wantState(o, "sent", "")
	// Another kind of file may have the same id.
	d.read(document(bankfile.KindStatement, "ONE", said{order: o, says: bankfile.Booked}), 1, 0, 0)
}

// What the ledger does not allow is unmatched, and the entries beside it count.
func TestWhatTheBooksDoNotAllow(t *testing.T) {
	d := newDesk(t)
	bad, good := d.payVendor(100*money.Unit, money.Unit), d.payVendor(50*money.Unit, 0)
	// Somebody has ended the pending transfer of the fee by hand.
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		id := "settle/" + bad.endToEnd + "/fee"
		return tx.VoidPending(ctx, ledger.Ending{ID: id + "/by-hand", PendingID: id})
	})
	report := d.read(d.write(bankfile.KindStatement, said{order: bad, says: bankfile.Booked}, said{order: good, says: bankfile.Booked}), 1, 0, 1)
	if len(report.Open) != 1 || !strings.Contains(report.Open[0].Note, "the books do not allow it") {
		t.Errorf("got %+v", report.Open)
	}
	d.wantState(bad, "sent", "")
	d.wantState(good, "booked", "")
	d.wantAccount(bad.account, 101*money.Unit, 100*money.Unit)
	d.settled()
}

// The broker is told of one payout once.
func TestPayoutPaidBefore(t *testing.T) {
	d := newDesk(t)
	o := d.payOut(20 * money.Unit)
	account, id, _ := strings.Cut(o.party, "/")
	d.exec(`INSERT INTO broker_outcomes (kind, account, id, amount, note, created) VALUES ('payout-paid', ?, ?, ?, 'an order before', 0)`, account, id, o.amount)
	report := d.read(d.write(bankfile.KindStatement, said{order: o, says: bankfile.Booked}), 0, 0, 1)
	if len(report.Open) != 1 || !strings.Contains(report.Open[0].Note, "may have been paid twice") {
		t.Errorf("got %+v", report.Open)
	}
	d.wantState(o, "sent", "")
	d.settled()
}

var errCrash = errors.New("crashed")

// crashAt runs an import that stops at a step, as a process that is killed does,
// and reports whether it came that far.
func crashAt(at int, work func(step func(string)) error) (crashed bool, err error) {
	defer func() {
		if cause := recover(); cause == errCrash {
			crashed = true
		} else if cause != nil {
			panic(cause)
		}
	}()
	count := 0
	return false, work(func(string) {
		if count++; count == at {
			panic(errCrash)
		}
	})
}

// However often an import is broken off, it goes on, and does nothing twice.
func TestImportGoesOn(t *testing.T) {
	d := newDesk(t)
	var entries []said
	sum := money.Amount(0)
	for range 2 {
		o := d.collect(10 * money.Unit)
		entries = append(entries, said{order: o, says: bankfile.Booked})
	}
	d.read(d.write(bankfile.KindNotification, entries...), 2, 0, 0)
	d.now.Add(deskRefundDays * 24 * 3600) // what was kept of them is released in between
	entries = nil
	for range 25 {
		o := d.payVendor(money.Unit, 0)
		sum += money.Unit
		entries = append(entries, said{order: o, says: bankfile.Booked})
	}
	file := d.write(bankfile.KindStatement, entries...)
	crashes := 0
	for {
		// Each attempt dies at the first step that it gets to.
		crashed, err := crashAt(1+crashes%2, func(step func(string)) error {
			_, err := clearing.ImportStepwise(t.Context(), d.db, file, step)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if !crashed {
			break
		}
		if crashes++; crashes > 100 {
			t.Fatal("it never gets on")
		}
	}
	if crashes < 4 {
		t.Errorf("it was broken off %d times: want the document, three parts and the reserves", crashes)
	}
	d.read(file, 0, 0, 0)
	var count int64
	d.one(&count, `SELECT COUNT(*) FROM clearing_bank_entries WHERE state = 'matched' AND says = 'booked'`)
	if count != 27 {
		t.Errorf("%d entries are matched, want 27", count)
	}
	d.settled()
	d.wantAccount("broker:bank:out", sum, 0)
	d.wantAccount("broker:reserve:refunds", 0, 0)
	d.wantAccount("broker:provisions", 0, 0)
}

// Reserves come back when their time is over, and not before; a return after
// that finds none.
func TestReserves(t *testing.T) {
	d := newDesk(t)
	early, late := d.collect(30*money.Unit), d.collect(50*money.Unit)
	d.read(d.write(bankfile.KindStatement, said{order: early, says: bankfile.Booked}), 1, 0, 0)
	d.now.Add(24 * 3600)
	d.read(d.write(bankfile.KindStatement, said{order: late, says: bankfile.Booked}), 1, 0, 0)
	d.wantAccount("broker:reserve:refunds", 8*money.Unit, 0)
	d.now.Add((deskRefundDays-1)*24*3600 - 1)
	released := func(wanted int, amount money.Amount) {
		t.Helper()
		count, sum, err := clearing.ReleaseReserves(t.Context(), d.db)
		if err != nil || count != wanted || sum != amount {
			t.Errorf("released %d of %s, %v; want %d of %s", count, sum, err, wanted, amount)
		}
	}
	released(0, 0)
	d.now.Add(1)
	released(1, 3*money.Unit)
	released(0, 0)
	d.wantAccount("broker:reserve:refunds", 5*money.Unit, 0)
	d.read(d.write(bankfile.KindStatement, said{order: early, says: bankfile.Returned, code: "MD01"}), 1, 0, 0)
	d.read(d.write(bankfile.KindStatement, said{order: late, says: bankfile.Returned, code: "MD06"}), 1, 0, 0)
	d.wantAccount("broker:reserve:refunds", 0, 0)
	d.wantAccount("broker:reserve:used", 5*money.Unit, 0)
	d.settled()
}

// An operator says by hand what a bank without files does, and once.
func TestSayByHand(t *testing.T) {
	d := newDesk(t)
	first, second := d.payVendor(10*money.Unit, money.Unit), d.payOut(20*money.Unit)
	say := func(answer clearing.ManualAnswer, matched, repeated int) {
		t.Helper()
		report, err := clearing.SayByHand(t.Context(), d.db, answer)
		if err != nil || report.Matched != matched || report.Repeated != repeated || report.Unmatched != 0 {
			t.Errorf("%+v: got %+v, %v", answer, report, err)
		}
	}
	say(clearing.ManualAnswer{Says: bankfile.Rejected, EndToEnd: first.endToEnd, Code: "AC04", Note: "told by phone"}, 1, 0)
	say(clearing.ManualAnswer{Says: bankfile.Booked, RunID: deskRun}, 1, 0)
	say(clearing.ManualAnswer{Says: bankfile.Booked, RunID: deskRun}, 0, 0)
	say(clearing.ManualAnswer{Says: bankfile.Booked, EndToEnd: second.endToEnd}, 0, 1)
	say(clearing.ManualAnswer{Says: bankfile.Returned, RunID: deskRun, EndToEnd: second.endToEnd, Code: "AC01"}, 1, 0)
	say(clearing.ManualAnswer{Says: bankfile.Returned, RunID: deskRun, EndToEnd: second.endToEnd, Code: "AC01"}, 0, 0)
	d.wantState(first, "rejected", "AC04")
	d.wantState(second, "returned", "AC01")
	d.settled()
	var count int64
	d.one(&count, `SELECT COUNT(*) FROM clearing_audit WHERE subject = ?`, "instruction:"+second.endToEnd)
	if count != 2 {
		t.Errorf("the audit log has %d lines of the instruction, want 2", count)
	}
	for says, answer := range map[string]clearing.ManualAnswer{
		"want booked, rejected or returned":  {Says: bankfile.Accepted, RunID: deskRun},
		"name a run, or an instruction":      {Says: bankfile.Booked},
		"a whole run does not come back":     {Says: bankfile.Returned, RunID: deskRun},
		"want up to 35 letters":              {Says: bankfile.Booked, RunID: deskRun, Code: "A\n"},
		"want one line of at most 200":       {Says: bankfile.Booked, RunID: deskRun, Note: "a\x1b"},
		"want credit-transfer, direct-debit": {Says: bankfile.Booked, RunID: deskRun, Method: "cash"},
		"no such instruction of run":         {Says: bankfile.Booked, RunID: "other"},
		"no such instruction: \"x":           {Says: bankfile.Booked, EndToEnd: "x"},
		"no such instruction: \"0":           {Says: bankfile.Booked, RunID: "other", EndToEnd: first.endToEnd},
	} {
		if _, err := clearing.SayByHand(t.Context(), d.db, answer); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", answer, err, says)
		}
	}
}

// A bank answers one file. What of a run went otherwise is not meant.
func TestSayByHandOfOneMethod(t *testing.T) {
	d := newDesk(t)
	transfer, debit := d.payVendor(10*money.Unit, money.Unit), d.collect(30*money.Unit)
	_, err := clearing.SayByHand(t.Context(), d.db, clearing.ManualAnswer{Says: bankfile.Rejected, RunID: deskRun})
	wantError(t, err, "orders by credit-transfer and by direct-debit")
	d.wantState(transfer, "sent", "")
	report, err := clearing.SayByHand(t.Context(), d.db, clearing.ManualAnswer{Says: bankfile.Rejected, RunID: deskRun, Method: clearing.MethodDirectDebit})
	if err != nil || report.Matched != 1 {
		t.Errorf("got %+v, %v", report, err)
	}
	d.wantState(transfer, "sent", "")
	d.wantState(debit, "rejected", "")
	d.settled()
}

// Where the bank names a file and not its payments, number and sum say which they
// are, or nothing is guessed.
func TestBatches(t *testing.T) {
	const batch = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"><BkToCstmrDbtCdtNtfctn><GrpHdr><MsgId>%s</MsgId></GrpHdr><Ntfctn>
		<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id></Acct><Ntry><Amt Ccy="EUR">%s</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
		<NtryDtls><Btch><MsgId>%s</MsgId><NbOfTxs>%d</NbOfTxs></Btch></NtryDtls></Ntry></Ntfctn></BkToCstmrDbtCdtNtfctn></Document>`
	const group = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"><CstmrPmtStsRpt><GrpHdr><MsgId>%s</MsgId></GrpHdr>
		<OrgnlGrpInfAndSts><OrgnlMsgId>%s</OrgnlMsgId><GrpSts>%s</GrpSts></OrgnlGrpInfAndSts></CstmrPmtStsRpt></Document>`
	sent := func() (d *desk, first, second order) {
		d = newDesk(t)
		return d, d.payVendor(10*money.Unit, money.Unit), d.payVendor(20*money.Unit, 0)
	}
	d, first, second := sent()
	for _, c := range []struct {
		name, file                   string
		matched, repeated, unmatched int
		state                        string
	}{
		{"another sum", fmt.Sprintf(batch, "2", "30.01", deskRun+"-c1", 2), 0, 0, 1, "sent"},
		{"another number", fmt.Sprintf(batch, "3", "30.00", deskRun+"-c1", 3), 0, 0, 1, "sent"},
		{"another method", fmt.Sprintf(batch, "4", "30.00", deskRun+"-d1", 2), 0, 0, 1, "sent"},
		{"another run", fmt.Sprintf(batch, "5", "30.00", "run-2026-11-22-2-c1", 2), 0, 0, 1, "sent"},
		{"accepted", fmt.Sprintf(group, "7", deskRun+"-c1", "ACCP"), 2, 0, 0, "sent"},
		{"booked", fmt.Sprintf(batch, "1", "30.00", deskRun+"-c1", 2), 2, 0, 0, "booked"},
		{"booked before", fmt.Sprintf(batch, "8", "30.00", deskRun+"-c1", 2), 0, 2, 0, "booked"},
		{"rejected", fmt.Sprintf(group, "6", deskRun+"-c1", "RJCT"), 2, 0, 0, "rejected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "rejected" {
				d, first, second = sent()
			}
			d.read([]byte(c.file), c.matched, c.repeated, c.unmatched)
			for _, o := range []order{first, second} {
				d.wantState(o, c.state, "")
			}
			d.settled()
			if again := d.read([]byte(c.file), 0, 0, 0); !again.Known {
				t.Error("the file is not known when it is read again")
			}
		})
	}
}

// Mandates are checked, one of an account at a time, and end for ever.
func TestMandates(t *testing.T) {
	d := newDesk(t)
	account, other := d.account(0), d.account(0)
	good := clearing.Mandate{ID: "M/2026(1)", Account: account, Name: "Ada Łovelace", IBAN: "DE89370400440532013000", BIC: "COBADEFFXXX",
		Signed: "2026-11-01", Scheme: "core"}
	add := func(m clearing.Mandate, want string) {
		t.Helper()
		err := clearing.AddMandate(t.Context(), d.db, m)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %q", m, err, want)
		}
	}
	for want, change := range map[string]func(*clearing.Mandate){
		"want 1 to 35 letters":     func(m *clearing.Mandate) { m.ID = "a b" },
		"mandate id \"x/\"":        func(m *clearing.Mandate) { m.ID = "x/" },
		"without // and":           func(m *clearing.Mandate) { m.ID = "x//y" },
		"name: want":               func(m *clearing.Mandate) { m.Name = "a\nb" },
		"IBAN":                     func(m *clearing.Mandate) { m.IBAN = "DE88370400440532013000" },
		"BIC":                      func(m *clearing.Mandate) { m.BIC = "COBA" },
		"want the day of":          func(m *clearing.Mandate) { m.Signed = "1.11.2026" },
		"want core, or b2b":        func(m *clearing.Mandate) { m.Scheme = "CORE" },
		"there is no such account": func(m *clearing.Mandate) { m.Account = "nobody" },
	} {
		m := good
		change(&m)
		add(m, want)
	}
	add(good, "")
	add(good, "")
	changed := good
	changed.Name = "Ada"
	add(changed, clearing.ErrMandateDiffers.Error())
	second := good
	second.ID = "M2"
	add(second, clearing.ErrMandateActive.Error())
	elsewhere := second
	elsewhere.Account = other
	add(elsewhere, "")
	if err := clearing.WithdrawMandate(t.Context(), d.db, "M3"); !errors.Is(err, clearing.ErrNoMandate) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := clearing.WithdrawMandate(t.Context(), d.db, good.ID); err != nil {
			t.Error(err)
		}
	}
	add(good, clearing.ErrMandateDiffers.Error())
	third := good
	third.ID = "M3"
	add(third, "")
	all, err := clearing.Mandates(t.Context(), d.db, "", 10)
	if err != nil || len(all) != 3 || all[0].ID != good.ID || all[0].State != "withdrawn" || all[1].ID != "M2" || all[2].State != "active" {
		t.Errorf("got %+v, %v", all, err)
	}
	var log string
	d.one(&log, `SELECT detail FROM clearing_audit WHERE action = 'add-mandate' ORDER BY seq LIMIT 1`)
	if strings.Contains(log, good.IBAN) || strings.Contains(log, good.Name) {
		t.Errorf("the audit log says whose account it is: %s", log)
	}
}

// What is open is listed by age, with what the bank's statements say.
func TestReconcile(t *testing.T) {
	d := newDesk(t)
	const day = 24 * 3600
	old, booked, debit := d.payVendor(10*money.Unit, 0), d.payVendor(20*money.Unit, 0), d.collect(30*money.Unit)
	d.now.Add(5 * day)
	d.payVendor(40*money.Unit, 0)
	d.now.Add(4 * day)
	refused := d.payOut(5 * money.Unit)
	account, id, _ := strings.Cut(refused.party, "/")
	_, refusal, err := d.broker.RefusePayout(t.Context(), account, id, "by hand")
	d.must(refusal, err)

	statement := func(message string, opening, closing money.Amount, entries ...said) []byte {
		text := string(document(bankfile.KindStatement, message, entries...))
		balance := func(kind string, amount money.Amount) string {
			return fmt.Sprintf(`<Bal><Tp><CdOrPrtry><Cd>%s</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">%s</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>%s</Dt></Dt></Bal>`,
				kind, amount.Decimal(), "2026-11-2"+message)
		}
		return []byte(strings.Replace(text, "</Acct>", "</Acct>"+balance("OPBD", opening)+balance("CLBD", closing), 1))
	}
	stranger := order{endToEnd: "SOMEBODY", kind: "collection", amount: 7 * money.Unit}
	d.read(statement("3", 100*money.Unit, 112*money.Unit, said{order: booked, says: bankfile.Booked}, said{order: debit, says: bankfile.Booked},
		said{order: stranger, says: bankfile.Booked}, said{order: refused, says: bankfile.Booked}), 3, 0, 1)
	d.read(statement("5", 113*money.Unit, 115*money.Unit), 0, 0, 0)
	d.settled()

	found, err := clearing.Reconcile(t.Context(), d.db)
	if err != nil {
		t.Fatal(err)
	}
	wantOpen := []clearing.OpenAge{
		{Age: "4-7", Direction: "out", Currency: eur, Count: 1, Amount: 40 * money.Unit},
		{Age: ">7", Direction: "out", Currency: eur, Count: 1, Amount: 10 * money.Unit},
	}
	if !slices.Equal(found.Open, wantOpen) || len(found.Oldest) != 2 || found.Oldest[0].EndToEnd != old.endToEnd {
		t.Errorf("open: got %+v, %+v", found.Open, found.Oldest)
	}
	if found.Unmatched != 1 || len(found.UnmatchedEntries) != 1 || found.UnmatchedEntries[0].EndToEnd != "SOMEBODY" {
		t.Errorf("unmatched: got %+v", found.UnmatchedEntries)
	}
	if o := found.Outcomes; o.Waiting != 0 || o.Failed != 1 || len(o.List) != 1 || o.List[0].ID != id || !strings.Contains(o.List[0].Detail, "refused before, by hand") {
		t.Errorf("outcomes: got %+v", o)
	}
	if len(found.Days) != 2 {
		t.Fatalf("days: got %+v", found.Days)
	}
	late, early := found.Days[0], found.Days[1]
	if early.Moved != 12*money.Unit || early.Known != 5*money.Unit || early.Unmatched != 7*money.Unit || early.Missing != 0 || early.Gap != 0 {
		t.Errorf("first day: got %+v", early)
	}
	if late.Moved != 2*money.Unit || late.Missing != 2*money.Unit || late.Gap != money.Unit {
		t.Errorf("last day: got %+v", late)
	}
	if len(found.Reserves) != 1 || found.Reserves[0] != (clearing.ReserveDue{Day: "2027-01-26", Count: 1, Amount: 3 * money.Unit}) {
		t.Errorf("reserves: got %+v", found.Reserves)
	}
	text := clearing.FormatReconciliation(found)
	for _, part := range []string{"4-7 days  1 out  40.00 EUR", "SOMEBODY -- no instruction has this end-to-end id", "0 wait, 1 failed",
		"WRONG: no entry explains 2.00", "WRONG: it opens 1.00 away", "2027-01-26  1  3.00"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}

	entry := found.UnmatchedEntries[0].Seq
	for _, note := range []string{"", "a\nb", strings.Repeat("x", 201)} {
		if _, err := clearing.Resolve(t.Context(), d.db, entry, note); err == nil {
			t.Errorf("the note %q is taken", note)
		}
	}
	if e, err := clearing.Resolve(t.Context(), d.db, entry, "a customer paid in; booked by hand"); err != nil || e.State != clearing.EntryResolved {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := clearing.Resolve(t.Context(), d.db, entry, "again"); !errors.Is(err, clearing.ErrEntryMatched) {
		t.Errorf("got %v", err)
	}
	if _, err := clearing.Resolve(t.Context(), d.db, 4711, "none"); !errors.Is(err, clearing.ErrNoEntry) {
		t.Errorf("got %v", err)
	}
	if found, err = clearing.Reconcile(t.Context(), d.db); err != nil || found.Unmatched != 0 || found.Days[1].Missing != 0 {
		t.Errorf("got %+v, %v", found, err)
	}
}

// Several imports of one file at once do what one does.
func TestImportsAtOnce(t *testing.T) {
	d := newDesk(t)
	var entries []said
	for range 24 {
		entries = append(entries, said{order: d.payVendor(money.Unit, 0), says: bankfile.Booked})
	}
	file := d.write(bankfile.KindStatement, entries...)
	reports := make(chan int)
	for range 3 {
		go func() {
			report, err := clearing.ImportStepwise(t.Context(), d.db, file, func(string) {})
			if err != nil {
				t.Error(err)
			}
			reports <- report.Matched
		}()
	}
	if matched := <-reports + <-reports + <-reports; matched != 24 {
		t.Errorf("they matched %d entries together, want 24", matched)
	}
	d.settled()
	d.wantAccount("broker:bank:out", 24*money.Unit, 0)
}

// A settlement run releases what is due, too.
func TestRunReleasesReserves(t *testing.T) {
	d := newDesk(t)
	d.read(d.write(bankfile.KindStatement, said{order: d.collect(30 * money.Unit), says: bankfile.Booked}), 1, 0, 0)
	d.exec(`UPDATE clearing_runs SET state = 'final'`)
	for _, held := range []money.Amount{3 * money.Unit, 0} {
		if _, err := clearing.Run(t.Context(), d.db, clearing.Config{Now: true, Directory: t.TempDir()}, clearing.Operator{}); err != nil {
			t.Fatal(err)
		}
		d.wantAccount("broker:reserve:refunds", held, 0)
		d.now.Add(deskRefundDays * 24 * 3600)
	}
	d.settled()
}
