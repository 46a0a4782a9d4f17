package purse_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

func TestLimitsOfACard(t *testing.T) {
	d := newDesk(t)
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	refused(t, d.card, purse.OverBalance, purse.InitLoad, 0, 0, loadRequest(20_001))
	refused(t, d.card, purse.OverBalance, purse.InitLoad, 0, 0, loadRequest(1<<32-1))
	refused(t, d.card, purse.WrongData, purse.InitLoad, 0, 0, loadRequest(0))
	refused(t, d.card, purse.WrongData, purse.InitLoad, 0, 0, purse.LoadRequest{Amount: 1, Unit: cents}.Append(nil))
	d.load(t, 20_000)
	refused(t, d.card, purse.OverBalance, purse.InitLoad, 0, 0, loadRequest(1))
	refused(t, d.card, purse.OverTransaction, purse.Debit, 0, 0, d.order(t, 10_001))
	done(t, d.sam, purse.VoidPay, 0, 0, be(1))
	d.pay(t, 10_000)
	d.pay(t, 9_999)
	refused(t, d.card, purse.TooLittle, purse.Debit, 0, 0, d.order(t, 2))
	if data := d.data(t); data.Balance != 1 || data.SNo != 2 {
		t.Errorf("%+v", data)
	}
}

func TestLimitOfASAM(t *testing.T) {
	d := newDesk(t)
	issue := samIssue(t)
	issue.Limit = 500
	d.sam, d.safe = issueSAM(t, issue, rand.Reader)
	d.selectBoth(t)
	d.load(t, 5000)
	refused(t, d.sam, purse.OverSAMLimit, purse.InitPay, 0, 0, payRequest(501, 1))
	refused(t, d.sam, purse.OverSAMLimit, purse.InitPay, 0, 0, payRequest(1<<32-1, 1))
	refused(t, d.sam, purse.WrongData, purse.InitPay, 0, 0, payRequest(0, 1))
	d.pay(t, 400)
	refused(t, d.sam, purse.OverSAMLimit, purse.InitPay, 0, 0, payRequest(101, 1))
	d.pay(t, 100)
	refused(t, d.sam, purse.OverSAMLimit, purse.InitPay, 0, 0, payRequest(1, 1))
	d.turnIn(t, purse.Position{})
	d.pay(t, 500)
	if data := d.samData(t); data.Limit != 500 || data.Sum != 500 || data.First != 3 {
		t.Errorf("%+v", data)
	}
}

func TestRecordsOfABatchAreFew(t *testing.T) {
	d := newDesk(t)
	for tno := uint32(1); tno <= purse.MaxRecords; tno++ {
		done(t, d.sam, purse.InitPay, 0, 0, payRequest(1, 1))
		done(t, d.sam, purse.VoidPay, 0, 0, be(tno))
	}
	refused(t, d.sam, purse.OverSAMLimit, purse.InitPay, 0, 0, payRequest(1, 1))
	d.sam.Reset()
	d.selectBoth(t)
	if batch := d.turnIn(t, purse.Position{}); batch.Total.Voids != purse.MaxRecords {
		t.Errorf("%+v", batch.Total)
	}
	done(t, d.sam, purse.InitPay, 0, 0, payRequest(1, 1))
}

