package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/paywordhq/payword/internal/ledger"
)

// openWithHistory makes a ledger with ten payments and a few reservations.
func openWithHistory(t *testing.T) *ledger.DB {
	t.Helper()
	db, _ := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for i := range 10 {
			if err := tx.Post(ctx, transfer(fmt.Sprintf("pay/x/%d", 10-i), "user:1:available", "vendor:https://a.example:payable", 1)); err != nil {
				return err
			}
		}
		for _, id := range []string{"pay/xy/1", "pay/x", "hold/x/1"} {
			if err := tx.Post(ctx, transfer(id, "user:1:available", "user:1:reserved", 1)); err != nil {
				return err
			}
		}
		return nil
	})
	return db
}

func idsOf(transfers []ledger.Transfer) (ids []string) {
	for _, t := range transfers {
		ids = append(ids, t.ID)
	}
	return ids
}

func TestLatestEntries(t *testing.T) {
	db := openWithHistory(t)
	both := []string{"user:1:available", "user:1:reserved"}
	cases := []struct {
		name     string
		accounts []string
		before   int64
		limit    int
		want     []string
	}{
		{"the newest, each once", both, 0, 4, []string{"hold/x/1", "pay/x", "pay/xy/1", "pay/x/1"}},
		{"the next page", both, 12, 2, []string{"pay/x/1", "pay/x/2"}},
		{"the last page", both, 3, 10, []string{"pay/x/10", "fund"}},
		{"past the end", both, 1, 10, nil},
		{"one account", []string{"user:1:reserved"}, 0, 10, []string{"hold/x/1", "pay/x", "pay/xy/1"}},
		{"nobody's", []string{"user:2:available"}, 0, 10, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := db.View(t.Context(), func(tx *ledger.Tx) error {
				found, err := tx.LatestEntries(t.Context(), c.accounts, c.before, c.limit)
				if got := idsOf(found); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestBelow(t *testing.T) {
	db := openWithHistory(t)
	cases := []struct {
		folder string
		limit  int
		want   []string
	}{
		{"pay/xy", 10, []string{"pay/xy/1"}},
		{"hold/x", 10, []string{"hold/x/1"}},
		{"pay/x", 2, []string{"pay/x/10", "pay/x/1"}},
		{"pay/z", 10, nil},
	}
	for _, c := range cases {
		t.Run(c.folder, func(t *testing.T) {
			err := db.View(t.Context(), func(tx *ledger.Tx) error {
				found, err := tx.Below(t.Context(), c.folder, c.limit)
				if got := idsOf(found); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPagesHaveBounds(t *testing.T) {
	db := openWithHistory(t)
	for _, limit := range []int{0, -1, ledger.MaxPage + 1} {
		err := db.View(t.Context(), func(tx *ledger.Tx) error {
			if _, err := tx.LatestEntries(t.Context(), []string{"user:1:available"}, 0, limit); err == nil {
				t.Errorf("LatestEntries took a limit of %d", limit)
			}
			if _, err := tx.Below(t.Context(), "pay/x", limit); err == nil {
				t.Errorf("Below took a limit of %d", limit)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
