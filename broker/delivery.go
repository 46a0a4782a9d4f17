package broker

import (
	"context"
	"crypto"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// deliveryTimeout bounds one attempt.
	deliveryTimeout = 10 * time.Second

	// deliveryLease is how long an attempt keeps others from sending the same
	// message: longer than it can take.
	deliveryLease = time.Minute

	// maxDeliverers is how many vendors are sent to at once, each one message at
	// a time, so that a slow receiver delays others little.
	maxDeliverers = 32

	// turnMessages is how many messages a vendor is sent before it is another
	// one's turn.
	turnMessages = 20

	// maxAttempts and the two times make a message be tried for three days: a
	// receiver may break on a Friday evening.
	maxAttempts  = 14
	firstRetry   = 10 * time.Second
	maxRetry     = 8 * time.Hour
	quickRetries = 6 // that take less than maxRetry

	// maxReceiverAnswer is how much of an answer is read, in bytes, so that the
	// receiver sees its answer taken; nothing in it counts.
	maxReceiverAnswer = 4 << 10

	// messageVerifiedSeconds is how long the key that signed a message is
	// published at least: a receiver may put messages in a queue of its own.
	messageVerifiedSeconds = 7 * 24 * 60 * 60

	// deliveryKept is how long a message is kept after its end.
	deliveryKept = 30 * 24 * time.Hour
)

// The header fields of a message, as Standard Webhooks names them.
const (
	headerWebhookID        = "Webhook-Id"
	headerWebhookTimestamp = "Webhook-Timestamp"
	headerWebhookSignature = "Webhook-Signature"
)

var (
	errNoWebhook  = newProblem(http.StatusNotFound, "There is no such webhook.")
	errNoDelivery = newProblem(http.StatusNotFound, "There is no such message, or it still waits to be sent.")
)

// outgoing is a message whose turn it is.
type outgoing struct {
	seq          int64
	id, url      string
	webhook      string
	vendor       string
	body         string
	attempts     int   // with this one
	created, due int64 // microseconds since 1970
}

// Deliver sends the webhook messages that are due, once each, and returns how
// many were accepted. Run calls it again and again; several brokers on one
// database share the work.
func (b *Broker) Deliver(ctx context.Context) (delivered int, err error) {
	vendors, err := b.store.vendorsToTell(ctx)
	if err != nil {
		return 0, err
	}
	counts := make([]int, len(vendors))
	var group errgroup.Group
	group.SetLimit(maxDeliverers)
	for k, vendor := range vendors {
		group.Go(func() error {
			var err error
			counts[k], err = b.deliverTo(ctx, vendor)
			return err
		})
	}
	err = group.Wait()
	for _, count := range counts {
		delivered += count
	}
	return delivered, err
}

// deliverTo sends a vendor's messages until none is due, its turn is over, or
// one failed: a receiver that is away is not waited for twenty times.
func (b *Broker) deliverTo(ctx context.Context, vendor string) (delivered int, err error) {
	began := time.Now()
	for range turnMessages {
		next, found, err := b.store.takeDelivery(ctx, vendor)
		if err != nil || !found {
			return delivered, err
		}
		status, failure := b.sendMessage(ctx, next)
		if ctx.Err() != nil {
			return delivered, nil // cut off, not refused: the lease runs out and it is sent again
		}
		isDelivered := failure == nil && status/100 == 2
		if err := b.store.endAttempt(ctx, next, status, failure); err != nil {
			return delivered, err
		}
		if !isDelivered || time.Since(began) > deliveryTimeout {
			return delivered, nil
		}
		delivered++
	}
	return delivered, nil
}

// vendorsToTell returns the vendors with a message that is due, those that
// waited longest first.
func (s *store) vendorsToTell(ctx context.Context) (vendors []string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		vendors, err = tx.Texts(ctx, `SELECT vendor FROM broker_deliveries WHERE state = 'waiting' AND due <= ?
			GROUP BY vendor ORDER BY MIN(due) LIMIT ?`, tx.Now().UnixMicro(), perRound)
		return err
	})
	return vendors, err
}

