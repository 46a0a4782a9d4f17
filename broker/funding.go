package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// sourceBank is the source of what an operator books by hand.
	sourceBank = "bank"
	// sourceGateway begins the sources of gateways; their name follows.
	sourceGateway = "gateway:"

	// maxFundingIDBytes bounds the name of a payment. With the source and a
	// version it fits into the id of a transfer.
	maxFundingIDBytes = 100
	// maxNamedBytes bounds what a payment says of whose it is: more than an
	// account's id, so that a mistake can be seen as it was made.
	maxNamedBytes = 100
)

// sourceAccount returns the account of a source in the ledger: broker:bank:in,
// broker:stripe:in, gateway:NAME:in. Money in another currency than the
// broker's has accounts of its own, since an account has one currency.
func (s *store) sourceAccount(source string, currency money.Currency) string {
	account := "broker:" + source + ":in"
	if strings.HasPrefix(source, sourceGateway) {
		account = source + ":in"
	}
	return account + s.currencySuffix(currency)
}

// unassignedAccount holds what came in and is nobody's yet.
func (s *store) unassignedAccount(currency money.Currency) string {
	return "broker:unassigned" + s.currencySuffix(currency)
}

func (s *store) currencySuffix(currency money.Currency) string {
	if currency == s.currency {
		return ""
	}
	return ":" + strings.ToLower(currency.Code())
}

// fundingRecord is one payment that came in.
type fundingRecord struct {
	seq      int64
	source   string
	id       string // the source's name for it
	payment  string // what the source's reversals name it by, or ""
	named    string // the account that it names, whether there is one or not
	account  string // that has it, or ""
	debit    string // the source's account in the ledger
	amount   money.Amount
	currency money.Currency
	reversed money.Amount // of the amount, gone back to the source
	version  int64
	created  int64 // microseconds since 1970
}

// credit returns the account in the ledger that the payment was put on.
func (s *store) credit(f fundingRecord) string {
	if f.account == "" {
		return s.unassignedAccount(f.currency)
	}
	return availableAccount(f.account)
}

// transferID returns the id of the transfer that booked the payment. That of a
// bank's has no source in it, and no payment's id has a slash.
func (f fundingRecord) transferID() string {
	if f.source == sourceBank {
		return "fund/" + f.id
	}
	return "fund/" + f.source + "/" + f.id
}

// book books a payment once: on the account that it names, or as nobody's if
// there is none that can have it. The same payment again changes nothing. It
// refuses with IdempotencyDiffers. The caller has set source, id, payment,
// named, amount and currency.
func (s *store) book(ctx context.Context, tx *ledger.Tx, f fundingRecord) (fundingRecord, error) {
	known, found, err := fundingOf(ctx, tx, f.source, f.id)
	if err != nil {
		return f, err
	}
	if found {
		if known.payment != f.payment || known.named != f.named || known.amount != f.amount || known.currency != f.currency {
			return f, refused(refuse(payword.IdempotencyDiffers, "that id was booked before, for another account or amount"))
		}
		return known, nil
	}
	f.debit, f.version, f.created = s.sourceAccount(f.source, f.currency), 1, tx.Now().UnixMicro()
	if f.account, err = s.accountFor(ctx, tx, f); err != nil {
		return f, err
	}
	err = errors.Join(
		tx.CreateAccount(ctx, ledger.Account{ID: f.debit, Currency: f.currency, Floor: ledger.NoFloor}),
		tx.CreateAccount(ctx, ledger.Account{ID: s.unassignedAccount(f.currency), Currency: f.currency}))
	if err != nil {
		return f, err
	}
	if f.seq, err = insertFunding(ctx, tx, f); err != nil {
		return f, err
	}
	err = tx.Post(ctx, ledger.Transfer{
		ID: f.transferID(), Debit: f.debit, Credit: s.credit(f), Amount: f.amount, Currency: f.currency, Kind: "fund",
	})
	if errors.Is(err, ledger.ErrTransferDiffers) {
		return f, refused(refuse(payword.IdempotencyDiffers, "that id was booked before, for another account or amount"))
	}
	if err == nil {
		err = audit(ctx, tx, auditEntry{"fund", f.subject(), f.source + " " + f.id + ": " + f.amount.Decimal() + " " + f.currency.Code()})
	}
	if err != nil {
		return f, err
	}
	return s.settleReversals(ctx, tx, f)
}

