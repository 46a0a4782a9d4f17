package cards

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// destinationGateway begins the destination of a merchant whose payments go on
// to a gateway of the broker; its name follows.
const destinationGateway = "gateway:"

// GatewayOf returns the gateway of the broker that a merchant's destination
// names, such as gateway:purse.
func GatewayOf(destination string) (name string, isGateway bool) {
	if name, isGateway = strings.CutPrefix(destination, destinationGateway); !isGateway {
		return "", false
	}
	return name, true
}

// gatewayRow is a gateway as the broker keeps it.
type gatewayRow struct {
	name     string
	key      ed25519.PublicKey
	dayLimit money.Amount // micros in a day; 0: it is stopped
}

// loadGateway returns the gateway of the broker for which condition, a column,
// has that value; found is false if there is none.
func loadGateway(ctx context.Context, tx *ledger.Tx, condition, value string) (g gatewayRow, found bool, err error) {
	var key []byte
	err = tx.QueryRowContext(ctx, `SELECT name, key, day_limit FROM broker_gateways WHERE `+condition+` = ?`, value).
		Scan(&g.name, &key, (*int64)(&g.dayLimit))
	if errors.Is(err, sql.ErrNoRows) {
		return gatewayRow{}, false, nil
	}
	g.key = key
	return g, err == nil, err
}

// checkGateway says why payments of a merchant cannot go on to the gateway that
// its destination names.
func (c *Clearing) checkGateway(ctx context.Context, tx *ledger.Tx, m Merchant) error {
	name, isGateway := GatewayOf(m.Destination)
	if !isGateway {
		return nil
	}
	if _, found, err := loadGateway(ctx, tx, "name", name); err != nil || !found {
		return errors.Join(err, fmt.Errorf("gateway %.20q of the broker: %w", name, ErrUnknown))
	}
	in, err := tx.Account(ctx, gatewayAccount(name))
	if err != nil {
		return err
	}
	if in.Currency != c.config.Currency {
		return fmt.Errorf("gateway %s is in %s: cards are in %s", name, in.Currency.Code(), c.config.Currency.Code())
	}
	// What was booked before has paid its fee, and belongs to the merchant.
	payable, err := tx.Account(ctx, payableAccount(m.ID))
	if err == nil && (payable.Balance != 0 || payable.Pending != 0) {
		err = fmt.Errorf("%s micros: %w", payable.Balance, ErrOwed)
	}
	return err
}

// forward is the transfer that lets a merchant's payments go on to its gateway.
func (c *Clearing) forward(id string, merchant merchantRow, amount money.Amount) ledger.Transfer {
	return c.transfer(id+"/forward", kindForward, payableAccount(merchant.id), gatewayAccount(merchant.gateway), amount, "")
}

// CashOut says that a gateway has paid the money of a payment out in cash, to the
// holder of a white card: the payment was of a merchant whose payments go on to
// that gateway, and was booked. The same again changes nothing.
func (c *Clearing) CashOut(ctx context.Context, gateway string, merchant purse.ID, tno uint32) (refusal *purse.Refusal, err error) {
	err = c.db.Update(ctx, func(tx *ledger.Tx) (err error) {
		refusal, err = c.cashOut(ctx, tx, gateway, merchant, tno)
		return err
	})
	return refusal, err
}

