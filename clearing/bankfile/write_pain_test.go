package bankfile_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

const cent = money.Unit / 100

var update = flag.Bool("update", false, "write the files in testdata again")

var created = time.Date(2026, 11, 26, 17, 30, 15, 987, time.UTC)

// hostileTexts are names that somebody could give.
var hostileTexts = []string{
	"", " ", "\x00", "</Nm><Amt>1</Amt>", "]]>&amp;<!--", "\u202e\u2066\ufeff", "\U0001f600\U0001f600", "\u5f20\u4e09", "\xff\xfe", "a\r\nb\tc",
	strings.Repeat("&", 10_000), strings.Repeat("\u0301", 10_000), strings.Repeat("\u00fc", 10_000), "=HYPERLINK(1)", "//", "OFFSET", "\ufdfa", "e\u0301",
}

type writer interface{ Write(io.Writer) error }

func written(t testing.TB, document writer) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := document.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func endToEnd(k int) string { return fmt.Sprintf("%032x", 0xab<<40+k) }

func someTransfers() bankfile.CreditTransfers {
	return bankfile.CreditTransfers{
		Version: bankfile.PainSEPA, MessageID: "run-2026-11-26-1-c1", Created: created, Day: "2026-11-27",
		Debtor: bankfile.Account{Name: "Bröker & Söhne", IBAN: "DE89370400440532013000", BIC: "COBADEFFXXX"},
		Payments: []bankfile.CreditTransfer{
			{EndToEndID: endToEnd(1), Amount: 12*money.Unit + 34*cent, Creditor: bankfile.Account{Name: "news.example", IBAN: "NL91ABNA0417164300"}, Remittance: "run-2026-11-26-1 https://news.example"},
			{EndToEndID: endToEnd(2), Amount: cent, Creditor: bankfile.Account{Name: "Журнал", IBAN: "BG80BNBG96611020345678", BIC: "BNBGBGSF"}},
			{EndToEndID: endToEnd(3), Amount: 999_999_999*money.Unit + 99*cent, Creditor: bankfile.Account{Name: "Ελλάς", IBAN: "GR1601101250000000012300695"}, Remittance: "all of it"},
		},
	}
}

func someDebits() bankfile.DirectDebits {
	debit := func(k int, scheme bankfile.Scheme, sequence bankfile.Sequence) bankfile.DirectDebit {
		return bankfile.DirectDebit{EndToEndID: endToEnd(k), Amount: money.Amount(k) * cent, MandateID: fmt.Sprintf("M-%d", k), Signed: "2026-10-01",
			Debtor: bankfile.Account{Name: "Anna Müller", IBAN: "AT611904300234573201"}, Scheme: scheme, Sequence: sequence, Remittance: "payword"}
	}
	return bankfile.DirectDebits{
		Version: bankfile.PainSEPA, MessageID: "run-2026-11-26-1-d1", Created: created, Day: "2026-11-30", CreditorID: "DE98ZZZ09999999999",
		Creditor: bankfile.Account{Name: "Broker", IBAN: "DE89370400440532013000"},
		Debits: []bankfile.DirectDebit{
			debit(1, bankfile.SchemeB2B, bankfile.SequenceRecurrent), debit(2, bankfile.SchemeCore, bankfile.SequenceRecurrent),
			debit(3, bankfile.SchemeCore, bankfile.SequenceFirst), debit(4, bankfile.SchemeCore, bankfile.SequenceRecurrent),
			debit(5, bankfile.SchemeCore, bankfile.SequenceOnce), debit(6, bankfile.SchemeCore, bankfile.SequenceFinal),
		},
	}
}

// golden compares with a file in testdata, byte by byte. go test -update writes
// it again.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is other than before:\n%s", path, got)
	}
}

func TestPainIsWhatItWas(t *testing.T) {
	golden(t, "pain.001.xml", written(t, someTransfers()))
	golden(t, "pain.008.xml", written(t, someDebits()))
}

// A document as somebody else reads it.
type read struct {
	XMLName xml.Name
	Header  totals    `xml:"CstmrCdtTrfInitn>GrpHdr"`
	Debits  totals    `xml:"CstmrDrctDbtInitn>GrpHdr"`
	Out     []readRun `xml:"CstmrCdtTrfInitn>PmtInf"`
	In      []readRun `xml:"CstmrDrctDbtInitn>PmtInf"`
}

type totals struct {
	MessageID string `xml:"MsgId"`
	Created   string `xml:"CreDtTm"`
	Count     int    `xml:"NbOfTxs"`
	Sum       string `xml:"CtrlSum"`
}

