package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const vendor = "vendor:https://a.example:payable"

func TestPostRefuses(t *testing.T) {
	good := transfer("t", "user:1:available", vendor, 100)
	with := func(change func(t *ledger.Transfer)) ledger.Transfer {
		t := good
		change(&t)
		return t
	}
	cases := []struct {
		name     string
		transfer ledger.Transfer
		want     error
		text     string
	}{
		{"one micro too much", with(func(t *ledger.Transfer) { t.Amount = 1001 }), ledger.ErrInsufficient, "1000 of 1001"},
		{"same id, other amount", with(func(t *ledger.Transfer) { t.ID, t.Amount = "fund", 1 }), ledger.ErrTransferDiffers, ""},
		{"unknown debit", with(func(t *ledger.Transfer) { t.Debit = "user:2:available" }), ledger.ErrNotFound, "user:2"},
		{"unknown credit", with(func(t *ledger.Transfer) { t.Credit = "user:2:available" }), ledger.ErrNotFound, "user:2"},
		{"other currency", with(func(t *ledger.Transfer) { t.Currency = "eur-micro" }), ledger.ErrCurrency, ""},
		{"credit in other currency", with(func(t *ledger.Transfer) { t.Credit = "vendor:eur" }), ledger.ErrCurrency, "vendor:eur"},
		{"balance too large", with(func(t *ledger.Transfer) { t.Credit = "broker:full" }), money.ErrOverflow, "broker:full"},
		{"zero", with(func(t *ledger.Transfer) { t.Amount = 0 }), nil, "amount 0"},
		{"negative", with(func(t *ledger.Transfer) { t.Amount = -1 }), nil, "amount -1"},
		{"too large", with(func(t *ledger.Transfer) { t.Amount = money.MaxAmount + 1 }), nil, "want 1 to"},
		{"to itself", with(func(t *ledger.Transfer) { t.Credit = t.Debit }), nil, "both"},
		{"no id", with(func(t *ledger.Transfer) { t.ID = "" }), nil, "transfer id"},
		{"long id", with(func(t *ledger.Transfer) { t.ID = strings.Repeat("x", ledger.MaxTransferIDLength+1) }), nil, "transfer id"},
		{"id with a line end", with(func(t *ledger.Transfer) { t.ID = "a\nb" }), nil, "transfer id"},
		{"the ledger's own id", with(func(t *ledger.Transfer) { t.ID = "t!expire" }), nil, "ledger's own"},
		{"no kind", with(func(t *ledger.Transfer) { t.Kind = "" }), nil, "kind"},
		{"kind of two words", with(func(t *ledger.Transfer) { t.Kind = "two words" }), nil, "kind"},
		{"long reference", with(func(t *ledger.Transfer) { t.Reference = strings.Repeat("x", ledger.MaxReferenceLength+1) }), nil, "reference"},
		{"reference with a tab", with(func(t *ledger.Transfer) { t.Reference = "a\tb" }), nil, "reference"},
	}
	for _, c := range cases {
		for name, post := range map[string]func(*ledger.Tx, context.Context, ledger.Transfer) error{
			"post": (*ledger.Tx).Post, "pend": (*ledger.Tx).Pend,
		} {
			if name == "pend" && errors.Is(c.want, money.ErrOverflow) {
				continue // a promise does not raise a balance; PostPending does
			}
			t.Run(name+" "+c.name, func(t *testing.T) {
				db, _ := openFunded(t, 1000)
				update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
					return errors.Join(tx.CreateAccount(ctx, ledger.Account{ID: "vendor:eur", Currency: "eur-micro"}), fill(ctx, tx))
				})
				err := db.Update(t.Context(), func(tx *ledger.Tx) error { return post(tx, t.Context(), c.transfer) })
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("got %v, want %v with %q", err, c.want, c.text)
				}
				wantAccount(t, db, "user:1:available", 1000, 0)
				wantAccount(t, db, vendor, 0, 0)
			})
		}
	}
}

