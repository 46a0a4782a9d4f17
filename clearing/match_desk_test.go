package clearing_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	ourIBAN = "DE89370400440532013000"
	deskRun = "run-2026-11-22-1"

	deskReservePpm = 100_000
	deskRefundDays = 56
)

// desk is a broker with orders at its bank.
type desk struct {
	t        testing.TB
	db       *ledger.DB
	location string
	broker   *broker.Broker
	now      atomic.Int64 // seconds since 1970
	number   int          // of the last order
	files    int
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{t: t}
	d.now.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Unix())
	clock := func() time.Time { return time.Unix(d.now.Load(), 0) }
	location := newDatabase(t)
	d.location = location
	var err error
	d.broker, err = broker.New(t.Context(), broker.Config{
		Issuer: "https://broker.example", Currency: eur, Database: location, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), WhiteCeiling: money.MaxAmount, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.db, err = ledger.Open(t.Context(), location, ledger.Options{Mode: ledger.Existing, Now: clock, RunTwice: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(d.db.Close(), d.broker.Close()); err != nil {
			t.Error(err)
		}
	})
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		for _, account := range []string{"broker:bank:out", "broker:fees"} {
			if err := tx.CreateAccount(ctx, ledger.Account{ID: account, Currency: eur}); err != nil {
				return err
			}
		}
		return nil
	})
	d.exec(`INSERT INTO clearing_fee_rules (version, rule, created) VALUES ('none', '{}', 0)`)
	d.exec(`INSERT INTO clearing_runs (id, state, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account, plan_hash,
		planned_by, needs, planned) VALUES (?, 'closed', '2026-11-22', ?, 0, 0, 'none', ?, 'broker:fees', 'broker:bank:out', 'hash', 'command', 0, 0)`,
		deskRun, string(eur), fmt.Sprintf(`{"reservePpm":%d,"refundDays":%d}`, deskReservePpm, deskRefundDays))
	return d
}

func (d *desk) update(change func(ctx context.Context, tx *ledger.Tx) error) {
	d.t.Helper()
	ctx := d.t.Context()
	if err := d.db.Update(ctx, func(tx *ledger.Tx) error { return change(ctx, tx) }); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) exec(statement string, arguments ...any) {
	d.t.Helper()
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, statement, arguments...)
		return err
	})
}

// one reads one value.
func (d *desk) one(target any, query string, arguments ...any) {
	d.t.Helper()
	err := d.db.View(d.t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(d.t.Context(), query, arguments...).Scan(target)
	})
	if err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
}

// must refuses what the broker refuses.
func (d *desk) must(refusal payword.Refusal, err error) {
	d.t.Helper()
	if err != nil || refusal.Refused() {
		d.t.Fatal(refusal, err)
	}
}

// account opens an account of the broker that has so much.
func (d *desk) account(balance money.Amount) string {
	d.t.Helper()
	d.number++
	// Ids have no 0, 1, 8 and 9.
	id := strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("account%09d", d.number))
	d.exec(`INSERT INTO broker_accounts (id, key_id, key, created) VALUES (?, ?, ?, 0)`, id, id, make([]byte, ed25519.PublicKeySize))
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "user:" + id + ":available", Currency: eur}),
			tx.CreateAccount(ctx, ledger.Account{ID: "user:" + id + ":reserved", Currency: eur}))
	})
	if balance > 0 {
		_, refusal, err := d.broker.Fund(d.t.Context(), "first-"+id, id, balance)
		d.must(refusal, err)
	}
	return id
}

