// Package audit recomputes what a broker owes and has paid from the signed
// evidence that it keeps, by code that shares nothing with the ledger, the
// broker or the clearing, and lists what does not agree.
//
// It opens the database by itself and changes nothing: one snapshot, read once
// from end to end. What it trusts is mathematics: Ed25519 signatures (read by
// package payword, as any vendor reads them), SHA-256 chains (hashed here) and
// sums (added here, in 128 bits). What it compares with that are the balances,
// the journal, the tables of the broker and the runs of the clearing.
//
// An error of this package means that it could not tell. What is wrong with the
// books is in the Report.
package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
)

// Options say what is audited. Database is required.
type Options struct {
	// Database is the path of the broker's SQLite file, or the location of its
	// PostgreSQL database (postgres://…) without a password in it.
	Database string
	// Keys are the broker's public keys by kid, as payword.ParseJWKS returns them:
	// those that it has published, old ones too. Nil: those that the database
	// names, and the report says so, since whoever writes to it can add one.
	Keys map[string]ed25519.PublicKey
	// DayKeys are the public keys that the clearing signs days with, by kid. Nil:
	// these signatures are not checked, and the report says so.
	DayKeys map[string]ed25519.PublicKey
	// CardKeys are the keys of purse cards. Nil: their proofs are not checked, and
	// the report says so.
	CardKeys *purse.Keys
	// Progress, if it is set, is called now and then with what is looked at and
	// how far that is. total is 0 where it is not known. It is called by one
	// goroutine at a time.
	Progress func(stage string, done, total int64)
}

// auditor is one audit on its way.
type auditor struct {
	*collector
	snapshot *snapshot
	options  Options

	issuer   string // the broker's origin
	currency string
	brokers  payword.Brokers
	verifier *payword.Verifier
	vendors  map[string]*vendorKeys

	runs    []*run // by cut-off
	journal journalFacts
}

// stage is one part of an audit. It is left out, with a note, where one of its
// tables is not there.
type stage struct {
	name   string
	tables []string
	work   func(a *auditor, ctx context.Context) error
}

var stages = []stage{
	{"keys", []string{"broker_settings", "broker_keys", "broker_vendor_keys", "broker_audit"}, (*auditor).loadKeys},
	{"commitments", []string{"broker_commitments", "broker_certificates", "broker_roots"}, (*auditor).checkCommitments},
	{"frauds", []string{"broker_frauds", "broker_commitments"}, (*auditor).checkFrauds},
	{"runs", []string{"clearing_runs", "clearing_lines", "clearing_instructions", "clearing_approvals", "clearing_balances", "clearing_fee_rules"}, (*auditor).checkRuns},
	{"bank", []string{"clearing_instructions", "clearing_bank_documents", "clearing_bank_entries", "clearing_reserves", "broker_outcomes"}, (*auditor).checkBank},
	{"cards", cardTables, (*auditor).checkCards},
	{"books", []string{"accounts", "transfers"}, (*auditor).checkBooks},
	{"statements", []string{"clearing_runs", "clearing_evidence", "clearing_statements", "clearing_days", "broker_commitments"}, (*auditor).checkStatements},
	{"payments", []string{"broker_fundings", "broker_vouchers", "broker_payouts", "broker_vendor_payouts"}, (*auditor).checkPayments},
	{"accounts", []string{"broker_accounts", "broker_debts"}, (*auditor).checkParties},
}

// Run audits a database. The error is about what kept it from looking: a
// database that cannot be opened or read, or a context that ended.
func Run(ctx context.Context, options Options) (Report, error) {
	opened, err := openSnapshot(ctx, options.Database)
	if err != nil {
		return Report{}, fmt.Errorf("opening the database: %w", err)
	}
	a := &auditor{collector: new(collector), snapshot: opened, options: options}
	err = a.run(ctx)
	if err := errors.Join(err, opened.close()); err != nil {
		return Report{}, fmt.Errorf("auditing: %w", err)
	}
	return a.finish(), nil
}

func (a *auditor) run(ctx context.Context) error {
	// What the newer tables explain would else be found to be unexplained.
	if missing := a.snapshot.missing(cardTables); len(missing) > 0 && len(missing) < len(cardTables) {
		return fmt.Errorf("cards: the database has no table %s: an older version has written it; let payword broker and payword clearing of this version run on it once", strings.Join(missing, ", "))
	}
	for _, s := range stages {
		if missing := a.snapshot.missing(s.tables); len(missing) > 0 {
			a.note("%s: not looked at, because the database has no table %s", s.name, strings.Join(missing, ", "))
			continue
		}
		a.progress(s.name, 0, 0)
		if err := s.work(a, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (a *auditor) progress(stage string, done, total int64) {
	if a.options.Progress != nil {
		a.options.Progress(stage, done, total)
	}
}
