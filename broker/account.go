package broker

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// challengeSeconds is how long a challenge is good: the time to make a key
	// and sign, with a person in between.
	challengeSeconds = 300

	challengeExpiryBytes = 8
	challengeRandomBytes = 16
	challengeMACBytes    = 24 // all in all 48 bytes, 64 characters
)

// newChallenge makes a challenge that every broker on the database can recognise
// without having kept it: its expiry, random bytes and a MAC over both.
func (b *Broker) newChallenge(ctx context.Context) (payword.AccountChallenge, error) {
	secret, _, err := b.challengeSecret(ctx, b.now()/secondsPerDay, true)
	if err != nil {
		return payword.AccountChallenge{}, err
	}
	expires := b.now() + challengeSeconds
	raw := binary.BigEndian.AppendUint64(nil, uint64(expires))
	raw = append(raw, make([]byte, challengeRandomBytes)...)
	_, _ = rand.Read(raw[challengeExpiryBytes:]) // never fails
	raw = append(raw, challengeMAC(secret, raw)...)
	return payword.AccountChallenge{Challenge: base64.RawURLEncoding.EncodeToString(raw), Expires: expires}, nil
}

func challengeMAC(secret [sha256.Size]byte, message []byte) []byte {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write(message)
	return mac.Sum(nil)[:challengeMACBytes]
}

// checkChallenge refuses with InvalidChallenge or ChallengeExpired.
func (b *Broker) checkChallenge(ctx context.Context, challenge string) (payword.Refusal, error) {
	const signed = challengeExpiryBytes + challengeRandomBytes
	raw, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	isMade := false
	if err == nil && len(raw) == signed+challengeMACBytes {
		// One that was made before midnight is under yesterday's secret.
		today := b.now() / secondsPerDay
		for _, day := range []int64{today, today - 1} {
			secret, found, err := b.challengeSecret(ctx, day, false)
			if err != nil {
				return payword.Refusal{}, err
			}
			isMade = isMade || found && hmac.Equal(raw[signed:], challengeMAC(secret, raw[:signed]))
		}
	}
	if !isMade {
		return refuse(payword.InvalidChallenge, "the challenge was not made here: ask for a new one"), nil
	}
	if uint64(b.now()) >= binary.BigEndian.Uint64(raw) {
		return refuse(payword.ChallengeExpired, "the challenge is older than %d seconds: ask for a new one", challengeSeconds), nil
	}
	return payword.Refusal{}, nil
}

// randomID returns 80 random bits as 16 lower-case letters and digits: opaque,
// and too many to be guessed or to meet.
func randomID() string {
	raw := make([]byte, 10)
	_, _ = rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw))
}

// openAccount opens an account for the key that signed the request, or finds
// the one it has. It refuses with InvalidChallenge, ChallengeExpired or
// NotPermitted (the key was removed from an account).
func (b *Broker) openAccount(ctx context.Context, by caller, request payword.OpenAccount) (account payword.Account, isNew bool, refusal payword.Refusal, err error) {
	if refusal, err := b.checkChallenge(ctx, request.Challenge); err != nil || refusal.Refused() {
		return payword.Account{}, false, refusal, err
	}
	refusal, err = b.store.update(ctx, "open account", func(tx *ledger.Tx) error {
		known, err := loadDevice(ctx, tx, by.keyID)
		if err != nil {
			return err
		}
		if known.removed != 0 {
			return refused(keyTaken())
		}
		id := known.account
		if isNew = id == ""; isNew {
			id = randomID()
			err = b.store.insertAccount(ctx, tx, id, by.keyID, by.key, "", "")
		}
		if err != nil {
			return err
		}
		account, err = b.store.accountIn(ctx, tx, id)
		return err
	})
	return account, isNew, refusal, err
}

