package clearing_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// bankPolicy has what every bank file needs.
func bankPolicy(t testing.TB) *clearing.Policy {
	t.Helper()
	p, err := clearing.ParsePolicy([]byte(`{"name": "Example Broker", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX",
		"creditorId": "DE98ZZZ09999999999",
		"nacha": {"destination": "121042882", "destinationName": "Example Bank", "origin": "1234567890", "companyId": "1234567890"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// debtor makes an account that owes so much, with a mandate.
func debtor(t testing.TB, db *ledger.DB, id, mandate, scheme string, amount money.Amount) {
	t.Helper()
	user(t, db, id, mandate)
	execute(t, db, fmt.Sprintf(`UPDATE clearing_mandates SET name = 'Ännchen <Debtor>', scheme = '%s' WHERE id = '%s'`, scheme, mandate))
	spend(t, db, id, amount)
}

func spend(t testing.TB, db *ledger.DB, id string, amount money.Amount) {
	t.Helper()
	move(t, db, "user:"+id+":available", "broker:bank:in", amount)
}

// oweByBank makes something of every kind that a bank file in euros has, and
// what is paid by hand.
func oweByBank(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	db, c := open(t)
	for _, v := range []struct {
		origin, destination string
		amount              money.Amount
	}{
		{"https://a.example", "iban:NL91ABNA0417164300", 100 * money.Unit},
		{"https://b.example", "iban:BG80BNBG96611020345678", 12*money.Unit + 345_678},
		{"https://far.example", "iban:TR330006100519786457841326", 50 * money.Unit},
		{"https://hand.example", "ref:7", 50 * money.Unit},
		{"https://usa.example", "ach:021000021/1/savings", 50 * money.Unit},
	} {
		register(t, db, v.origin, v.destination)
		owe(t, db, v.origin, v.amount)
	}
	debtor(t, db, "anna", "M-1", "core", 7*money.Unit+5)
	debtor(t, db, "shop", "M/2", "b2b", 9*money.Unit)
	return db, c
}

// transfers is what is read of a pain.001 here, and debits of a pain.008.
type transfers struct {
	ID       string `xml:"CstmrCdtTrfInitn>GrpHdr>MsgId"`
	Created  string `xml:"CstmrCdtTrfInitn>GrpHdr>CreDtTm"`
	Day      string `xml:"CstmrCdtTrfInitn>PmtInf>ReqdExctnDt>Dt"`
	Sum      string `xml:"CstmrCdtTrfInitn>GrpHdr>CtrlSum"`
	Payments []struct {
		EndToEnd string `xml:"PmtId>EndToEndId"`
		Amount   string `xml:"Amt>InstdAmt"`
		Name     string `xml:"Cdtr>Nm"`
		IBAN     string `xml:"CdtrAcct>Id>IBAN"`
	} `xml:"CstmrCdtTrfInitn>PmtInf>CdtTrfTxInf"`
}

type debits struct {
	ID     string `xml:"CstmrDrctDbtInitn>GrpHdr>MsgId"`
	Blocks []struct {
		ID         string `xml:"PmtInfId"`
		Day        string `xml:"ReqdColltnDt"`
		Sequence   string `xml:"PmtTpInf>SeqTp"`
		CreditorID string `xml:"CdtrSchmeId>Id>PrvtId>Othr>Id"`
		Debits     []struct {
			EndToEnd string `xml:"PmtId>EndToEndId"`
			Amount   string `xml:"InstdAmt"`
			Mandate  string `xml:"DrctDbtTx>MndtRltdInf>MndtId"`
			Name     string `xml:"Dbtr>Nm"`
		} `xml:"DrctDbtTxInf"`
	} `xml:"CstmrDrctDbtInitn>PmtInf"`
}

func readXML(t testing.TB, files map[string]string, name string, into any) {
	t.Helper()
	if err := xml.Unmarshal([]byte(files[name]), into); err != nil {
		t.Fatalf("%s of %d files: %v", name, len(files), err)
	}
}

// What the books say was sent is what the bank is told, and nothing else.
func TestFilesForTheBankInEuros(t *testing.T) {
	db, _ := oweByBank(t)
	config := clearing.Config{Policy: bankPolicy(t), Directory: t.TempDir()}
	s := settle(t, db, config)
	lines, files := linesOf(t, db, s), readFiles(t, config.Directory)
	if len(files) != 5 {
		t.Errorf("%d files, want 3 of every run and 2 for the bank", len(files))
	}
	var out transfers
	readXML(t, files, "pain.001-run-2026-11-22-1.xml", &out)
	// The 22nd is a Sunday: the bank is to pay on Monday, and has until then to
	// see that debits are due on Tuesday.
	if out.ID != "run-2026-11-22-1-c1" || out.Created != "2026-11-22T22:30:00Z" || out.Day != "2026-11-23" || out.Sum != "112.00" || len(out.Payments) != 2 {
		t.Fatalf("transfers %+v", out)
	}
	for k, want := range []struct{ party, name, amount, iban string }{
		{"https://a.example", "a.example", "99.70", "NL91ABNA0417164300"}, {"https://b.example", "b.example", "12.30", "BG80BNBG96611020345678"},
	} {
		if got := out.Payments[k]; got.EndToEnd != lines[want.party].EndToEnd || got.Name != want.name || got.Amount != want.amount || got.IBAN != want.iban {
			t.Errorf("transfer %+v, want %+v", got, want)
		}
	}
	for _, party := range []string{"https://far.example", "https://hand.example", "https://usa.example"} {
		if l := lines[party]; l.Method != clearing.MethodList || l.Outcome != clearing.OutcomeSent {
			t.Errorf("%s goes by %q (%s), want by hand", party, l.Method, l.Outcome)
		}
	}
	var in debits
	readXML(t, files, "pain.008-run-2026-11-22-1.xml", &in)
	if in.ID != "run-2026-11-22-1-d1" || len(in.Blocks) != 2 {
		t.Fatalf("debits %+v", in)
	}
	for k, want := range []struct{ id, party, mandate, amount string }{{"CF", "anna", "M-1", "7.00"}, {"BF", "shop", "M/2", "9.00"}} {
		block := in.Blocks[k]
		if block.ID != in.ID+want.id || block.Day != "2026-11-24" || block.Sequence != "FRST" || block.CreditorID != "DE98ZZZ09999999999" || len(block.Debits) != 1 {
			t.Fatalf("block %+v, want %+v", block, want)
		}
		if got := block.Debits[0]; got.EndToEnd != lines[want.party].EndToEnd || got.Mandate != want.mandate || got.Amount != want.amount || got.Name != "Aennchen (Debtor)" {
			t.Errorf("debit %+v, want %+v", got, want)
		}
	}
	wantSound(t, db)
}

// A file that is made again when later runs have used its mandates is the same.
func TestDebitsAreTheFirstOnce(t *testing.T) {
	db, c := oweByBank(t)
	config := clearing.Config{Policy: bankPolicy(t), Directory: t.TempDir()}
	first := settle(t, db, config)
	c.Advance(24 * time.Hour)
	spend(t, db, "anna", 3*money.Unit)
	debtor(t, db, "new", "M-3", "core", 4*money.Unit)
	second := settle(t, db, config)
	files := readFiles(t, config.Directory)
	var in debits
	readXML(t, files, "pain.008-"+second.RunID+".xml", &in)
	got := map[string]string{}
	for _, block := range in.Blocks {
		for _, debit := range block.Debits {
			got[debit.Mandate] = block.Sequence + " " + debit.Amount
		}
	}
	if len(got) != 2 || got["M-1"] != "RCUR 3.00" || got["M-3"] != "FRST 4.00" {
		t.Errorf("debits %v", got)
	}
	for _, s := range []clearing.Settlement{first, second} {
		names, err := clearing.FileNames(t.Context(), db, s.RunID)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			var again bytes.Buffer
			if err := clearing.WriteFile(t.Context(), db, s.RunID, name, &again); err != nil {
				t.Fatal(err)
			}
			if again.String() != files[name] || files[name] == "" {
				t.Errorf("%s is another when it is made again", name)
			}
		}
	}
}

func TestFileForTheBankInDollars(t *testing.T) {
	db, _ := open(t)
	destinations := map[string]string{vendorA: "ach:021000021/123456789/checking", vendorB: "ach:011000015/00-7/savings", vendorC: "iban:DE89370400440532013000"}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		err := errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:out", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:fees", Currency: usd}))
		for vendor, destination := range destinations {
			_, inserting := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination) VALUES (?, 0, ?)`, vendor, destination)
			err = errors.Join(err, inserting, tx.CreateAccount(ctx, ledger.Account{ID: payable(vendor), Currency: usd}))
		}
		return err
	})
	move(t, db, "broker:usd:in", payable(vendorA), 100*money.Unit)
	move(t, db, "broker:usd:in", payable(vendorB), 20*money.Unit)
	move(t, db, "broker:usd:in", payable(vendorC), 30*money.Unit)
	// What an account owes in dollars no direct debit of SEPA collects.
	debtor(t, db, "anna", "M-1", "core", 7*money.Unit)
	config := clearing.Config{Directory: t.TempDir(), Policy: bankPolicy(t), FeesAccount: "broker:usd:fees", BankAccount: "broker:usd:out"}
	first := settle(t, db, config)
	lines, files := linesOf(t, db, first), readFiles(t, config.Directory)
	file := files["ach-run-2026-11-22-1.txt"]
	if len(files) != 4 || len(lines) != 3 || lines[vendorC].Method != clearing.MethodList {
		t.Errorf("%d files, %d lines, and %s goes by %s", len(files), len(lines), vendorC, lines[vendorC].Method)
	}
	for party, entry := range map[string]string{
		vendorA: "622021000021123456789        0000009970%s", vendorB: "63201100001500-7             0000001994%s",
	} {
		if entry = fmt.Sprintf(entry, strings.ToUpper(lines[party].EndToEnd[:15])); !strings.Contains(file, "\r\n"+entry) {
			t.Errorf("no entry %q in\n%s", entry, file)
		}
	}
	// The next file of the day is told apart by its letter.
	move(t, db, "broker:usd:in", payable(vendorA), 100*money.Unit)
	settle(t, db, config)
	if second := readFiles(t, config.Directory)["ach-run-2026-11-22-2.txt"]; file[33:34] != "A" || len(second) < 94 || second[33:34] != "B" {
		t.Errorf("files of a day begin %.40q and %.40q", file, second)
	}
	// So it is where the two orders of the first are in a file each.
	split, err := clearing.BankFiles(t.Context(), db, "run-2026-11-22-2", 1)
	if third := split["ach-run-2026-11-22-2.txt"]; err != nil || len(third) < 94 || third[33:34] != "C" {
		t.Errorf("the third file of a day begins %.40q: %v", third, err)
	}
}

