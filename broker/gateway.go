package broker

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	pathGatewayFundings = "/v1/gateway/fundings"
	pathGatewayAccount  = "/v1/gateway/accounts/{account}"
	pathGateways        = "/v1/admin/gateways"
	pathGateway         = "/v1/admin/gateways/{gateway}"
)

// maxGateways bounds the list of gateways, which is read as a whole: a broker
// has a few.
const maxGateways = 100

// gateway is a card purse or the like, whose key may put money on accounts.
type gateway struct {
	Gateway  string            `json:"gateway" doc:"its name" example:"purse"`
	Key      payword.PublicKey `json:"key" doc:"what it signs its requests with"`
	DayLimit money.Amount      `json:"dayLimit" doc:"what it may book in a day (UTC), in micros; 0 stops it" example:"1000000000"`
	Today    money.Amount      `json:"today" doc:"what it booked today, in micros" example:"5000000"`
	Backed   bool              `json:"backed" doc:"it puts on accounts only what clearing has booked to it" example:"true"`
}

// gatewayTerms are what an operator says of a gateway.
type gatewayTerms struct {
	key      ed25519.PublicKey
	dayLimit money.Amount
	// backed is nil where it is to stay as it is; a new gateway is not backed.
	backed *bool
}

// gatewayOf returns the gateway of a key and the key, or "".
func (s *store) gatewayOf(ctx context.Context, keyID string) (name string, key ed25519.PublicKey, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, `SELECT name, key FROM broker_gateways WHERE key_id = ?`, keyID).Scan(&name, &raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		key = raw
		return err
	})
	return name, key, err
}

// setGateway registers a gateway, or gives one another key, limit or backing. It
// answers 409 if the key is another's or more was put on accounts than is backed,
// and 422 if there are too many.
func (s *store) setGateway(ctx context.Context, name string, terms gatewayTerms) (set gateway, refusal payword.Refusal, err error) {
	keyID := payword.Thumbprint(terms.key)
	refusal, err = s.update(ctx, "set gateway", func(tx *ledger.Tx) error {
		if err := checkGateway(ctx, tx, name, keyID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_gateways (name, key_id, key, day_limit, created) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET key_id = excluded.key_id, key = excluded.key, day_limit = excluded.day_limit`,
			name, keyID, []byte(terms.key), terms.dayLimit, tx.Now().UnixMicro())
		if err == nil {
			err = tx.CreateAccount(ctx, ledger.Account{
				ID: s.sourceAccount(sourceGateway+name, s.currency), Currency: s.currency, Floor: ledger.NoFloor})
		}
		if err == nil && terms.backed != nil {
			err = s.setBacked(ctx, tx, name, *terms.backed)
		}
		set = gateway{Gateway: name, Key: payword.NewPublicKey(terms.key), DayLimit: terms.dayLimit}
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT backed FROM broker_gateways WHERE name = ?`, name).Scan(&set.Backed)
		}
		if err == nil {
			set.Today, err = bookedOn(ctx, tx, sourceGateway+name)
		}
		if err != nil {
			return err
		}
		backing := "not backed"
		if set.Backed {
			backing = "backed"
		}
		return audit(ctx, tx, auditEntry{"set-gateway", sourceGateway + name,
			"key " + keyID + ", " + terms.dayLimit.Decimal() + " " + s.currency.Code() + " a day, " + backing})
	})
	return set, refusal, err
}

// setBacked says whether a gateway may put on accounts only what clearing has
// booked to it. It is the floor of the gateway's account, so that the ledger
// itself keeps it.
func (s *store) setBacked(ctx context.Context, tx *ledger.Tx, name string, isBacked bool) error {
	floor, backed := ledger.NoFloor, 0
	if isBacked {
		floor, backed = 0, 1
	}
	err := tx.SetFloor(ctx, s.sourceAccount(sourceGateway+name, s.currency), floor)
	if errors.Is(err, ledger.ErrInsufficient) {
		return newProblem(http.StatusConflict, "The gateway has put more on accounts than clearing has booked to it: register one of another name that is backed from the beginning.")
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE broker_gateways SET backed = ? WHERE name = ?`, backed, name)
	}
	return err
}

func checkGateway(ctx context.Context, tx *ledger.Tx, name, keyID string) error {
	var others, sameKey int64
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN key_id = ? THEN 1 ELSE 0 END), 0) AS BIGINT)
		FROM broker_gateways WHERE name <> ?`, keyID, name).Scan(&others, &sameKey)
	switch {
	case err != nil:
		return err
	case sameKey > 0:
		return newProblem(http.StatusConflict, "Another gateway has that key.")
	case others >= maxGateways:
		return newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("There are %d gateways, the most that a broker has: register another key under the name of one that is not used.", others))
	}
	return nil
}

