package broker

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// maxVendorKeys is how many keys of one vendor are known at a time: the current
// one, the next, and those of a few nodes.
const maxVendorKeys = 8

// registerVendor registers the key that signed the request for a vendor whose
// discovery document lists it. It refuses with VendorNotProved or RateLimited.
func (b *Broker) registerVendor(ctx context.Context, by caller, request payword.VendorRequest) (vendorDetails, payword.Refusal, error) {
	if err := payword.CheckOrigin(request.Vendor); err != nil {
		return vendorDetails{}, refuse(payword.VendorNotProved, "vendor: %v", err), nil
	}
	_, unknown, err := b.store.keysOf(ctx, by, request.Vendor)
	if err != nil {
		return vendorDetails{}, payword.Refusal{}, err
	}
	fetches := b.renewals
	if unknown.Refused() {
		fetches = b.fetches
	}
	if !fetches.take() {
		return vendorDetails{}, refuse(payword.RateLimited, "too many vendors register at once; wait a minute"), nil
	}
	discovery, listed, refusal := b.discoverKeys(ctx, request.Vendor)
	if refusal.Refused() {
		return vendorDetails{}, refusal, nil
	}
	if !containsKey(listed, by.key) {
		return vendorDetails{}, refuse(payword.VendorNotProved, "%s%s does not list the key that signed the request",
			request.Vendor, payword.PathDiscovery), nil
	}
	return b.storeVendor(withActor(ctx, "vendor:"+request.Vendor), []ed25519.PublicKey{by.key}, listed, discovery)
}

// AddVendor registers a vendor for whoever runs the broker, with all keys that
// its discovery document lists: for a gate that cannot reach the broker. It
// refuses with VendorNotProved.
func (b *Broker) AddVendor(ctx context.Context, vendor string) (payword.Refusal, error) {
	_, refusal, err := b.addVendor(ctx, vendor)
	return refusal, err
}

func (b *Broker) addVendor(ctx context.Context, vendor string) (vendorDetails, payword.Refusal, error) {
	if err := payword.CheckOrigin(vendor); err != nil {
		return vendorDetails{}, refuse(payword.VendorNotProved, "vendor: %v", err), nil
	}
	discovery, listed, refusal := b.discoverKeys(ctx, vendor)
	if refusal.Refused() {
		return vendorDetails{}, refusal, nil
	}
	return b.storeVendor(ctx, listed, listed, discovery)
}

// discoverKeys returns a vendor's discovery document with its keys. It refuses
// with VendorNotProved.
func (b *Broker) discoverKeys(ctx context.Context, vendor string) (payword.Discovery, []ed25519.PublicKey, payword.Refusal) {
	discovery, refusal := b.discover(ctx, vendor)
	if refusal.Refused() {
		return discovery, nil, refusal
	}
	listed, refusal := listedKeys(discovery, vendor)
	return discovery, listed, refusal
}

func (b *Broker) storeVendor(ctx context.Context, added, listed []ed25519.PublicKey, discovery payword.Discovery) (details vendorDetails, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "register vendor", func(tx *ledger.Tx) error {
		err := b.store.storeVendor(ctx, tx, discovery.Vendor, added, listed, discovery.Claims)
		if err == nil {
			details, err = b.store.vendorDetailsIn(ctx, tx, discovery.Vendor)
		}
		return err
	})
	return details, refusal, err
}

// listedKeys returns the keys of a discovery document that names the vendor. It
// refuses with VendorNotProved.
func listedKeys(discovery payword.Discovery, vendor string) ([]ed25519.PublicKey, payword.Refusal) {
	if discovery.Vendor != vendor {
		return nil, refuse(payword.VendorNotProved, "the discovery document at %s is of the vendor %s", vendor, discovery.Vendor)
	}
	if len(discovery.Keys) > maxVendorKeys {
		return nil, refuse(payword.VendorNotProved, "the discovery document lists %d keys: at most %d", len(discovery.Keys), maxVendorKeys)
	}
	var keys []ed25519.PublicKey
	for k, member := range discovery.Keys {
		key, err := member.Key()
		if err != nil {
			return nil, refuse(payword.VendorNotProved, "the discovery document's key %d: %v", k, err)
		}
		keys = append(keys, key)
	}
	return keys, payword.Refusal{}
}