// spend has an account pay a vendor.
func (d *desk) spend(account, vendor string, amount money.Amount) {
	d.t.Helper()
	d.exec(`INSERT INTO broker_vendors (vendor, created) VALUES (?, 0) ON CONFLICT DO NOTHING`, vendor)
	d.number++
	id := fmt.Sprintf("commitment%d", d.number)
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		err := tx.CreateAccount(ctx, ledger.Account{ID: "vendor:" + vendor + ":payable", Currency: eur})
		if err == nil {
			err = tx.Post(ctx, ledger.Transfer{ID: "redeem/" + id, Debit: "user:" + account + ":available", Credit: "vendor:" + vendor + ":payable",
				Amount: amount, Currency: eur, Kind: "redeem", Reference: id})
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO broker_commitments (id, token, account, vendor, reserved, held, paid, sequence, redeem_by, day,
				reservation, tails, claim, closed, version, created) VALUES (?, '', ?, ?, ?, 0, ?, 1, 0, 0, '', ?, '', 1, 1, 0)`,
				id, account, vendor, amount, amount, []byte{})
		}
		return err
	})
}

// order is what the bank was told.
type order struct {
	endToEnd, kind, party, account string
	amount, fee                    money.Amount
	method                         string // "": that of the kind
}

func (o order) isIn() bool { return o.kind == "collection" }

// send keeps an order to the bank and sets its money aside, as a run does.
func (d *desk) send(o order) order {
	d.t.Helper()
	d.number++
	if o.endToEnd == "" {
		o.endToEnd = fmt.Sprintf("%032x", d.number)
	}
	direction, method := "out", "credit-transfer"
	if o.isIn() {
		direction, method = "in", "direct-debit"
	}
	if o.method != "" {
		method = o.method
	}
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		if o.kind == "vendor" || o.kind == "merchant" {
			err := tx.Pend(ctx, ledger.Transfer{ID: "settle/" + o.endToEnd, Debit: o.account, Credit: "broker:bank:out", Amount: o.amount,
				Currency: eur, Kind: "settlement-payout"})
			if err == nil && o.fee > 0 {
				err = tx.Pend(ctx, ledger.Transfer{ID: "settle/" + o.endToEnd + "/fee", Debit: o.account, Credit: "broker:fees", Amount: o.fee,
					Currency: eur, Kind: "settlement-fee"})
			}
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_instructions (end_to_end, run_id, number, direction, kind, party, account, currency, amount,
			fee, destination, method, state, sent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'iban:x', ?, 'sent', ?)`,
			o.endToEnd, deskRun, d.number, direction, o.kind, o.party, o.account, string(eur), o.amount, o.fee, method, tx.Now().UnixMicro())
		return err
	})
	return o
}

// payVendor makes a vendor that is owed something, and sends all of it.
func (d *desk) payVendor(amount, fee money.Amount) order {
	d.t.Helper()
	vendor := fmt.Sprintf("https://vendor%d.example", d.number)
	d.spend(d.account(amount+fee), vendor, amount+fee)
	return d.send(order{kind: "vendor", party: vendor, account: "vendor:" + vendor + ":payable", amount: amount, fee: fee})
}