// subject returns what the audit log calls a payment: the account that has it,
// or the payment itself.
func (f fundingRecord) subject() string {
	if f.account == "" {
		return fmt.Sprintf("funding:%d", f.seq)
	}
	return "account:" + f.account
}

// accountFor returns the account that the payment can be put on, or "".
func (s *store) accountFor(ctx context.Context, tx *ledger.Tx, f fundingRecord) (string, error) {
	if f.currency != s.currency {
		return "", nil
	}
	err := s.checkFundable(ctx, tx, f.named, f.amount)
	if because := (refused{}); errors.As(err, &because) {
		return "", nil // the money is there all the same, and an operator sees it
	}
	return f.named, err
}

const fundingColumns = `source, id, payment, named, account, debit, amount, currency, reversed, version, created`

func insertFunding(ctx context.Context, tx *ledger.Tx, f fundingRecord) (seq int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO broker_fundings (`+fundingColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
		f.source, f.id, f.payment, f.named, f.account, f.debit, f.amount, f.currency, f.reversed, f.version, f.created).Scan(&seq)
	return seq, err
}

// saveFunding stores what changes of a payment if the stored version is still
// f.version, and counts it up.
func saveFunding(ctx context.Context, tx *ledger.Tx, f *fundingRecord) error {
	swapped, err := tx.ExecOne(ctx, `UPDATE broker_fundings SET account = ?, reversed = ?, version = version + 1
		WHERE seq = ? AND version = ?`, f.account, f.reversed, f.seq, f.version)
	if err == nil && !swapped {
		err = fmt.Errorf("funding %d changed within a transaction", f.seq)
	}
	f.version++
	return err
}

func selectFundings(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (fundings []fundingRecord, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, `+fundingColumns+` FROM broker_fundings `+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var f fundingRecord
		err := rows.Scan(&f.seq, &f.source, &f.id, &f.payment, &f.named, &f.account, &f.debit, &f.amount, &f.currency,
			&f.reversed, &f.version, &f.created)
		if err != nil {
			return nil, err
		}
		fundings = append(fundings, f)
	}
	return fundings, rows.Err()
}

func fundingOf(ctx context.Context, tx *ledger.Tx, source, id string) (f fundingRecord, found bool, err error) {
	return oneFunding(ctx, tx, `WHERE source = ? AND id = ?`, source, id)
}

