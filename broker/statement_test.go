package broker_test

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// statement is a page of a vendor's statement.
type statement struct {
	From, To                          string
	IsFinal                           bool
	Opening, Closing, Credits, Debits money.Amount
	Entries                           []entry
	Next                              string
}

type entry struct {
	Number, Time             int64
	Kind, Commitment, Payout string
	Credit, Debit            money.Amount
}

const day = 24 * 60 * 60 // seconds

// dayOf names the day of the test's clock.
func (b *bank) dayOf() string { return b.clock.now().UTC().Format("2006-01-02") }

// statement returns a whole statement, and checks that its pages agree and add
// up.
func (s *shop) statement(from, to string) (whole statement) {
	s.t.Helper()
	for after := ""; ; {
		var page statement
		path := fmt.Sprintf("/v1/vendor/statement?vendor=%s&from=%s&to=%s&after=%s", s.origin, from, to, after)
		s.call(s.key, "GET", path, nil).into(s.t, http.StatusOK, &page)
		whole.Entries, after = append(whole.Entries, page.Entries...), page.Next
		page.Entries = whole.Entries
		whole = page
		if page.Next == "" {
			break
		}
	}
	balance := whole.Opening
	for _, e := range whole.Entries {
		balance += e.Credit - e.Debit
	}
	if balance != whole.Closing || whole.Closing != whole.Opening+whole.Credits-whole.Debits {
		s.t.Errorf("%s to %s: opening %s, credits %s, debits %s, closing %s; the entries lead to %s", from, to,
			whole.Opening, whole.Credits, whole.Debits, whole.Closing, balance)
	}
	return whole
}

