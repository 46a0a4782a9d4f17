package bankfile_test

import (
	"bytes"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moov-io/ach"
	"pgregory.net/rapid"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/money"
)

// achID is an end-to-end id whose beginning differs from the others'.
func achID(k int) string { return fmt.Sprintf("%010xabcdef%016x", k, 0) }

func someCredits() bankfile.ACHCredits {
	return bankfile.ACHCredits{
		Originator: bankfile.ACHOriginator{Name: "Broker of the Example", CompanyID: "1234567890", Bank: "121042882", BankName: "Example Bank", Origin: "1234567890"},
		Created:    created, Reference: "RUN1",
		Payments: []bankfile.ACHCredit{
			{EndToEndID: achID(1), Amount: 12*money.Unit + 34*cent, Name: "news.example", Account: bankaccount.ACH{Routing: "021000021", Account: "123456789", Kind: "checking"}},
			{EndToEndID: achID(2), Amount: cent, Name: "Müller & Söhne", Account: bankaccount.ACH{Routing: "011000015", Account: "00-7", Kind: "savings"}, Personal: true},
			{EndToEndID: achID(3), Amount: 99_999_999*money.Unit + 99*cent, Name: "OFFSET", Account: bankaccount.ACH{Routing: "231380104", Account: "A", Kind: "savings"}},
		},
	}
}

func balanced(c bankfile.ACHCredits) bankfile.ACHCredits {
	c.Originator.Offset = &bankaccount.ACH{Routing: c.Originator.Bank, Account: "777", Kind: "checking"}
	return c
}

func TestACHIsWhatItWas(t *testing.T) {
	golden(t, "ach.txt", written(t, someCredits()))
	golden(t, "ach-balanced.txt", written(t, balanced(someCredits())))
}

// lines splits a file into records and looks at their form.
func lines(t rapid.TB, file []byte) []string {
	all := strings.Split(strings.TrimSuffix(string(file), "\r\n"), "\r\n")
	if len(all)%10 != 0 {
		t.Fatalf("%d records do not fill blocks of ten", len(all))
	}
	for _, line := range all {
		if len(line) != 94 || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("record %q", line)
		}
	}
	return all
}

func number(t rapid.TB, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Read by position, as the format says, and by the library's own reader.
func TestCreditsAreReadAsTheyWereMeant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		document, sum, want := someCredits(), new(big.Int), map[string]bankfile.ACHCredit{}
		isBalanced := rapid.Bool().Draw(t, "balanced")
		if isBalanced {
			document = balanced(document)
		}
		document.Payments = nil
		for k, cents := range rapid.SliceOfN(rapid.Int64Range(1, 9_999_999_999), 1, 20).Draw(t, "cents") {
			p := bankfile.ACHCredit{EndToEndID: achID(k), Amount: money.Amount(cents) * cent, Name: anyName.Draw(t, "name"), Personal: rapid.Bool().Draw(t, "personal"),
				Account: bankaccount.ACH{Routing: rapid.SampledFrom([]string{"021000021", "011000015"}).Draw(t, "routing"), Account: rapid.StringMatching(`[0-9A-Za-z-]{1,17}`).Draw(t, "account"), Kind: rapid.SampledFrom([]string{"checking", "savings"}).Draw(t, "kind")}}
			document.Payments = append(document.Payments, p)
			want[bankfile.ACHIdentification(p.EndToEndID)] = p
			sum.Add(sum, big.NewInt(cents))
		}
		var out bytes.Buffer
		if err := document.Write(&out); err != nil {
			t.Fatal(err)
		}
		wantCredits(t, out.Bytes(), want, sum, isBalanced)
		if _, err := ach.NewReader(&out).Read(); err != nil {
			t.Errorf("the library's reader: %v", err)
		}
	})
}

