package clearing

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// partyColumn is what clearing_evidence says of the party of a statement.
var partyColumn = map[statement.Kind]string{statement.Vendor: "vendor", statement.User: "account"}

// party is somebody who gets a statement, with its totals.
type party struct {
	kind        statement.Kind
	name        string
	commitments int64
	paid        int64                 // micros
	settlement  *statement.Settlement // of a vendor that the run has a line for
}

// state makes all statements of the run and keeps their digests, a page of parties
// at a time.
func (p *publication) state(ctx context.Context) error {
	done, all, err := p.counts(ctx)
	if err != nil {
		return err
	}
	for {
		kind, after, next, err := p.stated(ctx)
		if err != nil {
			return err
		}
		parties, err := p.parties(ctx, kind, ">", after, p.page)
		if err == nil && len(parties) == 0 && kind == statement.Vendor {
			kind = statement.User // all vendors have theirs
			parties, err = p.parties(ctx, kind, ">", "", p.page)
		}
		if err != nil || len(parties) == 0 {
			return err
		}
		digests, err := p.digests(ctx, parties)
		if err == nil {
			err = p.update(ctx, func(tx *ledger.Tx) error { return p.saveDigests(ctx, tx, next, parties, digests) })
		}
		if err != nil {
			return err
		}
		for _, one := range parties {
			done += one.commitments
		}
		if span := p.run.cutoff - p.run.since; all > 0 {
			p.report(span+span*done/all, 2*span) // a billion of each fit in 64 bits
		}
		p.step(fmt.Sprintf("statements up to %d", next+int64(len(parties))))
	}
}

// counts returns how many commitments the statements that are made have, and how
// many all will have: each stands in that of its vendor and in that of its user.
func (p *publication) counts(ctx context.Context) (done, all int64, err error) {
	err = p.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT
			(SELECT CAST(COALESCE(SUM(commitments), 0) AS BIGINT) FROM clearing_statements WHERE run_id = ?),
			(SELECT 2 * COUNT(*) FROM clearing_evidence WHERE run_id = ?)`, p.run.id, p.run.id).Scan(&done, &all)
	})
	return done, all, err
}

// stated returns whose statement was made last, and the number of the next leaf.
// The leaves are those of the vendors and then those of the users, each in order.
func (p *publication) stated(ctx context.Context) (kind statement.Kind, name string, next int64, err error) {
	err = p.db.View(ctx, func(tx *ledger.Tx) error {
		kind, name, next = statement.Vendor, "", 0
		var last int64
		err := tx.QueryRowContext(ctx, `SELECT kind, party, number FROM clearing_statements WHERE run_id = ? ORDER BY number DESC LIMIT 1`, p.run.id).
			Scan((*string)(&kind), &name, &last)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		next = last + 1
		return err
	})
	return kind, name, next, err
}

// saveDigests keeps leaves from a number on. Another process that did the same has
// written the same.
func (p *publication) saveDigests(ctx context.Context, tx *ledger.Tx, first int64, parties []party, digests []statement.Digest) error {
	for from, to := range ledger.Spans(len(parties)) {
		var arguments []any
		for k := from; k < to; k++ {
			arguments = append(arguments, p.run.id, first+int64(k), string(parties[k].kind), parties[k].name, parties[k].commitments, digests[k][:])
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_statements (run_id, number, kind, party, commitments, digest) VALUES `+
			ledger.Rows(to-from, 6)+` ON CONFLICT DO NOTHING`, arguments...)
		if err != nil {
			return err
		}
	}
	return nil
}

// parties returns parties of a kind with their totals, in order: those with
// evidence, and vendors that the run has a line for, whose names stand in the
// relation (">" or "=") to a name.
func (p *publication) parties(ctx context.Context, kind statement.Kind, relation, name string, limit int) (list []party, err error) {
	column := partyColumn[kind]
	query := `SELECT ` + column + ` AS party, COUNT(*) AS commitments, SUM(amount) AS paid FROM clearing_evidence
		WHERE run_id = ? AND ` + column + ` ` + relation + ` ? GROUP BY ` + column + ` ORDER BY ` + column + ` LIMIT ?`
	arguments := []any{p.run.id, name, limit}
	if kind == statement.Vendor {
		query = `SELECT party, SUM(commitments) AS commitments, SUM(paid) AS paid FROM (
			SELECT * FROM (` + query + `) AS redeemed UNION ALL
			SELECT * FROM (SELECT party, 0, 0 FROM clearing_lines WHERE run_id = ? AND kind = 'vendor' AND party ` + relation + ` ? ORDER BY party LIMIT ?) AS settled
			) AS both_of_them GROUP BY party ORDER BY party LIMIT ?`
		arguments = append(arguments, p.run.id, name, limit, limit)
	}
	err = p.db.View(ctx, func(tx *ledger.Tx) error {
		list = nil
		err := tx.Each(ctx, func(scan func(target ...any) error) error {
			one := party{kind: kind}
			err := scan(&one.name, &one.commitments, &one.paid)
			list = append(list, one)
			return err
		}, `SELECT party, CAST(commitments AS BIGINT), CAST(paid AS BIGINT) FROM (`+query+`) AS page ORDER BY party`, arguments...)
		if err != nil || kind != statement.Vendor || len(list) == 0 {
			return err
		}
		return p.loadSettlements(ctx, tx, list)
	})
	return list, err
}

