package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	issuer   = "https://broker.example"
	currency = money.Currency("eur-micro")
	unit     = 10 * money.Unit / 1000 // of a chain: one cent

	// balance is what each account has at first.
	balance = 1000 * money.Unit

	// rowsPerStatement keeps a statement below the parameters that a database
	// takes.
	rowsPerStatement = 500
	// accountsPerTransaction is how many accounts are written at once.
	accountsPerTransaction = 20_000
)

// derive makes something random that is the same every time.
func derive(what string, number int) [sha256.Size]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("payword simulation "+what), uint64(number)))
}

func keyOf(what string, number int) ed25519.PrivateKey {
	seed := derive(what, number)
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey {
	public, _ := key.Public().(ed25519.PublicKey) // it is no other
	return public
}

// accountID is of the form of a broker's own.
func accountID(user int) string {
	raw := derive("account", user)
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw[:10]))
}

func vendorOrigin(vendor int) string { return "https://site-" + strconv.Itoa(vendor) + ".example" }

// fill writes the accounts and vendors that are not there yet.
func fill(ctx context.Context, s settings, stdout io.Writer) error {
	b, err := newBroker(ctx, s)
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil { // the tables are there now
		return err
	}
	db, err := ledger.Open(ctx, s.database, ledger.Options{Mode: ledger.Existing})
	if err != nil {
		return err
	}
	began := time.Now()
	filled, err := fillAll(ctx, db, s)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if filled > 0 {
		fmt.Fprintf(stdout, "filled in %d accounts in %s\n", filled, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

func fillAll(ctx context.Context, db *ledger.DB, s settings) (filled int, err error) {
	var present int
	err = db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_accounts`).Scan(&present)
	})
	if err != nil || present == s.users {
		return 0, err
	}
	if present > 0 {
		return 0, fmt.Errorf("the database holds %d accounts, not %d: name an empty one", present, s.users)
	}
	if err := db.Update(ctx, func(tx *ledger.Tx) error { return fillVendors(ctx, tx, s.vendors) }); err != nil {
		return 0, err
	}
	for start := 0; start < s.users; start += accountsPerTransaction {
		end := min(start+accountsPerTransaction, s.users)
		err := db.Update(ctx, func(tx *ledger.Tx) error { return fillAccounts(ctx, tx, start, end) })
		if err != nil {
			return start, err
		}
	}
	return s.users, nil
}

// table collects rows and inserts them a few hundred at a time.
type table struct {
	into    string // the table and its columns
	columns int
	values  []any
}

func (t *table) add(ctx context.Context, tx *ledger.Tx, values ...any) error {
	t.values = append(t.values, values...)
	if len(t.values) < rowsPerStatement*t.columns {
		return nil
	}
	return t.flush(ctx, tx)
}

func (t *table) flush(ctx context.Context, tx *ledger.Tx) error {
	if len(t.values) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO "+t.into+" VALUES "+ledger.Rows(len(t.values)/t.columns, t.columns), t.values...)
	t.values = t.values[:0]
	return err
}

func fillVendors(ctx context.Context, tx *ledger.Tx, count int) error {
	now := tx.Now().UnixMicro()
	vendors := &table{into: "broker_vendors (vendor, created)", columns: 2}
	keys := &table{into: "broker_vendor_keys (vendor, key_id, key, created)", columns: 4}
	accounts := newAccountsTable()
	for vendor := range count {
		origin, key := vendorOrigin(vendor), publicKey(keyOf("vendor", vendor))
		err := errors.Join(
			vendors.add(ctx, tx, origin, now),
			accounts.add(ctx, tx, "vendor:"+origin+":payable", string(currency), 0, 0, now))
		if err != nil {
			return err
		}
		keys.values = append(keys.values, origin, payword.Thumbprint(key), []byte(key), now)
	}
	if err := errors.Join(vendors.flush(ctx, tx), accounts.flush(ctx, tx)); err != nil {
		return err
	}
	all := keys.values
	for start := 0; start < len(all); start += rowsPerStatement * keys.columns {
		keys.values = all[start:min(start+rowsPerStatement*keys.columns, len(all))]
		if err := keys.flush(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

func newAccountsTable() *table {
	return &table{into: "accounts (id, currency, floor, balance, created)", columns: 5}
}

// fillAccounts writes the accounts from start to end, each funded.
func fillAccounts(ctx context.Context, tx *ledger.Tx, start, end int) error {
	now := tx.Now().UnixMicro()
	owners := &table{into: "broker_accounts (id, key_id, key, created)", columns: 4}
	accounts := newAccountsTable()
	transfers := &table{
		into:    "transfers (id, phase, debit, credit, amount, currency, kind, reference, expires, created)",
		columns: 10,
	}
	fundings := &table{
		into:    "broker_fundings (source, id, payment, named, account, debit, amount, currency, reversed, version, created)",
		columns: 11,
	}
	for user := start; user < end; user++ {
		id, key := accountID(user), publicKey(keyOf("user", user))
		err := errors.Join(
			owners.add(ctx, tx, id, payword.Thumbprint(key), []byte(key), now),
			accounts.add(ctx, tx, "user:"+id+":available", string(currency), 0, int64(balance), now),
			accounts.add(ctx, tx, "user:"+id+":reserved", string(currency), 0, 0, now),
			fundings.add(ctx, tx, "bank", "simulation-"+strconv.Itoa(user), "", id, id, "broker:bank:in", int64(balance), string(currency), 0, 1, now))
		if err != nil {
			return err
		}
		// A transfer names its accounts, which must be written before it.
		transfers.values = append(transfers.values, "fund/simulation-"+strconv.Itoa(user), "single", "broker:bank:in",
			"user:"+id+":available", int64(balance), string(currency), "fund", "", 0, now)
	}
	if err := errors.Join(owners.flush(ctx, tx), accounts.flush(ctx, tx), fundings.flush(ctx, tx)); err != nil {
		return err
	}
	all := transfers.values
	for from := 0; from < len(all); from += rowsPerStatement * transfers.columns {
		transfers.values = all[from:min(from+rowsPerStatement*transfers.columns, len(all))]
		if err := transfers.flush(ctx, tx); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE accounts SET balance = balance - ? WHERE id = 'broker:bank:in'`,
		int64(balance)*int64(end-start))
	return err
}

// size returns how many bytes the database takes.
func size(ctx context.Context, location string) (int64, error) {
	if !ledger.IsPostgreSQL(location) {
		total := int64(0)
		for _, suffix := range []string{"", "-wal"} {
			info, err := os.Stat(location + suffix)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			total += info.Size()
		}
		return total, nil
	}
	db, err := ledger.Open(ctx, location, ledger.Options{Mode: ledger.ReadOnly})
	if err != nil {
		return 0, err
	}
	var total int64
	err = db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT pg_database_size(current_database())`).Scan(&total)
	})
	return total, errors.Join(err, db.Close())
}
