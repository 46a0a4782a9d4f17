package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The kinds of transfers that lower what a vendor is owed.
const (
	kindPayout = "vendor-payout"
	kindFee    = "vendor-fee"
)

var (
	errNoDestination = newProblem(http.StatusConflict, "The vendor has no payout destination that counts yet.")
	errPayoutDiffers = newProblem(http.StatusConflict, "A payout of that id was booked, of another vendor or amount.")
)

// Payout is money that left for a vendor.
type Payout struct {
	// ID names the payout; it is booked once for ever. 1 to 100 letters, digits
	// and . _ : -.
	ID string
	// Vendor is the origin of the vendor.
	Vendor string
	// Amount is what was sent, in micros, at least 1.
	Amount money.Amount
	// Fee is what the broker keeps beside it, in micros.
	Fee money.Amount
}

// PayOut books a payout to a vendor and returns where it goes, or went when it was
// booked. It refuses with
// UnknownVendor, VendorBlocked or InsufficientFunds, and fails if the vendor has
// no destination that counts, or if the id was used for another payout. The
// same payout again changes nothing.
func (b *Broker) PayOut(ctx context.Context, p Payout) (destination string, refusal payword.Refusal, err error) {
	return b.store.payOut(ctx, p)
}

func (s *store) payOut(ctx context.Context, p Payout) (destination string, refusal payword.Refusal, err error) {
	if !isFundingID(p.ID) || p.Amount < 1 || p.Fee < 0 {
		return "", payword.Refusal{}, errors.New("payout: want an id of 1 to 100 letters, digits and . _ : -, and an amount above 0")
	}
	refusal, err = s.update(ctx, "pay out", func(tx *ledger.Tx) error {
		vendor, err := loadVendor(ctx, tx, p.Vendor)
		if err != nil {
			return err
		}
		destination = vendor.destination
		isNew, err := p.isNew(ctx, tx)
		if err != nil {
			return err
		}
		if isNew {
			err = p.begin(ctx, tx, destination)
		} else {
			destination, err = p.bookedTo(ctx, tx)
		}
		if err != nil {
			return err
		}
		return s.bookPayout(ctx, tx, p, destination, isNew)
	})
	return destination, refusal, err
}

func (p Payout) transferID() string { return "payout/" + p.ID }
func (p Payout) feeID() string      { return p.transferID() + "/fee" }

// begin makes sure that a new payout may be made, and keeps where it goes: the
// vendor may name another destination later.
func (p Payout) begin(ctx context.Context, tx *ledger.Tx, destination string) error {
	if err := requireUnblocked(ctx, tx, p.Vendor); err != nil {
		return err
	}
	if destination == "" {
		return errNoDestination
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendor_payouts (id, vendor, destination, created) VALUES (?, ?, ?, ?)`,
		p.ID, p.Vendor, destination, tx.Now().UnixMicro())
	return err
}

// bookedTo returns where a payout went that was booked before.
func (p Payout) bookedTo(ctx context.Context, tx *ledger.Tx) (destination string, err error) {
	var vendor string
	err = tx.QueryRowContext(ctx, `SELECT vendor, destination FROM broker_vendor_payouts WHERE id = ?`, p.ID).Scan(&vendor, &destination)
	if errors.Is(err, sql.ErrNoRows) || err == nil && vendor != p.Vendor {
		return "", errPayoutDiffers
	}
	return destination, err
}

// isNew reports whether no payout of that id was booked. errPayoutDiffers means
// that one was, with another fee.
func (p Payout) isNew(ctx context.Context, tx *ledger.Tx) (bool, error) {
	_, err := tx.Transfer(ctx, p.transferID())
	if errors.Is(err, ledger.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	_, err = tx.Transfer(ctx, p.feeID())
	hadFee := err == nil
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return false, err
	}
	if hadFee != (p.Fee > 0) {
		return false, errPayoutDiffers
	}
	return false, nil
}

// bookPayout moves the money, and tells of it if it is new.
func (s *store) bookPayout(ctx context.Context, tx *ledger.Tx, p Payout, destination string, isNew bool) error {
	transfers := []ledger.Transfer{{ID: p.transferID(), Credit: bankOut, Amount: p.Amount, Kind: kindPayout}}
	if p.Fee > 0 {
		transfers = append(transfers, ledger.Transfer{ID: p.feeID(), Credit: fees, Amount: p.Fee, Kind: kindFee})
	}
	for _, t := range transfers {
		t.Debit, t.Currency, t.Reference = payableAccount(p.Vendor), s.currency, p.ID
		err := tx.Post(ctx, t)
		switch {
		case errors.Is(err, ledger.ErrInsufficient):
			return refused(refuse(payword.InsufficientFunds, "the vendor is owed less than that"))
		case errors.Is(err, ledger.ErrTransferDiffers):
			return errPayoutDiffers
		case err != nil:
			return err
		}
	}
	if !isNew {
		return nil
	}
	err := audit(ctx, tx, auditEntry{action: "pay-out", subject: "vendor:" + p.Vendor,
		detail: fmt.Sprintf("%s: %s %s to %s, fee %s", p.ID, p.Amount.Decimal(), s.currency.Code(), destination, p.Fee.Decimal())})
	if err != nil {
		return err
	}
	return s.emit(ctx, tx, eventPayoutPaid, eventData{
		Vendor: p.Vendor, Payout: p.ID, Amount: p.Amount, Currency: s.currency, Destination: maskedDestination(destination),
	})
}
