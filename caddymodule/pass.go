package caddymodule

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// PassOffer sells a pass: who pays once reads everything under the directive
// for a while. A pass belongs to the commitment that bought it and ends with it
// at the latest.
type PassOffer struct {
	// How long a pass lasts, from the first charge on. Required; 1m to 744h.
	Lasts caddy.Duration `json:"lasts,omitempty"`

	// What has to be charged within that time, in the currency of the price:
	// "0.50". Default: the price of one request, so that the first one buys the
	// pass.
	Amount string `json:"amount,omitempty"`

	amount money.Amount // in micros; 0: what one request costs
}

const (
	minPass = caddy.Duration(time.Minute)
	maxPass = caddy.Duration(31 * 24 * time.Hour) // commitments do not last longer

	// headerPass says when the pass ends that a request was granted under:
	// "until=" and seconds since 1970.
	headerPass = "Payword-Pass"
)

func (p *PassOffer) provision() error {
	if p.Amount == "" {
		return nil
	}
	var err error
	if p.amount, err = money.ParseDecimal(p.Amount); err != nil {
		return fmt.Errorf("payword: pass: %w", err)
	}
	if p.amount < 1 {
		return errors.New("payword: pass: want an amount more than 0, or none")
	}
	return nil
}

// validate checks the offer of a directive that may have several prices: then
// the cheapest page would buy all the others.
func (p *PassOffer) validate(h *Handler) error {
	several := h.PriceMap != nil || h.base.placeholder != ""
	for k := range h.Prices {
		several = several || !h.Prices[k].free
	}
	if several && p.Amount == "" {
		return errors.New("payword: pass: want an amount, such as pass 24h 0.50, since there are several prices: the cheapest page would buy all the others")
	}
	if p.Lasts < minPass || p.Lasts > maxPass {
		return errors.New("payword: pass: want it to last 1m to 744h")
	}
	return nil
}

// saleScope names what a directive sells, for passes and quotas. It is the same
// on every node, and after a reload.
func (h *Handler) saleScope() payword.PassScope {
	sum := sha256.Sum256([]byte("sale\x00" + h.Vendor + "\x00" + h.Scope))
	return payword.PassScope(sum[:payword.PassScopeBytes])
}

func (h *Handler) passTerms() payword.PassTerms {
	if h.Pass == nil {
		return payword.PassTerms{}
	}
	return payword.PassTerms{
		Scope: h.sale, Seconds: int64(time.Duration(h.Pass.Lasts) / time.Second), Price: h.Pass.amount,
	}
}

// settleCharge takes over what came of a charge: under a pass it cost nothing. A
// request that was not granted anew uses no quota up.
func (x *exchange) settleCharge(err error) {
	if err != nil || x.outcome.Reason != payword.Accepted || x.outcome.Repeat {
		x.returnQuota()
		return
	}
	x.price = x.outcome.Price
}

// writePass says when the pass ends that the request was granted under.
func (x *exchange) writePass(header http.Header) {
	if x.outcome.PassUntil > 0 && !x.returned {
		header.Set(headerPass, "until="+strconv.FormatInt(x.outcome.PassUntil, 10))
	}
}

// readPass reads the offer of a pass. Syntax:
//
//	pass <duration> [<amount>]
func readPass(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.Err("want pass <duration> [<amount>], such as: pass 24h; or pass 24h 0.50")
	}
	lasts, err := caddy.ParseDuration(arguments[0])
	if err != nil {
		return d.Errf("pass %q: want a duration, such as 24h", arguments[0])
	}
	h.Pass = &PassOffer{Lasts: caddy.Duration(lasts)}
	if len(arguments) == 2 {
		h.Pass.Amount = arguments[1]
	}
	return nil
}