// payOut makes an account whose owner asked for a payout, and sends it.
func (d *desk) payOut(amount money.Amount) order {
	d.t.Helper()
	account := d.account(amount)
	d.update(func(ctx context.Context, tx *ledger.Tx) error {
		err := tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:out", Currency: eur})
		if err == nil {
			err = tx.Pend(ctx, ledger.Transfer{ID: "account-payout/" + account + "/rent", Debit: "user:" + account + ":available", Credit: "broker:bank:out",
				Amount: amount, Currency: eur, Kind: "payout", Reference: "rent"})
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO broker_payouts (account, id, amount, kind, destination, closing, state, created)
				VALUES (?, 'rent', ?, 'iban', 'x', 0, 'pending', 0)`, account, amount)
		}
		return err
	})
	return d.send(order{kind: "account-payout", party: account + "/rent", account: "user:" + account + ":available", amount: amount})
}

// collect makes an account that owes something, and sends a direct debit for it.
func (d *desk) collect(amount money.Amount) order {
	d.t.Helper()
	account := d.account(0)
	_, refusal, err := d.broker.SetHolder(d.t.Context(), account, "customer")
	d.must(refusal, err)
	_, refusal, err = d.broker.SetCredit(d.t.Context(), account, amount)
	d.must(refusal, err)
	d.spend(account, "https://shop.example", amount)
	return d.send(order{kind: "collection", party: account, account: "user:" + account + ":available", amount: amount})
}

// said is an entry of a bank's file.
type said struct {
	order
	says   bankfile.Says
	amount money.Amount // 0: that of the order
	code   string
	ref    string
	// turned says that the money went the other way.
	turned bool
}

// write makes a file of the bank.
func (d *desk) write(kind string, entries ...said) []byte {
	d.files++
	return document(kind, fmt.Sprintf("MESSAGE-%d", d.files), entries...)
}

func document(kind, message string, entries ...said) []byte {
	var text strings.Builder
	version, root, inner := ".001.08", "BkToCstmrStmt", "Stmt"
	switch kind {
	case bankfile.KindStatus:
		version, root, inner = ".001.10", "CstmrPmtStsRpt", "OrgnlPmtInfAndSts"
	case bankfile.KindNotification:
		root, inner = "BkToCstmrDbtCdtNtfctn", "Ntfctn"
	}
	fmt.Fprintf(&text, `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:%s%s"><%s><GrpHdr><MsgId>%s</MsgId></GrpHdr><%s>`, kind, version, root, message, inner)
	if kind != bankfile.KindStatus {
		fmt.Fprintf(&text, `<Acct><Id><IBAN>%s</IBAN></Id></Acct>`, ourIBAN)
	}
	for _, e := range entries {
		if kind == bankfile.KindStatus {
			e.writeStatus(&text)
		} else {
			e.writeEntry(&text)
		}
	}
	fmt.Fprintf(&text, `</%s></%s></Document>`, inner, root)
	return []byte(text.String())
}

func (e said) writeStatus(text *strings.Builder) {
	status := map[bankfile.Says]string{bankfile.Accepted: "ACSP", bankfile.Rejected: "RJCT", bankfile.Other: "CANC"}[e.says]
	fmt.Fprintf(text, `<TxInfAndSts><OrgnlEndToEndId>%s</OrgnlEndToEndId><TxSts>%s</TxSts><StsRsnInf><Rsn><Cd>%s</Cd></Rsn></StsRsnInf></TxInfAndSts>`,
		e.endToEnd, status, e.code)
}

func (e said) writeEntry(text *strings.Builder) {
	amount := e.amount
	if amount == 0 {
		amount = e.order.amount
	}
	isIn := e.isIn() != (e.says == bankfile.Returned) != e.turned
	indicator, status, back := "DBIT", "BOOK", ""
	if isIn {
		indicator = "CRDT"
	}
	if e.says == bankfile.Accepted {
		status = "PDNG"
	}
	if e.says == bankfile.Returned {
		back = `<RtrInf><Rsn><Cd>` + e.code + `</Cd></Rsn></RtrInf>`
	}
	fmt.Fprintf(text, `<Ntry><Amt Ccy="EUR">%s</Amt><CdtDbtInd>%s</CdtDbtInd><Sts><Cd>%s</Cd></Sts><BookgDt><Dt>2026-11-23</Dt></BookgDt>
		<AcctSvcrRef>%s</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>%s</EndToEndId></Refs>%s</TxDtls></NtryDtls></Ntry>`,
		amount.Decimal(), indicator, status, e.ref, e.endToEnd, back)
}

// read imports a file and wants so many matched, repeated and unmatched entries.
func (d *desk) read(file []byte, matched, repeated, unmatched int) clearing.ImportReport {
	d.t.Helper()
	report, err := clearing.Import(d.t.Context(), d.db, file)
	if err != nil {
		d.t.Fatal(err)
	}
	if report.Matched != matched || report.Repeated != repeated || report.Unmatched != unmatched {
		d.t.Errorf("matched %d, repeated %d, unmatched %d; want %d, %d, %d: %+v", report.Matched, report.Repeated, report.Unmatched,
			matched, repeated, unmatched, report.Open)
	}
	return report
}

// settled does what the broker was told, and checks that the books explain
// everything.
func (d *desk) settled() {
	d.t.Helper()
	if _, err := d.broker.ApplyOutcomes(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	wrong, err := d.broker.Check(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, sentence := range wrong {
		d.t.Errorf("the books disagree: %s", sentence)
	}
}

func (d *desk) wantState(o order, state, code string) {
	d.t.Helper()
	var got string
	d.one(&got, `SELECT state || ' ' || code FROM clearing_instructions WHERE end_to_end = ?`, o.endToEnd)
	if got != state+" "+code {
		d.t.Errorf("instruction of %s: got %q, want %q", o.party, got, state+" "+code)
	}
}

// wantAccount wants what an account of the ledger holds, and what of that is
// pending; one that there is not holds nothing.
func (d *desk) wantAccount(id string, balance, pending money.Amount) {
	d.t.Helper()
	var got ledger.Account
	err := d.db.View(d.t.Context(), func(tx *ledger.Tx) (err error) {
		got, err = tx.Account(d.t.Context(), id)
		if errors.Is(err, ledger.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil || got.Balance != balance || got.Pending != pending {
		d.t.Errorf("%s: got %s, %s pending, %v; want %s, %s", id, got.Balance, got.Pending, err, balance, pending)
	}
}