// loadSettlements adds what the run did with what was payable to vendors.
func (p *publication) loadSettlements(ctx context.Context, tx *ledger.Tx, list []party) error {
	byName := make(map[string]*party, len(list))
	for k := range list {
		byName[list[k].name] = &list[k]
	}
	return tx.Each(ctx, func(scan func(target ...any) error) error {
		var name, outcome string
		s := statement.Settlement{FeeRule: p.run.feeRule}
		if err := scan(&name, (*int64)(&s.Gross), (*int64)(&s.Fee), (*int64)(&s.Payout), &outcome); err != nil {
			return err
		}
		if outcome != "sent" {
			s.Fee, s.Payout = 0, 0
		}
		s.Carried = s.Gross - s.Fee - s.Payout
		if one := byName[name]; one != nil {
			one.settlement = &s
		}
		return nil
	}, `SELECT party, gross, fee, amount, outcome FROM clearing_lines
		WHERE run_id = ? AND kind = 'vendor' AND party >= ? AND party <= ?`, p.run.id, list[0].name, list[len(list)-1].name)
}

// header returns the first line of a party's statement.
func (p *publication) header(one party) statement.Header {
	return statement.Header{
		Kind: one.kind, Party: one.name, Run: p.run.id, PeriodEnd: p.run.periodEnd, Issuer: p.run.issuer, Currency: p.run.currency,
		Commitments: one.commitments, Paid: statement.Total(one.paid), Settlement: one.settlement,
	}
}

// digests makes the statements of parties that follow each other, and keeps
// nothing but their digests.
func (p *publication) digests(ctx context.Context, parties []party) (digests []statement.Digest, err error) {
	writers := make([]*statement.Writer, len(parties))
	index := make(map[string]*statement.Writer, len(parties))
	for k, one := range parties {
		if writers[k], err = statement.NewWriter(io.Discard, p.header(one)); err != nil {
			return nil, err
		}
		index[one.name] = writers[k]
	}
	first, last := parties[0], parties[len(parties)-1]
	err = p.entries(ctx, first.kind, first.name, last.name, func(name string, e statement.Entry) error {
		if index[name] == nil {
			return fmt.Errorf("evidence of %s, who was not there", name)
		}
		return index[name].Add(e)
	})
	for k := range writers {
		var digest statement.Digest
		if err == nil {
			digest, err = writers[k].Digest()
		}
		digests = append(digests, digest)
	}
	return digests, err
}

// entries gives the entries of the parties from one to another, in their order, to
// add. It reads a page at a time.
func (p *publication) entries(ctx context.Context, kind statement.Kind, from, to string, add func(party string, e statement.Entry) error) error {
	column := partyColumn[kind]
	afterParty, afterCommitment := from, "" // every id comes after ""
	for {
		count := 0
		err := p.db.View(ctx, func(tx *ledger.Tx) error {
			return tx.Each(ctx, func(scan func(target ...any) error) error {
				count++
				name, e, err := scanEntry(scan)
				if err != nil {
					return err
				}
				afterParty, afterCommitment = name, e.Commitment.String()
				return add(name, e)
			}, `SELECT e.`+column+`, e.commitment, e.amount, e.paid, e.tails, e.claim, e.claim_key, COALESCE(c.token, '')
				FROM clearing_evidence AS e LEFT JOIN broker_commitments AS c ON c.id = e.commitment
				WHERE e.run_id = ? AND (e.`+column+`, e.commitment) > (?, ?) AND e.`+column+` <= ?
				ORDER BY e.`+column+`, e.commitment LIMIT ?`, p.run.id, afterParty, afterCommitment, to, p.page)
		})
		if err != nil || count < p.page {
			return err
		}
	}
}

// scanEntry makes an entry of a row.
func scanEntry(scan func(target ...any) error) (name string, e statement.Entry, err error) {
	var id string
	var paid int64
	var tails, claimKey []byte
	err = scan(&name, &id, (*int64)(&e.Paid), &paid, &tails, &e.Claim, &claimKey, &e.Token)
	if err == nil {
		err = e.Commitment.UnmarshalText([]byte(id))
	}
	if err == nil && e.Token == "" {
		err = errors.New("the broker does not have it any more")
	}
	if err == nil {
		e.Tails, err = decodeTails(tails)
	}
	if err != nil {
		return "", e, fmt.Errorf("the evidence of commitment %s: %w", id, err)
	}
	e.PaidBefore = money.Amount(paid) - e.Paid
	e.ClaimKey = base64.RawURLEncoding.EncodeToString(claimKey)
	return name, e, nil
}

func decodeTails(encoded []byte) ([]statement.Tail, error) {
	count := len(encoded) / tailBytes
	if len(encoded)%tailBytes != 0 || count < 1 || count > payword.MaxChains {
		return nil, fmt.Errorf("stored tails take %d bytes", len(encoded))
	}
	tails := make([]payword.Tail, count)
	for k := range tails {
		part := encoded[k*tailBytes:]
		tails[k].Index = binary.BigEndian.Uint32(part)
		copy(tails[k].Payword[:], part[4:tailBytes])
	}
	return statement.NewTails(tails), nil
}
