package caddymodule

import (
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Credit lets users pay with commitments that their broker set no money aside
// for, up to caps. What such a commitment may cost the vendor is its limit; it
// is counted when the commitment is opened, on that day (UTC).
type Credit struct {
	// The most that the commitments which one user opens on a day may be worth
	// together, as a number: "0.50". A user is one subject of one broker.
	// Required.
	PerUser string `json:"per_user,omitempty"`

	// The most that the commitments which all users open on a day, at all sites
	// that share the store, may be worth together, as a number: "100". Required.
	InAll string `json:"in_all,omitempty"`

	// The currency of both, such as "USD". Each currency has its own caps;
	// without any its commitments have to be reserved. Required.
	Currency string `json:"currency,omitempty"`
}

// creditCaps are the caps of one currency, in micros.
type creditCaps struct{ perUser, inAll money.Amount }

// readCaps returns the caps by currency.
func readCaps(credits []Credit) (map[money.Currency]creditCaps, error) {
	caps := make(map[money.Currency]creditCaps)
	for _, credit := range credits {
		perUser, currency, err := parsePrice(credit.PerUser + " " + credit.Currency)
		if err != nil {
			return nil, fmt.Errorf("per_user: %w", err)
		}
		inAll, _, err := parsePrice(credit.InAll + " " + credit.Currency)
		if err != nil {
			return nil, fmt.Errorf("in_all: %w", err)
		}
		switch _, isSet := caps[currency]; {
		case isSet:
			return nil, fmt.Errorf("%s has two caps", currency.Code())
		case perUser < 1 || perUser > inAll:
			return nil, errors.New("want a cap per user of more than 0, and one in all that is no lower")
		}
		caps[currency] = creditCaps{perUser: perUser, inAll: inAll}
	}
	return caps, nil
}

func readCredit(a *App, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) == 1 && arguments[0] == "off" {
		a.Credit = nil
		return nil
	}
	if len(arguments) != 3 {
		return d.Err("want credit <per user> <in all> <currency>, such as: credit 0.50 100 USD; or credit off")
	}
	a.Credit = append(a.Credit, Credit{PerUser: arguments[0], InAll: arguments[1], Currency: arguments[2]})
	return nil
}

// secondsPerDay is the length of a day of UTC, as Unix time counts it.
const secondsPerDay = 86400

// unreservedGraceSeconds is how long after its expiry an unreserved commitment
// is kept to be claimed on. No reservation names a time; brokers pay for a week
// unless they are configured otherwise, and answer claim-too-late after that.
const unreservedGraceSeconds = 7 * secondsPerDay

// errCreditLimit means that an unreserved commitment was not opened because it
// would have exceeded a cap. It is an answer, like errUnknownCommitment.
var errCreditLimit = errors.New("a cap on unreserved commitments is reached")

// creditTerms are the caps that an unreserved commitment is opened under.
type creditTerms struct {
	day     int64        // UTC, days since 1970
	perUser money.Amount // of the commitments that one user opens on the day, in micros
	inAll   money.Amount // of those that all users open on the day, in micros
}

// unreserved returns how to open m without a reservation, or false if its
// currency has no credit here. The certificate's own limit is a cap too: it is
// the most that the broker answers for on a day.
func (a *App) unreserved(m *payword.Commitment, now int64) (opening, bool) {
	caps, isGiven := a.creditCaps[m.Currency]
	if !isGiven {
		return opening{}, false
	}
	return opening{
		commitment: m, amount: m.Limit, redeemBy: m.Expires + unreservedGraceSeconds,
		credit: creditTerms{
			day: now / secondsPerDay, perUser: min(caps.perUser, m.Certificate.Limit), inAll: caps.inAll,
		},
	}, true
}

// givesCredit reports whether unreserved commitments are taken in the currency
// of the prices.
func (h *Handler) givesCredit() bool {
	_, isGiven := h.app.creditCaps[h.currency]
	return isGiven
}

// creditLimited is the refusal of what exceeds a cap.
var creditLimited = payword.Refusal{
	Reason: payword.CreditLimit,
	Detail: "this site's credit for today is used up: have the broker reserve the commitment, or come back tomorrow",
}

// creditHolder is who a share of a day's credit is counted for: one user, or
// without an issuer all of them.
type creditHolder struct {
	day             int64
	currency        money.Currency
	issuer, subject string
}

// creditShares adds up what unreserved commitments are worth by day.
type creditShares struct {
	mutex  sync.Mutex
	taken  map[creditHolder]money.Amount // in micros
	newest int64                         // day
}

// keptCreditDays is for how many days shares are remembered: today's, and
// yesterday's for a clock that is behind.
const keptCreditDays = 2

// holdersOf returns who the share of m is counted for: its user and all users.
func holdersOf(m *payword.Commitment, day int64) [2]creditHolder {
	return [2]creditHolder{
		{day: day, currency: m.Currency, issuer: m.Certificate.Issuer, subject: m.Certificate.Subject},
		{day: day, currency: m.Currency},
	}
}

// take runs open, which reports whether it opened m anew, and counts the limit
// of m if it did. If that would exceed a cap it returns false and does not run
// open. Nothing else is taken meanwhile.
func (s *creditShares) take(m *payword.Commitment, terms creditTerms, open func() bool) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	holders := holdersOf(m, terms.day)
	if s.taken[holders[0]]+m.Limit > terms.perUser || s.taken[holders[1]]+m.Limit > terms.inAll {
		return false
	}
	if open() {
		s.add(m, terms.day)
	}
	return true
}

// add counts the limit of m. The caller holds mutex, or is alone.
func (s *creditShares) add(m *payword.Commitment, day int64) {
	if s.taken == nil {
		s.taken = make(map[creditHolder]money.Amount)
	}
	if day > s.newest {
		s.newest = day
		for holder := range s.taken {
			if holder.day <= day-keptCreditDays {
				delete(s.taken, holder)
			}
		}
	}
	// A day long before the newest counts too: the clock may have been ahead once.
	for _, holder := range holdersOf(m, day) {
		s.taken[holder] += m.Limit
	}
}

// free gives the share of m back, which was counted on a day.
func (s *creditShares) free(m *payword.Commitment, day int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, holder := range holdersOf(m, day) {
		if left := s.taken[holder] - m.Limit; left > 0 {
			s.taken[holder] = left
		} else {
			delete(s.taken, holder)
		}
	}
}
