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
	// maxDevices is how many keys speak for one account at a time: those of a
	// household.
	maxDevices = 16
	// maxDevicesEver is how many an account has had, because a removed one is
	// remembered for ever.
	maxDevicesEver = 256
)

// device is a key of an account, whether it still speaks for it or not.
type device struct {
	account, keyID, name string
	key                  []byte
	created              int64 // microseconds since 1970, as is removed
	removed              int64 // 0: it speaks for the account
}

const deviceColumns = `SELECT account, key_id, name, key, created, removed FROM broker_devices `

func scanDevice(scan func(target ...any) error) (d device, err error) {
	err = scan(&d.account, &d.keyID, &d.name, &d.key, &d.created, &d.removed)
	return d, err
}

// loadDevice returns the device of a key, with an empty account if there is
// none.
func loadDevice(ctx context.Context, tx *ledger.Tx, keyID string) (device, error) {
	d, err := scanDevice(tx.QueryRowContext(ctx, deviceColumns+`WHERE key_id = ?`, keyID).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return device{}, nil
	}
	return d, err
}

// loadDevices returns all devices of an account, the earliest first.
func loadDevices(ctx context.Context, tx *ledger.Tx, account string) (all []device, err error) {
	rows, err := tx.QueryContext(ctx, deviceColumns+`WHERE account = ? ORDER BY created, key_id`, account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDevice(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, rows.Err()
}

// shown returns what the owner is told of a device.
func (d device) shown(by caller) payword.Device {
	return payword.Device{Device: d.keyID, Name: d.name, Created: d.created / 1_000_000, Current: d.keyID == by.keyID}
}

// errRemoved is how a device that was removed is refused.
var errRemoved = refused{Reason: payword.UnknownAccount, Detail: "this key was removed from its account: use another device of it"}

// requireDevice makes sure, within the transaction of what is to be done, that
// the device that signed the request still speaks for its account: from the
// moment of its removal on nothing is done for it, however long ago its request
// began. It refuses with UnknownAccount. What an operator does needs no device.
func requireDevice(ctx context.Context, tx *ledger.Tx) error {
	by := callerOf(ctx)
	if by.account == "" {
		return nil
	}
	d, err := loadDevice(ctx, tx, by.keyID)
	if err == nil && (d.account != by.account || d.removed != 0) {
		return errRemoved
	}
	return err
}

// devices lists the devices of the caller's account.
func (s *store) devices(ctx context.Context, by caller, l Listing) (list payword.DeviceList, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		list = payword.DeviceList{}
		all, err := loadDevices(ctx, tx, by.account)
		for _, d := range all {
			if d.removed == 0 {
				list.Devices = append(list.Devices, d.shown(by))
			}
		}
		return err
	})
	list.Devices, list.Next = pageOf(list.Devices, l, func(d payword.Device) string { return d.Device })
	return list, err
}

// addDevice lets a further key speak for the caller's account, or finds that it
// does. It refuses with InvalidChallenge, ChallengeExpired, BadSignature (the
// key or its proof), NotPermitted (a sub-account, a key of another account or
// one that was removed), RateLimited (too many devices), or as requireOpen does.
func (b *Broker) addDevice(ctx context.Context, by caller, request payword.AddDevice) (added payword.Device, isNew bool, refusal payword.Refusal, err error) {
	keyID, key, refusal, err := b.checkPossession(ctx, payword.PossessionDevice, by.account, request.Key, request.Challenge, request.Proof)
	if err != nil || refusal.Refused() {
		return added, false, refusal, err
	}
	refusal, err = b.store.update(ctx, "add device", func(tx *ledger.Tx) error {
		isNew = false
		if _, err := b.store.requireMain(ctx, tx, by.account, "further devices"); err != nil {
			return err
		}
		known, err := loadDevice(ctx, tx, keyID)
		if err != nil {
			return err
		}
		if known.account == by.account && known.removed == 0 {
			added = known.shown(by)
			return nil
		}
		if known.account != "" {
			return refused(keyTaken())
		}
		isNew = true
		added, err = insertDevice(ctx, tx, by, device{account: by.account, keyID: keyID, key: key, name: request.Name, created: tx.Now().UnixMicro()})
		return err
	})
	return added, isNew, refusal, err
}