// gateways lists the gateways, in the order of their names.
func (s *store) gateways(ctx context.Context, l Listing) (list gatewayList, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		all, err := selectGateways(ctx, tx)
		if err != nil {
			return err
		}
		list.Gateways, list.Next = pageOf(all, l, func(g gateway) string { return g.Gateway })
		for k := range list.Gateways {
			g := &list.Gateways[k]
			if g.Today, err = bookedOn(ctx, tx, sourceGateway+g.Gateway); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

func selectGateways(ctx context.Context, tx *ledger.Tx) ([]gateway, error) {
	rows, err := tx.QueryContext(ctx, `SELECT name, key, day_limit, backed FROM broker_gateways ORDER BY name LIMIT ?`, maxGateways+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []gateway{}
	for rows.Next() {
		var g gateway
		var key []byte
		if err := rows.Scan(&g.Gateway, &key, &g.DayLimit, &g.Backed); err != nil {
			return nil, err
		}
		g.Key = payword.NewPublicKey(key)
		list = append(list, g)
	}
	return list, rows.Err()
}

// gatewayFunding is the answer to a gateway: what it booked, and nothing else of
// the account.
type gatewayFunding struct {
	ID       string         `json:"id" doc:"the gateway's transaction" example:"card-0001-17"`
	Account  string         `json:"account" example:"qwertyuiop234567"`
	Amount   money.Amount   `json:"amount" doc:"in micros" example:"5000000"`
	Currency money.Currency `json:"currency" example:"usd-micro"`
}

// fundByGateway books what a gateway took from a card. The transaction's id is
// the idempotency key, for ever. It refuses with WrongCurrency, UnknownAccount,
// IdempotencyDiffers, or RateLimited past the limit of the day.
func (s *store) fundByGateway(ctx context.Context, name string, request funding) (booked gatewayFunding, refusal payword.Refusal, err error) {
	if request.Currency != s.currency {
		return booked, refuse(payword.WrongCurrency, "accounts here are in %s", s.currency), nil
	}
	refusal, err = s.update(ctx, "fund by gateway", func(tx *ledger.Tx) error {
		source := sourceGateway + name
		_, isKnown, err := fundingOf(ctx, tx, source, request.ID)
		if err == nil && !isKnown {
			err = s.checkGatewayFunding(ctx, tx, name, request)
		}
		if err != nil {
			return err
		}
		f, err := s.book(ctx, tx, fundingRecord{
			source: source, id: request.ID, named: request.Account, amount: request.Amount, currency: request.Currency,
		})
		booked = gatewayFunding{ID: f.id, Account: f.named, Amount: f.amount, Currency: f.currency}
		return err
	})
	return booked, refusal, err
}

// fundForGateway is fundByGateway by hand. It books what clearing has let go on to
// the gateway for the payment that request.ID names, as MID-TNo, and nothing else:
// under the number of a payment to come, the gateway could not book that any more.
func (s *store) fundForGateway(ctx context.Context, name string, request funding) (refusal payword.Refusal, err error) {
	merchant, transaction, _ := strings.Cut(request.ID, "-")
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		amount, err := forwarded(ctx, tx, name, merchant, transaction)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return newProblem(http.StatusNotFound, fmt.Sprintf("Clearing has booked no payment %.100s to gateway %s: want the merchant's number, a hyphen and the number of the transaction, as \"cards show\" has them.", request.ID, name))
		case err == nil && amount != request.Amount:
			return newProblem(http.StatusConflict, fmt.Sprintf("Payment %s is of %s %s.", request.ID, amount.Decimal(), s.currency.Code()))
		}
		return err
	})
	if err == nil {
		_, refusal, err = s.fundByGateway(ctx, name, request)
	}
	return refusal, err
}

