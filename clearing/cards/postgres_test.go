package cards_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"testing"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m, prepare, "")) }

// prepare makes the tables of a broker and of clearing.
func prepare(location string) error {
	ctx := context.Background()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	b, err := broker.New(ctx, broker.Config{Issuer: "https://broker.example", Currency: eur, Database: location, Signer: key})
	if err != nil {
		return err
	}
	db, err := ledger.Open(ctx, location, ledger.Options{})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(cards.Migrate(ctx, db), db.Close(), b.Close())
}

// Everything holds on PostgreSQL, too.
func TestOnPostgreSQL(t *testing.T) { dbtest.OnPostgreSQL(t) }
