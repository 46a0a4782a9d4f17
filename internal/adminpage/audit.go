package adminpage

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

// AuditFilter says which entries of the audit log are wanted; "" is all.
type AuditFilter struct {
	Actor, Action, Subject string
	Day                    string // UTC, such as 2026-11-25
	Before                 int64  // the seq that the page ends before; 0: the newest
}

// AuditRow is an entry of the audit log.
type AuditRow struct {
	Seq, Created                   int64 // Created: microseconds since 1970
	Actor, Action, Subject, Detail string
}

// RowsPerPage is how many rows a list shows: a screen or two.
const RowsPerPage = 50

// AuditFound is a page of the audit log.
type AuditFound struct {
	Rows    []AuditRow
	Next    int64 // what the next page ends before; 0: this is the last
	Scanned int
}

// day returns the first moment of the day and of the next, in microseconds since
// 1970, and whether the filter names one.
func (f AuditFilter) day() (from, to int64, isSet bool) {
	day, err := time.Parse(time.DateOnly, f.Day)
	if err != nil {
		return 0, 0, false
	}
	return day.UnixMicro(), day.AddDate(0, 0, 1).UnixMicro(), true
}

// IsDayWrong reports whether Day is neither a day nor empty.
func (f AuditFilter) IsDayWrong() bool {
	_, _, isDay := f.day()
	return f.Day != "" && !isDay
}

func (f AuditFilter) matches(row AuditRow) bool {
	from, to, isDay := f.day()
	return (f.Actor == "" || f.Actor == row.Actor) && (f.Action == "" || f.Action == row.Action) &&
		(f.Subject == "" || f.Subject == row.Subject) && (!isDay || row.Created >= from && row.Created < to)
}

// where returns the condition that an index serves.
func (f AuditFilter) where(before int64) (condition string, arguments []any) {
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

// AuditLog reads an audit log: a table with the columns seq, created, actor,
// action, subject and detail, and indexes on subject, action and actor with seq,
// and on created.
type AuditLog struct {
	// Table is its name, such as "broker_audit".
	Table string
	// View runs a read transaction.
	View func(ctx context.Context, look func(tx *ledger.Tx) error) error
}

// Page returns the newest entries that the filter chooses, at most limit.
func (l AuditLog) Page(ctx context.Context, f AuditFilter, limit int) (found AuditFound, err error) {
	err = l.View(ctx, func(tx *ledger.Tx) error {
		found = AuditFound{}
		before := f.Before
		if before <= 0 {
			before = 1<<63 - 1
		}
		_, to, isDay := f.day()
		if isDay {
			newer, err := l.firstAfter(ctx, tx, to+clockSkew.Microseconds())
			if err != nil {
				return err
			}
			before = min(before, newer)
		}
		return l.scan(ctx, tx, &found, f, before, limit)
	})
	return found, err
}

// firstAfter returns the seq of the first entry from a time on, in microseconds
// since 1970, or one past all.
func (l AuditLog) firstAfter(ctx context.Context, tx *ledger.Tx, at int64) (int64, error) {
	var seq int64
	err := tx.QueryRowContext(ctx, `SELECT seq FROM `+l.Table+` WHERE created >= ? ORDER BY created LIMIT 1`, at).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 1<<63 - 1, nil
	}
	return seq, err
}

// scan reads entries downwards until it has enough.
func (l AuditLog) scan(ctx context.Context, tx *ledger.Tx, a *AuditFound, f AuditFilter, before int64, limit int) error {
	condition, arguments := f.where(before)
	rows, err := tx.QueryContext(ctx, `SELECT seq, created, actor, action, subject, detail FROM `+l.Table+` `+condition, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	from, _, isDay := f.day()
	for rows.Next() {
		var row AuditRow
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

// auditList is what the page of the audit log shows.
type auditList struct {
	Filter  AuditFilter
	Found   AuditFound
	Problem string // what is wrong with the day
	Next    string // the address of the next page; "": this is the last
	IsFirst bool
}

func (v *Visit) showAudit() {
	query := v.R.URL.Query()
	word := func(name string) string { return strings.TrimSpace(query.Get(name)) }
	f := AuditFilter{Actor: word("actor"), Action: word("action"), Subject: word("subject"), Day: word("day"), Before: NumberIn(v.R, "before")}
	data := auditList{Filter: f, IsFirst: f.Before == 0}
	if f.IsDayWrong() {
		data.Problem = "Want a day such as 2026-11-25."
		v.Show(http.StatusUnprocessableEntity, "audit", View{Title: "Audit log", Section: "audit", Problem: data.Problem, Data: data})
		return
	}
	var err error
	if data.Found, err = v.site.AuditLog.Page(v.R.Context(), f, RowsPerPage); err != nil {
		v.Unavailable(err)
		return
	}
	if data.Found.Next > 0 {
		data.Next = v.site.auditPath() + f.query(data.Found.Next)
	}
	v.Show(http.StatusOK, "audit", View{Title: "Audit log", Section: "audit", Data: data})
}

// query asks for the entries of the filter before a seq.
func (f AuditFilter) query(before int64) string {
	values := url.Values{}
	for name, value := range map[string]string{"actor": f.Actor, "action": f.Action, "subject": f.Subject, "day": f.Day} {
		if value != "" {
			values.Set(name, value)
		}
	}
	return "?" + values.Encode() + "&before=" + strconv.FormatInt(before, 10)
}
