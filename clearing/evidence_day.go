package clearing

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
)

// tree reads the leaves of a run.
func (p *publication) tree(ctx context.Context) (*statement.Tree, int64, error) {
	var leaves int64
	err := p.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM clearing_statements WHERE run_id = ?`, p.run.id).Scan(&leaves)
	})
	if err != nil {
		return nil, 0, err
	}
	tree, err := statement.NewTree(leaves, func(first int64, count int) (digests []statement.Digest, err error) {
		err = p.db.View(ctx, func(tx *ledger.Tx) error {
			digests = digests[:0]
			return tx.Each(ctx, func(scan func(target ...any) error) error {
				var digest []byte
				if err := scan(&digest); err != nil {
					return err
				}
				if len(digest) != len(statement.Digest{}) {
					return fmt.Errorf("a leaf has %d bytes", len(digest))
				}
				digests = append(digests, statement.Digest(digest))
				return nil
			}, `SELECT digest FROM clearing_statements WHERE run_id = ? AND number >= ? ORDER BY number LIMIT ?`, p.run.id, first, count)
		})
		return digests, err
	})
	return tree, leaves, err
}

// signDay signs the root of the run's statements and links it to the day before.
// Without a key it says so in the audit log.
func (p *publication) signDay(ctx context.Context) error {
	tree, leaves, err := p.tree(ctx)
	if err != nil {
		return err
	}
	root, err := tree.Root()
	if err != nil {
		return err
	}
	err = p.update(ctx, func(tx *ledger.Tx) error {
		day := statement.Day{
			Issuer: p.run.issuer, Run: p.run.id, PeriodEnd: p.run.periodEnd, Currency: p.run.currency, Leaves: leaves,
			Root: base64.RawURLEncoding.EncodeToString(root[:]), IssuedAt: tx.Now().Unix(),
		}
		return p.signDayIn(ctx, tx, day, root)
	})
	if err == nil {
		p.step("day")
	}
	return err
}

func (p *publication) signDayIn(ctx context.Context, tx *ledger.Tx, day statement.Day, root statement.Digest) error {
	token, err := dayOf(ctx, tx, p.run.id)
	if err != nil || token != "" {
		return err
	}
	if p.signer == nil {
		return audit(ctx, tx, "publish", "run:"+p.run.id, fmt.Sprintf("%d statements, in no signed day: the run had no key", day.Leaves))
	}
	var before string
	err = tx.QueryRowContext(ctx, `SELECT number, token FROM clearing_days ORDER BY number DESC LIMIT 1`).Scan(&day.Number, &before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	day.Number++
	if before != "" {
		day.Previous = statement.HashDay(before)
	}
	if token, err = statement.SignDay(day, p.signer); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO clearing_days (run_id, number, root, leaves, previous, token, created) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		p.run.id, day.Number, root[:], day.Leaves, day.Previous, token, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	key, _ := p.signer.Public().(ed25519.PublicKey) // SignDay takes no other
	return audit(ctx, tx, "publish", "run:"+p.run.id,
		fmt.Sprintf("day %d: %d statements, root %s, signed by %s", day.Number, day.Leaves, day.Root, payword.Thumbprint(key)))
}

// dayOf returns the token of a run's day, or "".
func dayOf(ctx context.Context, tx *ledger.Tx, runID string) (token string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT token FROM clearing_days WHERE run_id = ?`, runID).Scan(&token)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return token, err
}

// Day is a row of the days that were signed.
type Day struct {
	statement.Day
	// Token is the day as it was signed.
	Token string `json:"token"`
}

// Days returns days that were signed, the oldest first, after the one of that
// number, at most limit of them.
func Days(ctx context.Context, db *ledger.DB, after int64, limit int) (days []Day, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		days = nil
		return tx.Each(ctx, func(scan func(target ...any) error) error {
			var day Day
			if err := scan(&day.Token); err != nil {
				return err
			}
			var err error
			day.Day, _, err = statement.ParseDay(day.Token, nil)
			days = append(days, day)
			return err
		}, `SELECT token FROM clearing_days WHERE number > ? ORDER BY number LIMIT ?`, after, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the days: %w", err)
	}
	return days, nil
}