// insertAccount makes an account with its first device; parent and name are
// those of a sub-account, or "".
func (s *store) insertAccount(ctx context.Context, tx *ledger.Tx, id, keyID string, key []byte, parent, name string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_accounts (id, key_id, key, parent, name, created) VALUES (?, ?, ?, ?, ?, ?)`,
		id, keyID, key, parent, name, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	return errors.Join(
		tx.CreateAccount(ctx, ledger.Account{ID: availableAccount(id), Currency: s.currency}),
		tx.CreateAccount(ctx, ledger.Account{ID: reservedAccount(id), Currency: s.currency}))
}

// account returns an account's state. It refuses with UnknownAccount.
func (s *store) account(ctx context.Context, id string) (account payword.Account, refusal payword.Refusal, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		account, err = s.accountIn(ctx, tx, id)
		return err
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return account, unknownAccount(), nil
	}
	return account, payword.Refusal{}, err
}

func unknownAccount() payword.Refusal {
	return refuse(payword.UnknownAccount, "there is no such account")
}

// accountIn is account within a transaction; ledger.ErrNotFound means that
// there is no such account.
func (s *store) accountIn(ctx context.Context, tx *ledger.Tx, id string) (payword.Account, error) {
	if !isRandomID(id) {
		return payword.Account{}, ledger.ErrNotFound
	}
	row, err := loadAccountRow(ctx, tx, id)
	if err != nil {
		return payword.Account{}, err
	}
	available, err := tx.Account(ctx, availableAccount(id))
	if err != nil {
		return payword.Account{}, err
	}
	reserved, err := tx.Account(ctx, reservedAccount(id))
	if err != nil {
		return payword.Account{}, err
	}
	owed, err := owedBy(ctx, tx, id)
	if err != nil {
		return payword.Account{}, err
	}
	return payword.Account{
		Account: id, Currency: available.Currency, Available: available.Available(), Reserved: reserved.Balance,
		Credit: -available.Floor, Payouts: available.Pending, Owed: owed,
		State: row.state, SubAccount: row.isSub(), Paused: row.paused,
	}, nil
}

// isRandomID reports whether text has the form of randomID, so that nothing
// else ever becomes part of a ledger account's id.
func isRandomID(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return len(text) == 16
}

// Fund puts money that came in from outside on an account: amount, in micros, 1
// to money.MaxAmount. id names the payment, 1 to 100 letters, digits and
// ". _ : -"; the same one again changes nothing. It refuses with UnknownAccount,
// AccountClosed, NotPermitted (a sub-account), OverAccountLimit (a white account
// would hold too much) or IdempotencyDiffers. An error means that it could not
// tell: call it again with the same id.
func (b *Broker) Fund(ctx context.Context, id, account string, amount money.Amount) (payword.Account, payword.Refusal, error) {
	return b.store.fund(ctx, id, account, amount)
}

func (s *store) fund(ctx context.Context, id, account string, amount money.Amount) (after payword.Account, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "fund", func(tx *ledger.Tx) error {
		after, err = s.fundIn(ctx, tx, id, account, amount)
		return err
	})
	return after, refusal, err
}

func (s *store) fundIn(ctx context.Context, tx *ledger.Tx, id, account string, amount money.Amount) (payword.Account, error) {
	if !isFundingID(id) {
		return payword.Account{}, fmt.Errorf("funding id %.40q: want 1 to 100 letters, digits and . _ : -", id)
	}
	_, isKnown, err := fundingOf(ctx, tx, sourceBank, id)
	if err == nil && !isKnown { // what was booked needs no leave
		err = s.checkFundable(ctx, tx, account, amount)
	}
	if err != nil {
		return payword.Account{}, err
	}
	_, err = s.book(ctx, tx, fundingRecord{source: sourceBank, id: id, named: account, amount: amount, currency: s.currency})
	if err != nil {
		return payword.Account{}, err
	}
	return s.accountIn(ctx, tx, account)
}

// checkFundable makes sure that amount, in micros, may be put on an account. It
// refuses with UnknownAccount, NotPermitted (a sub-account has money from its
// parent alone), AccountClosed or OverAccountLimit.
func (s *store) checkFundable(ctx context.Context, tx *ledger.Tx, account string, amount money.Amount) error {
	if err := requireFundable(ctx, tx, account); err != nil {
		return err
	}
	return s.checkCeiling(ctx, tx, account, amount)
}

// requireFundable refuses an account that nothing may be put on.
func requireFundable(ctx context.Context, tx *ledger.Tx, account string) error {
	row, err := requireAccount(ctx, tx, account)
	if err != nil {
		return err
	}
	switch {
	case row.isSub():
		return refused(refuse(payword.NotPermitted, "a sub-account gets its money from the account that it belongs to: fund that one"))
	case row.state == stateClosed:
		return refused(row.refusal())
	}
	return nil
}

// roomOf returns how much may be put on an account now, in micros: money.MaxAmount
// where nothing limits it. It refuses as checkFundable does, but for the ceiling.
func (s *store) roomOf(ctx context.Context, tx *ledger.Tx, account string) (money.Amount, error) {
	if err := requireFundable(ctx, tx, account); err != nil {
		return 0, err
	}
	ceiling, holds, err := s.ceilingOf(ctx, tx, account)
	return max(0, ceiling-holds), err
}

func isFundingID(id string) bool {
	for _, c := range []byte(id) {
		isWord := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._:-", c) >= 0
		if !isWord {
			return false
		}
	}
	return id != "" && len(id) <= maxFundingIDBytes
}

// fundOnce is the request for Fund, with its Idempotency-Key.
func (b *Broker) fundOnce(ctx context.Context, key string, request funding) (payword.Account, payword.Refusal, error) {
	if request.Currency != b.store.currency {
		return payword.Account{}, refuse(payword.WrongCurrency, "accounts here are in %s", b.store.currency), nil
	}
	var account payword.Account
	refusal, err := b.store.update(ctx, "fund", func(tx *ledger.Tx) error {
		return b.store.once(ctx, tx, "fundings", key, request, &account, func() error {
			var err error
			account, err = b.store.fundIn(ctx, tx, request.ID, request.Account, request.Amount)
			return err
		})
	})
	return account, refusal, err
}

// SetCredit lets the balance of an account go as far below zero as credit, in
// micros, 0 to money.MaxAmount; 0 makes it a prepaid account. It refuses with
// UnknownAccount, NotPermitted (a white account, a sub-account or one that
// closes), or InsufficientFunds if more than that is drawn already.
func (b *Broker) SetCredit(ctx context.Context, account string, credit money.Amount) (payword.Account, payword.Refusal, error) {
	return b.store.setCredit(ctx, account, credit)
}

func (s *store) setCredit(ctx context.Context, account string, credit money.Amount) (after payword.Account, refusal payword.Refusal, err error) {
	if credit < 0 || credit > money.MaxAmount {
		return after, refusal, fmt.Errorf("credit %d: want 0 to %d micros", credit, money.MaxAmount)
	}
	refusal, err = s.update(ctx, "set credit", func(tx *ledger.Tx) error {
		before, err := s.accountIn(ctx, tx, account)
		if errors.Is(err, ledger.ErrNotFound) {
			return refused(unknownAccount())
		}
		if err == nil {
			err = checkCreditable(ctx, tx, account, credit)
		}
		if err != nil {
			return err
		}
		err = tx.SetFloor(ctx, availableAccount(account), -credit)
		if errors.Is(err, ledger.ErrInsufficient) {
			return refused(refuse(payword.InsufficientFunds, "%s %s of the credit line are drawn: more than %s",
				(before.Credit - before.Available).Decimal(), s.currency.Code(), credit.Decimal()))
		}
		if err == nil {
			err = audit(ctx, tx, auditEntry{"set-credit", "account:" + account, before.Credit.Decimal() + " to " + credit.Decimal() + " " + s.currency.Code()})
		}
		if err != nil {
			return err
		}
		after, err = s.accountIn(ctx, tx, account)
		return err
	})
	return after, refusal, err
}

// checkCreditable refuses with NotPermitted where a credit line cannot be.
func checkCreditable(ctx context.Context, tx *ledger.Tx, account string, credit money.Amount) error {
	row, err := requireAccount(ctx, tx, account)
	switch {
	case err != nil || credit == 0:
		return err
	case row.isSub():
		return refused(refuse(payword.NotPermitted, "a sub-account has no credit line"))
	case row.isWhite():
		return refused(refuse(payword.NotPermitted, "an account tied to nobody has no credit line: tie it to a holder first"))
	case row.state == stateClosing || row.state == stateClosed:
		return refused(refuse(payword.NotPermitted, "the account is %s", row.state))
	}
	return nil
}

// SetAge records that the owner of an account has proved to be at least so many
// years old, 0 to 150; certificates issued from now on say so. It refuses with
// UnknownAccount.
func (b *Broker) SetAge(ctx context.Context, account string, years int) (payword.Refusal, error) {
	return b.store.setAge(ctx, account, years)
}

func (s *store) setAge(ctx context.Context, account string, years int) (payword.Refusal, error) {
	if years < 0 || years > 150 {
		return payword.Refusal{}, fmt.Errorf("age %d: want 0 to 150 years", years)
	}
	return s.update(ctx, "set age", func(tx *ledger.Tx) error {
		changed, err := tx.ExecOne(ctx, `UPDATE broker_accounts SET age = ? WHERE id = ?`, years, account)
		if err == nil && !changed {
			return refused(unknownAccount())
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, auditEntry{"set-age", "account:" + account, fmt.Sprintf("%d years", years)})
	})
}

// accounts returns a page of accounts, in the order of their ids.
func (s *store) accounts(ctx context.Context, after string, limit int) (page []payword.Account, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		ids, err := accountIDs(ctx, tx, after, limit)
		if err != nil {
			return err
		}
		for _, id := range ids {
			account, err := s.accountIn(ctx, tx, id)
			if err != nil {
				return err
			}
			page = append(page, account)
		}
		return nil
	})
	return page, err
}

func accountIDs(ctx context.Context, tx *ledger.Tx, after string, limit int) (ids []string, err error) {
	return tx.Texts(ctx, `SELECT id FROM broker_accounts WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
}

// ready reports whether the database answers.
func (s *store) ready(ctx context.Context) error {
	return s.db.View(ctx, func(tx *ledger.Tx) error {
		var one int
		err := tx.QueryRowContext(ctx, `SELECT one FROM broker_settings`).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return errors.New("the database has lost its settings")
		}
		return err
	})
}