func TestIssuing(t *testing.T) {
	for name, alter := range map[string]func(*purse.CardIssue){
		"no keys":             func(i *purse.CardIssue) { i.Keys = nil },
		"another key version": func(i *purse.CardIssue) { i.KeyVersion = 2 },
		"no number":           func(i *purse.CardIssue) { i.Card = purse.ID{} },
		"no unit":             func(i *purse.CardIssue) { i.Unit = purse.Unit{} },
		"more than 200.00":    func(i *purse.CardIssue) { i.MaxBalance = 20_001 },
		"more at once":        func(i *purse.CardIssue) { i.MaxPayment = i.MaxBalance + 1 },
		"nothing at once":     func(i *purse.CardIssue) { i.MaxPayment = 0 },
		"no PIN":              func(i *purse.CardIssue) { i.PIN = "" },
		"a short PIN":         func(i *purse.CardIssue) { i.PIN = "123" },
		"a word":              func(i *purse.CardIssue) { i.PIN = "word" },
		"a PIN of nobody":     func(i *purse.CardIssue) { i.Holder = purse.ID{} },
	} {
		issue, memory := cardIssue(t), &chip{}
		alter(&issue)
		if err := purse.IssueCard(memory, issue); err == nil || memory.state != nil {
			t.Errorf("a card with %s: %v", name, err)
		}
	}
	for name, alter := range map[string]func(*purse.SAMIssue){
		"no keys":             func(i *purse.SAMIssue) { i.Keys = nil },
		"another key version": func(i *purse.SAMIssue) { i.KeyVersion = 2 },
		"no merchant":         func(i *purse.SAMIssue) { i.Merchant = purse.ID{} },
		"no unit":             func(i *purse.SAMIssue) { i.Unit = purse.Unit{} },
		"no limit":            func(i *purse.SAMIssue) { i.Limit = 0 },
		"no key for cards": func(i *purse.SAMIssue) {
			i.Keys = &purse.Keys{}
			if err := i.Keys.Add(purse.ClearingMaster, 1, make([]byte, 32)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		issue, memory := samIssue(t), &chip{}
		alter(&issue)
		if err := purse.IssueSAM(memory, issue); err == nil || memory.state != nil {
			t.Errorf("a SAM with %s: %v", name, err)
		}
	}
	_, memory := issueCard(t, cardIssue(t), rand.Reader)
	if err := purse.IssueCard(memory, cardIssue(t)); !errors.Is(err, purse.ErrIssued) {
		t.Errorf("issued twice: %v", err)
	}
	if err := purse.IssueSAM(memory, samIssue(t)); !errors.Is(err, purse.ErrIssued) {
		t.Errorf("a SAM over a card: %v", err)
	}
	if _, err := purse.OpenSAM(memory, rand.Reader); err == nil {
		t.Error("a card is opened as a SAM")
	}
	if _, err := purse.OpenCard(&chip{}, rand.Reader); !errors.Is(err, purse.ErrNotIssued) {
		t.Errorf("nothing is opened: %v", err)
	}
	if _, err := purse.OpenSAM(&chip{}, rand.Reader); !errors.Is(err, purse.ErrNotIssued) {
		t.Errorf("nothing is opened: %v", err)
	}
}

func TestNothingPrintsAPIN(t *testing.T) {
	issue := cardIssue(t)
	issue.PIN = "8675309"
	for _, text := range []string{fmt.Sprint(issue), fmt.Sprintf("%v %+v %s", &issue, issue, issue)} {
		if strings.Contains(text, "8675309") || !strings.Contains(text, cardNumber) {
			t.Error("an issue of a card prints its PIN, or not its number")
		}
	}
	issue.PIN = "867530x"
	if err := purse.IssueCard(&chip{}, issue); err == nil || strings.Contains(err.Error(), "8675") {
		t.Errorf("got %v", err)
	}
	if err := purse.IssueCard(&chip{in: 1, fault: failBefore}, cardIssue(t)); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("got %v", err)
	}
}

// A white card has no holder whose PIN there could be.
func TestWhiteCard(t *testing.T) {
	d := newDesk(t)
	issue := cardIssue(t)
	issue.Holder, issue.PIN = purse.ID{}, ""
	d.card, d.chip = issueCard(t, issue, rand.Reader)
	d.selectBoth(t)
	refused(t, d.card, purse.NoData, purse.Verify, 0, 0x80, nil)
	refused(t, d.card, purse.NoData, purse.Verify, 0, 0x80, []byte("1111"))
	request := loadRequest(500)
	answer := done(t, d.card, purse.InitLoad, 0, 0, request)
	done(t, d.card, purse.Credit, 0, 0, d.credit(t, request, answer, purse.ID{3}))
	d.pay(t, 123)
	done(t, d.card, purse.ReadRecord, 1, 0x14, nil)
	if data := d.data(t); data.Balance != 377 || data.Holder != (purse.ID{}) {
		t.Errorf("%+v", data)
	}
}

func TestLogs(t *testing.T) {
	d := newDesk(t)
	refused(t, d.card, purse.PINWanted, purse.ReadRecord, 1, 0x0C, nil)
	refused(t, d.card, purse.PINWanted, purse.ReadRecord, 1, 0x14, nil)
	for range 4 {
		d.load(t, 1000)
	}
	var paid [][]byte
	for amount := uint32(1); amount <= 17; amount++ {
		answer, _ := d.pay(t, amount)
		paid = append(paid, answer)
	}
	d.card.Reset()
	d.selectBoth(t)
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	for record := byte(1); record <= 15; record++ {
		if got := done(t, d.card, purse.ReadRecord, record, 0x0C, nil); string(got) != string(paid[17-record]) {
			t.Errorf("payment %d of the log is %X", record, got)
		}
	}
	refused(t, d.card, purse.NoRecord, purse.ReadRecord, 16, 0x0C, nil)
	refused(t, d.card, purse.NoRecord, purse.ReadRecord, 0, 0x0C, nil)
	refused(t, d.card, purse.NotFound, purse.ReadRecord, 1, 0x1C, nil)
	for record := byte(1); record <= 3; record++ {
		load, err := purse.ParseLoadEntry(done(t, d.card, purse.ReadRecord, record, 0x14, nil))
		want := purse.LoadEntry{LNo: 5 - uint32(record), Amount: 1000, Unit: dollarCents, Time: 1, Terminal: purse.ID{9},
			Reference: purse.ID{1}, Balance: 1000 * (5 - uint32(record))}
		if err != nil || load != want {
			t.Errorf("load %d of the log is %+v (%v)", record, load, err)
		}
	}
	refused(t, d.card, purse.NoRecord, purse.ReadRecord, 4, 0x14, nil)
	// What is too long ago is not denied.
	refused(t, d.card, purse.NoRecord, purse.Recover, 0, 0, join(merchantID(t), be(2, be(2)), make([]byte, 16)))
	if answer := done(t, d.card, purse.Recover, 0, 0, join(merchantID(t), be(3, be(3)), make([]byte, 16))); answer[0] != 1 {
		t.Errorf("the oldest of the log is answered %X", answer)
	}
	if answer := done(t, d.card, purse.Recover, 0, 0, join(merchantID(t), be(4, be(3)), make([]byte, 16))); answer[0] != 0 {
		t.Errorf("another transaction of the same number is answered %X", answer)
	}
}
