package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword/money"
)

// quote is what a request costs, as far as that can be said before it is
// answered.
type quote struct {
	amount  money.Amount // of one unit, in micros; what the challenge names
	unit    string       // what is counted, such as "request"; the challenge's unitType
	ceiling money.Amount // the most that is charged before the answer begins, in micros; at least amount

	rule  string // which rule made it, for logs and counters: "price", "rule 1" and so on, "map"
	class string // tells prices of one URL apart that must not stand in for each other; "" where there is but one
	free  string // why it is free, such as "list"; "" if it is not, and then all the above is set
}

// quote prices a request. It looks at the request alone, so that asking again
// gives the same; an error means that we could not tell. What something behind
// us could take for a dearer page costs what that does.
func (h *Handler) quote(r *http.Request) (quote, error) {
	isPlain := isPlainPath(r)
	q, err := h.quoteAsRead(r, isPlain)
	if isPlain || err != nil {
		return q, err
	}
	other := otherReading(r)
	dearer, err := h.quoteAsRead(other, isPlainPath(other))
	if err != nil || dearer.ceiling > q.ceiling {
		return dearer, err
	}
	return q, nil
}

// quoteAsRead prices a request by its path as it stands.
func (h *Handler) quoteAsRead(r *http.Request, isPlain bool) (quote, error) {
	if why, err := h.freeOf(r, isPlain); err != nil || why != "" {
		return quote{free: why}, err
	}
	priced, err := h.priceOf(r)
	if err != nil || priced.free != "" {
		return quote{rule: priced.rule, free: priced.free}, err
	}
	return quote{
		amount: priced.amount, unit: "request", ceiling: priced.amount,
		rule: priced.rule, class: priced.class,
	}, nil
}

// priced is the price of one unit and where it comes from.
type priced struct {
	amount money.Amount // in micros
	rule   string
	class  string
	free   string
}

// priceOf asks the rules in their order, then the price map, then the price of
// the directive. A HEAD asks what a GET would cost.
func (h *Handler) priceOf(r *http.Request) (priced, error) {
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
		defer func() { r.Method = http.MethodHead }()
	}
	for k := range h.Prices {
		rule := &h.Prices[k]
		matches, err := rule.matchers.AnyMatchWithError(r)
		if err != nil {
			return priced{}, rule.failed(err)
		}
		if matches && !(rule.free && !isPlainPath(r)) {
			return h.priceBy(rule, r)
		}
	}
	if found, matches := h.mapped(r); matches {
		found.class = h.classOf(&h.base, r, 0)
		return found, nil
	}
	return h.priceBy(&h.base, r)
}

func (h *Handler) priceBy(rule *PriceRule, r *http.Request) (priced, error) {
	if rule.free {
		return priced{rule: rule.label, free: "rule"}, nil
	}
	amount := rule.amount
	if rule.placeholder != "" {
		replacer := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		var err error
		if amount, err = rule.resolve(replacer); err != nil {
			return priced{}, err
		}
	}
	return priced{amount: amount, rule: rule.label, class: h.classOf(rule, r, amount)}, nil
}
