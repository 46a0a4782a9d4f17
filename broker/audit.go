package broker

import (
	"context"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
)

// auditEntry is one line of the audit log: what was done to what. Who did it
// comes from the context.
type auditEntry struct {
	action  string // such as fund or set-credit: a-z and "-"
	subject string // such as account:ID or vendor:ORIGIN
	detail  string // figures and reasons, for people; no secret
}

// maxAuditDetail bounds the detail of an entry, in bytes: a few sentences.
const maxAuditDetail = 1000

const (
	actorBroker = "broker" // the program by itself
	// actorAnybody is whoever sent a request, until it is known who did.
	actorAnybody = "anybody"
)

type actorKey struct{}

// withActor says who does what is done under the context: admin,
// account:ID, vendor:ORIGIN, or command for whoever may open the database.
func withActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// actorOf returns who acts under the context.
func actorOf(ctx context.Context) string {
	if actor, found := ctx.Value(actorKey{}).(string); found {
		return actor
	}
	return actorBroker
}

// audit writes an entry in the transaction of the change itself, so that there
// is never the one without the other.
func audit(ctx context.Context, tx *ledger.Tx, entry auditEntry) error {
	// A letter that is cut in two is no text, which PostgreSQL does not take.
	detail := strings.ToValidUTF8(entry.detail[:min(len(entry.detail), maxAuditDetail)], "")
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_audit (created, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)`,
		tx.Now().UnixMicro(), actorOf(ctx), entry.action, entry.subject, detail)
	return err
}