func TestStatement(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	u := b.newUser(100 * money.Unit)
	first := b.dayOf()
	p := u.commit(s.origin, 100*cent, func(m *payword.Commitment) { m.Expires += 5 * day })
	q := u.commit(other.origin, 100*cent)
	s.wantResult(s.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	other.wantResult(other.claim(q, 50, 50*cent), payword.Accepted, 50*cent, 50*cent)
	s.mustAsk("ref:7")
	b.clock.advance(4 * day)
	second := b.dayOf()
	s.settle()
	s.wantResult(s.claim(p, 30, 30*cent), payword.Accepted, 30*cent, 20*cent)
	want(t, s.payOut("-1", 5*cent, cent), http.StatusOK, payword.Accepted)

	got := s.statement(first, "")
	if got.Opening != 0 || got.Closing != 10*cent || len(got.Entries) != 1 || !got.IsFinal {
		t.Errorf("the first day: got %+v", got)
	}
	e := got.Entries[0]
	if e.Kind != "redemption" || e.Commitment != p.m.ID.String() || e.Credit != 10*cent || e.Debit != 0 || e.Time != start {
		t.Errorf("got entry %+v", e)
	}
	got = s.statement(second, second)
	if got.Opening != 10*cent || got.Closing != 24*cent || got.Credits != 20*cent || got.Debits != 6*cent || got.IsFinal {
		t.Errorf("the second day: got %+v", got)
	}
	var kinds []string
	for _, e := range got.Entries {
		kinds = append(kinds, e.Kind+" "+e.Payout)
	}
	if want := []string{"redemption ", "payout -1", "fee -1"}; !slices.Equal(kinds, want) {
		t.Errorf("got entries %q, want %q", kinds, want)
	}
	if got := s.statement(first, second); got.Opening != 0 || got.Closing != 24*cent || len(got.Entries) != 4 {
		t.Errorf("both days: got %+v", got)
	}
	if got := s.statement("2023-11-01", "2023-11-02"); got.Opening != 0 || got.Closing != 0 || len(got.Entries) != 0 {
		t.Errorf("before everything: got %+v", got)
	}
	if got := s.statement("2030-01-01", ""); got.Opening != 24*cent || got.Closing != 24*cent || len(got.Entries) != 0 || got.IsFinal {
		t.Errorf("the future: got %+v", got)
	}
	s.wantPayable(24 * cent)
}

// A day begins at midnight, and what happens then belongs to it alone.
func TestStatementAtMidnight(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	u := b.newUser(100 * money.Unit)
	before := b.dayOf()
	p := u.commit(s.origin, 100*cent, func(m *payword.Commitment) { m.Expires += day })
	b.clock.advance(day - start%day)
	s.wantResult(s.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	if got := s.statement(before, ""); len(got.Entries) != 0 || got.Closing != 0 {
		t.Errorf("the day before: got %+v", got)
	}
	if got := s.statement(b.dayOf(), ""); len(got.Entries) != 1 || got.Opening != 0 || got.Closing != 10*cent {
		t.Errorf("the day itself: got %+v", got)
	}
}

// Each entry is explained down to what was signed, and to nobody but the vendor.
func TestEvidenceOfAnEntry(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	u := b.newUser(100 * money.Unit)
	p := u.commit(s.origin, 100*cent)
	p.mustReserve(40 * cent)
	claim := s.claim(p, 10, 10*cent)
	s.wantResult(claim, payword.Accepted, 10*cent, 10*cent)
	id := s.statement(b.dayOf(), "").Entries[0].Commitment
	var got struct {
		Commitment, Reservation, Claim string
		Paid                           money.Amount
	}
	path := "/v1/vendor/commitments/" + id + "?vendor="
	s.call(s.key, "GET", path+s.origin, nil).into(t, http.StatusOK, &got)
	if got.Commitment != p.m.Token || got.Reservation == "" || got.Claim != claim.Claim || got.Paid != 10*cent {
		t.Errorf("got %+v", got)
	}
	want(t, other.call(other.key, "GET", path+other.origin, nil), http.StatusNotFound, payword.Accepted)
	want(t, other.call(other.key, "GET", path+s.origin, nil), http.StatusNotFound, payword.UnknownVendor)
	want(t, s.call(s.key, "GET", "/v1/vendor/commitments/x?vendor="+s.origin, nil), http.StatusUnprocessableEntity, payword.Accepted)
	for _, path := range []string{"statement", "statement.csv"} {
		a := other.call(other.key, "GET", "/v1/vendor/"+path+"?from="+b.dayOf()+"&vendor="+s.origin, nil)
		want(t, a, http.StatusNotFound, payword.UnknownVendor)
	}
}

func TestPeriodsOfStatements(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	for _, query := range []string{
		"", "from=", "from=2026-02-30", "from=2026-1-1", "from=2026-01-02&to=2026-01-01", "from=2026-01-01&to=2027-01-02",
		"from=2026-01-01&to=x", "from=1969-12-31", "from=2026-01-01&after=-1", "from=%3DHYPERLIN",
	} {
		a := s.call(s.key, "GET", "/v1/vendor/statement?vendor="+s.origin+"&"+query, nil)
		want(t, a, http.StatusUnprocessableEntity, payword.Accepted)
	}
	if got := s.statement("2026-01-01", "2027-01-01"); got.From != "2026-01-01" || got.To != "2027-01-01" {
		t.Errorf("got a statement from %s to %s", got.From, got.To)
	}
}

// table returns a statement as CSV, its lines taken apart.
func (s *shop) table(from, to string) [][]string {
	s.t.Helper()
	a := s.call(s.key, "GET", "/v1/vendor/statement.csv?vendor="+s.origin+"&from="+from+"&to="+to, nil)
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
		s.t.Fatalf("got %d %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

// A spreadsheet that opens the table takes nothing in it for a formula.
func TestStatementTable(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	u := b.newUser(100 * money.Unit)
	p := u.commit(s.origin, 100*cent)
	for p.m.ID.String()[0] != '-' { // an id that looks like a formula
		p = u.commit(s.origin, 100*cent)
	}
	s.wantResult(s.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	s.mustAsk("ref:7")
	b.clock.advance(destinationDelay)
	s.settle()
	want(t, s.payOut("-1", 4*cent, cent), http.StatusOK, payword.Accepted)
	rows := s.table("2023-11-14", b.dayOf())
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("the cell %q begins as a formula does", cell)
			}
		}
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, strings.Join(row[1:6], " "))
	}
	wanted := []string{
		"opening  0.00 0.00 0.00",
		"redemption commitment:" + p.m.ID.String() + " 0.10 0.00 0.10",
		"payout payout:-1 0.00 0.04 0.06", "fee payout:-1 0.00 0.01 0.05", "closing  0.00 0.00 0.05",
	}
	if !slices.Equal(got, wanted) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

// Whatever is redeemed and paid out, on whatever days, every statement adds up,
// one day's closing balance is the next one's opening balance, the last is what
// the ledger owes, and pages and table hold the same.
func TestStatementsAgreeWithTheLedger(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBank(t)
	b.SetStatementPage(7)
	s, other := b.newShop(), b.newShop()
	u := b.newUser(1000 * money.Unit)
	s.mustAsk("ref:7")
	b.clock.advance(destinationDelay)
	s.settle()
	first := b.clock.now().UTC().Truncate(day * time.Second)
	purses := map[*shop]*purse{}
	indexes := map[*shop]uint32{s: 0, other: 0}
	for k := range 60 {
		shop := s
		if random.IntN(4) == 0 {
			shop = other
		}
		if p := purses[shop]; p == nil || indexes[shop] > 80 || b.clock.seconds.Load() >= p.m.Expires {
			purses[shop], indexes[shop] = u.commit(shop.origin, 100*cent), 0
		}
		indexes[shop] += uint32(random.IntN(20) + 1)
		amount := money.Amount(indexes[shop]) * cent
		if got := shop.send(shop.claim(purses[shop], indexes[shop], amount))[0]; got.Reason != payword.Accepted {
			t.Fatalf("claim: %s %s", got.Reason, got.Detail)
		}
		if random.IntN(5) == 0 {
			s.payOut(fmt.Sprint(k), money.Amount(random.IntN(100)+1)*cent, money.Amount(random.IntN(3))) // may be refused
		}
		b.clock.advance(int64(random.IntN(9 * 3600)))
	}
	balance, entries := money.Amount(0), 0
	for at := first; !at.After(b.clock.now()); at = at.AddDate(0, 0, 1) {
		got := s.statement(at.Format("2006-01-02"), "")
		if got.Opening != balance {
			t.Errorf("%s opens with %s, and the day before closed with %s", got.From, got.Opening, balance)
		}
		balance, entries = got.Closing, entries+len(got.Entries)
	}
	s.wantPayable(balance)
	whole := s.statement(first.Format("2006-01-02"), b.dayOf())
	if whole.Closing != balance || len(whole.Entries) != entries {
		t.Errorf("the whole has %d entries and closes with %s; the days have %d and %s", len(whole.Entries), whole.Closing, entries, balance)
	}
	rows := s.table(first.Format("2006-01-02"), b.dayOf())
	if len(rows) != entries+3 || rows[len(rows)-1][5] != balance.Decimal() {
		t.Errorf("the table has %d lines and ends with %s; want %d and %s", len(rows), rows[len(rows)-1], entries+3, balance.Decimal())
	}
	b.wantSound()
}