// storeVendor makes what is missing of a vendor, adds the keys that are added,
// and forgets those that are not listed any more, and with a key the payout
// destination that it asked for: whoever took over the site for an hour loses
// both once its owner lists their own keys again.
func (s *store) storeVendor(ctx context.Context, tx *ledger.Tx, vendor string, added, listed []ed25519.PublicKey, pull bool) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		vendor, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	if err := tx.CreateAccount(ctx, ledger.Account{ID: payableAccount(vendor), Currency: s.currency}); err != nil {
		return err
	}
	if err := s.setPull(ctx, tx, vendor, pull); err != nil {
		return err
	}
	for _, key := range added {
		if err := s.addVendorKey(ctx, tx, vendor, key); err != nil {
			return err
		}
	}
	known, err := vendorKeys(ctx, tx, vendor)
	if err != nil {
		return err
	}
	for _, key := range known {
		if containsKey(listed, key) {
			continue
		}
		if err := s.removeVendorKey(ctx, tx, vendor, payword.Thumbprint(key)); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) addVendorKey(ctx context.Context, tx *ledger.Tx, vendor string, key ed25519.PublicKey) error {
	keyID := payword.Thumbprint(key)
	isNew, err := tx.ExecOne(ctx,
		`INSERT INTO broker_vendor_keys (vendor, key_id, key, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		vendor, keyID, []byte(key), tx.Now().UnixMicro())
	if err != nil || !isNew {
		return err
	}
	if err := audit(ctx, tx, auditEntry{action: "add-vendor-key", subject: "vendor:" + vendor, detail: keyID}); err != nil {
		return err
	}
	return s.emit(ctx, tx, eventKeyAdded, eventData{Vendor: vendor, Key: keyID})
}

func (s *store) removeVendorKey(ctx context.Context, tx *ledger.Tx, vendor, keyID string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM broker_vendor_keys WHERE vendor = ? AND key_id = ?`, vendor, keyID)
	if err != nil {
		return err
	}
	before, err := loadVendor(ctx, tx, vendor)
	if err != nil {
		return err
	}
	if before.nextKey == keyID {
		if err := s.withdrawDestination(ctx, tx, vendor, before, "its key is not listed any more"); err != nil {
			return err
		}
	}
	if err := audit(ctx, tx, auditEntry{action: "remove-vendor-key", subject: "vendor:" + vendor, detail: keyID}); err != nil {
		return err
	}
	return s.emit(ctx, tx, eventKeyRemoved, eventData{Vendor: vendor, Key: keyID})
}

// vendorKeys returns the keys of a vendor, none if it is not registered.
func vendorKeys(ctx context.Context, tx *ledger.Tx, vendor string) (keys []ed25519.PublicKey, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT key FROM broker_vendor_keys WHERE vendor = ? ORDER BY created DESC`, vendor)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var key []byte
		if err := rows.Scan(&key); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// vendorKey returns the key that some vendor registered under keyID, or nil.
func (s *store) vendorKey(ctx context.Context, keyID string) (key ed25519.PublicKey, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		var raw []byte
		err := tx.QueryRowContext(ctx, `SELECT key FROM broker_vendor_keys WHERE key_id = ? LIMIT 1`, keyID).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		key = raw
		return err
	})
	return key, err
}

// keysOf returns the keys of the vendor if the caller's is one of them. It
// refuses with UnknownVendor, whether there is no such vendor or the caller is
// another one.
func (s *store) keysOf(ctx context.Context, by caller, vendor string) (keys []ed25519.PublicKey, refusal payword.Refusal, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		keys, err = vendorKeys(ctx, tx, vendor)
		return err
	})
	if err == nil && !containsKey(keys, by.key) {
		return nil, refuse(payword.UnknownVendor, "the key that signed the request is not registered for %.270q", vendor), nil
	}
	return keys, payword.Refusal{}, err
}

// vendorIn returns what a vendor is owed.
func (s *store) vendorIn(ctx context.Context, tx *ledger.Tx, origin string) (payword.Vendor, error) {
	account, err := tx.Account(ctx, payableAccount(origin))
	return payword.Vendor{Vendor: origin, Currency: account.Currency, Payable: account.Balance}, err
}