func (c *Clearing) cashOut(ctx context.Context, tx *ledger.Tx, gateway string, merchant purse.ID, tno uint32) (*purse.Refusal, error) {
	row, found, err := loadPayment(ctx, tx, merchant, tno)
	if err != nil || !found {
		return refuse(UnknownPayment, "nobody brought transaction %d of merchant %s", tno, merchant), err
	}
	if g, found, err := loadGateway(ctx, tx, "name", gateway); err != nil || !found || g.dayLimit == 0 {
		return refuse(OverLimit, "gateway %s is stopped", gateway), err
	}
	if row.gateway != gateway || row.state != statePaid {
		return refuse(NotForwarded, "the money of transaction %d of merchant %s did not go on to gateway %s", tno, merchant, gateway), nil
	}
	if _, found, err := cancellationOf(ctx, tx, merchant, tno); err != nil || found {
		return refuse(NotForwarded, "the card took transaction %d of merchant %s back, or may have", tno, merchant), err
	}
	card, found, err := loadCard(ctx, tx, row.card)
	if err != nil || !found || card.account != "" || card.state == "unknown" {
		return refuse(HasAccount, "card %s is not a white one: put the money on the account that it belongs to", row.card), err
	}
	var known int
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM cards_cash WHERE mid = ? AND tno = ?`, merchant.String(), int64(tno)).Scan(&known)
	if err != nil || known > 0 {
		return nil, err
	}
	// Less means that the gateway has put the money on an account.
	in, err := tx.Account(ctx, gatewayAccount(gateway))
	if err != nil {
		return nil, err
	}
	if refusal, err := c.checkUnfunded(ctx, tx, row); err != nil || refusal != nil {
		return refusal, err
	}
	if in.Available() < row.amount {
		return refuse(Insufficient, "gateway %s has %s micros that are on no account: the payment brought %s", gateway, in.Available(), row.amount), nil
	}
	return nil, c.payCash(ctx, tx, gateway, row)
}

// payCash books what a gateway has paid out.
func (c *Clearing) payCash(ctx context.Context, tx *ledger.Tx, gateway string, row paymentRow) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO cards_cash (mid, tno, gateway, amount, created) VALUES (?, ?, ?, ?, ?)`,
		row.merchant.String(), int64(row.tno), gateway, int64(row.amount), tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	if err := c.openTill(ctx, tx, gateway); err != nil {
		return err
	}
	id := fmt.Sprintf("cards/cash/%s/%d", row.merchant, row.tno)
	err = postAll(ctx, tx, []ledger.Transfer{
		c.transfer(id, kindCash, gatewayAccount(gateway), tillAccount(gateway), row.amount, "card "+row.card.String())})
	if err != nil {
		return err
	}
	return c.config.Audit(ctx, tx, "pay-cash", "card:"+row.card.String(),
		fmt.Sprintf("transaction %d of merchant %s, %s micros, by gateway %s", row.tno, row.merchant, row.amount, gateway))
}

// checkUnfunded refuses a payment that its gateway has put on an account.
func (c *Clearing) checkUnfunded(ctx context.Context, tx *ledger.Tx, row paymentRow) (*purse.Refusal, error) {
	var funded int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_fundings WHERE source = ? AND id = ?`,
		destinationGateway+row.gateway, purse.FundingID(row.merchant, row.tno)).Scan(&funded)
	if err != nil || funded == 0 {
		return nil, err
	}
	return refuse(Forwarded, "gateway %s has put transaction %d of merchant %s on an account", row.gateway, row.tno, row.merchant), nil
}

// checkTill refuses a load for cash that nobody answers for, or that is more than
// the gateway may take in a day (UTC): its limit at the broker, for cash by itself.
// Who steals a gateway's key can say that cash was paid, up to that.
func (c *Clearing) checkTill(ctx context.Context, tx *ledger.Tx, gateway string, amount money.Amount) (*purse.Refusal, error) {
	g, found, err := loadGateway(ctx, tx, "name", gateway)
	if err != nil || !found {
		return refuse(Unsigned, "a white card is loaded for cash: want a request that a gateway of the broker has signed"), err
	}
	var today int64
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_loads WHERE account = ? AND created >= ? AND state <> 'void'`,
		tillAccount(gateway), tx.Now().Truncate(day).UnixMicro()).Scan(&today)
	if err != nil {
		return nil, err
	}
	if rest := g.dayLimit - money.Amount(today); amount > rest {
		return refuse(OverLimit, "gateway %s may take %s micros more in cash today", gateway, max(rest, 0)), nil
	}
	return nil, c.openTill(ctx, tx, gateway)
}

// openTill makes the account of what a gateway has in cash.
func (c *Clearing) openTill(ctx context.Context, tx *ledger.Tx, gateway string) error {
	return tx.CreateAccount(ctx, ledger.Account{ID: tillAccount(gateway), Currency: c.config.Currency, Floor: ledger.NoFloor})
}

// checkStopped refuses a gateway that was stopped, by a limit of 0 at the broker:
// whoever has its key is not to learn whose cards are whose.
func (c *Clearing) checkStopped(ctx context.Context, gateway string) (refusal *purse.Refusal, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		refusal = nil
		g, found, err := loadGateway(ctx, tx, "name", gateway)
		if err == nil && (!found || g.dayLimit == 0) {
			refusal = refuse(OverLimit, "gateway %s is stopped", gateway)
		}
		return err
	})
	return refusal, err
}

// CardAccount returns the broker's account that a card is loaded from; "" is a
// white card's.
func (c *Clearing) CardAccount(ctx context.Context, card purse.ID) (account string, refusal *purse.Refusal, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		refusal = nil
		row, found, err := loadCard(ctx, tx, card)
		if err == nil && (!found || row.state == "unknown") {
			refusal = refuse(UnknownCard, "nobody issued card %s", card)
		}
		account = row.account
		return err
	})
	return account, refusal, err
}
