package clearing

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
)

// ErrNoStatement means that the run has no statement for that party.
var ErrNoStatement = errors.New("there is no such statement")

// Statements makes the statements of one run again from its evidence. It is for one
// goroutine.
type Statements struct {
	publication *publication
	tree        *statement.Tree
	day         string // token, or ""
}

// OpenStatements opens the statements of a run that was published.
// ErrNoStatement means that it has none.
func OpenStatements(ctx context.Context, db *ledger.DB, runID string) (*Statements, error) {
	run, isBroker, err := loadPublishedRun(ctx, db, runID)
	if err != nil {
		return nil, err
	}
	s := &Statements{publication: &publication{db: db, page: evidencePage, run: run}}
	var evidence int64
	err = db.View(ctx, func(tx *ledger.Tx) error {
		if s.day, err = dayOf(ctx, tx, runID); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT evidence_seq FROM clearing_runs WHERE id = ?`, runID).Scan(&evidence)
	})
	if err != nil {
		return nil, fmt.Errorf("reading run %s: %w", runID, err)
	}
	if !isBroker || evidence < run.cutoff {
		return nil, fmt.Errorf("run %s is not published yet: %w", runID, ErrNoStatement)
	}
	s.tree, _, err = s.publication.tree(ctx)
	return s, err
}

// Write writes the statement of a vendor, by its origin, or of a user, by the
// account: the same bytes every time. ErrNoStatement means that there is none.
func (s *Statements) Write(ctx context.Context, target io.Writer, kind statement.Kind, name string) error {
	index, want, err := s.leaf(ctx, kind, name)
	if err != nil {
		return err
	}
	list, err := s.publication.parties(ctx, kind, "=", name, 1)
	if err != nil || len(list) == 0 || list[0].name != name {
		return fmt.Errorf("the evidence of %s: %w", name, errors.Join(err, ErrNoStatement))
	}
	w, err := statement.NewWriter(target, s.publication.header(list[0]))
	if err != nil {
		return err
	}
	err = s.publication.entries(ctx, kind, name, name, func(_ string, e statement.Entry) error { return w.Add(e) })
	if err != nil {
		return err
	}
	digest, err := w.Digest()
	if err != nil {
		return err
	}
	if digest != want {
		return fmt.Errorf("the statement of %s is not the one that was published: its evidence was changed since", name)
	}
	proof, err := s.tree.Prove(index)
	if err != nil {
		return err
	}
	proof.Day = s.day
	return w.Finish(proof)
}

// leaf returns the place and the digest of a statement.
func (s *Statements) leaf(ctx context.Context, kind statement.Kind, name string) (index int64, digest statement.Digest, err error) {
	var stored []byte
	err = s.publication.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT number, digest FROM clearing_statements WHERE run_id = ? AND kind = ? AND party = ?`,
			s.publication.run.id, string(kind), name).Scan(&index, &stored)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return 0, digest, fmt.Errorf("run %s, %s %.300s: %w", s.publication.run.id, kind, name, ErrNoStatement)
	}
	copy(digest[:], stored)
	return index, digest, err
}

// Parties returns who has a statement of a kind, in order, after the one of that
// name, at most limit of them.
func (s *Statements) Parties(ctx context.Context, kind statement.Kind, after string, limit int) (names []string, err error) {
	err = s.publication.db.View(ctx, func(tx *ledger.Tx) error {
		names = nil
		return tx.Each(ctx, func(scan func(target ...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		}, `SELECT party FROM clearing_statements WHERE run_id = ? AND kind = ? AND party > ? ORDER BY party LIMIT ?`, s.publication.run.id, string(kind), after, limit)
	})
	return names, err
}

// FileName returns what the file of a party's statement is called: such as
// statement-run-2026-11-22-1-https-news.example-1a2b3c4d.jsonl. The digits are of
// the name itself, so that no two parties have the same.
func (s *Statements) FileName(kind statement.Kind, name string) string {
	sum := sha256.Sum256([]byte(string(kind) + " " + name))
	readable := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			return c
		}
		return '-'
	}, strings.Replace(name, "://", "-", 1))
	return fmt.Sprintf("statement-%s-%.80s-%s.jsonl", s.publication.run.id, readable, hex.EncodeToString(sum[:4]))
}
