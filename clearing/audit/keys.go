package audit

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"

	"github.com/paywordhq/payword"
)

// vendorKeys are the keys of a vendor: those that sign for it now, and the ids of
// those that did.
type vendorKeys struct {
	keys    []ed25519.PublicKey
	removed map[string]bool
}

// loadKeys reads whose books these are and who signs.
func (a *auditor) loadKeys(ctx context.Context) error {
	err := a.snapshot.one(ctx, `SELECT issuer, currency FROM broker_settings`, &a.issuer, &a.currency)
	if errors.Is(err, sql.ErrNoRows) {
		a.note("the database is no broker's yet: it has no issuer")
		err = nil
	}
	if err != nil {
		return err
	}
	known := a.options.Keys
	if known == nil {
		a.note("the broker's keys are those that the database names: give its published key set to check against that")
		if known, err = a.storedKeys(ctx); err != nil {
			return err
		}
	}
	a.brokers = payword.Brokers{a.issuer: known}
	frequent := make([]ed25519.PublicKey, 0, len(known))
	for _, key := range known {
		frequent = append(frequent, key)
	}
	a.verifier = payword.NewVerifier(frequent...)
	return a.loadVendorKeys(ctx)
}

func (a *auditor) storedKeys(ctx context.Context) (map[string]ed25519.PublicKey, error) {
	keys := make(map[string]ed25519.PublicKey)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var key []byte
		err := scan(&key)
		if payword.CheckPublicKey(key) == nil {
			keys[payword.Thumbprint(key)] = key
		}
		return err
	}, `SELECT key FROM broker_keys`)
	return keys, err
}

func (a *auditor) loadVendorKeys(ctx context.Context) error {
	a.vendors = make(map[string]*vendorKeys)
	of := func(vendor string) *vendorKeys {
		if a.vendors[vendor] == nil {
			a.vendors[vendor] = new(vendorKeys)
		}
		return a.vendors[vendor]
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var vendor string
		var key []byte
		err := scan(&vendor, &key)
		if payword.CheckPublicKey(key) == nil {
			of(vendor).keys = append(of(vendor).keys, key)
		}
		return err
	}, `SELECT vendor, key FROM broker_vendor_keys ORDER BY vendor, created DESC`)
	if err != nil {
		return err
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var vendor, keyID string
		err := scan(&vendor, &keyID)
		if keys := of(vendor); keys.removed == nil {
			keys.removed = map[string]bool{keyID: true}
		} else {
			keys.removed[keyID] = true
		}
		return err
	}, `SELECT SUBSTR(subject, 8), detail FROM broker_audit WHERE action = 'remove-vendor-key'`)
}
