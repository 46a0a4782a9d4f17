package broker

import (
	"context"

	"github.com/paywordhq/payword/internal/ledger"
)

// ParseDestination reads a payout destination.
var ParseDestination = parseDestination

// MaskedDestination returns what messages show of a payout destination.
var MaskedDestination = maskedDestination

// Audited counts the entries of the audit log of an action on a subject.
func (b *Broker) Audited(ctx context.Context, action, subject string) (count int, err error) {
	err = b.store.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_audit WHERE action = ? AND subject = ?`, action, subject).Scan(&count)
	})
	return count, err
}

// SetStatementPage sets how many entries a page of a statement has.
func (b *Broker) SetStatementPage(count int) { b.store.statementPage = count }

// Clean is one round of what Run does for the books.
func (b *Broker) Clean(ctx context.Context) error { return b.clean(ctx) }

// CheckWebhookURL says what is wrong with the URL of a webhook.
var CheckWebhookURL = checkWebhookURL
