package broker

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

// auditScan is how many entries of the audit log one page looks at, by the one
// index that serves best. A page that has found little by then says so, and the
// next one looks further.
const auditScan = 5000

// clockSkew is how far the clocks of several brokers may differ: entries of a
// day are looked for that much around it.
const clockSkew = time.Hour

// auditFilter says which entries of the audit log are wanted; "" is all.
type auditFilter struct {
	Actor, Action, Subject string
	Day                    string // UTC, such as 2026-11-25
	Before                 int64  // the seq that the page ends before; 0: the newest
}

// auditRow is an entry of the audit log.
type auditRow struct {
	Seq, Created                   int64 // Created: microseconds since 1970
	Actor, Action, Subject, Detail string
}

// auditFound is a page of the audit log.
type auditFound struct {
	Rows    []auditRow
	Next    int64 // what the next page ends before; 0: this is the last
	Scanned int
}

// day returns the first moment of the day and of the next, in microseconds since
// 1970, and whether the filter names one.
func (f auditFilter) day() (from, to int64, isSet bool) {
	day, err := time.Parse(time.DateOnly, f.Day)
	if err != nil {
		return 0, 0, false
	}
	return day.UnixMicro(), day.AddDate(0, 0, 1).UnixMicro(), true
}

func (f auditFilter) matches(row auditRow) bool {
	from, to, isDay := f.day()
	return (f.Actor == "" || f.Actor == row.Actor) && (f.Action == "" || f.Action == row.Action) &&
		(f.Subject == "" || f.Subject == row.Subject) && (!isDay || row.Created >= from && row.Created < to)
}

// where returns the condition that an index serves.
func (f auditFilter) where(before int64) (condition string, arguments []any) {
	switch {
	case f.Subject != "":
		return `WHERE subject = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, []any{f.Subject, before, auditScan}
	case f.Action != "":
		return `WHERE action = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, []any{f.Action, before, auditScan}
	case f.Actor != "":
		return `WHERE actor = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, []any{f.Actor, before, auditScan}
	}
	return `WHERE seq < ? ORDER BY seq DESC LIMIT ?`, []any{before, auditScan}
}

// auditPage returns the newest entries that the filter chooses, at most limit.
func (s *store) auditPage(ctx context.Context, f auditFilter, limit int) (found auditFound, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = auditFound{}
		before := f.Before
		if before <= 0 {
			before = 1<<63 - 1
		}
		_, to, isDay := f.day()
		if isDay {
			newer, err := firstAuditAfter(ctx, tx, to+clockSkew.Microseconds())
			if err != nil {
				return err
			}
			before = min(before, newer)
		}
		return found.scan(ctx, tx, f, before, limit)
	})
	return found, err
}

// firstAuditAfter returns the seq of the first entry from a time on, in
// microseconds since 1970, or one past all.
func firstAuditAfter(ctx context.Context, tx *ledger.Tx, at int64) (int64, error) {
	var seq int64
	err := tx.QueryRowContext(ctx, `SELECT seq FROM broker_audit WHERE created >= ? ORDER BY created LIMIT 1`, at).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 1<<63 - 1, nil
	}
	return seq, err
}

// scan reads entries downwards until it has enough.
func (a *auditFound) scan(ctx context.Context, tx *ledger.Tx, f auditFilter, before int64, limit int) error {
	condition, arguments := f.where(before)
	rows, err := tx.QueryContext(ctx, `SELECT seq, created, actor, action, subject, detail FROM broker_audit `+condition, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	from, _, isDay := f.day()
	for rows.Next() {
		var row auditRow
		if err := rows.Scan(&row.Seq, &row.Created, &row.Actor, &row.Action, &row.Subject, &row.Detail); err != nil {
			return err
		}
		if isDay && row.Created < from-clockSkew.Microseconds() {
			return nil
		}
		a.Scanned++
		if f.matches(row) {
			if len(a.Rows) == limit {
				a.Next = a.Rows[limit-1].Seq
				return nil
			}
			a.Rows = append(a.Rows, row)
		}
		if a.Scanned == auditScan {
			a.Next = row.Seq
		}
	}
	return rows.Err()
}

type auditListView struct {
	Filter  auditFilter
	Found   auditFound
	Problem string // what is wrong with the day
	Next    string // the address of the next page; "": this is the last
	IsFirst bool
}

func (v *visit) auditList() {
	query := v.r.URL.Query()
	word := func(name string) string { return strings.TrimSpace(query.Get(name)) }
	f := auditFilter{Actor: word("actor"), Action: word("action"), Subject: word("subject"), Day: word("day"), Before: numberIn(v.r, "before")}
	data := auditListView{Filter: f, IsFirst: f.Before == 0}
	if _, _, isDay := f.day(); f.Day != "" && !isDay {
		data.Problem = "Want a day such as 2026-11-25."
		v.show(http.StatusUnprocessableEntity, "audit", view{Title: "Audit log", Section: "audit", Problem: data.Problem, Data: data})
		return
	}
	var err error
	if data.Found, err = v.pages.broker.store.auditPage(v.r.Context(), f, rowsPerPage); err != nil {
		v.unavailable(err)
		return
	}
	if data.Found.Next > 0 {
		data.Next = f.path(data.Found.Next)
	}
	v.show(http.StatusOK, "audit", view{Title: "Audit log", Section: "audit", Data: data})
}

// path returns the address of the entries of the filter before a seq.
func (f auditFilter) path(before int64) string {
	values := url.Values{}
	for name, value := range map[string]string{"actor": f.Actor, "action": f.Action, "subject": f.Subject, "day": f.Day} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return "/admin/audit?" + values.Encode() + "&before=" + strconv.FormatInt(before, 10)
}
