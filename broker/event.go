package broker

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The events that a vendor can be told of.
const (
	eventRedemptionPaid       = "redemption.paid"
	eventRootReused           = "fraud.root-reused"
	eventPayoutPaid           = "payout.paid"
	eventKeyAdded             = "vendor.key-added"
	eventKeyRemoved           = "vendor.key-removed"
	eventDestinationRequested = "vendor.payout-destination-requested"
	eventDestinationWithdrawn = "vendor.payout-destination-withdrawn"
	eventDestinationChanged   = "vendor.payout-destination-changed"
	eventVendorBlocked        = "vendor.blocked"
	eventVendorUnblocked      = "vendor.unblocked"
	eventWebhookAdded         = "webhook.added"
	eventWebhookRemoved       = "webhook.removed"
	eventWebhookDisabled      = "webhook.disabled"
)

// microsPerSecond turns the times of the tables into those of the protocol.
const microsPerSecond = 1_000_000

const (
	messagePrefix      = "msg_"
	messageRandomBytes = 16

	// maxWaitingMessages is how many messages of its own choice wait for one
	// webhook, at about 400 bytes each.
	maxWaitingMessages = 10_000
)

// chosenEvents are sent to the webhooks that asked for them.
var chosenEvents = []string{eventRedemptionPaid, eventRootReused, eventPayoutPaid}

// isChosen reports whether a webhook can do without an event. The others tell
// of what a thief would do with a stolen key or site, and go to every webhook:
// a thief must not be able to unsubscribe from the news of the theft.
func isChosen(kind string) bool { return slices.Contains(chosenEvents, kind) }

// eventData is what a message tells beside its kind and time. What does not
// belong to the kind is left out.
type eventData struct {
	Vendor      string         `json:"vendor"`
	Redemptions int            `json:"redemptions,omitempty"` // paid together
	Amount      money.Amount   `json:"amount,omitempty"`      // in micros
	Currency    money.Currency `json:"currency,omitempty"`
	Commitment  string         `json:"commitment,omitempty"`
	Payout      string         `json:"payout,omitempty"`
	Key         string         `json:"key,omitempty"`         // a thumbprint
	Destination string         `json:"destination,omitempty"` // its end alone
	Effective   int64          `json:"effective,omitempty"`   // seconds since 1970
	Webhook     string         `json:"webhook,omitempty"`
	Detail      string         `json:"detail,omitempty"`
}

// message is the body of what a webhook is sent, as Standard Webhooks has it.
type message struct {
	Type      string    `json:"type"`
	Timestamp string    `json:"timestamp"`
	Data      eventData `json:"data"`
}

// emit writes an event for every webhook of the vendor that takes it, in the
// transaction of what it tells. The messages leave after the commit.
func (s *store) emit(ctx context.Context, tx *ledger.Tx, kind string, data eventData) error {
	hooks, err := webhooksOf(ctx, tx, data.Vendor)
	if err != nil {
		return err
	}
	for _, hook := range hooks {
		if hook.state != webhookEnabled || isChosen(kind) && !slices.Contains(hook.events, kind) {
			continue
		}
		if err := s.enqueue(ctx, tx, hook, kind, data); err != nil {
			return err
		}
	}
	return nil
}

// enqueue writes a message for one webhook. A vendor whose receiver is away for
// days does not fill the disk: what is past the most that may wait is left out,
// and the statement tells all the same.
func (s *store) enqueue(ctx context.Context, tx *ledger.Tx, hook webhookRecord, kind string, data eventData) error {
	if isChosen(kind) {
		var waiting int64
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM (SELECT 1 AS one FROM broker_deliveries
			WHERE vendor = ? AND state = 'waiting' AND webhook = ? LIMIT ?) AS waiting`,
			hook.vendor, hook.id, maxWaitingMessages).Scan(&waiting)
		if err != nil || waiting >= maxWaitingMessages {
			return err
		}
	}
	encoded, err := json.Marshal(message{Type: kind, Timestamp: tx.Now().Format(time.RFC3339Nano), Data: data})
	if err != nil {
		return err
	}
	now := tx.Now().UnixMicro()
	_, err = tx.ExecContext(ctx, `INSERT INTO broker_deliveries
		(id, webhook, vendor, event, body, state, attempts, due, status, error, ended, created)
		VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, 0, '', 0, ?)`,
		newMessageID(), hook.id, hook.vendor, kind, string(encoded), now, now)
	return err
}

// newMessageID returns a random id, which the receiver knows a repeated message
// by.
func newMessageID() string {
	raw := make([]byte, messageRandomBytes)
	_, _ = rand.Read(raw) // never fails
	return messagePrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// emitPayments tells a vendor what one transaction paid it, in one message: one
// for each of a thousand claims would cost more than the claims. Each root that
// was used twice has a message of its own.
func (s *store) emitPayments(ctx context.Context, tx *ledger.Tx, vendor string, payments []*payment, frauds []fraud) error {
	paid := eventData{Vendor: vendor, Currency: s.currency}
	for _, p := range payments {
		for _, r := range p.changing[:p.done] {
			if r.due > 0 {
				paid.Redemptions++
				paid.Amount += r.due
			}
		}
	}
	for _, f := range frauds {
		if err := s.emitFraud(ctx, tx, vendor, f.commitment); err != nil {
			return err
		}
	}
	if paid.Redemptions == 0 {
		return nil
	}
	return s.emit(ctx, tx, eventRedemptionPaid, paid)
}

// emitFraud tells the vendor that was paid of a root that its signer used
// twice. It is told its own commitment alone: the other one may be another
// vendor's.
func (s *store) emitFraud(ctx context.Context, tx *ledger.Tx, vendor string, commitment payword.CommitmentID) error {
	return s.emit(ctx, tx, eventRootReused, eventData{
		Vendor: vendor, Commitment: commitment.String(),
		Detail: "a chain of this commitment was used before; you are paid all the same, and its signer owes both",
	})
}
