package clearing

import (
	"context"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
)

// maxAuditDetail bounds the detail of an entry, in bytes: a few sentences.
const maxAuditDetail = 1000

// actorCommand is whoever may open the database, and proves no more than that.
const actorCommand = "command"

// actorClearing is the program by itself.
const actorClearing = "clearing"

type actorKey struct{}

// withActor says who does what is done under the context: operator:NAME, or
// command for whoever may open the database.
func withActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// actorOf returns who acts under the context.
func actorOf(ctx context.Context) string {
	if actor, found := ctx.Value(actorKey{}).(string); found {
		return actor
	}
	return actorClearing
}

// audit writes a line of the audit log in the transaction of the change itself,
// so that there is never the one without the other. action is a word of a-z and
// "-", such as plan; subject is what it was done to, such as run:ID; detail is
// for people and holds no secret.
func audit(ctx context.Context, tx *ledger.Tx, action, subject, detail string) error {
	// A letter that is cut in two is no text, which PostgreSQL does not take.
	detail = strings.ToValidUTF8(detail[:min(len(detail), maxAuditDetail)], "")
	_, err := tx.ExecContext(ctx, `INSERT INTO clearing_audit (created, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)`,
		tx.Now().UnixMicro(), actorOf(ctx), action, subject, detail)
	return err
}
