package caddymodule

import (
	"net/http"

	"github.com/paywordhq/payword/money"
)

// quote is what a request costs, as far as that can be said before it is
// answered.
type quote struct {
	amount  money.Amount // of one unit, in micros; what the challenge names
	unit    string       // what is counted, such as "request"; the challenge's unitType
	ceiling money.Amount // the most that is charged before the answer begins, in micros; at least amount
}

// quote prices a request. It looks at the request alone, so that asking again
// gives the same; an error means that we could not tell.
func (h *Handler) quote(*http.Request) (quote, error) {
	return quote{amount: h.price, unit: "request", ceiling: h.price}, nil
}
