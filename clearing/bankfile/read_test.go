package bankfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

const euro = money.Currency("eur-micro")

// handMade are documents of testdata, which their schemas take, and what they say.
var handMade = []struct {
	name     string
	document bankfile.Document
}{
	{"pain.002.001.11", bankfile.Document{
		Kind: bankfile.KindStatus, Version: "001.11", MessageID: "STATUS-1", Created: time.Date(2026, 11, 23, 7, 15, 0, 0, time.UTC),
		Entries: []bankfile.Entry{
			{EndToEndID: id(1), Says: bankfile.Accepted, MessageID: "run-2026-11-22-1", PaymentID: "part-1", Count: 1},
			{EndToEndID: id(2), Says: bankfile.Rejected, Code: "AC04", Text: "Account <closed> since 2025", BankReference: "REF 2",
				Amount: 12_500_000, Currency: euro, MessageID: "run-2026-11-22-1", PaymentID: "part-1", Count: 1},
			{Says: bankfile.Other, Text: "status CANC", MessageID: "run-2026-11-22-1", PaymentID: "part-1", Count: 1},
			{Says: bankfile.Rejected, Code: "no mandate", MessageID: "run-2026-11-22-1", PaymentID: "part-2", Count: 7},
		},
	}},
	{"camt.053.001.08", bankfile.Document{
		Kind: bankfile.KindStatement, Version: "001.08", MessageID: "CAMT-53-1", Created: time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC),
		Entries: []bankfile.Entry{
			{EndToEndID: id(1), Says: bankfile.Booked, Account: "DE89370400440532013000", Direction: "out", Amount: 20_000_000, Currency: euro, Day: "2026-11-23", BankReference: "B1", Count: 1},
			{EndToEndID: id(2), Says: bankfile.Returned, Account: "DE89370400440532013000", Direction: "in", Amount: 10_000_000, Currency: euro, Day: "2026-11-23", Code: "AC01",
				Text: "no such account", BankReference: "B2-1", MessageID: "run-2026-11-22-1", PaymentID: "part-1", Count: 1},
			{Says: bankfile.Booked, Account: "DE89370400440532013000", Direction: "in", Amount: 2_500_000, Currency: euro, Day: "2026-11-23",
				BankReference: "B2", MessageID: "run-2026-11-22-1", PaymentID: "part-1", Count: 1},
			{Says: bankfile.Booked, Account: "DE89370400440532013000", Direction: "out", Amount: 999_840_000, Currency: euro, Day: "2026-11-23",
				BankReference: "B3", MessageID: "run-2026-11-22-1", PaymentID: "part-2", Count: 40},
			{EndToEndID: id(3), Says: bankfile.Accepted, Account: "DE89370400440532013000", Direction: "out", Amount: 5_000_000, Currency: euro, Count: 1},
			{Says: bankfile.Booked, Account: "DE89370400440532013000", Direction: "out", Amount: 3_100_000, Currency: euro, Day: "2026-11-23", Text: "Fees of the month"},
		},
		Balances: []bankfile.Balance{{Account: "DE89370400440532013000", Day: "2026-11-23", Currency: euro, Opening: 1_000_000_000}},
	}},
	{"camt.054.001.08", bankfile.Document{
		Kind: bankfile.KindNotification, Version: "001.08", MessageID: "CAMT-54-1", Created: time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC),
		Entries: []bankfile.Entry{
			{EndToEndID: id(4), Says: bankfile.Returned, Account: "4711", Direction: "out", Amount: 50_000_000, Currency: euro, Day: "2026-11-23", Code: "MD06", Count: 1},
		},
	}},
}

// id is the end-to-end id of that number.
func id(number int) string { return fmt.Sprintf("%032x", number) }