func keyTaken() payword.Refusal {
	return refuse(payword.NotPermitted, "the key speaks for another account, or was removed from one: make a new key")
}

func insertDevice(ctx context.Context, tx *ledger.Tx, by caller, d device) (payword.Device, error) {
	var live, ever int64
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(CASE WHEN removed = 0 THEN 1 ELSE 0 END), 0), COUNT(*)
		FROM broker_devices WHERE account = ?`, d.account).Scan(&live, &ever)
	if err != nil {
		return payword.Device{}, err
	}
	if live >= maxDevices || ever >= maxDevicesEver {
		return payword.Device{}, refused(refuse(payword.RateLimited,
			"%d devices speak for this account, and %d have: at most %d at a time and %d in all", live, ever, maxDevices, maxDevicesEver))
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO broker_devices (key_id, account, key, name, created) VALUES (?, ?, ?, ?, ?)`,
		d.keyID, d.account, d.key, d.name, d.created)
	if err != nil {
		return payword.Device{}, err
	}
	return d.shown(by), audit(ctx, tx, auditEntry{"add-device", "account:" + d.account, d.keyID})
}

// checkPossession reads a new key and checks that it wants to speak for the
// account. It refuses with BadSignature, InvalidChallenge or ChallengeExpired.
func (b *Broker) checkPossession(ctx context.Context, purpose, account string, shown payword.PublicKey, challenge, proof string) (keyID string, key []byte, refusal payword.Refusal, err error) {
	public, mistake := shown.Key()
	if mistake != nil {
		return "", nil, refuse(payword.BadSignature, "key: %v", mistake), nil
	}
	if refusal, err := b.checkChallenge(ctx, challenge); err != nil || refusal.Refused() {
		return "", nil, refusal, err
	}
	refusal = payword.Possession{Purpose: purpose, Broker: b.config.Issuer, Account: account, Challenge: challenge}.Verify(public, proof)
	return payword.Thumbprint(public), public, refusal, nil
}

// renameDevice gives a device of the caller's account another name. It refuses
// with UnknownDevice, or UnknownAccount if the caller was removed.
func (b *Broker) renameDevice(ctx context.Context, by caller, keyID, name string) (renamed payword.Device, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "rename device", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		d, err := requireOwnDevice(ctx, tx, by.account, keyID)
		if err != nil {
			return err
		}
		if _, err = tx.ExecOne(ctx, `UPDATE broker_devices SET name = ? WHERE key_id = ?`, name, keyID); err != nil {
			return err
		}
		d.name = name
		renamed = d.shown(by)
		return audit(ctx, tx, auditEntry{"rename-device", "account:" + by.account, keyID})
	})
	return renamed, refusal, err
}

// requireOwnDevice returns a device that speaks for the account. It refuses with
// UnknownDevice.
func requireOwnDevice(ctx context.Context, tx *ledger.Tx, account, keyID string) (device, error) {
	d, err := loadDevice(ctx, tx, keyID)
	if err == nil && (d.account != account || d.removed != 0) {
		err = refused(refuse(payword.UnknownDevice, "no such device speaks for the account"))
	}
	return d, err
}

// RemoveDevice ends that a key, named by its thumbprint, speaks for an account:
// at once, and for ever. It refuses with UnknownDevice, or NotPermitted for the
// last one. To keep everybody out there is BlockAccount.
func (b *Broker) RemoveDevice(ctx context.Context, account, keyID string) (payword.Refusal, error) {
	return b.store.update(ctx, "remove device", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		if _, err := requireOwnDevice(ctx, tx, account, keyID); err != nil {
			return err
		}
		var others int64
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_devices WHERE account = ? AND removed = 0 AND key_id <> ?`,
			account, keyID).Scan(&others)
		if err != nil {
			return err
		}
		if others == 0 {
			return refused(refuse(payword.NotPermitted, "this is the last device of the account: nobody could speak for it any more. Add another first"))
		}
		swapped, err := tx.ExecOne(ctx, `UPDATE broker_devices SET removed = ? WHERE key_id = ? AND removed = 0`, tx.Now().UnixMicro(), keyID)
		if err == nil && !swapped {
			err = fmt.Errorf("device %s changed within a transaction", keyID)
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, auditEntry{"remove-device", "account:" + account, keyID})
	})
}
