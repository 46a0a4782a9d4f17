package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// amount makes an amount of a count.
func amount(n int) money.Amount { return money.Amount(n) }

func TestCreateAccount(t *testing.T) {
	existing := ledger.Account{ID: "user:1:available", Currency: usd, Floor: -500}
	cases := []struct {
		name    string
		account ledger.Account
		want    error  // with errors.Is
		text    string // in the error
	}{
		{"new", ledger.Account{ID: "user:2:available", Currency: usd}, nil, ""},
		{"no floor", ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}, nil, ""},
		{"longest id", ledger.Account{ID: strings.Repeat("x", ledger.MaxAccountIDLength), Currency: usd}, nil, ""},
		{"again", existing, nil, ""},
		{"again with another floor", ledger.Account{ID: existing.ID, Currency: usd}, nil, ""},
		{"again with another currency", ledger.Account{ID: existing.ID, Currency: "eur-micro"}, ledger.ErrAccountDiffers, ""},
		{"no id", ledger.Account{Currency: usd}, nil, "want 1 to 320"},
		{"space", ledger.Account{ID: "user 1", Currency: usd}, nil, "want 1 to 320"},
		{"not ASCII", ledger.Account{ID: "vendor:https://bücher.example:payable", Currency: usd}, nil, "want 1 to 320"},
		{"long id", ledger.Account{ID: strings.Repeat("x", ledger.MaxAccountIDLength+1), Currency: usd}, nil, "want 1 to 320"},
		{"no currency", ledger.Account{ID: "user:2:available"}, nil, "currency"},
		{"floor above zero", ledger.Account{ID: "user:2:available", Currency: usd, Floor: 1}, nil, "floor 1"},
		{"floor below all", ledger.Account{ID: "user:2:available", Currency: usd, Floor: ledger.NoFloor - 1}, nil, "floor"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, _ := open(t)
			update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.CreateAccount(ctx, existing) })
			err := db.Update(t.Context(), func(tx *ledger.Tx) error { return tx.CreateAccount(t.Context(), c.account) })
			switch {
			case c.want != nil && !errors.Is(err, c.want):
				t.Errorf("got %v, want %v", err, c.want)
			case c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)):
				t.Errorf("got %v, want an error with %q", err, c.text)
			case c.want == nil && c.text == "" && err != nil:
				t.Errorf("got %v, want success", err)
			}
			err = db.View(t.Context(), func(tx *ledger.Tx) error {
				got, err := tx.Account(t.Context(), existing.ID)
				if got.Floor != existing.Floor || got.Currency != usd || !got.Created.Equal(epoch) {
					t.Errorf("the account that was there: got %+v, want floor %s, %s, %s", got, existing.Floor, usd, epoch)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFloors(t *testing.T) {
	cases := []struct {
		floor, amount money.Amount
		ok            bool
	}{
		{0, 1, false},
		{-100, 100, true}, {-100, 101, false},
		{ledger.NoFloor, money.MaxAmount, true},
	}
	for _, c := range cases {
		db, _ := open(t)
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			return errors.Join(
				tx.CreateAccount(t.Context(), ledger.Account{ID: "from", Currency: usd, Floor: c.floor}),
				tx.CreateAccount(t.Context(), ledger.Account{ID: "to", Currency: usd}),
				tx.Post(t.Context(), transfer("t", "from", "to", c.amount)))
		})
		if c.ok && err != nil || !c.ok && !errors.Is(err, ledger.ErrInsufficient) {
			t.Errorf("floor %s, amount %s: got %v, want success %v", c.floor, c.amount, err, c.ok)
		}
	}
}

func TestSetFloor(t *testing.T) {
	cases := []struct {
		name  string
		id    string
		floor money.Amount
		want  error
		text  string
	}{
		{"lower", "user:1:available", -5000, nil, ""},
		{"as low as the debt", "user:1:available", -400, nil, ""},
		{"above the debt", "user:1:available", -399, ledger.ErrInsufficient, ""},
		{"nobody's", "user:9:available", 0, ledger.ErrNotFound, ""},
		{"above zero", "user:1:available", 1, nil, "floor 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, _ := openFunded(t, 100)
			update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
				return errors.Join(
					tx.SetFloor(ctx, "user:1:available", -1000),
					tx.Post(ctx, transfer("debt", "user:1:available", "user:1:reserved", 300)),
					tx.Pend(ctx, transfer("promise", "user:1:available", "user:1:reserved", 200)))
			})
			err := db.Update(t.Context(), func(tx *ledger.Tx) error { return tx.SetFloor(t.Context(), c.id, c.floor) })
			if c.text == "" && !errors.Is(err, c.want) || c.text != "" && (err == nil || !strings.Contains(err.Error(), c.text)) {
				t.Errorf("got %v, want %v %s", err, c.want, c.text)
			}
			wantClean(t, db)
		})
	}
}

func TestAvailable(t *testing.T) {
	account := ledger.Account{Floor: -100, Balance: 50, Pending: 30}
	if got, want := account.Available(), amount(120); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	widest := ledger.Account{Floor: ledger.NoFloor, Balance: ledger.MaxBalance}
	if got, want := widest.Available(), ledger.MaxBalance-ledger.NoFloor; got != want || got < 0 {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAccountsByPrefix(t *testing.T) {
	db, _ := open(t)
	var want []string
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for _, id := range []string{"broker:fees", "users", "vendor", "vendor:", "vendor:~", "vendos"} {
			if err := tx.CreateAccount(ctx, ledger.Account{ID: id, Currency: usd}); err != nil {
				return err
			}
		}
		for i := range 25 {
			id := fmt.Sprintf("vendor:https://%02d.example:payable", i)
			want = append(want, id)
			if err := tx.CreateAccount(ctx, ledger.Account{ID: id, Currency: usd}); err != nil {
				return err
			}
		}
		return nil
	})
	want = append([]string{"vendor:"}, append(want, "vendor:~")...)
	for _, limit := range []int{1, 7, 27, 1000} {
		var got []string
		err := db.View(t.Context(), func(tx *ledger.Tx) error {
			for after := ""; ; after = got[len(got)-1] {
				page, err := tx.Accounts(t.Context(), "vendor:", after, limit)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, account := range page {
					got = append(got, account.ID)
				}
			}
		})
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("pages of %d: got %v, %v; want %v", limit, got, err, want)
		}
	}
	for _, limit := range []int{-1, 0, ledger.MaxPage + 1} {
		err := db.View(t.Context(), func(tx *ledger.Tx) error {
			_, err := tx.Accounts(t.Context(), "", "", limit)
			return err
		})
		if err == nil {
			t.Errorf("a page of %d: got no error", limit)
		}
	}
}