type readRun struct {
	ID       string `xml:"PmtInfId"`
	Count    int    `xml:"NbOfTxs"`
	Sum      string `xml:"CtrlSum"`
	Scheme   string `xml:"PmtTpInf>LclInstrm>Cd"`
	Sequence string `xml:"PmtTpInf>SeqTp"`
	Debtor   string `xml:"Dbtr>Nm"`
	Out      []struct {
		ID     string `xml:"PmtId>EndToEndId"`
		Amount string `xml:"Amt>InstdAmt"`
		Agent  *struct {
			BIC string `xml:"FinInstnId>BICFI"`
		} `xml:"CdtrAgt"`
		Name string `xml:"Cdtr>Nm"`
		IBAN string `xml:"CdtrAcct>Id>IBAN"`
	} `xml:"CdtTrfTxInf"`
	In []struct {
		ID      string `xml:"PmtId>EndToEndId"`
		Amount  string `xml:"InstdAmt"`
		Mandate string `xml:"DrctDbtTx>MndtRltdInf>MndtId"`
		BIC     string `xml:"DbtrAgt>FinInstnId>BICFI"`
		Other   string `xml:"DbtrAgt>FinInstnId>Othr>Id"`
		Name    string `xml:"Dbtr>Nm"`
		IBAN    string `xml:"DbtrAcct>Id>IBAN"`
	} `xml:"DrctDbtTxInf"`
}

func parsed(t rapid.TB, document writer) read {
	var out bytes.Buffer
	if err := document.Write(&out); err != nil {
		t.Fatal(err)
	}
	var r read
	if err := xml.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v:\n%s", err, out.Bytes())
	}
	return r
}

// centsOf reads an amount with exactly two digits behind the point.
func centsOf(t rapid.TB, text string) *big.Int {
	whole, fraction, found := strings.Cut(text, ".")
	n, isNumber := new(big.Int).SetString(whole+fraction, 10)
	if !found || len(fraction) != 2 || !isNumber {
		t.Fatalf("amount %q", text)
	}
	return n
}

func wantSum(t rapid.TB, what, got string, want *big.Int) {
	if sum := centsOf(t, got); sum.Cmp(want) != 0 {
		t.Errorf("%s: control sum %s, the payments are %s cents", what, got, want)
	}
}

var anyName = rapid.OneOf(rapid.String(), rapid.SampledFrom(hostileTexts), rapid.StringMatching(`[<>&"'\]\[!-]{1,40}`))

func anyCents() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(1, 99_999_999_999), rapid.Int64Range(1, 1000), rapid.Just[int64](99_999_999_999))
}

var someIBANs = []string{"DE89370400440532013000", "NL91ABNA0417164300", "BG80BNBG96611020345678", "MT84MALT011000012345MTLCAST001S"}

// Whatever the names are, what another reader finds is what was to be paid.
func TestTransfersAreReadAsTheyWereMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document := someTransfers()
		document.Debtor.Name, document.Payments = anyName.Draw(t, "debtor"), nil
		sum := new(big.Int)
		for k, cents := range rapid.SliceOfN(anyCents(), 1, 20).Draw(t, "cents") {
			sum.Add(sum, big.NewInt(cents))
			document.Payments = append(document.Payments, bankfile.CreditTransfer{
				EndToEndID: endToEnd(k), Amount: money.Amount(cents) * cent, Remittance: anyName.Draw(t, "remittance"),
				Creditor: bankfile.Account{Name: anyName.Draw(t, "name"), IBAN: rapid.SampledFrom(someIBANs).Draw(t, "IBAN"), BIC: rapid.SampledFrom([]string{"", "COBADEFF"}).Draw(t, "BIC")},
			})
		}
		r := parsed(t, document)
		if r.XMLName.Space != "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09" || r.Header.Count != len(document.Payments) || len(r.Out) != 1 ||
			r.Out[0].Count != len(document.Payments) || len(r.Out[0].Out) != len(document.Payments) || r.Header.Created != "2026-11-26T17:30:15Z" {
			t.Fatalf("read %+v", r)
		}
		wantSum(t, "head", r.Header.Sum, sum)
		wantSum(t, "block", r.Out[0].Sum, sum)
		for k, got := range r.Out[0].Out {
			p := document.Payments[k]
			if got.ID != p.EndToEndID || got.IBAN != p.Creditor.IBAN || got.Name != bankfile.Latin(p.Creditor.Name, 70) || (got.Agent != nil) != (p.Creditor.BIC != "") {
				t.Errorf("read %+v of %+v", got, p)
			}
			wantSum(t, got.ID, got.Amount, big.NewInt(int64(p.Amount/cent)))
		}
	})
}

func TestDebitsAreReadAsTheyWereMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document, sums, sum := someDebits(), map[string]*big.Int{}, new(big.Int)
		byID := map[string]bankfile.DirectDebit{}
		document.Debits = nil
		for k, cents := range rapid.SliceOfN(anyCents(), 1, 20).Draw(t, "cents") {
			d := bankfile.DirectDebit{
				EndToEndID: endToEnd(k), Amount: money.Amount(cents) * cent, MandateID: fmt.Sprint("mandate/", k), Signed: "2026-01-31", Remittance: anyName.Draw(t, "remittance"),
				Debtor:   bankfile.Account{Name: anyName.Draw(t, "name"), IBAN: rapid.SampledFrom(someIBANs).Draw(t, "IBAN"), BIC: rapid.SampledFrom([]string{"", "COBADEFF"}).Draw(t, "BIC")},
				Scheme:   rapid.SampledFrom([]bankfile.Scheme{bankfile.SchemeCore, bankfile.SchemeB2B}).Draw(t, "scheme"),
				Sequence: rapid.SampledFrom([]bankfile.Sequence{"FRST", "RCUR", "OOFF", "FNAL"}).Draw(t, "sequence"),
			}
			document.Debits, byID[d.EndToEndID] = append(document.Debits, d), d
			block := strings.ToUpper(string(d.Scheme)) + string(d.Sequence)
			if sums[block] == nil {
				sums[block] = new(big.Int)
			}
			sums[block].Add(sums[block], big.NewInt(cents))
			sum.Add(sum, big.NewInt(cents))
		}
		r := parsed(t, document)
		if r.XMLName.Space != "urn:iso:std:iso:20022:tech:xsd:pain.008.001.08" || r.Debits.Count != len(document.Debits) || len(r.In) != len(sums) {
			t.Fatalf("read %+v", r)
		}
		wantSum(t, "head", r.Debits.Sum, sum)
		for _, block := range r.In {
			wantSum(t, block.ID, block.Sum, sums[block.Scheme+block.Sequence])
			for _, got := range block.In {
				d := byID[got.ID]
				if block.Scheme != strings.ToUpper(string(d.Scheme)) || block.Sequence != string(d.Sequence) || got.Mandate != d.MandateID ||
					got.IBAN != d.Debtor.IBAN || got.Name != bankfile.Latin(d.Debtor.Name, 70) || (got.BIC == "") != (got.Other == "NOTPROVIDED") || got.BIC != d.Debtor.BIC {
					t.Errorf("in %s %s read %+v of %+v", block.Scheme, block.Sequence, got, d)
				}
				wantSum(t, got.ID, got.Amount, big.NewInt(int64(d.Amount/cent)))
				delete(byID, got.ID)
			}
		}
		if len(byID) > 0 {
			t.Errorf("not in the document: %v", byID)
		}
	})
}

func TestBlocksOfDebitsComeInOrder(t *testing.T) {
	var got []string
	for _, block := range parsed(t, someDebits()).In {
		got = append(got, block.ID)
	}
	if want := "run-2026-11-26-1-d1CF run-2026-11-26-1-d1CR run-2026-11-26-1-d1CO run-2026-11-26-1-d1CL run-2026-11-26-1-d1BR"; strings.Join(got, " ") != want {
		t.Errorf("blocks %v", got)
	}
}

// wantNothing makes sure that nothing is written, and that the error says why.
func wantNothing(t *testing.T, document writer, word string) {
	t.Helper()
	var out bytes.Buffer
	if err := document.Write(&out); err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") || out.Len() > 0 {
		t.Errorf("%d bytes and %v, want an error that says %q", out.Len(), err, word)
	}
}