func oneFunding(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (f fundingRecord, found bool, err error) {
	fundings, err := selectFundings(ctx, tx, where, arguments...)
	if err != nil || len(fundings) == 0 {
		return f, false, err
	}
	return fundings[0], true, nil
}

// fundingView is one payment that came in, as the administration sees it.
type fundingView struct {
	Funding  int64          `json:"funding" doc:"its number here" example:"17"`
	Source   string         `json:"source" doc:"bank, stripe, direct-debit or gateway:NAME" example:"stripe"`
	ID       string         `json:"id" doc:"the source's name for it" example:"cs_live_a1B2c3"`
	Named    string         `json:"named" doc:"the account that the payment names, whether there is one or not" example:"qwertyuiop234567"`
	Account  string         `json:"account,omitempty" doc:"the account that has it; absent while nobody has" example:"qwertyuiop234567"`
	Amount   money.Amount   `json:"amount" doc:"in micros" example:"5000000"`
	Currency money.Currency `json:"currency" example:"usd-micro"`
	Reversed money.Amount   `json:"reversed" doc:"of that, refunded or disputed since, in micros" example:"0"`
	Created  int64          `json:"created" doc:"seconds since 1970" example:"1790000000"`
}

func (f fundingRecord) view() fundingView {
	return fundingView{
		Funding: f.seq, Source: f.source, ID: f.id, Named: f.named, Account: f.account, Amount: f.amount, Currency: f.currency,
		Reversed: f.reversed, Created: f.created / microsPerSecond,
	}
}

// fundingList is a page of payments, the oldest first.
type fundingList struct {
	Fundings []fundingView `json:"fundings"`
	Next     string        `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// fundings lists the payments that came in, the oldest first. source "" is every
// source.
func (s *store) fundings(ctx context.Context, source string, isUnassigned bool, l Listing) (list fundingList, err error) {
	after, err := l.number()
	if err != nil {
		return list, err
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		list = fundingList{Fundings: []fundingView{}}
		where, arguments := `WHERE seq > ?`, []any{after}
		if source != "" {
			where, arguments = where+` AND source = ?`, append(arguments, source)
		}
		if isUnassigned {
			where += ` AND account = '' AND reversed < amount`
		}
		page, err := selectFundings(ctx, tx, where+` ORDER BY seq LIMIT ?`, append(arguments, l.Limit+1)...)
		page, list.Next = cut(page, l, func(f fundingRecord) string { return strconv.FormatInt(f.seq, 10) })
		for _, f := range page {
			list.Fundings = append(list.Fundings, f.view())
		}
		return err
	})
	return list, err
}

// assign gives a payment that nobody has to an account. The same again changes
// nothing. It refuses with UnknownAccount, WrongCurrency or IdempotencyDiffers, as
// checkFundable does, and answers 404 if there is no such payment.
func (s *store) assign(ctx context.Context, seq int64, account string) (view fundingView, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "assign funding", func(tx *ledger.Tx) error {
		f, found, err := oneFunding(ctx, tx, `WHERE seq = ?`, seq)
		if err != nil {
			return err
		}
		if !found {
			return newProblem(http.StatusNotFound, "There is no funding of that number.")
		}
		if f.account == "" {
			if f, err = s.assignIn(ctx, tx, f, account); err != nil {
				return err
			}
		}
		if f.account != account {
			return refused(refuse(payword.IdempotencyDiffers, "it belongs to account %s already", f.account))
		}
		view = f.view()
		return nil
	})
	return view, refusal, err
}

func (s *store) assignIn(ctx context.Context, tx *ledger.Tx, f fundingRecord, account string) (fundingRecord, error) {
	if f.currency != s.currency {
		return f, refused(refuse(payword.WrongCurrency, "it came in %s and accounts here are in %s: send it back where it came from",
			f.currency.Code(), s.currency.Code()))
	}
	rest := f.amount - f.reversed
	if err := s.checkFundable(ctx, tx, account, rest); err != nil {
		return f, err
	}
	f.account = account
	if err := saveFunding(ctx, tx, &f); err != nil {
		return f, err
	}
	if rest > 0 {
		err := tx.Post(ctx, ledger.Transfer{
			ID: fmt.Sprintf("assign/%d", f.seq), Debit: s.unassignedAccount(f.currency), Credit: availableAccount(account),
			Amount: rest, Currency: f.currency, Kind: "assign", Reference: f.transferID(),
		})
		if err != nil {
			return f, err
		}
	}
	err := audit(ctx, tx, auditEntry{"assign-funding", "account:" + account,
		fmt.Sprintf("funding %d, %s %s: %s %s", f.seq, f.source, f.id, rest.Decimal(), f.currency.Code())})
	if err != nil {
		return f, err
	}
	return f, s.collect(ctx, tx, account)
}

// bookedOn returns what a source booked on the day of the transaction, in UTC,
// in micros.
func bookedOn(ctx context.Context, tx *ledger.Tx, source string) (money.Amount, error) {
	var sum sql.NullInt64
	midnight := tx.Now().Truncate(secondsPerDay * time.Second)
	err := tx.QueryRowContext(ctx, `SELECT CAST(SUM(amount) AS BIGINT) FROM broker_fundings WHERE source = ? AND created >= ?`,
		source, midnight.UnixMicro()).Scan(&sum)
	return money.Amount(sum.Int64), err
}

type fundingsInput struct {
	Listing
	Source     string `query:"source" maxLength:"40" doc:"of this source alone" example:"stripe"`
	Unassigned bool   `query:"unassigned" doc:"what nobody has alone"`
}

type assignmentInput struct {
	Funding int64 `path:"funding" minimum:"1" doc:"its number"`
	Body    struct {
		Account string `json:"account" maxLength:"64" example:"qwertyuiop234567"`
	}
}

func registerFundings(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathFundings, id: "listFundings", access: adminOnly,
		summary: "What came in, the oldest first"},
		func(ctx context.Context, input *fundingsInput) (*body[fundingList], payword.Refusal, error) {
			list, err := b.store.fundings(ctx, input.Source, input.Unassigned, input.Listing)
			return &body[fundingList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: pathAssignment, id: "assignFunding", access: adminOnly,
		summary: "Put a payment that came in for nobody on an account", maxBody: smallBody,
		description: "The same account again gets the same answer."},
		func(ctx context.Context, input *assignmentInput) (*body[fundingView], payword.Refusal, error) {
			view, refusal, err := b.store.assign(ctx, input.Funding, input.Body.Account)
			return &body[fundingView]{view}, refusal, err
		})
}