// wantCredits reads entries and totals by their columns.
func wantCredits(t rapid.TB, file []byte, want map[string]bankfile.ACHCredit, sum *big.Int, isBalanced bool) {
	class, debits, lastTrace := "", new(big.Int), int64(0)
	for _, line := range lines(t, file) {
		switch {
		case line[0] == '5':
			class = line[50:53]
		case line[0] == '6':
			trace := number(t, line[79:94])
			if trace <= lastTrace || !strings.HasPrefix(line[79:], "12104288") {
				t.Errorf("trace number %d after %d", trace, lastTrace)
			}
			lastTrace = trace
			code, id := line[1:3], strings.TrimSpace(line[39:54])
			if code == "27" {
				debits.Add(debits, big.NewInt(number(t, line[29:39])))
				continue
			}
			p, found := want[id]
			wantCode := map[string]string{"checking": "22", "savings": "32"}[p.Account.Kind]
			if !found || code != wantCode || line[3:12] != p.Account.Routing || strings.TrimSpace(line[12:29]) != p.Account.Account ||
				number(t, line[29:39]) != int64(p.Amount/cent) || (class == "PPD") != p.Personal {
				t.Errorf("in %s: %q is not %+v", class, line, p)
			}
			delete(want, id)
		case line[0] == '9' && line[1] != '9':
			if credits := big.NewInt(number(t, line[43:55])); credits.Cmp(sum) != 0 {
				t.Errorf("credits of %s cents, want %s", credits, sum)
			}
			if got := big.NewInt(number(t, line[31:43])); got.Cmp(debits) != 0 || isBalanced != (debits.Cmp(sum) == 0) {
				t.Errorf("debits of %s cents in all and %s in entries, credits %s", got, debits, sum)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the file: %v", want)
	}
}

func TestACHDates(t *testing.T) {
	for created, effective := range map[string]string{
		"2026-11-25": "261127", // Thanksgiving is on Thursday
		"2026-11-27": "261130", "2026-12-24": "261228", "2026-12-31": "270104", "2027-07-02": "270706",
	} {
		document := someCredits()
		day, err := time.Parse(time.DateOnly, created)
		if err != nil {
			t.Fatal(err)
		}
		document.Created, document.Number = day.Add(23*time.Hour), 35
		all := lines(t, written(t, document))
		if got := all[1][69:75]; got != effective || all[0][23:34] != day.Format("060102")+"23009" {
			t.Errorf("made on %s and effective on %s, want %s; head %q", created, got, effective, all[0])
		}
	}
}

func TestWrongCreditsAreRefused(t *testing.T) {
	for word, spoil := range map[string]func(*bankfile.ACHCredits){
		"at least one":        func(c *bankfile.ACHCredits) { c.Payments = nil },
		"whole cents":         func(c *bankfile.ACHCredits) { c.Payments[0].Amount++ },
		"amount 0.00":         func(c *bankfile.ACHCredits) { c.Payments[0].Amount = 0 },
		"amount 100000000.00": func(c *bankfile.ACHCredits) { c.Payments[0].Amount = 100_000_000 * money.Unit },
		"check digit":         func(c *bankfile.ACHCredits) { c.Payments[0].Account.Routing = "021000022" },
		"checking or savings": func(c *bankfile.ACHCredits) { c.Payments[0].Account.Kind = "loan" },
		"account":             func(c *bankfile.ACHCredits) { c.Payments[0].Account.Account = "1 2" },
		"stands twice":        func(c *bankfile.ACHCredits) { c.Payments[0].EndToEndID = c.Payments[1].EndToEndID[:15] + "f" },
		"routing number":      func(c *bankfile.ACHCredits) { c.Originator.Bank = "" },
		"company id":          func(c *bankfile.ACHCredits) { c.Originator.CompanyID = "12345678901" },
		"origin \"\"":         func(c *bankfile.ACHCredits) { c.Originator.Origin = "" },
		"at the originator's": func(c *bankfile.ACHCredits) {
			c.Originator.Offset = &bankaccount.ACH{Routing: "021000021", Account: "1", Kind: "checking"}
		},
		"want 0 to 35": func(c *bankfile.ACHCredits) { c.Number = 36 },
		"reference":    func(c *bankfile.ACHCredits) { c.Reference = "123456789" },
		"in all": func(c *bankfile.ACHCredits) {
			for k := range 101 {
				p := c.Payments[2]
				p.EndToEndID = achID(k + 10)
				c.Payments = append(c.Payments, p)
			}
		},
	} {
		document := someCredits()
		spoil(&document)
		wantNothing(t, document, word)
	}
}

func TestACHIdentification(t *testing.T) {
	if got := bankfile.ACHIdentification("0123456789abcdef0123456789abcdef"); got != "0123456789ABCDE" {
		t.Error(got)
	}
	if got := bankfile.ACHIdentification("short"); got != "SHORT" {
		t.Error(got)
	}
}

func TestACHBeginning(t *testing.T) {
	for id, want := range map[string]string{
		"0123456789ABCDE": "0123456789abcde", "0123456789abcde": "", "0123456789ABCD": "", "0123456789ABCDEF": "", "0123456789ABCDG": "", "": "",
	} {
		if got, ok := bankfile.ACHBeginning(id); got != want || ok != (want != "") {
			t.Errorf("%q begins %q, %v", id, got, ok)
		}
	}
}