// takeDelivery takes the vendor's next message that is due: one compare-and-swap
// of its due time and its count of attempts, so that of several brokers one
// sends it. If that one dies, the message is due again when the lease is over.
func (s *store) takeDelivery(ctx context.Context, vendor string) (next outgoing, found bool, err error) {
	_, err = s.update(ctx, "take delivery", func(tx *ledger.Tx) error {
		next, found = outgoing{}, false
		now := tx.Now()
		err := tx.QueryRowContext(ctx, `SELECT d.seq, d.id, d.webhook, d.vendor, w.url, d.body, d.attempts, d.created, d.due
			FROM broker_deliveries d JOIN broker_webhooks w ON w.id = d.webhook
			WHERE d.vendor = ? AND d.state = 'waiting' AND d.due <= ? ORDER BY d.due, d.seq LIMIT 1`, vendor, now.UnixMicro()).
			Scan(&next.seq, &next.id, &next.webhook, &next.vendor, &next.url, &next.body, &next.attempts, &next.created, &next.due)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		found, err = tx.ExecOne(ctx, `UPDATE broker_deliveries SET due = ?, attempts = attempts + 1
			WHERE seq = ? AND state = 'waiting' AND due = ? AND attempts = ?`,
			now.Add(deliveryLease).UnixMicro(), next.seq, next.due, next.attempts)
		next.attempts++
		return err
	})
	return next, found && err == nil, err
}

// sendMessage makes one attempt and returns the status of the answer. The
// client looks at the address when it connects and follows no redirects.
func (b *Broker) sendMessage(ctx context.Context, m outgoing) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, strings.NewReader(m.body))
	if err != nil {
		return 0, err
	}
	timestamp := strconv.FormatInt(b.now(), 10)
	signer, err := b.signer(ctx, b.now()+messageVerifiedSeconds)
	if err != nil {
		return 0, err
	}
	signature, err := signer.Sign(nil, []byte(m.id+"."+timestamp+"."+m.body), crypto.Hash(0))
	if err != nil {
		return 0, fmt.Errorf("signing: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "payword-broker")
	request.Header.Set(headerWebhookID, m.id)
	request.Header.Set(headerWebhookTimestamp, timestamp)
	request.Header.Set(headerWebhookSignature, "v1a,"+base64.StdEncoding.EncodeToString(signature))
	response, err := b.discovery.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxReceiverAnswer)
	return response.StatusCode, nil
}

// endAttempt notes what came of an attempt. A failed one is followed by another
// later, or, after the last, by the end of the message.
func (s *store) endAttempt(ctx context.Context, m outgoing, status int, failure error) error {
	_, err := s.update(ctx, "end delivery", func(tx *ledger.Tx) error {
		now := tx.Now()
		if failure == nil && status/100 == 2 {
			_, err := tx.ExecContext(ctx, `UPDATE broker_deliveries SET state = 'delivered', status = ?, error = '', ended = ?
				WHERE seq = ? AND state = 'waiting'`, status, now.UnixMicro(), m.seq)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `UPDATE broker_webhooks SET succeeded = ? WHERE id = ? AND succeeded < ?`,
				now.UnixMicro(), m.webhook, now.UnixMicro())
			return err
		}
		state, ended, due := "waiting", int64(0), now.Add(retryAfter(m.attempts)).UnixMicro()
		if m.attempts >= maxAttempts {
			state, ended = "failed", now.UnixMicro()
		}
		// Another attempt may have begun when this one's lease was over: then
		// that one's word counts.
		isOurs, err := tx.ExecOne(ctx, `UPDATE broker_deliveries SET state = ?, status = ?, error = ?, ended = ?, due = ?
			WHERE seq = ? AND state = 'waiting' AND attempts = ?`, state, status, describeFailure(failure), ended, due, m.seq, m.attempts)
		if err != nil || !isOurs || state == "waiting" {
			return err
		}
		return s.disableFailing(ctx, tx, m)
	})
	return err
}

// retryAfter is the time to the next attempt: it grows fourfold with each, and up
// to a quarter is added at random, so that not all come back at once.
func retryAfter(attempts int) time.Duration {
	wait := maxRetry
	if attempts <= quickRetries {
		wait = firstRetry << (2 * (attempts - 1))
	}
	return wait + rand.N(wait/4)
}

// describeFailure says why there was no answer, in words that tell nothing of
// the broker's network.
func describeFailure(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errAddress):
		return "the name leads to an address that is not public"
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer within %d seconds", deliveryTimeout/time.Second)
	}
	return "no connection"
}

