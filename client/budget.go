package client

import (
	"fmt"

	"github.com/paywordhq/payword/money"
)

// NoLimit is the explicit absence of a limit in a Budget.
const NoLimit = money.MaxAmount

// Budget is the most that may be paid, in micros of the wallet's currency. A
// limit of zero, which is what a field that nobody set has, allows nothing;
// write NoLimit for none.
type Budget struct {
	PerRequest money.Amount // for one request, with every commitment that it takes
	PerSite    money.Amount // to one vendor, over the life of the wallet
	PerDay     money.Amount // to all, on one day (UTC)
	Total      money.Amount // to all, over the life of the wallet
}

// Limit names a limit of a Budget.
type Limit string

// The limits.
const (
	LimitPerRequest Limit = "per request"
	LimitPerSite    Limit = "per site"
	LimitPerDay     Limit = "per day"
	LimitTotal      Limit = "in total"
)

// BudgetError means that a request costs more than the budget allows. What it
// says would have had to be released was not.
type BudgetError struct {
	Limit    Limit
	Want     money.Amount // would have had to be released, in micros; for LimitPerRequest the price and what the request forfeited before
	Left     money.Amount // what the limit still allows, in micros
	Currency money.Currency
	Origin   string // the vendor's
}

// Error says in one sentence what was refused, and why.
func (e *BudgetError) Error() string {
	return fmt.Sprintf("paying %s: over the budget %s: it takes %s %s, %s is left",
		e.Origin, e.Limit, e.Want.Decimal(), e.Currency.Code(), e.Left.Decimal())
}

// usage is what counts against the limits of a budget: what was released, in
// micros.
type usage struct {
	site, day, total money.Amount
}

// left returns how much may still be released, in micros, and by which limit.
func (b Budget) left(used usage) (money.Amount, Limit) {
	least, by := b.PerSite-used.site, LimitPerSite
	if left := b.PerDay - used.day; left < least {
		least, by = left, LimitPerDay
	}
	if left := b.Total - used.total; left < least {
		least, by = left, LimitTotal
	}
	return max(0, least), by
}

// checkPrice returns a *BudgetError for a price above the limit per request, of
// which the request has forfeited a part already.
func (b Budget) checkPrice(price, forfeited money.Amount, currency money.Currency, vendor string) error {
	if left := max(0, b.PerRequest-forfeited); price > left {
		return &BudgetError{Limit: LimitPerRequest, Want: price, Left: left, Currency: currency, Origin: vendor}
	}
	return nil
}

// checkRelease returns a *BudgetError if releasing want more would break a
// limit.
func (b Budget) checkRelease(want money.Amount, used usage, currency money.Currency, vendor string) error {
	left, by := b.left(used)
	if want > left {
		return &BudgetError{Limit: by, Want: want, Left: left, Currency: currency, Origin: vendor}
	}
	return nil
}

// check reports a limit that is negative or too large.
func (b Budget) check() error {
	for _, limit := range []money.Amount{b.PerRequest, b.PerSite, b.PerDay, b.Total} {
		if limit < 0 || limit > NoLimit {
			return fmt.Errorf("budget: a limit of %s: want 0 to %s", limit.Decimal(), NoLimit.Decimal())
		}
	}
	return nil
}