func file(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func wantDocument(t *testing.T, content []byte, want bankfile.Document) {
	t.Helper()
	got, err := bankfile.Read(content)
	if err != nil {
		t.Fatal(err)
	}
	for k := range max(len(got.Entries), len(want.Entries)) {
		if k >= len(got.Entries) || k >= len(want.Entries) || got.Entries[k] != want.Entries[k] {
			t.Errorf("entries differ from number %d on: got %+v\nwant %+v", k, got.Entries[min(k, len(got.Entries)):], want.Entries[min(k, len(want.Entries)):])
			break
		}
	}
	got.Entries, want.Entries = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRead(t *testing.T) {
	for _, c := range handMade {
		t.Run(c.name, func(t *testing.T) { wantDocument(t, file(t, c.name), c.document) })
	}
}

// What the tests read is what banks may write.
func TestHandMadeDocumentsFitTheirSchemas(t *testing.T) {
	for _, c := range handMade {
		wantValid(t, c.name, file(t, c.name))
	}
}

// The older versions write a status without a choice, and are read the same.
func TestReadOlderVersions(t *testing.T) {
	for _, c := range handMade {
		for version, changes := range map[string][]string{
			"pain.002.001.03": {}, "pain.002.001.10": {},
			"camt.053.001.02": {"<Sts><Cd>BOOK</Cd></Sts>", "<Sts>BOOK</Sts>", "<Sts><Cd>PDNG</Cd></Sts>", "<Sts>PDNG</Sts>"},
			"camt.054.001.02": {"<Sts><Cd>BOOK</Cd></Sts>", "<Sts>BOOK</Sts>"},
		} {
			if version[:8] != c.document.Kind {
				continue
			}
			t.Run(version, func(t *testing.T) {
				changes = append(changes, c.name, version)
				want := c.document
				want.Version = version[9:]
				wantDocument(t, []byte(strings.NewReplacer(changes...).Replace(string(file(t, c.name)))), want)
			})
		}
	}
}

// A prefix for the namespace, a byte order mark and elements of others change
// nothing.
func TestReadOtherSpellings(t *testing.T) {
	c := handMade[2]
	text := string(file(t, c.name))
	text = strings.Replace(text, "<Document xmlns=", "<b:Document xmlns:b=", 1)
	head, body, _ := strings.Cut(text, "<BkTo")
	body = strings.NewReplacer("</", "</b:", "<", "<b:").Replace("<BkTo" + body)
	wantDocument(t, []byte("\ufeff"+head+body+"\n<!-- end -->\n"), c.document)

	own := strings.Replace(string(file(t, c.name)), "<RtrInf>", `<x:RtrInf xmlns:x="urn:bank"><x:Rsn><x:Cd>XX</x:Cd></x:Rsn></x:RtrInf><RtrInf>`, 1)
	wantDocument(t, []byte(own), c.document)
}

func TestReadRefuses(t *testing.T) {
	const camt, pain = "camt.053.001.08", "pain.002.001.11"
	long := strings.Repeat("x", 36)
	for _, c := range []struct{ name, of, old, new, says string }{
		{"another version", camt, "camt.053.001.08", "camt.053.001.09", "want a Document of pain.002 (001.03"},
		{"another message", camt, "camt.053.001.08", "pain.001.001.09", "want a Document of pain.002"},
		{"no namespace", camt, `xmlns="`, `x="`, "want a Document of pain.002"},
		{"another root", camt, "Document", "Dokument", "want a Document of"},
		{"a document type", camt, "<Document", `<!DOCTYPE Document [<!ENTITY e SYSTEM "file:///etc/passwd">]><Document`, "declares a document type"},
		{"an entity", camt, "Fees of the month", "&e;", "no XML as banks write it"},
		{"another encoding", camt, `encoding="UTF-8"`, `encoding="ISO-8859-1"`, "no XML as banks write it"},
		{"no UTF-8", camt, "Fees of the month", "Geb\xfchren", "no XML as banks write it"},
		{"an end that is missing", camt, "</Document>", "", "no XML as banks write it"},
		{"a second document", camt, "</Document>", "</Document><Document/>", "second document"},
		{"nothing", camt, "*", "", "there is no XML in the file"},
		{"a comma", camt, ">3.10<", ">3,10<", "want an amount such as 12.50"},
		{"a sign", camt, ">3.10<", ">-3.10<", "want an amount such as 12.50"},
		{"an exponent", camt, ">3.10<", ">3e10<", "want an amount such as 12.50"},
		{"half a cent", camt, ">3.10<", ">3.105<", "a bank books whole 0.01"},
		{"a ten-millionth", camt, ">3.10<", ">3.1000001<", "want an amount such as 12.50"},
		{"no digits after the point", camt, ">3.10<", ">3.<", "want an amount such as 12.50"},
		{"no digits before the point", camt, ">3.10<", ">.10<", "want an amount such as 12.50"},
		{"too many digits", camt, ">3.10<", ">1234567890123456789<", "of at most 18 digits"},
		{"more than can be counted", camt, ">3.10<", ">9223372036855<", "more than can be counted"},
		{"no amount", camt, ">3.10<", "><", "want an amount such as 12.50"},
		{"no currency", camt, `<Amt Ccy="EUR">3.10<`, `<Amt>3.10<`, "want a code of ISO 4217"},
		{"a currency in small letters", camt, `<Amt Ccy="EUR">3.10<`, `<Amt Ccy="eur">3.10<`, "want a code of ISO 4217"},
		{"no direction", camt, "<CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>PDNG", "<Sts><Cd>PDNG", "no amount, no direction or no status"},
		{"a wrong direction", camt, "<CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>PDNG", "<CdtDbtInd>OUT</CdtDbtInd><Sts><Cd>PDNG", "want DBIT or CRDT"},
		{"no status", camt, "<Sts><Cd>PDNG</Cd></Sts>", "", "no amount, no direction or no status"},
		{"a wrong day", camt, "<ValDt><Dt>2026-11-23", "<ValDt><Dt>2026-02-30", "want a day such as"},
		{"a gap between statements", camt, "<Amt Ccy=\"EUR\">12.34", "<Amt Ccy=\"EUR\">12.35", "do not follow each other"},
		{"no message id", camt, "<MsgId>CAMT-53-1</MsgId>", "", "no message id"},
		{"two headers", camt, "<GrpHdr>", "<GrpHdr><MsgId>1</MsgId></GrpHdr><GrpHdr>", "two headers"},
		{"a long message id", camt, "CAMT-53-1", long, "MsgId has 36 characters: want at most 35"},
		{"a long end-to-end id", camt, id(1), long, "EndToEndId has 36 characters"},
		{"a long reference", camt, "<AcctSvcrRef>B1<", "<AcctSvcrRef>" + long + "<", "AcctSvcrRef has 36 characters"},
		{"a long code", camt, "AC01", long, "Cd has 36 characters"},
		{"a long end-to-end id in a status", pain, id(1), long, "OrgnlEndToEndId has 36 characters"},
		{"a number that is none", pain, ">7<", ">-7<", "want digits"},
		{"deep", camt, "<Id>1</Id>", strings.Repeat("<A>", 50) + strings.Repeat("</A>", 50), "more than 40 deep"},
		{"deep in what is another's", camt, "<Id>1</Id>", `<A xmlns="urn:x">` + strings.Repeat("<A>", 50) + strings.Repeat("</A>", 50) + "</A>", "more than 40 deep"},
		{"deep in what is read", camt, "<Id>1</Id>", strings.Repeat("<Ntry>", 50) + strings.Repeat("</Ntry>", 50), "more than 40 deep"},
		{"wide", camt, "<Id>1</Id>", "<A>" + strings.Repeat("<A/>", 2000) + "</A>", "more than 2000 elements"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := string(file(t, c.of))
			changed := strings.Replace(text, c.old, c.new, -1)
			if c.old == "*" {
				changed = c.new
			}
			if c.name == "a gap between statements" {
				changed = strings.Replace(text, c.old, c.new, 1)
			}
			if changed == text {
				t.Fatalf("%q is not in the file", c.old)
			}
			if _, err := bankfile.Read([]byte(changed)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	if _, err := bankfile.Read(make([]byte, bankfile.MaxFileBytes+1)); err == nil || !strings.Contains(err.Error(), "ask the bank to split it") {
		t.Errorf("got %v", err)
	}
	const status = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt><GrpHdr><MsgId>1</MsgId></GrpHdr><OrgnlPmtInfAndSts>%s</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>`
	for count, says := range map[int]string{bankfile.MaxEntries: "", bankfile.MaxEntries + 1: "more than 100000 entries"} {
		got, err := bankfile.Read(fmt.Appendf(nil, status, strings.Repeat("<TxInfAndSts/>", count)))
		switch {
		case says == "" && (err != nil || len(got.Entries) != count):
			t.Errorf("got %d entries, %v", len(got.Entries), err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// A file takes about the memory of its size, and time in proportion to it.
func TestReadBoundsWhatAFileTakes(t *testing.T) {
	const open = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"`
	header := open + `><BkToCstmrStmt><GrpHdr><MsgId>1</MsgId></GrpHdr>`
	balance := func(code string) string {
		return `<Bal><Tp><CdOrPrtry><Cd>` + code + `</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">1</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-22</Dt></Dt></Bal>`
	}
	var statements strings.Builder
	for number := range bankfile.MaxBalances + 1 {
		fmt.Fprintf(&statements, "<Stmt><Acct><Id><Othr><Id>%d</Id></Othr></Id></Acct>%s%s</Stmt>", number, balance("OPBD"), balance("CLBD"))
	}
	const long = 1<<20 + 10
	for name, c := range map[string]struct{ text, want string }{
		"attributes":            {open + strings.Repeat(` a=">"`, long/6), "a tag or a text has more than"},
		"attributes further in": {header + `<Stmt><Id` + strings.Repeat(` a=""`, long/5), "a tag or a text has more than"},
		"a text":                {header + `<Stmt><Id>` + strings.Repeat(`x`, long), "a tag or a text has more than"},
		"a comment":             {header + `<!--` + strings.Repeat(`x`, long), "a tag or a text has more than"},
		"accounts":              {header + statements.String(), "more than 4000 accounts and days"},
	} {
		if _, err := bankfile.Read([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// What others chose is shown on terminals.
func TestReadMakesTextVisible(t *testing.T) {
	text := strings.Replace(string(file(t, "camt.053.001.08")), id(1), "a&#x9b;31m&#x202e;b", 1)
	document, err := bankfile.Read([]byte(text))
	if err != nil || document.Entries[0].EndToEndID != "a?31m?b" {
		t.Errorf("got %q, %v", document.Entries[0].EndToEndID, err)
	}
}

// FuzzRead looks for what Read falls over, and for what it should not let pass.
func FuzzRead(f *testing.F) {
	for _, c := range handMade {
		f.Add(file(f, c.name))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		document, err := bankfile.Read(content)
		if err != nil {
			return
		}
		if bytes.Contains(content, []byte("<!DOCTYPE")) && !bytes.Contains(content, []byte("<!--")) && !bytes.Contains(content, []byte("CDATA")) &&
			!bytes.Contains(content, []byte("<?")) {
			t.Error("a document type passes")
		}
		for _, e := range document.Entries {
			if e.Amount < 0 || e.Amount%e.Currency.MinorUnit() != 0 || (e.Amount > 0) && e.Currency == "" || len([]rune(e.EndToEndID)) > 35 {
				t.Errorf("got %+v", e)
			}
		}
	})
}