// forwarded returns the amount of a payment that clearing has let go on to a
// gateway, and that was not taken back, out of its tables in the same database; or sql.ErrNoRows.
func forwarded(ctx context.Context, tx *ledger.Tx, gateway, merchant, transaction string) (amount money.Amount, err error) {
	tno, err := strconv.ParseUint(transaction, 10, 32)
	if err != nil {
		return 0, sql.ErrNoRows
	}
	var migrations int
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM payword_migrations WHERE namespace = 'cards'`).Scan(&migrations)
	if err == nil && migrations == 0 { // no clearing has cards here
		err = sql.ErrNoRows
	}
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `SELECT amount FROM cards_payments p WHERE mid = ? AND tno = ? AND gateway = ?
		AND NOT EXISTS (SELECT 1 FROM cards_cancellations c WHERE c.mid = p.mid AND c.paid_tno = p.tno AND c.state <> 'denied')`, merchant, int64(tno), gateway).Scan(&amount)
	return amount, err
}

// checkGatewayFunding refuses what the gateway can still undo: it has not told
// the card yet, or clearing has not booked the card's payment.
func (s *store) checkGatewayFunding(ctx context.Context, tx *ledger.Tx, name string, request funding) error {
	if err := s.checkFundable(ctx, tx, request.Account, request.Amount); err != nil {
		return err
	}
	dayLimit, rest, err := s.leftOfDay(ctx, tx, name)
	if err != nil {
		return err
	}
	if request.Amount > rest {
		return refused(refuse(payword.RateLimited, "%s of this gateway's %s %s a day are booked: the rest is for tomorrow, UTC",
			(dayLimit - rest).Decimal(), dayLimit.Decimal(), s.currency.Code()))
	}
	in, err := tx.Account(ctx, s.sourceAccount(sourceGateway+name, s.currency))
	if err == nil && in.Available() < request.Amount {
		return refused(refuse(payword.InsufficientFunds, "clearing has booked %s %s to this gateway that are on no account yet: bring it the card's payment first",
			max(in.Available(), 0).Decimal(), s.currency.Code()))
	}
	return err
}

// leftOfDay returns a gateway's limit of a day, and what is left of today's.
func (s *store) leftOfDay(ctx context.Context, tx *ledger.Tx, name string) (dayLimit, rest money.Amount, err error) {
	err = tx.QueryRowContext(ctx, `SELECT day_limit FROM broker_gateways WHERE name = ?`, name).Scan(&dayLimit)
	if err != nil {
		return 0, 0, err
	}
	booked, err := bookedOn(ctx, tx, sourceGateway+name)
	return dayLimit, dayLimit - booked, err
}

// fundableAccount is what a gateway is told of an account before a card pays.
type fundableAccount struct {
	Account  string         `json:"account" example:"qwertyuiop234567"`
	Currency money.Currency `json:"currency" example:"usd-micro"`
	Fundable money.Amount   `json:"fundable" doc:"the most that this gateway may put on it now, in micros" example:"150000000"`
}

// fundable says how much a gateway may put on an account now: what its limit of
// the day leaves, and what the account may hold. Backing does not count, because
// it comes with the payment. It refuses as checkFundable does.
func (b *Broker) fundable(ctx context.Context, name, account string) (found fundableAccount, refusal payword.Refusal, err error) {
	s := b.store
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		_, rest, err := s.leftOfDay(ctx, tx, name)
		if err != nil {
			return err
		}
		most, err := s.roomOf(ctx, tx, account)
		found = fundableAccount{Account: account, Currency: s.currency, Fundable: max(0, min(rest, most, money.MaxAmount))}
		return err
	})
	return found, refusal, err
}

type gatewayFundingInput struct{ Body funding }

type gatewayInput struct {
	Gateway string `path:"gateway" pattern:"^[a-z]{1,16}$" doc:"its name"`
	Body    struct {
		Key      payword.PublicKey `json:"key" doc:"what it signs its requests with"`
		DayLimit money.Amount      `json:"dayLimit" doc:"what it may book in a day (UTC), in micros; 0 stops it" example:"1000000000"`
		Backed   *bool             `json:"backed,omitempty" doc:"it puts on accounts only what clearing has booked to it; absent: as it was, and at first false" example:"true"`
	}
}

type gatewayAccountInput struct {
	Account string `path:"account" maxLength:"64" doc:"the account's id"`
}

type gatewayList struct {
	Gateways []gateway `json:"gateways"`
	Next     string    `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

func registerGateways(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: pathGatewayFundings, id: "fundByGateway", access: gatewaySigned,
		summary: "Put on an account what was taken from a card", maxBody: smallBody,
		description: "The transaction's id is the idempotency key: the same again gets the same answer for ever."},
		func(ctx context.Context, input *gatewayFundingInput) (*body[gatewayFunding], payword.Refusal, error) {
			booked, refusal, err := b.store.fundByGateway(ctx, callerOf(ctx).gateway, input.Body)
			return &body[gatewayFunding]{booked}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathGatewayAccount, id: "checkAccountForGateway", access: gatewaySigned,
		summary:     "How much may be put on an account now",
		description: "Ask before a card pays. Who else puts something on the account meanwhile is not kept from it."},
		func(ctx context.Context, input *gatewayAccountInput) (*body[fundableAccount], payword.Refusal, error) {
			found, refusal, err := b.fundable(ctx, callerOf(ctx).gateway, input.Account)
			return &body[fundableAccount]{found}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathGateway, id: "setGateway", access: adminOnly,
		summary: "Register a gateway, or change its key, limit or backing", maxBody: smallBody},
		func(ctx context.Context, input *gatewayInput) (*body[gateway], payword.Refusal, error) {
			key, err := input.Body.Key.Key()
			if err != nil {
				return nil, payword.Refusal{}, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("key: %v", err))
			}
			set, refusal, err := b.store.setGateway(ctx, input.Gateway, gatewayTerms{key, input.Body.DayLimit, input.Body.Backed})
			return &body[gateway]{set}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathGateways, id: "listGateways", access: adminOnly,
		summary: "The gateways, in the order of their names"},
		func(ctx context.Context, input *listInput) (*body[gatewayList], payword.Refusal, error) {
			list, err := b.store.gateways(ctx, input.Listing)
			return &body[gatewayList]{list}, payword.Refusal{}, err
		})
}
