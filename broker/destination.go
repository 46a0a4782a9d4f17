package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/internal/ledger"
)

// defaultDestinationDelay is how long a new payout destination waits: long
// enough that somebody who was told looks, over a weekend too.
const defaultDestinationDelay = 72 * time.Hour

// The kinds of payout destinations.
const (
	destinationIBAN      = "iban:"
	destinationACH       = "ach:"
	destinationReference = "ref:" // what the payer's own system knows the vendor by
	maxReferenceBytes    = 64
)

// parseDestination returns a payout destination in the form in which it is kept:
// iban: with capital letters and no spaces, ach: with routing number, account
// and its kind, or ref: with the reference as it is.
func parseDestination(text string) (string, error) {
	if iban, isIBAN := strings.CutPrefix(text, destinationIBAN); isIBAN {
		iban, err := bankaccount.ParseIBAN(iban)
		return destinationIBAN + iban, err
	}
	if account, isACH := strings.CutPrefix(text, destinationACH); isACH {
		_, err := bankaccount.ParseACH(account)
		return text, err
	}
	reference, isReference := strings.CutPrefix(text, destinationReference)
	if !isReference {
		return "", errors.New("want iban: with an IBAN, ach: with ROUTING/ACCOUNT/checking or /savings, or ref: with a reference that the payer knows")
	}
	if len(reference) < 1 || len(reference) > maxReferenceBytes || strings.ContainsFunc(reference, isNotPlain) {
		return "", fmt.Errorf("reference: want 1 to %d letters, digits and . _ : / -", maxReferenceBytes)
	}
	return text, nil
}

func isNotPlain(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._:/-", c)
}

// maskedDestination returns as much of a destination as its owner knows it by.
func maskedDestination(destination string) string {
	const shown = 4
	kind, rest, _ := strings.Cut(destination, ":")
	if account, err := bankaccount.ParseACH(rest); kind+":" == destinationACH && err == nil {
		hidden := max(len(account.Account)-shown, (len(account.Account)+1)/2) // never all of a short one
		return fmt.Sprintf("%s…%s/%s", destinationACH, account.Account[hidden:], account.Kind)
	}
	if len(rest) <= shown {
		return destination
	}
	return fmt.Sprintf("%s:…%s", kind, rest[len(rest)-shown:])
}

// setDestination asks for payouts to go elsewhere. The change waits, and falls
// if the key that asked for it is forgotten meanwhile; the destination that
// counts now, asked for again, withdraws it. It refuses with UnknownVendor.
func (b *Broker) setDestination(ctx context.Context, by caller, vendor, destination string) (details vendorDetails, refusal payword.Refusal, err error) {
	err = b.changeVendor(ctx, by, vendor, "set destination", &refusal, func(ctx context.Context, tx *ledger.Tx) error {
		before, err := loadVendor(ctx, tx, vendor)
		if err != nil {
			return err
		}
		switch destination {
		case before.nextDestination: // asked for again: it goes on waiting
		case before.destination:
			err = b.store.withdrawDestination(ctx, tx, vendor, before, "withdrawn by "+by.keyID)
		default:
			from := tx.Now().Add(b.config.DestinationDelay).Unix()
			err = b.store.requestDestination(ctx, tx, by, vendor, destination, from)
		}
		if err == nil {
			details, err = b.store.vendorDetailsIn(ctx, tx, vendor)
		}
		return err
	})
	return details, refusal, err
}

func (s *store) requestDestination(ctx context.Context, tx *ledger.Tx, by caller, vendor, destination string, from int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET next_destination = ?, next_key = ?, next_from = ? WHERE vendor = ?`,
		destination, by.keyID, from, vendor)
	if err != nil {
		return err
	}
	err = audit(ctx, tx, auditEntry{action: "request-payout-destination", subject: "vendor:" + vendor,
		detail: fmt.Sprintf("%s from %s, asked for by the key %s", destination, time.Unix(from, 0).UTC().Format(time.RFC3339), by.keyID)})
	if err != nil {
		return err
	}
	return s.emit(ctx, tx, eventDestinationRequested, eventData{
		Vendor: vendor, Destination: maskedDestination(destination), Key: by.keyID, Effective: from,
	})
}

// withdrawDestination drops the destination that waits, if one does.
func (s *store) withdrawDestination(ctx context.Context, tx *ledger.Tx, vendor string, before vendorRecord, why string) error {
	if before.nextFrom == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET next_destination = '', next_key = '', next_from = 0 WHERE vendor = ?`, vendor)
	if err != nil {
		return err
	}
	err = audit(ctx, tx, auditEntry{action: "withdraw-payout-destination", subject: "vendor:" + vendor,
		detail: before.nextDestination + ": " + why})
	if err != nil {
		return err
	}
	return s.emit(ctx, tx, eventDestinationWithdrawn, eventData{
		Vendor: vendor, Destination: maskedDestination(before.nextDestination), Key: before.nextKey,
	})
}

// SettleDestinations makes the payout destinations count whose time to wait is
// over. Run calls it.
func (b *Broker) SettleDestinations(ctx context.Context) error {
	var vendors []string
	err := b.store.db.View(ctx, func(tx *ledger.Tx) (err error) {
		vendors, err = vendorsWaiting(ctx, tx)
		return err
	})
	if err != nil || len(vendors) == 0 {
		return err
	}
	_, err = b.store.update(ctx, "settle destinations", func(tx *ledger.Tx) error {
		for _, vendor := range vendors {
			if err := b.store.settleDestination(ctx, tx, vendor); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// vendorsWaiting returns the vendors whose next destination's time has come.
func vendorsWaiting(ctx context.Context, tx *ledger.Tx) (vendors []string, err error) {
	return tx.Texts(ctx, `SELECT vendor FROM broker_vendors WHERE next_from > 0 AND next_from <= ? ORDER BY next_from LIMIT ?`,
		tx.Now().Unix(), perRound)
}

func (s *store) settleDestination(ctx context.Context, tx *ledger.Tx, vendor string) error {
	before, err := loadVendor(ctx, tx, vendor)
	if err != nil || before.nextFrom == 0 || before.nextFrom > tx.Now().Unix() {
		return err // another broker was faster, or the vendor withdrew it
	}
	_, err = tx.ExecContext(ctx, `UPDATE broker_vendors
		SET destination = next_destination, next_destination = '', next_key = '', next_from = 0 WHERE vendor = ?`, vendor)
	if err != nil {
		return err
	}
	err = audit(ctx, tx, auditEntry{action: "change-payout-destination", subject: "vendor:" + vendor,
		detail: fmt.Sprintf("from %s to %s, asked for by the key %s", orNone(before.destination), before.nextDestination, before.nextKey)})
	if err != nil {
		return err
	}
	return s.emit(ctx, tx, eventDestinationChanged, eventData{
		Vendor: vendor, Destination: maskedDestination(before.nextDestination), Key: before.nextKey,
	})
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
