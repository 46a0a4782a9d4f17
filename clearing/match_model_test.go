package clearing_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

// modelOrder is an order as somebody keeps it who reads the bank's files by hand.
type modelOrder struct {
	order
	state string
	heard []hearing // what was taken for this order
}

// hearing is a booking or a return that was taken.
type hearing struct {
	says      bankfile.Says
	file      int
	kind, ref string
}

// hears says what becomes of an entry: matched, repeated or unmatched.
func (o *modelOrder) hears(e said, file int, kind string) string {
	isMoney := e.says == bankfile.Booked || e.says == bankfile.Returned
	if kind != bankfile.KindStatus && e.amount != 0 || isMoney && e.turned || e.says == bankfile.Other {
		return "unmatched"
	}
	again := func() string {
		for _, h := range o.heard {
			if h.says == e.says && (h.file == file || h.kind == kind && h.ref != "" && e.ref != "" && h.ref != e.ref) {
				return "unmatched"
			}
		}
		o.heard = append(o.heard, hearing{e.says, file, kind, e.ref})
		return "repeated"
	}
	took := func(state string) string {
		o.state = state
		o.heard = append(o.heard, hearing{e.says, file, kind, e.ref})
		return "matched"
	}
	switch {
	case e.says == bankfile.Accepted && o.state == "rejected":
		return "unmatched"
	case e.says == bankfile.Accepted:
		return "matched"
	case e.says == bankfile.Rejected && o.state == "sent":
		return took("rejected")
	case e.says == bankfile.Rejected && o.state == "booked":
		return "unmatched"
	case e.says == bankfile.Rejected:
		return "repeated"
	case o.state == "rejected":
		return "unmatched"
	case e.says == bankfile.Booked && o.state == "sent":
		return took("booked")
	case e.says == bankfile.Returned && o.state != "returned":
		return took("returned")
	}
	return again()
}

// randomEntry is something that a bank may say of an order, most often sense.
func randomEntry(random *rand.Rand, o order, kind string) said {
	e := said{order: o, code: "AC04", ref: []string{"", "A", "B"}[random.IntN(3)]}
	choices := []bankfile.Says{bankfile.Booked, bankfile.Booked, bankfile.Returned, bankfile.Accepted}
	if kind == bankfile.KindStatus {
		choices = []bankfile.Says{bankfile.Accepted, bankfile.Accepted, bankfile.Rejected, bankfile.Other}
	}
	e.says = choices[random.IntN(len(choices))]
	if kind == bankfile.KindStatus {
		return e
	}
	switch random.IntN(10) {
	case 0:
		e.amount = o.amount + money.Unit/100
	case 1:
		e.turned = true
	}
	return e
}

// Whatever a bank says, in whatever order, however often, and wherever the
// process dies: orders and money are where somebody has them who does it by hand.
func TestAnyAnswers(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	d := newDesk(t)
	var orders []*modelOrder
	for range 4 {
		cents := func() money.Amount { return money.Amount(1+random.IntN(10_000)) * money.Unit / 100 }
		for _, o := range []order{d.payVendor(cents(), cents()), d.payVendor(cents(), 0), d.payOut(cents()), d.collect(10 * cents())} {
			orders = append(orders, &modelOrder{order: o, state: "sent"})
		}
	}
	var files [][]byte
	for number := range 30 {
		if len(files) > 0 && random.IntN(5) == 0 {
			d.readAgain(files[random.IntN(len(files))])
			continue
		}
		kind := []string{bankfile.KindStatus, bankfile.KindStatement, bankfile.KindNotification}[random.IntN(3)]
		counts := make(map[string]int)
		var entries []said
		for range 1 + random.IntN(5) {
			o := orders[random.IntN(len(orders))]
			e := randomEntry(random, o.order, kind)
			entries = append(entries, e)
			counts[o.hears(e, number, kind)]++
		}
		file := d.write(kind, entries...)
		files = append(files, file)
		if random.IntN(2) == 0 {
			_, err := crashAt(1+random.IntN(2), func(step func(string)) error {
				_, err := clearing.ImportStepwise(t.Context(), d.db, file, step)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			d.readAgain(file)
		} else {
			d.read(file, counts["matched"], counts["repeated"], counts["unmatched"])
		}
		if random.IntN(4) == 0 {
			d.settled()
		}
	}
	d.settled()
	d.wantModel(orders)
}

// readAgain imports a file of which some was read.
func (d *desk) readAgain(file []byte) {
	d.t.Helper()
	if _, err := clearing.Import(d.t.Context(), d.db, file); err != nil {
		d.t.Fatal(err)
	}
}

// wantModel compares every order and every account with the model.
func (d *desk) wantModel(orders []*modelOrder) {
	d.t.Helper()
	var out, fees, held, used, in money.Amount
	for _, o := range orders {
		isIn, back := o.isIn(), o.state == "returned"
		code := ""
		if back || o.state == "rejected" {
			code = "AC04"
		}
		d.wantState(o.order, o.state, code)
		total := o.amount + o.fee
		switch {
		case isIn:
			part, err := o.amount.Share(deskReservePpm, 1_000_000)
			if err != nil {
				d.t.Fatal(err)
			}
			owed, available := money.Amount(0), -o.amount
			switch o.state {
			case "booked":
				held, in, available = held+part, in+o.amount, 0
			case "returned":
				used, owed, available = used+part, -o.amount, 0
			}
			d.wantAccount(o.account, available, 0)
			d.wantAccount("user:"+o.party+":owed", owed, 0)
		case o.state == "booked":
			out, fees = out+o.amount, fees+o.fee
			d.wantAccount(o.account, 0, 0)
		case o.state == "sent":
			d.wantAccount(o.account, total, total)
		default:
			d.wantAccount(o.account, total, 0)
		}
	}
	for account, balance := range map[string]money.Amount{"broker:bank:out": out, "broker:fees": fees, "broker:reserve:refunds": held,
		"broker:reserve:used": used, "broker:provisions": -held - used, "broker:direct-debit:in": -in} {
		d.wantAccount(account, balance, 0)
	}
}
