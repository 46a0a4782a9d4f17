package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// maxWebhooks is how many a vendor has: one for each system that wants to
	// know, and every event costs a message for each.
	maxWebhooks = 8

	// maxWebhookURL bounds a URL, in bytes.
	maxWebhookURL = 512

	webhookEnabled  = "enabled"
	webhookDisabled = "disabled" // it failed for too long
	webhookRemoved  = "removed"  // by the vendor; kept for what was sent to it
)

// webhookRecord is a stored webhook.
type webhookRecord struct {
	id, vendor, url string
	events          []string
	state           string
	succeeded       int64 // microseconds since 1970
}

// webhook is what a vendor is told of one of its webhooks.
type webhook struct {
	ID     string   `json:"id"`
	URL    string   `json:"url"`
	Events []string `json:"events"`
	State  string   `json:"state" enum:"enabled,disabled" doc:"disabled: it failed for too long, and gets nothing until it is enabled"`
}

func (r webhookRecord) webhook() webhook {
	return webhook{ID: r.id, URL: r.url, Events: r.events, State: r.state}
}

// webhookList is a page of a vendor's webhooks, the earliest first.
type webhookList struct {
	Webhooks []webhook `json:"webhooks"`
	Next     string    `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// webhooksOf returns the webhooks of a vendor that it has not removed.
func webhooksOf(ctx context.Context, tx *ledger.Tx, vendor string) (hooks []webhookRecord, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, vendor, url, events, state, succeeded FROM broker_webhooks
		WHERE vendor = ? AND state <> 'removed' ORDER BY seq LIMIT ?`, vendor, maxWebhooks)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var hook webhookRecord
		var events string
		if err := rows.Scan(&hook.id, &hook.vendor, &hook.url, &events, &hook.state, &hook.succeeded); err != nil {
			return nil, err
		}
		hook.events = strings.Fields(events)
		hooks = append(hooks, hook)
	}
	return hooks, rows.Err()
}

// addWebhook registers a URL, or changes the events of one that is registered
// and enables it. It refuses with UnknownVendor, or RateLimited if there are
// too many.
func (b *Broker) addWebhook(ctx context.Context, by caller, vendor, address string, events []string) (added webhook, refusal payword.Refusal, err error) {
	slices.Sort(events)
	events = slices.Compact(events)
	err = b.changeVendor(ctx, by, vendor, "add webhook", &refusal, func(ctx context.Context, tx *ledger.Tx) error {
		hooks, err := webhooksOf(ctx, tx, vendor)
		if err != nil {
			return err
		}
		hook := webhookRecord{id: randomID(), vendor: vendor, url: address, events: events, state: webhookEnabled}
		known := slices.IndexFunc(hooks, func(other webhookRecord) bool { return other.url == address })
		switch {
		case known >= 0:
			hook.id = hooks[known].id
			_, err = tx.ExecContext(ctx, `UPDATE broker_webhooks SET events = ?, state = 'enabled' WHERE id = ?`,
				strings.Join(events, " "), hook.id)
		case len(hooks) >= maxWebhooks:
			return refused(refuse(payword.RateLimited, "a vendor has at most %d webhooks: remove one", maxWebhooks))
		default:
			_, err = tx.ExecContext(ctx, `INSERT INTO broker_webhooks (id, vendor, url, events, state, succeeded, created)
				VALUES (?, ?, ?, ?, 'enabled', 0, ?)`, hook.id, vendor, address, strings.Join(events, " "), tx.Now().UnixMicro())
		}
		if err != nil {
			return err
		}
		added = hook.webhook()
		err = audit(ctx, tx, auditEntry{action: "add-webhook", subject: "vendor:" + vendor,
			detail: fmt.Sprintf("%s %s for %s", hook.id, address, strings.Join(events, " "))})
		if err != nil {
			return err
		}
		return b.store.emit(ctx, tx, eventWebhookAdded, eventData{Vendor: vendor, Webhook: hook.id, Detail: address})
	})
	return added, refusal, err
}

