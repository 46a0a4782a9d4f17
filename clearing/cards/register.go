package cards

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

const (
	maxNameCharacters   = 70 // of a name in a bank file
	maxNoteBytes        = 200
	maxDestinationBytes = 128
)

// Merchant is who takes cards.
type Merchant struct {
	ID         purse.ID
	KeyVersion byte
	// Name is 1 to 70 characters.
	Name string
	// Destination is where settlement runs pay to, such as iban:… or ref:…;
	// empty: nowhere yet. gateway:NAME is a gateway of the broker, to which each
	// payment goes on when it is booked: runs pay nothing then.
	Destination string
}

var (
	// ErrDiffers means that the id is registered with something else.
	ErrDiffers = errors.New("it is registered otherwise")
	// ErrOwed means that a merchant is owed something that a run has to pay out
	// before payments can go on to a gateway.
	ErrOwed = errors.New("it is still owed something: pay that out by a settlement run first")
)

// RegisterMerchant makes a merchant known, and its account. The same again
// changes nothing; with another key version it is ErrDiffers. Name and
// destination are taken as they are now; ErrUnknown means that the broker has no
// gateway of the name that the destination says, and ErrOwed that payments cannot
// go on to it yet.
func (c *Clearing) RegisterMerchant(ctx context.Context, m Merchant) error {
	if length := utf8.RuneCountInString(m.Name); length < 1 || length > maxNameCharacters || !utf8.ValidString(m.Name) {
		return fmt.Errorf("name of merchant %s: want 1 to %d characters", m.ID, maxNameCharacters)
	}
	if len(m.Destination) > maxDestinationBytes || m.ID == (purse.ID{}) {
		return fmt.Errorf("merchant %s: want an id that is not zero, and a destination of at most %d bytes", m.ID, maxDestinationBytes)
	}
	if _, err := c.config.Keys.MerchantKey(m.KeyVersion, m.ID); err != nil {
		return fmt.Errorf("merchant %s: %w", m.ID, err)
	}
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		account := payableAccount(m.ID)
		if err := tx.CreateAccount(ctx, ledger.Account{ID: account, Currency: c.config.Currency}); err != nil {
			return err
		}
		if err := c.checkGateway(ctx, tx, m); err != nil {
			return fmt.Errorf("merchant %s: %w", m.ID, err)
		}
		isKept, err := tx.ExecOne(ctx, `INSERT INTO cards_merchants
			(mid, key_version, name, destination, currency, state, account, created) VALUES (?, ?, ?, ?, ?, 'open', ?, ?)
			ON CONFLICT (mid) DO UPDATE SET name = excluded.name, destination = excluded.destination
			WHERE cards_merchants.key_version = excluded.key_version`,
			m.ID.String(), int64(m.KeyVersion), m.Name, m.Destination, string(c.config.Currency), account, tx.Now().UnixMicro())
		if err != nil {
			return err
		}
		if !isKept {
			return fmt.Errorf("merchant %s: %w", m.ID, ErrDiffers)
		}
		return c.config.Audit(ctx, tx, "register-merchant", "merchant:"+m.ID.String(), fmt.Sprintf("%s, paid to %q", m.Name, m.Destination))
	})
}

// SetMerchantBlocked says whether settlement runs leave the merchant out. Its
// batches are taken all the same.
func (c *Clearing) SetMerchantBlocked(ctx context.Context, merchant purse.ID, blocked bool) error {
	state := "open"
	if blocked {
		state = "blocked"
	}
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		if err := changeOne(ctx, tx, "merchant "+merchant.String(), `UPDATE cards_merchants SET state = ? WHERE mid = ?`, state, merchant.String()); err != nil {
			return err
		}
		return c.config.Audit(ctx, tx, "merchant-"+state, "merchant:"+merchant.String(), "")
	})
}

// ErrUnknown means that there is no card, merchant, load or dispute of that id.
var ErrUnknown = errors.New("clearing does not know it")

// changeOne runs a statement that must change one row.
func changeOne(ctx context.Context, tx *ledger.Tx, what, statement string, args ...any) error {
	changed, err := tx.ExecOne(ctx, statement, args...)
	if err == nil && !changed {
		err = fmt.Errorf("%s: %w", what, ErrUnknown)
	}
	return err
}

// merchantRow is a merchant as clearing keeps it.
type merchantRow struct {
	id         purse.ID
	keyVersion byte
	position   purse.Position // of its batches
	gateway    string         // to which its payments go on; "": they wait for a run
}

// loadMerchant returns a merchant; found is false if nobody registered it.
func loadMerchant(ctx context.Context, tx *ledger.Tx, id purse.ID) (m merchantRow, found bool, err error) {
	m.id = id
	var destination string
	err = tx.QueryRowContext(ctx, `SELECT key_version, last_batch, last_tno, destination FROM cards_merchants WHERE mid = ?`, id.String()).
		Scan(&m.keyVersion, &m.position.Batch, &m.position.TNo, &destination)
	m.gateway, _ = GatewayOf(destination)
	if errors.Is(err, sql.ErrNoRows) {
		return m, false, nil
	}
	return m, err == nil, err
}

// Card is what was agreed about a card when it was issued.
type Card struct {
	ID         purse.ID
	KeyVersion byte
	// Holder is the ANo that the card says; zero: a white card.
	Holder purse.ID
	// Account is the broker's account that pays for loads; empty: a white card,
	// which is loaded for cash.
	Account string
	// Exponent is that of the card's unit: -2 is cents.
	Exponent int8
	// Expires is when it is loaded no more; it may pay for half a year longer.
	Expires time.Time
}

