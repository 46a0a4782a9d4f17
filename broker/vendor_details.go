package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	vendorOpen    = "open"
	vendorBlocked = "blocked"
)

// vendorDetails is everything that a vendor is told of itself.
type vendorDetails struct {
	payword.Vendor
	State           string      `json:"state" enum:"open,blocked" doc:"blocked: nothing new is reserved and nothing is paid out"`
	Contact         string      `json:"contact,omitempty" doc:"for people who want to reach the vendor"`
	Destination     string      `json:"destination,omitempty" doc:"where payouts go"`
	NextDestination string      `json:"nextDestination,omitempty" doc:"the one that was asked for and waits"`
	NextFrom        int64       `json:"nextFrom,omitempty" doc:"when the one that waits counts, seconds since 1970"`
	Pull            bool        `json:"pull" doc:"the broker fetches claims from the vendor's gate"`
	Keys            []vendorKey `json:"keys" doc:"that sign for the vendor"`
}

// vendorKey is a key of a vendor.
type vendorKey struct {
	Key     string `json:"key" doc:"RFC 7638 thumbprint"`
	Created int64  `json:"created" doc:"when it was registered, seconds since 1970"`
}

// vendorRecord is what the broker's tables hold of a vendor.
type vendorRecord struct {
	state, contact, destination, nextDestination, nextKey string
	nextFrom                                              int64 // seconds since 1970; 0: none waits
	pull                                                  bool
}

// loadVendor returns the record of a vendor. It refuses with UnknownVendor.
func loadVendor(ctx context.Context, tx *ledger.Tx, vendor string) (vendorRecord, error) {
	var v vendorRecord
	err := tx.QueryRowContext(ctx, `SELECT state, contact, destination, next_destination, next_key, next_from, pull
		FROM broker_vendors WHERE vendor = ?`, vendor).
		Scan(&v.state, &v.contact, &v.destination, &v.nextDestination, &v.nextKey, &v.nextFrom, &v.pull)
	if errors.Is(err, sql.ErrNoRows) {
		return v, refused(refuse(payword.UnknownVendor, "%.270q is not registered", vendor))
	}
	return v, err
}

// vendorDetailsIn returns what a registered vendor is told of itself.
func (s *store) vendorDetailsIn(ctx context.Context, tx *ledger.Tx, vendor string) (details vendorDetails, err error) {
	v, err := loadVendor(ctx, tx, vendor)
	if err != nil {
		return details, err
	}
	if details.Vendor, err = s.vendorIn(ctx, tx, vendor); err != nil {
		return details, err
	}
	details.State, details.Contact, details.Destination, details.Pull = v.state, v.contact, v.destination, v.pull
	details.NextDestination, details.NextFrom = v.nextDestination, v.nextFrom
	rows, err := tx.QueryContext(ctx, `SELECT key_id, created FROM broker_vendor_keys WHERE vendor = ? ORDER BY created, key_id`, vendor)
	if err != nil {
		return details, err
	}
	defer rows.Close()
	details.Keys = []vendorKey{}
	for rows.Next() {
		var key vendorKey
		if err := rows.Scan(&key.Key, &key.Created); err != nil {
			return details, err
		}
		key.Created /= microsPerSecond
		details.Keys = append(details.Keys, key)
	}
	return details, rows.Err()
}

// vendor tells a vendor what the broker knows of it and owes it. It refuses
// with UnknownVendor.
func (b *Broker) vendor(ctx context.Context, by caller, origin string) (details vendorDetails, refusal payword.Refusal, err error) {
	refusal, err = b.viewVendor(ctx, by, origin, func(tx *ledger.Tx) error {
		var err error
		details, err = b.store.vendorDetailsIn(ctx, tx, origin)
		return err
	})
	return details, refusal, err
}

// setContact records how people reach the vendor. It refuses with
// UnknownVendor.
func (b *Broker) setContact(ctx context.Context, by caller, vendor, contact string) (details vendorDetails, refusal payword.Refusal, err error) {
	err = b.changeVendor(ctx, by, vendor, "set contact", &refusal, func(ctx context.Context, tx *ledger.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET contact = ? WHERE vendor = ?`, contact, vendor); err != nil {
			return err
		}
		err := audit(ctx, tx, auditEntry{action: "set-contact", subject: "vendor:" + vendor, detail: contact})
		if err != nil {
			return err
		}
		details, err = b.store.vendorDetailsIn(ctx, tx, vendor)
		return err
	})
	return details, refusal, err
}

// SetVendorState blocks a vendor ("blocked") or opens it again ("open"). While
// it is blocked nothing is reserved for it, commitments without a reservation
// that are not known yet are not paid, and nothing is paid out to it. What was
// reserved before is paid into its balance as always: its users promised it,
// and the time to claim it goes on. It refuses with UnknownVendor.
func (b *Broker) SetVendorState(ctx context.Context, vendor, state, reason string) (payword.Refusal, error) {
	return b.store.setVendorState(ctx, vendor, state, reason)
}

func (s *store) setVendorState(ctx context.Context, vendor, state, reason string) (payword.Refusal, error) {
	action, kind := "block-vendor", eventVendorBlocked
	switch state {
	case vendorBlocked:
	case vendorOpen:
		action, kind = "unblock-vendor", eventVendorUnblocked
	default:
		return payword.Refusal{}, fmt.Errorf("vendor state %.20q: want open or blocked", state)
	}
	return s.update(ctx, action, func(tx *ledger.Tx) error {
		before, err := loadVendor(ctx, tx, vendor)
		if err != nil || before.state == state {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET state = ? WHERE vendor = ?`, state, vendor); err != nil {
			return err
		}
		if err := audit(ctx, tx, auditEntry{action: action, subject: "vendor:" + vendor, detail: reason}); err != nil {
			return err
		}
		// The reason is for the audit log: it may speak of others.
		return s.emit(ctx, tx, kind, eventData{Vendor: vendor})
	})
}

// requireUnblocked refuses with VendorBlocked, or not at all if the vendor has
// not registered: then it cannot claim yet, and may be blocked when it does.
func requireUnblocked(ctx context.Context, tx *ledger.Tx, vendor string) error {
	var state string
	err := tx.QueryRowContext(ctx, `SELECT state FROM broker_vendors WHERE vendor = ?`, vendor).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil && state == vendorBlocked {
		return refused(refuse(payword.VendorBlocked, "this broker has blocked %s", vendor))
	}
	return err
}

// vendorState returns the state of a vendor, "" if it is not registered.
func (s *store) vendorState(ctx context.Context, vendor string) (state string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT state FROM broker_vendors WHERE vendor = ?`, vendor).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return state, err
}