// removeWebhook forgets a URL after a last message to it. It refuses with
// UnknownVendor; errNoWebhook is the error if the vendor has no such webhook.
func (b *Broker) removeWebhook(ctx context.Context, by caller, vendor, id string) (refusal payword.Refusal, err error) {
	err = b.changeVendor(ctx, by, vendor, "remove webhook", &refusal, func(ctx context.Context, tx *ledger.Tx) error {
		hook, err := webhookIn(ctx, tx, vendor, id)
		if err != nil {
			return err
		}
		// The last message goes to the removed one, too: if a thief removed it,
		// its owner hears of it.
		if err := b.store.emit(ctx, tx, eventWebhookRemoved, eventData{Vendor: vendor, Webhook: id, Detail: hook.url}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE broker_webhooks SET state = 'removed' WHERE id = ?`, id); err != nil {
			return err
		}
		return audit(ctx, tx, auditEntry{action: "remove-webhook", subject: "vendor:" + vendor, detail: id + " " + hook.url})
	})
	return refusal, err
}

// webhookIn returns a webhook of a vendor, or errNoWebhook.
func webhookIn(ctx context.Context, tx *ledger.Tx, vendor, id string) (webhookRecord, error) {
	hooks, err := webhooksOf(ctx, tx, vendor)
	if err != nil {
		return webhookRecord{}, err
	}
	for _, hook := range hooks {
		if hook.id == id {
			return hook, nil
		}
	}
	return webhookRecord{}, errNoWebhook
}

// webhooks lists the webhooks of a vendor. It refuses with UnknownVendor.
func (b *Broker) webhooks(ctx context.Context, by caller, vendor string, l Listing) (list webhookList, refusal payword.Refusal, err error) {
	refusal, err = b.viewVendor(ctx, by, vendor, func(tx *ledger.Tx) error {
		hooks, err := webhooksOf(ctx, tx, vendor)
		hooks, list.Next = pageOf(hooks, l, func(r webhookRecord) string { return r.id })
		list.Webhooks = []webhook{}
		for _, hook := range hooks {
			list.Webhooks = append(list.Webhooks, hook.webhook())
		}
		return err
	})
	return list, refusal, err
}

// checkWebhookURL says what is wrong with the URL of a webhook. Where it leads
// is looked at when a message is sent: a name can change its address.
func checkWebhookURL(address string) error {
	const form = "want an https URL of at most %d bytes, without user and fragment"
	parsed, err := url.Parse(address)
	if err != nil || len(address) > maxWebhookURL || parsed.User != nil || parsed.Fragment != "" || parsed.Host == "" {
		return fmt.Errorf(form, maxWebhookURL)
	}
	if err := payword.CheckOrigin(parsed.Scheme + "://" + parsed.Host); err != nil {
		return fmt.Errorf("the URL's origin: %w", err)
	}
	if parsed.String() != address || strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return errors.New("write the URL as a browser sends it, in ASCII")
	}
	return nil
}

// viewVendor reads for a vendor whose key signed the request. It refuses with
// UnknownVendor.
func (b *Broker) viewVendor(ctx context.Context, by caller, vendor string, read func(tx *ledger.Tx) error) (payword.Refusal, error) {
	err := b.store.db.View(ctx, func(tx *ledger.Tx) error {
		if err := requireVendor(ctx, tx, by, vendor); err != nil {
			return err
		}
		return read(tx)
	})
	if refusal := (refused{}); errors.As(err, &refusal) {
		return payword.Refusal(refusal), nil
	}
	return payword.Refusal{}, err
}

// changeVendor changes something of a vendor whose key signed the request, in
// one transaction, and sets refusal to why not: UnknownVendor, or what change
// refuses with.
func (b *Broker) changeVendor(ctx context.Context, by caller, vendor, name string, refusal *payword.Refusal, change func(ctx context.Context, tx *ledger.Tx) error) error {
	ctx = withActor(ctx, "vendor:"+vendor)
	var err error
	*refusal, err = b.store.update(ctx, name, func(tx *ledger.Tx) error {
		if err := requireVendor(ctx, tx, by, vendor); err != nil {
			return err
		}
		return change(ctx, tx)
	})
	return err
}

// requireVendor refuses with UnknownVendor unless the caller's key is one of
// the vendor's at this moment.
func requireVendor(ctx context.Context, tx *ledger.Tx, by caller, vendor string) error {
	var one int64
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM broker_vendor_keys WHERE vendor = ? AND key_id = ?`, vendor, by.keyID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return refused(refuse(payword.UnknownVendor, "the key that signed the request is not registered for %.270q", vendor))
	}
	return err
}