// fill makes an account that cannot take another 100 micros.
func fill(ctx context.Context, tx *ledger.Tx) error {
	err := tx.CreateAccount(ctx, ledger.Account{ID: "broker:full", Currency: usd})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE accounts SET balance = ? WHERE id = 'broker:full'`, int64(ledger.MaxBalance)-99)
	return err
}

func TestSameIDSameContent(t *testing.T) {
	db, c := openFunded(t, 1000)
	pay := transfer("pay", "user:1:available", vendor, 100)
	pay.Reference = "commitment 1"
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.Post(ctx, pay) })
	// Later, and with what only the ledger sets: still the same transfer.
	c.Advance(time.Hour)
	again := pay
	again.Seq, again.Phase, again.PendingID, again.Created, again.Expires = 9, ledger.Voided, "x", epoch, epoch
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.Post(ctx, again) })
	wantAccount(t, db, vendor, 100, 0)

	changes := map[string]func(t *ledger.Transfer){
		"amount":    func(t *ledger.Transfer) { t.Amount++ },
		"debit":     func(t *ledger.Transfer) { t.Debit = "broker:bank:in" },
		"credit":    func(t *ledger.Transfer) { t.Credit = "user:1:reserved" },
		"currency":  func(t *ledger.Transfer) { t.Currency = "eur-micro" },
		"kind":      func(t *ledger.Transfer) { t.Kind = "other" },
		"reference": func(t *ledger.Transfer) { t.Reference = "commitment 2" },
	}
	for name, change := range changes {
		other := pay
		change(&other)
		err := db.Update(t.Context(), func(tx *ledger.Tx) error { return tx.Post(t.Context(), other) })
		if !errors.Is(err, ledger.ErrTransferDiffers) {
			t.Errorf("other %s: got %v, want ErrTransferDiffers", name, err)
		}
	}
	err := db.Update(t.Context(), func(tx *ledger.Tx) error { return tx.Pend(t.Context(), pay) })
	if !errors.Is(err, ledger.ErrTransferDiffers) {
		t.Errorf("pending instead of single: got %v, want ErrTransferDiffers", err)
	}
	wantAccount(t, db, vendor, 100, 0)
	wantClean(t, db)
}

// ending is one step of TestPending.
type ending struct {
	phase  ledger.Phase
	e      ledger.Ending
	after  time.Duration // the clock, since the beginning
	want   error
	amount money.Amount // what the vendor has then
	held   money.Amount // what is pending then
}

func (s ending) run(ctx context.Context, tx *ledger.Tx) error {
	switch s.phase {
	case ledger.Posted:
		return tx.PostPending(ctx, s.e)
	case ledger.Voided:
		return tx.VoidPending(ctx, s.e)
	default:
		return tx.ExpirePending(ctx, s.e)
	}
}

func TestPending(t *testing.T) {
	post := func(id string, n money.Amount) ledger.Ending {
		return ledger.Ending{ID: id, PendingID: "hold", Amount: n, Reference: "claim"}
	}
	other := func(id string) ledger.Ending { return ledger.Ending{ID: id, PendingID: "hold"} }
	const hour = time.Hour
	const tick = time.Microsecond
	cases := []struct {
		name  string
		steps []ending
	}{
		{"full", []ending{
			{ledger.Posted, post("p", 400), 0, nil, 400, 0},
			{ledger.Posted, post("p", 400), 2 * hour, nil, 400, 0},
			{ledger.Posted, post("p", 399), 0, ledger.ErrTransferDiffers, 400, 0},
			{ledger.Posted, post("q", 400), 0, ledger.ErrPendingEnded, 400, 0},
			{ledger.Voided, other("v"), 0, ledger.ErrPendingEnded, 400, 0},
		}},
		{"part", []ending{{ledger.Posted, post("p", 1), 0, nil, 1, 0}}},
		{"more than held", []ending{
			{ledger.Posted, post("p", 401), 0, ledger.ErrInsufficient, 0, 400},
			{ledger.Posted, post("p", 400), 0, nil, 400, 0},
		}},
		{"void", []ending{
			{ledger.Voided, other("v"), 0, nil, 0, 0},
			{ledger.Voided, other("v"), 0, nil, 0, 0},
			{ledger.Posted, post("p", 400), 0, ledger.ErrPendingEnded, 0, 0},
		}},
		{"last moment", []ending{{ledger.Posted, post("p", 400), hour - tick, nil, 400, 0}}},
		{"too late", []ending{
			{ledger.Posted, post("p", 400), hour, ledger.ErrPendingExpired, 0, 400},
			{ledger.Expired, other("e"), hour, nil, 0, 0},
			{ledger.Expired, other("e"), hour, nil, 0, 0},
			{ledger.Posted, post("p", 400), hour, ledger.ErrPendingEnded, 0, 0},
		}},
		{"expire too early", []ending{{ledger.Expired, other("e"), hour - tick, ledger.ErrPendingLive, 0, 400}}},
		{"void too late", []ending{{ledger.Voided, other("v"), 2 * hour, nil, 0, 0}}},
		{"nothing of that id", []ending{
			{ledger.Posted, ledger.Ending{ID: "p", PendingID: "none", Amount: 1}, 0, ledger.ErrNotFound, 0, 400},
			{ledger.Voided, ledger.Ending{ID: "p", PendingID: "fund"}, 0, ledger.ErrNotFound, 0, 400},
			{ledger.Voided, ledger.Ending{ID: "fund", PendingID: "hold"}, 0, ledger.ErrTransferDiffers, 0, 400},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, clock := openFunded(t, 1000)
			hold := transfer("hold", "user:1:available", vendor, 400)
			hold.Expires = epoch.Add(hour)
			for range 2 {
				update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.Pend(ctx, hold) })
			}
			wantAccount(t, db, "user:1:available", 1000, 400)
			for i, step := range c.steps {
				clock.Advance(epoch.Add(step.after).Sub(clock.Now()))
				err := db.Update(t.Context(), func(tx *ledger.Tx) error { return step.run(t.Context(), tx) })
				if !errors.Is(err, step.want) {
					t.Errorf("step %d: got %v, want %v", i, err, step.want)
				}
				wantAccount(t, db, "user:1:available", 1000-step.amount, step.held)
				wantAccount(t, db, vendor, step.amount, 0)
				wantClean(t, db)
			}
		})
	}
}

// What is pending cannot be spent a second time, nor promised.
func TestPendingCountsAgainstTheFloor(t *testing.T) {
	db, _ := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.Pend(ctx, transfer("hold", "user:1:available", vendor, 600))
	})
	for name, post := range map[string]func(*ledger.Tx, context.Context, ledger.Transfer) error{
		"post": (*ledger.Tx).Post, "pend": (*ledger.Tx).Pend,
	} {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			return post(tx, t.Context(), transfer(name, "user:1:available", vendor, 401))
		})
		if !errors.Is(err, ledger.ErrInsufficient) {
			t.Errorf("%s of more than is left: got %v, want ErrInsufficient", name, err)
		}
	}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.Post(ctx, transfer("rest", "user:1:available", vendor, 400))
	})
	wantAccount(t, db, "user:1:available", 600, 600)
}

// A pending transfer with no expiry never expires, and one into an account that
// is full cannot be posted.
func TestPendingWithoutExpiry(t *testing.T) {
	db, c := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(fill(ctx, tx), tx.Pend(ctx, transfer("hold", "user:1:available", "broker:full", 600)))
	})
	c.Advance(100 * 365 * 24 * time.Hour)
	err := db.Update(t.Context(), func(tx *ledger.Tx) error {
		return tx.ExpirePending(t.Context(), ledger.Ending{ID: "e", PendingID: "hold"})
	})
	if !errors.Is(err, ledger.ErrPendingLive) {
		t.Errorf("expire: got %v, want ErrPendingLive", err)
	}
	err = db.Update(t.Context(), func(tx *ledger.Tx) error {
		return tx.PostPending(t.Context(), ledger.Ending{ID: "p", PendingID: "hold", Amount: 600})
	})
	if !errors.Is(err, money.ErrOverflow) {
		t.Errorf("post: got %v, want money.ErrOverflow", err)
	}
	wantAccount(t, db, "user:1:available", 1000, 600)
}

func TestExpireDue(t *testing.T) {
	db, c := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for i := range 10 {
			hold := transfer(fmt.Sprintf("hold-%d", i), "user:1:available", vendor, 10)
			if i > 0 {
				hold.Expires = epoch.Add(time.Duration(i) * time.Hour)
			}
			if err := tx.Pend(ctx, hold); err != nil {
				return err
			}
		}
		return tx.VoidPending(ctx, ledger.Ending{ID: "void", PendingID: "hold-2"})
	})
	c.Advance(5 * time.Hour) // holds 1, 3, 4 and 5 are due
	for i, want := range []int{3, 1, 0} {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			got, err := tx.ExpireDue(ctx, 3)
			if got != want {
				t.Errorf("call %d: got %d, want %d", i, got, want)
			}
			return err
		})
	}
	wantAccount(t, db, "user:1:available", 1000, 50)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		got, err := tx.Transfer(ctx, "hold-3!expire")
		if got.Phase != ledger.Expired || got.PendingID != "hold-3" || !got.Created.Equal(epoch.Add(5*time.Hour)) {
			t.Errorf("got %+v, want the expiry of hold-3", got)
		}
		return err
	})
	wantClean(t, db)
}

func TestEntries(t *testing.T) {
	db, _ := openFunded(t, 1000)
	want := []string{"fund"}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for i := range 20 {
			there, back := fmt.Sprintf("there-%02d", i), fmt.Sprintf("back-%02d", i)
			want = append(want, there, back)
			err := errors.Join(
				tx.Post(ctx, transfer(there, "user:1:available", "user:1:reserved", 10)),
				tx.Post(ctx, transfer(back, "user:1:reserved", "user:1:available", 10)),
				tx.Post(ctx, transfer(fmt.Sprintf("other-%02d", i), "broker:bank:in", vendor, 10)))
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, limit := range []int{1, 6, 41, 1000} {
		var got []string
		err := db.View(t.Context(), func(tx *ledger.Tx) error {
			for after := int64(0); ; {
				page, err := tx.Entries(t.Context(), "user:1:available", after, limit)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, entry := range page {
					got, after = append(got, entry.ID), entry.Seq
				}
			}
		})
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("pages of %d: got %v, %v; want %v", limit, got, err, want)
		}
	}
	for _, limit := range []int{0, ledger.MaxPage + 1} {
		err := db.View(t.Context(), func(tx *ledger.Tx) error {
			_, err := tx.Entries(t.Context(), vendor, 0, limit)
			return err
		})
		if err == nil {
			t.Errorf("a page of %d: got no error", limit)
		}
	}
}

// What is in a transfer comes back as it was given.
func TestTransferComesBack(t *testing.T) {
	db, _ := openFunded(t, 1000)
	hold := transfer("hold", "user:1:available", vendor, 400)
	hold.Reference, hold.Expires = "commitment 0a1b", epoch.Add(time.Hour+1500*time.Nanosecond)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.Pend(ctx, hold) })
	want := hold
	want.Seq, want.Phase, want.Created, want.Expires = 2, ledger.Pending, epoch, epoch.Add(time.Hour+time.Microsecond)
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		got, err := tx.Transfer(t.Context(), "hold")
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if _, err := tx.Transfer(t.Context(), "none"); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("no transfer: got %v, want ErrNotFound", err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBooksAreAppendOnly(t *testing.T) {
	statements := []string{
		`UPDATE transfers SET amount = 1 WHERE id = 'fund'`,
		`DELETE FROM transfers WHERE id = 'fund'`,
		`DELETE FROM transfers`,
		`REPLACE INTO transfers SELECT 1, id, phase, pending_id, debit, credit, 1, currency, kind, reference, expires, created FROM transfers`,
		`INSERT OR REPLACE INTO transfers SELECT 99, id, phase, pending_id, debit, credit, 1, currency, kind, reference, expires, created FROM transfers`,
		`DELETE FROM accounts WHERE id = 'user:1:reserved'`,
		`REPLACE INTO accounts (id, currency, floor, created) VALUES ('user:1:available', 'usd-micro', 0, 0)`,
		`UPDATE accounts SET currency = 'eur-micro'`,
		`UPDATE accounts SET balance = -1 WHERE id = 'user:1:available'`,
		`UPDATE accounts SET pending = 1001 WHERE id = 'user:1:available'`,
	}
	for _, statement := range statements {
		t.Run(statement, func(t *testing.T) {
			db, _ := openFunded(t, 1000)
			err := db.Update(t.Context(), func(tx *ledger.Tx) error {
				_, err := tx.ExecContext(t.Context(), statement)
				return err
			})
			if err == nil {
				t.Error("got no error")
			}
			wantClean(t, db)
		})
	}
}
