package broker

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

//go:embed migrations
var embedded embed.FS

// The accounts of the broker itself. The first two stand for its bank account:
// what came in from users and what went out to vendors.
const (
	bankIn  = "broker:bank:in"
	bankOut = "broker:bank:out"
	fees    = "broker:fees"
)

func availableAccount(account string) string { return "user:" + account + ":available" }
func reservedAccount(account string) string  { return "user:" + account + ":reserved" }
func payableAccount(vendor string) string    { return "vendor:" + vendor + ":payable" }

// store is the broker's tables and the ledger, in one database.
type store struct {
	db       *ledger.DB
	issuer   string
	currency money.Currency

	commitmentsPerDay int64 // of one account; tests lower it
	statementPage     int   // entries; tests lower it
	exportPage        int   // rows; tests lower it

	// observe, if set, is told of each transaction and when it began.
	observe func(name string, start time.Time)

	// fault, if set, is asked at every point where a crash could matter, such as
	// before and after each commit, and can make it fail; tests set it.
	fault func(ctx context.Context, point string) error
}

// runUpdatesTwice lets every function of an Update run twice, but where a test
// counts the points that it comes by; tests set it.
var runUpdatesTwice bool

// openStore opens the database at path. With ledger.Create it makes what is
// missing; settle then says whose it is. Otherwise the settings are read.
func openStore(ctx context.Context, path string, mode ledger.Mode, now func() time.Time) (*store, error) {
	s := &store{commitmentsPerDay: maxCommitmentsPerDay, statementPage: statementPage, exportPage: exportPage}
	db, err := ledger.Open(ctx, path, ledger.Options{Mode: mode, Now: now, RunTwice: s.runsTwice})
	if err != nil {
		return nil, err
	}
	s.db = db
	files, err := fs.Sub(embedded, "migrations")
	if err == nil {
		err = db.Migrate(ctx, "broker", files)
	}
	if err == nil && mode != ledger.Create {
		err = db.View(ctx, func(tx *ledger.Tx) error { return s.loadSettings(ctx, tx) })
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *store) runsTwice() bool { return runUpdatesTwice && s.fault == nil }

// Close closes the database.
func (s *store) Close() error { return s.db.Close() }

func (s *store) loadSettings(ctx context.Context, tx *ledger.Tx) error {
	err := tx.QueryRowContext(ctx, `SELECT issuer, currency FROM broker_settings WHERE one = 1`).
		Scan(&s.issuer, &s.currency)
	if errors.Is(err, sql.ErrNoRows) {
		return errors.New("this database was not used by a broker yet")
	}
	return err
}

// settle makes the database that of issuer in currency, or reports that it is
// already another's, and keeps the ceiling of white accounts, in micros.
func (s *store) settle(ctx context.Context, issuer string, currency money.Currency, whiteCeiling money.Amount) error {
	return s.db.Update(ctx, func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO broker_settings (one, issuer, currency) VALUES (1, ?, ?) ON CONFLICT DO NOTHING`, issuer, currency)
		if err != nil {
			return err
		}
		if err := s.loadSettings(ctx, tx); err != nil {
			return err
		}
		if s.issuer != issuer || s.currency != currency {
			return fmt.Errorf("the database belongs to %s in %s, not to %s in %s",
				s.issuer, s.currency.Code(), issuer, currency.Code())
		}
		_, err = tx.ExecContext(ctx, `UPDATE broker_settings SET white_ceiling = ? WHERE white_ceiling <> ?`, whiteCeiling, whiteCeiling)
		if err != nil {
			return err
		}
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: bankIn, Currency: currency, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: bankOut, Currency: currency, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: fees, Currency: currency}))
	})
}

// refused carries a refusal out of a transaction, which is rolled back.
type refused payword.Refusal

// Error returns the refusal's word and sentence.
func (r refused) Error() string { return payword.Refusal(r).String() }

// update runs change in one write transaction, under the rules of
// ledger.DB.Update. An error of type refused rolls it back and comes back as a
// refusal.
func (s *store) update(ctx context.Context, name string, change func(tx *ledger.Tx) error) (payword.Refusal, error) {
	if s.observe != nil {
		defer s.observe(name, time.Now())
	}
	err := s.db.Update(ctx, func(tx *ledger.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return s.fail(ctx, "before "+name)
	})
	if refusal := (refused{}); errors.As(err, &refusal) {
		return payword.Refusal(refusal), nil
	}
	if err == nil {
		err = s.fail(ctx, "after "+name)
	}
	if err != nil {
		return payword.Refusal{}, fmt.Errorf("%s: %w", name, err)
	}
	return payword.Refusal{}, nil
}

// view runs look in one read transaction. An error of type refused comes back as
// a refusal.
func (s *store) view(ctx context.Context, look func(tx *ledger.Tx) error) (payword.Refusal, error) {
	err := s.db.View(ctx, look)
	if refusal := (refused{}); errors.As(err, &refusal) {
		return payword.Refusal(refusal), nil
	}
	return payword.Refusal{}, err
}

func (s *store) fail(ctx context.Context, point string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(ctx, point)
}

// record is what the broker knows of one commitment. Version 0 means that it is
// not stored yet.
type record struct {
	id          payword.CommitmentID
	token       string
	account     string
	vendor      string
	reserved    money.Amount // promised, in micros; 0: nothing
	held        money.Amount // of that, still set aside
	sequence    uint32
	redeemBy    int64 // seconds since 1970
	day         int64 // of the last raise, UTC days since 1970
	reservation string
	redeemed    payword.Redeemed
	claim       string
	closed      bool
	version     int64
}

const recordColumns = `id, token, account, vendor, reserved, held, paid, sequence, redeem_by, day,
	reservation, tails, claim, closed, version`

// selectRecords returns the records that the rest of a query chooses.
func selectRecords(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (records []record, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+recordColumns+` FROM broker_commitments `+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanRecord(rows.Scan)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, rows.Err()
}

// flawedRecord means that what is stored of one commitment cannot be read.
type flawedRecord struct {
	id    string
	cause error
}

// Error says which commitment it is and what is wrong.
func (f *flawedRecord) Error() string {
	return fmt.Sprintf("the record of commitment %s: %v", f.id, f.cause)
}

// scanRecord reads a row of recordColumns. It fails with flawedRecord if the
// row holds what was never written to it.
func scanRecord(scan func(target ...any) error) (record, error) {
	var (
		r     record
		id    string
		tails []byte
	)
	err := scan(&id, &r.token, &r.account, &r.vendor, &r.reserved, &r.held, &r.redeemed.Paid, &r.sequence,
		&r.redeemBy, &r.day, &r.reservation, &tails, &r.claim, &r.closed, &r.version)
	if err != nil {
		return record{}, err
	}
	err = r.id.UnmarshalText([]byte(id))
	if err == nil {
		r.redeemed.Tails, err = decodeTails(tails)
	}
	if err != nil {
		return record{}, &flawedRecord{id, err}
	}
	return r, nil
}

// loadRecord returns the record of a commitment, of version 0 if there is none.
func loadRecord(ctx context.Context, tx *ledger.Tx, id payword.CommitmentID) (record, error) {
	row := tx.QueryRowContext(ctx, `SELECT `+recordColumns+` FROM broker_commitments WHERE id = ?`, id.String())
	r, err := scanRecord(row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return record{id: id}, nil
	}
	return r, err
}

// saveRecord stores r if the stored version is still r.version (0: nothing is
// stored), and counts it up. It reports whether it did; if not, somebody else
// was faster and nothing was changed.
func saveRecord(ctx context.Context, tx *ledger.Tx, r record) (bool, error) {
	if r.version == 0 {
		return tx.ExecOne(ctx, insertRecords+ledger.Rows(1, recordArguments)+` ON CONFLICT DO NOTHING`, r.arguments(tx)...)
	}
	return tx.ExecOne(ctx, `UPDATE broker_commitments
		SET reserved = ?, held = ?, paid = ?, sequence = ?, redeem_by = ?, day = ?, reservation = ?, tails = ?,
			claim = ?, closed = ?, version = version + 1
		WHERE id = ? AND version = ?`,
		r.reserved, r.held, r.redeemed.Paid, r.sequence, r.redeemBy, r.day, r.reservation,
		encodeTails(r.redeemed.Tails), r.claim, r.closedAsInteger(), r.id.String(), r.version)
}

// savePaid is saveRecord for stored records of which only what was paid on them
// has changed: the indexes over the rest need not be touched. It fails with
// errChanged unless all stored versions are those of the records.
func savePaid(ctx context.Context, tx *ledger.Tx, records []record) error {
	rows := make([][]any, len(records))
	for k := range records {
		r := &records[k]
		rows[k] = []any{int64(r.held), int64(r.redeemed.Paid), encodeTails(r.redeemed.Tails), r.claim, r.closedAsInteger(), r.id.String(), r.version}
	}
	saved, err := tx.ExecEach(ctx, `UPDATE broker_commitments
		SET held = ?, paid = ?, tails = ?, claim = ?, closed = ?, version = version + 1
		WHERE id = ? AND version = ?`, rows)
	if err == nil && saved != int64(len(records)) {
		err = fmt.Errorf("%d of %d commitments: %w", int64(len(records))-saved, len(records), errChanged)
	}
	return err
}

// saveRecords stores new records, and what was paid on others. It fails with
// errChanged unless all of their stored versions are those of the records.
func saveRecords(ctx context.Context, tx *ledger.Tx, records []record) error {
	var fresh, stored []record
	for _, r := range records {
		if r.version == 0 {
			fresh = append(fresh, r)
		} else {
			stored = append(stored, r)
		}
	}
	if err := savePaid(ctx, tx, stored); err != nil {
		return err
	}
	for from, to := range ledger.Spans(len(fresh)) {
		var arguments []any
		for _, r := range fresh[from:to] {
			arguments = append(arguments, r.arguments(tx)...)
		}
		if _, err := tx.ExecContext(ctx, insertRecords+ledger.Rows(to-from, recordArguments), arguments...); err != nil {
			return err
		}
	}
	return nil
}

// insertRecords is followed by rows of recordArguments.
const (
	insertRecords   = `INSERT INTO broker_commitments (` + recordColumns + `, created) VALUES `
	recordArguments = 16
)

// arguments returns what a new record is stored as.
func (r *record) arguments(tx *ledger.Tx) []any {
	return []any{r.id.String(), r.token, r.account, r.vendor, int64(r.reserved), int64(r.held), int64(r.redeemed.Paid), r.sequence, r.redeemBy,
		r.day, r.reservation, encodeTails(r.redeemed.Tails), r.claim, r.closedAsInteger(), 1, tx.Now().UnixMicro()}
}

// closedAsInteger is for databases that have no booleans.
func (r *record) closedAsInteger() int {
	if r.closed {
		return 1
	}
	return 0
}

const tailBytes = 4 + payword.PaywordBytes

func encodeTails(tails [payword.MaxChains]payword.Tail) []byte {
	encoded := make([]byte, 0, payword.MaxChains*tailBytes)
	for _, tail := range tails {
		encoded = binary.BigEndian.AppendUint32(encoded, tail.Index)
		encoded = append(encoded, tail.Payword[:]...)
	}
	return encoded
}

func decodeTails(encoded []byte) (tails [payword.MaxChains]payword.Tail, err error) {
	if len(encoded) != payword.MaxChains*tailBytes {
		return tails, fmt.Errorf("stored tails take %d bytes: want %d", len(encoded), payword.MaxChains*tailBytes)
	}
	for k := range tails {
		part := encoded[k*tailBytes:]
		tails[k].Index = binary.BigEndian.Uint32(part)
		copy(tails[k].Payword[:], part[4:])
	}
	return tails, nil
}

// certificateOwner returns the account that a pseudonym was issued to, or "".
func certificateOwner(ctx context.Context, tx *ledger.Tx, subject string) (string, error) {
	var account string
	err := tx.QueryRowContext(ctx, `SELECT account FROM broker_certificates WHERE subject = ?`, subject).Scan(&account)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return account, err
}

// checkCommitmentsOfDay refuses with RateLimited when no more commitments of an
// account are stored today, in UTC.
func (s *store) checkCommitmentsOfDay(ctx context.Context, tx *ledger.Tx, account string) (payword.Refusal, error) {
	midnight := tx.Now().Truncate(secondsPerDay * time.Second)
	var stored int64
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_commitments WHERE account = ? AND created >= ?`,
		account, midnight.UnixMicro()).Scan(&stored)
	if err == nil && stored >= s.commitmentsPerDay {
		return tooManyCommitments(stored), nil
	}
	return payword.Refusal{}, err
}

func tooManyCommitments(stored int64) payword.Refusal {
	return refuse(payword.RateLimited, "%d commitments of this account were stored today, and more are not: wait until midnight UTC", stored)
}

// ownedCommitment is a commitment of an account.
type ownedCommitment struct {
	account string
	m       *payword.Commitment
}

// rootReuse is a root that an earlier commitment of the same account has, too.
type rootReuse struct {
	root       payword.Payword
	commitment payword.CommitmentID
	earlier    string // the id of the other commitment
}

// registerRoots remembers the roots of commitments and returns those that
// another commitment of the account had before. The roots of other accounts do
// not count: copying them proves nothing against their owner.
func registerRoots(ctx context.Context, tx *ledger.Tx, owned []ownedCommitment) (reused []rootReuse, err error) {
	var rows [][]any
	for _, o := range owned {
		for _, chain := range o.m.Chains {
			rows = append(rows, []any{o.account, chain.Root[:], o.m.ID})
		}
	}
	for from, to := range ledger.Spans(len(rows)) {
		var arguments []any
		for _, row := range rows[from:to] {
			arguments = append(arguments, row[0], row[1], row[2].(payword.CommitmentID).String())
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO broker_roots (account, root, commitment) VALUES `+
			ledger.Rows(to-from, 3)+` ON CONFLICT DO NOTHING`, arguments...)
		if err != nil {
			return nil, err
		}
		if count, err := result.RowsAffected(); err != nil || count == int64(to-from) {
			if err != nil {
				return nil, err
			}
			continue
		}
		for _, row := range rows[from:to] {
			reuse := rootReuse{root: payword.Payword(row[1].([]byte)), commitment: row[2].(payword.CommitmentID)}
			err = tx.QueryRowContext(ctx, `SELECT commitment FROM broker_roots WHERE account = ? AND root = ?`, row[0], row[1]).Scan(&reuse.earlier)
			if err != nil {
				return nil, err
			}
			if reuse.earlier != reuse.commitment.String() {
				reused = append(reused, reuse)
			}
		}
	}
	return reused, nil
}

// nonceSeconds is how long a nonce is kept from when its request was signed:
// twice as long as the signature counts, so that a broker whose clock is behind
// the one that forgets it does not take it again.
const nonceSeconds = 2 * payword.RequestMaxAgeSeconds

// takeNonce remembers that the key has used the nonce and reports whether it
// was for the first time.
func (s *store) takeNonce(ctx context.Context, keyID string, request payword.SignedRequest) (isNew bool, err error) {
	if err := s.fail(ctx, "before nonce"); err != nil {
		return false, err
	}
	isNew, err = s.db.ExecOne(ctx,
		`INSERT INTO broker_nonces (key_id, nonce, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		keyID, request.Nonce, request.Created+nonceSeconds)
	return isNew, cmp.Or(err, s.fail(ctx, "after nonce"))
}

// accountOf returns the account that a key speaks for and the key, or "".
func (s *store) accountOf(ctx context.Context, keyID string) (account string, key ed25519.PublicKey, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		d, err := loadDevice(ctx, tx, keyID)
		if err == nil && d.account != "" && d.removed == 0 {
			account, key = d.account, d.key
		}
		return err
	})
	return account, key, err
}