// A mandate ends when nothing was collected with it for 36 months.
func TestMandatesLapse(t *testing.T) {
	db, c := open(t) // the mandate is signed on 2026-01-02
	debtor(t, db, "anna", "M-1", "core", 7*money.Unit)
	config := clearing.Config{Policy: bankPolicy(t)}
	at := func(day string) clearing.Line {
		t.Helper()
		moment, err := time.Parse(time.DateTime, day)
		if err != nil {
			t.Fatal(err)
		}
		c.Advance(moment.Sub(c.Now()))
		return linesOf(t, db, propose(t, db, config))["anna"]
	}
	const inTime, lapsed = clearing.Reason(""), clearing.ReasonNoMandate
	if line := at("2029-01-01 23:00:00"); line.Reason != inTime || line.Amount != 7*money.Unit {
		t.Errorf("before three years are over: %+v", line)
	}
	if line := at("2029-01-02 01:00:00"); line.Reason != lapsed || line.Amount != 0 {
		t.Errorf("three years after the signature: %+v", line)
	}
	c.Advance(-24 * time.Hour)
	settle(t, db, config)
	spend(t, db, "anna", 5*money.Unit)
	if line := at("2031-12-31 00:00:00"); line.Reason != inTime || line.Amount != 5*money.Unit {
		t.Errorf("less than three years after it was used: %+v", line)
	}
	if line := at("2032-01-03 00:00:00"); line.Reason != lapsed {
		t.Errorf("three years after it was used: %+v", line)
	}
}