// disableFailing disables the webhook of a message that failed for good, unless
// anything reached it since that message was made, and tells the vendor's other
// webhooks.
func (s *store) disableFailing(ctx context.Context, tx *ledger.Tx, m outgoing) error {
	isDisabled, err := tx.ExecOne(ctx, `UPDATE broker_webhooks SET state = 'disabled'
		WHERE id = ? AND state = 'enabled' AND succeeded <= ?`, m.webhook, m.created)
	if err != nil || !isDisabled {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE broker_deliveries SET state = 'failed', error = 'the webhook was disabled', ended = ?
		WHERE vendor = ? AND webhook = ? AND state = 'waiting'`, tx.Now().UnixMicro(), m.vendor, m.webhook)
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("%s failed %d times, and nothing reached it since", m.url, m.attempts)
	err = audit(ctx, tx, auditEntry{action: "disable-webhook", subject: "vendor:" + m.vendor, detail: m.webhook + " " + detail})
	if err != nil {
		return err
	}
	return s.emit(ctx, tx, eventWebhookDisabled, eventData{Vendor: m.vendor, Webhook: m.webhook, Detail: detail})
}

// delivery is what a vendor is told of a message.
type delivery struct {
	ID       string `json:"id" doc:"the Webhook-Id"`
	Webhook  string `json:"webhook"`
	Event    string `json:"event"`
	State    string `json:"state" enum:"waiting,delivered,failed"`
	Attempts int    `json:"attempts"`
	Status   int    `json:"status,omitempty" doc:"of the last answer"`
	Error    string `json:"error,omitempty" doc:"why there was no answer"`
	Next     int64  `json:"next,omitempty" doc:"of the next attempt, seconds since 1970"`
	Created  int64  `json:"created" doc:"seconds since 1970"`
	Body     string `json:"body" doc:"what is sent"`
}

// deliveryList is a page of messages, the newest first.
type deliveryList struct {
	Deliveries []delivery `json:"deliveries"`
	Next       string     `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// deliveries lists a vendor's messages, the newest first. It refuses with
// UnknownVendor.
func (b *Broker) deliveries(ctx context.Context, by caller, vendor string, l Listing) (list deliveryList, refusal payword.Refusal, err error) {
	refusal, err = b.viewVendor(ctx, by, vendor, func(tx *ledger.Tx) error {
		list = deliveryList{Deliveries: []delivery{}}
		rows, err := tx.QueryContext(ctx, `SELECT id, webhook, event, state, attempts, status, error, due, created, body
			FROM broker_deliveries WHERE vendor = ? AND (? = '' OR seq < (SELECT seq FROM broker_deliveries WHERE id = ? AND vendor = ?))
			ORDER BY seq DESC LIMIT ?`, vendor, l.After, l.After, vendor, l.Limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d delivery
			err := rows.Scan(&d.ID, &d.Webhook, &d.Event, &d.State, &d.Attempts, &d.Status, &d.Error, &d.Next, &d.Created, &d.Body)
			if err != nil {
				return err
			}
			d.Next, d.Created = d.Next/microsPerSecond, d.Created/microsPerSecond
			if d.State != "waiting" {
				d.Next = 0
			}
			list.Deliveries = append(list.Deliveries, d)
		}
		list.Deliveries, list.Next = cut(list.Deliveries, l, func(d delivery) string { return d.ID })
		return rows.Err()
	})
	return list, refusal, err
}

// retryDelivery makes a message that ended wait to be sent once more, with
// all its attempts. It refuses with UnknownVendor; errNoDelivery is the error if
// the vendor has no such message or it waits anyway.
func (b *Broker) retryDelivery(ctx context.Context, by caller, vendor, id string) (refusal payword.Refusal, err error) {
	err = b.changeVendor(ctx, by, vendor, "retry delivery", &refusal, func(ctx context.Context, tx *ledger.Tx) error {
		isRetried, err := tx.ExecOne(ctx, `UPDATE broker_deliveries SET state = 'waiting', attempts = 0, due = ?, ended = 0
			WHERE id = ? AND vendor = ? AND state <> 'waiting'
			AND EXISTS (SELECT 1 FROM broker_webhooks w WHERE w.id = broker_deliveries.webhook AND w.state = 'enabled')`,
			tx.Now().UnixMicro(), id, vendor)
		if err == nil && !isRetried {
			return errNoDelivery
		}
		return err
	})
	return refusal, err
}

// forgetDeliveries deletes messages that ended long ago.
func forgetDeliveries(ctx context.Context, tx *ledger.Tx, now int64) error {
	before := time.Unix(now, 0).Add(-deliveryKept).UnixMicro()
	_, err := tx.ExecContext(ctx, `DELETE FROM broker_deliveries WHERE seq IN (SELECT seq FROM broker_deliveries
		WHERE ended > 0 AND ended < ? ORDER BY ended LIMIT ?)`, before, perRound)
	return err
}