func TestWrongTransfersAreRefused(t *testing.T) {
	for word, spoil := range map[string]func(*bankfile.CreditTransfers){
		"at least one":         func(c *bankfile.CreditTransfers) { c.Payments = nil },
		"at most 50000":        func(c *bankfile.CreditTransfers) { c.Payments = make([]bankfile.CreditTransfer, 50_001) },
		"whole cents":          func(c *bankfile.CreditTransfers) { c.Payments[1].Amount++ },
		"amount 0.00":          func(c *bankfile.CreditTransfers) { c.Payments[1].Amount = 0 },
		"amount -0.01":         func(c *bankfile.CreditTransfers) { c.Payments[1].Amount = -cent },
		"amount 1000000000.00": func(c *bankfile.CreditTransfers) { c.Payments[1].Amount = 1_000_000_000 * money.Unit },
		"check digits":         func(c *bankfile.CreditTransfers) { c.Payments[1].Creditor.IBAN = "DE89370400440532013001" },
		"do not reach TR":      func(c *bankfile.CreditTransfers) { c.Payments[1].Creditor.IBAN = "TR330006100519786457841326" },
		"BIC":                  func(c *bankfile.CreditTransfers) { c.Payments[1].Creditor.BIC = "COBA" },
		"IBAN":                 func(c *bankfile.CreditTransfers) { c.Debtor.IBAN = "" },
		"stands twice":         func(c *bankfile.CreditTransfers) { c.Payments[1].EndToEndID = c.Payments[2].EndToEndID },
		"want no /":            func(c *bankfile.CreditTransfers) { c.Payments[1].EndToEndID = "a//b" },
		"1 to 35":              func(c *bankfile.CreditTransfers) { c.Payments[1].EndToEndID = strings.Repeat("a", 36) },
		"message id \"\"":      func(c *bankfile.CreditTransfers) { c.MessageID = "" },
		"message id \"<\"":     func(c *bankfile.CreditTransfers) { c.MessageID = "<" },
		"want a day":           func(c *bankfile.CreditTransfers) { c.Day = "2026-02-30" },
		"version \"08\"":       func(c *bankfile.CreditTransfers) { c.Version = "08" },
	} {
		document := someTransfers()
		spoil(&document)
		wantNothing(t, document, word)
	}
}

func TestWrongDebitsAreRefused(t *testing.T) {
	for word, spoil := range map[string]func(*bankfile.DirectDebits){
		"at least one":      func(c *bankfile.DirectDebits) { c.Debits = nil },
		"whole cents":       func(c *bankfile.DirectDebits) { c.Debits[1].Amount++ },
		"creditor id":       func(c *bankfile.DirectDebits) { c.CreditorID = "DE99ZZZ09999999999" },
		"mandate id":        func(c *bankfile.DirectDebits) { c.Debits[1].MandateID = "a b" },
		"signature":         func(c *bankfile.DirectDebits) { c.Debits[1].Signed = "" },
		"sequence \"XXXX\"": func(c *bankfile.DirectDebits) { c.Debits[1].Sequence = "XXXX" },
		"scheme \"\"":       func(c *bankfile.DirectDebits) { c.Debits[1].Scheme = "" },
		"check digits":      func(c *bankfile.DirectDebits) { c.Debits[1].Debtor.IBAN = "DE89370400440532013001" },
		"IBAN":              func(c *bankfile.DirectDebits) { c.Creditor.IBAN = "" },
		"1 to 35":           func(c *bankfile.DirectDebits) { c.MessageID = strings.Repeat("a", 34) },
		"stands twice":      func(c *bankfile.DirectDebits) { c.Debits[0].EndToEndID = c.Debits[1].EndToEndID },
		"version":           func(c *bankfile.DirectDebits) { c.Version = "" },
	} {
		document := someDebits()
		spoil(&document)
		wantNothing(t, document, word)
	}
}

// full is a disk that takes so many bytes.
type full int

func (f *full) Write(p []byte) (int, error) {
	if *f -= full(len(p)); *f < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("the disk is full")

func TestFailuresToWriteAreTold(t *testing.T) {
	for _, document := range []writer{someTransfers(), someDebits(), someCredits()} {
		size := len(written(t, document))
		for _, room := range []int{0, size / 2, size - 1} {
			f := full(room)
			if err := document.Write(&f); !errors.Is(err, errFull) {
				t.Errorf("%T, %d of %d bytes: %v", document, room, size, err)
			}
		}
	}
}

// A file with as many as it may hold, of texts as long as they get, is one that
// banks take.
func TestLargestFile(t *testing.T) {
	const sample = 500
	document := someTransfers()
	document.Payments = make([]bankfile.CreditTransfer, sample)
	for k := range document.Payments {
		document.Payments[k] = bankfile.CreditTransfer{EndToEndID: endToEnd(k), Amount: 100_000 * money.Unit, Remittance: strings.Repeat("m", 140),
			Creditor: bankfile.Account{Name: strings.Repeat("n", 70), IBAN: someIBANs[3], BIC: "COBADEFFXXX"}}
	}
	if size := len(written(t, document)) / sample * bankfile.MaxTransactions; size > 50<<20 {
		t.Errorf("%d bytes", size)
	}
}