// What is more than all that a NACHA file carries is paid by hand, and the run is
// finished.
func TestMoreThanANACHAFileCarries(t *testing.T) {
	db, _ := openOnce(t)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		err := errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:out", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:usd:fees", Currency: usd}))
		for k := range 102 {
			vendor := fmt.Sprintf("https://v%03d.example", k)
			_, inserting := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination) VALUES (?, 0, 'ach:021000021/1/checking')`, vendor)
			err = errors.Join(err, inserting, tx.CreateAccount(ctx, ledger.Account{ID: payable(vendor), Currency: usd}),
				tx.Post(ctx, ledger.Transfer{ID: vendor, Debit: "broker:usd:in", Credit: payable(vendor), Amount: 100_000_000 * money.Unit, Currency: usd, Kind: "redeem"}))
		}
		return err
	})
	s := settle(t, db, clearing.Config{Policy: bankPolicy(t), FeesAccount: "broker:usd:fees", BankAccount: "broker:usd:out"})
	methods := map[string]int{}
	for _, line := range linesOf(t, db, s) {
		methods[line.Method]++
	}
	if s.State != clearing.StateFinal || methods[clearing.MethodACH] != 100 || methods[clearing.MethodList] != 2 {
		t.Errorf("the run is %s, with payments by %v", s.State, methods)
	}
}

// More orders than a file may hold go into several, each of them into one.
func TestOrdersAreSplitOverFiles(t *testing.T) {
	db, _ := open(t)
	for k := range 5 {
		vendor := fmt.Sprintf("https://%d.example", k)
		register(t, db, vendor, "iban:NL91ABNA0417164300")
		owe(t, db, vendor, 100*money.Unit)
	}
	s := settle(t, db, clearing.Config{Policy: bankPolicy(t)})
	files, err := clearing.BankFiles(t.Context(), db, s.RunID, 2)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for k, name := range []string{"", ".2", ".3"} {
		var out transfers
		readXML(t, files, "pain.001-run-2026-11-22-1"+name+".xml", &out)
		if want := fmt.Sprintf("run-2026-11-22-1-c%d", k+1); out.ID != want {
			t.Errorf("message id %s, want %s", out.ID, want)
		}
		for _, p := range out.Payments {
			names = append(names, p.Name)
		}
	}
	if got := strings.Join(names, " "); len(files) != 3 || got != "0.example 1.example 2.example 3.example 4.example" {
		t.Errorf("%d files pay %s", len(files), got)
	}
}

func TestPolicyForBanksIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`{"name": "B", "iban": "DE89370400440532013001"}`:                                                                                      "check digits",
		`{"name": "B", "iban": "TR330006100519786457841326"}`:                                                                                  "do not reach",
		`{"name": "B", "iban": "DE89370400440532013000", "bic": "COBA"}`:                                                                       "BIC",
		`{"name": "B", "iban": "DE89370400440532013000", "creditorId": "DE99ZZZ09999999999"}`:                                                  "check digits",
		`{"iban": "DE89370400440532013000"}`:                                                                                                   "name",
		`{"bic": "COBADEFF"}`:                                                                                                                  "iban beside",
		`{"name": "B", "nacha": {"destination": "121042883", "destinationName": "X", "origin": "1", "companyId": "1"}}`:                        "check digit",
		`{"name": "B", "nacha": {"destination": "121042882", "destinationName": "X", "origin": "1", "companyId": ""}}`:                         "company id",
		`{"name": "B", "nacha": {"destination": "121042882", "destinationName": "X", "origin": "1", "companyId": "1", "offset": "1/loan"}}`:    "checking or savings",
		`{"name": "B", "nacha": {"destination": "121042882", "destinationName": "", "origin": "1", "companyId": "1", "offset": "1/checking"}}`: "destinationName",
	} {
		_, err := clearing.ParsePolicy([]byte(text))
		wantError(t, err, want)
	}
	good := `{"name": "B", "nacha": {"destination": "121042882", "destinationName": "X", "origin": "1", "companyId": "1", "offset": "1/checking"}}`
	p, err := clearing.ParsePolicy([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := clearing.ParsePolicy([]byte(p.String())); err != nil || again.String() != p.String() || again.NACHA.Offset != "1/checking" {
		t.Errorf("%s is read as %s: %v", p, again, err)
	}
}