// IssueCard makes a card known, and its shadow account. A card with an account
// says an ANo, a white one says none. The same again changes nothing; otherwise
// it is ErrDiffers.
func (c *Clearing) IssueCard(ctx context.Context, card Card) error {
	if err := c.checkCard(card); err != nil {
		return fmt.Errorf("card %s: %w", card.ID, err)
	}
	return c.db.Update(ctx, func(tx *ledger.Tx) error {
		if card.Account != "" {
			if refusal, err := c.requireOpen(ctx, tx, card.Account); err != nil || refusal != nil {
				return errors.Join(err, asError(refusal))
			}
		}
		isNew, err := c.insertCard(ctx, tx, card, "active")
		if err != nil || !isNew {
			return err
		}
		return c.config.Audit(ctx, tx, "issue-card", "card:"+card.ID.String(), fmt.Sprintf("account %q, good until %s", card.Account, card.Expires.UTC().Format(time.DateOnly)))
	})
}

// asError makes an error of a refusal, or nil.
func asError(refusal *purse.Refusal) error {
	if refusal == nil {
		return nil
	}
	return *refusal
}

func (c *Clearing) checkCard(card Card) error {
	if card.ID == (purse.ID{}) || (card.Account == "") != (card.Holder == purse.ID{}) {
		return errors.New("want an id, and either an account with an ANo or, of a white card, neither")
	}
	if err := (purse.Unit{Currency: c.number(), Exponent: card.Exponent}).Check(); err != nil {
		return err
	}
	if card.Expires.Unix() <= 0 {
		return errors.New("want a time when it expires")
	}
	_, err := c.config.Keys.ProofKey(card.KeyVersion, card.ID)
	if err == nil {
		_, err = c.config.Keys.LoadKey(card.KeyVersion, card.ID)
	}
	return err
}

// number returns the currency as cards write it.
func (c *Clearing) number() purse.Currency {
	number, err := purse.CurrencyOf(c.config.Currency)
	if err != nil {
		panic(err) // New checked it
	}
	return number
}

// insertCard keeps a card and makes its shadow account. isNew is false if it was
// there before, just so. What was unknown until now becomes what was issued.
func (c *Clearing) insertCard(ctx context.Context, tx *ledger.Tx, card Card, state string) (isNew bool, err error) {
	err = tx.CreateAccount(ctx, ledger.Account{ID: shadowAccount(card.ID), Currency: c.config.Currency, Floor: ledger.NoFloor})
	if err != nil {
		return false, err
	}
	isNew, err = tx.ExecOne(ctx, `INSERT INTO cards_cards
		(cid, key_version, holder, account, currency, exponent, max_balance, expires, state, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		card.ID.String(), int64(card.KeyVersion), card.Holder.String(), card.Account, string(c.config.Currency), int64(card.Exponent),
		int64(c.config.MaxBalance), card.Expires.Unix(), state, tx.Now().UnixMicro())
	if err != nil || isNew {
		return isNew, err
	}
	kept, _, err := loadCard(ctx, tx, card.ID)
	if err == nil && (kept.keyVersion != card.KeyVersion || kept.holder != card.Holder || kept.account != card.Account ||
		kept.unit.Exponent != card.Exponent || kept.expires != card.Expires.Unix()) {
		err = fmt.Errorf("card %s: %w", card.ID, ErrDiffers)
	}
	return false, err
}

// cardRow is a card as clearing keeps it.
type cardRow struct {
	id         purse.ID
	keyVersion byte
	holder     purse.ID
	account    string
	unit       purse.Unit
	maxBalance money.Amount
	expires    int64
	state      string
	listed     int64
	claimUntil int64
	refundRef  string
}

// loadCard returns a card; found is false if nobody issued it and it never paid.
func loadCard(ctx context.Context, tx *ledger.Tx, id purse.ID) (card cardRow, found bool, err error) {
	var holder, currency string
	err = tx.QueryRowContext(ctx, `SELECT key_version, holder, account, currency, exponent, max_balance, expires, state, listed, claim_until, refund_ref
		FROM cards_cards WHERE cid = ?`, id.String()).
		Scan(&card.keyVersion, &holder, &card.account, &currency, &card.unit.Exponent, (*int64)(&card.maxBalance), &card.expires,
			&card.state, &card.listed, &card.claimUntil, &card.refundRef)
	if errors.Is(err, sql.ErrNoRows) {
		return card, false, nil
	}
	if err != nil {
		return card, false, err
	}
	card.id = id
	if card.holder, err = purse.ParseID(holder); err != nil {
		return card, false, err
	}
	card.unit.Currency, err = purse.CurrencyOf(money.Currency(currency))
	return card, err == nil, err
}

// holderAccount is the account of the ledger that pays for loads of a card, and
// that is paid back to.
func (card cardRow) holderAccount() string {
	if card.account == "" {
		return cashAccount
	}
	return "user:" + card.account + ":available"
}

// requireOpen refuses an account of the broker that may not pay.
func (c *Clearing) requireOpen(ctx context.Context, tx *ledger.Tx, account string) (*purse.Refusal, error) {
	state, err := accountState(ctx, tx, account)
	if err != nil || state == "open" {
		return nil, err
	}
	return refuse(AccountState, "account %.40q is %s: want one that is open", account, state), nil
}

// accountState returns the state of an account of the broker, or "not there".
func accountState(ctx context.Context, tx *ledger.Tx, account string) (state string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT state FROM broker_accounts WHERE id = ?`, account).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "not there", nil
	}
	return state, err
}
