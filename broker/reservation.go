package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// maxOpenReservations is how many reservations of one account are open at a
	// time, as with certificates.
	maxOpenReservations = 4096

	// maxCommitmentsPerDay is how many commitments of one account are stored in
	// a UTC day, reserved or paid. Each is kept for ever, about 4 KB and a row
	// for each root, so that their number must have an end; a reader who opens a
	// new site every minute for sixteen hours does not reach it.
	maxCommitmentsPerDay = 1000

	// maxRounds is how often something is judged again because somebody else
	// changed it meanwhile. More than a few means that something is broken.
	maxRounds = 16

	secondsPerDay = 24 * 60 * 60
)

// errContended means that others kept changing what was judged.
var errContended = errors.New("others kept changing the commitment")

// reserve sets an amount aside for a commitment, or raises what is set aside to
// it, and answers with the broker's word. What is reserved already is answered
// again.
//
// It refuses as payword.ParseCommitment and CheckTerms do, and with
// UnknownAccount (the certificate is another account's), CertificateRevoked,
// ReservationMismatch
// (the amount exceeds the commitment's limit), CommitmentClosed, RootReused,
// OverCertificateLimit (all reservations of the day for that vendor together),
// OverAccountLimit, Blocked, AccountClosed, InsufficientFunds, RateLimited or
// VendorBlocked. Then nothing changes.
func (b *Broker) reserve(ctx context.Context, account string, request payword.ReservationRequest) (payword.ReservationAnswer, payword.Refusal, error) {
	var none payword.ReservationAnswer
	m, refusal := payword.ParseCommitment(request.Commitment, b.keys(ctx).trusted)
	if refusal.Refused() {
		return none, refusal, nil
	}
	for range maxRounds {
		before, owner, err := b.store.loadForReservation(ctx, &m)
		if err != nil {
			return none, payword.Refusal{}, err
		}
		if owner != account {
			return none, refuse(payword.UnknownAccount, "the certificate in the commitment was not issued to this account"), nil
		}
		after, refusal := judgeReservation(&m, before, request.Amount, b.now(), int64(b.config.Grace/time.Second))
		if refusal.Refused() || after.sequence == before.sequence {
			return payword.ReservationAnswer{Reservation: before.reservation}, refusal, nil
		}
		// The word is made before the money is set aside, and leaves the broker
		// only after it.
		after.account = account
		if after.reservation, err = b.signReservation(ctx, &m, after); err == nil {
			err = b.store.fail(ctx, "signed reservation")
		}
		if err != nil {
			return none, payword.Refusal{}, err
		}
		swapped, refusal, err := b.store.setAside(ctx, &m, before, after)
		if err != nil || refusal.Refused() || swapped {
			return payword.ReservationAnswer{Reservation: after.reservation}, refusal, err
		}
	}
	return none, payword.Refusal{}, errContended
}

func (s *store) loadForReservation(ctx context.Context, m *payword.Commitment) (r record, owner string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		if r, err = loadRecord(ctx, tx, m.ID); err != nil {
			return err
		}
		owner, err = certificateOwner(ctx, tx, m.Certificate.Subject)
		return err
	})
	return r, owner, err
}

// judgeReservation decides what reserving amount, in micros, makes of a
// commitment's record. A record with the same sequence means that enough is
// reserved already.
func judgeReservation(m *payword.Commitment, before record, amount money.Amount, now, graceSeconds int64) (record, payword.Refusal) {
	switch {
	case amount < 1 || amount > m.Limit:
		return before, refuse(payword.ReservationMismatch, "want an amount from one micro to the commitment's limit of %s %s",
			m.Limit.Decimal(), m.Currency.Code())
	case before.closed:
		return before, refuse(payword.CommitmentClosed, "the vendor has made its last claim on this commitment: make a new one")
	}
	if before.sequence > 0 && before.reserved >= amount {
		return before, payword.Refusal{}
	}
	if refusal := m.CheckTerms(m.Vendor, m.Currency, now); refusal.Refused() {
		return before, refusal
	}
	after := before
	if before.version == 0 {
		after.token, after.vendor, after.redeemed = m.Token, m.Vendor, payword.NewRedeemed(m)
	}
	after.reserved = amount
	after.held = max(0, amount-before.redeemed.Paid)
	after.sequence++
	// What was signed before stays good, though the grace is shorter by now.
	after.redeemBy = max(before.redeemBy, m.Expires+graceSeconds)
	after.day = now / secondsPerDay
	return after, payword.Refusal{}
}

func (b *Broker) signReservation(ctx context.Context, m *payword.Commitment, after record) (string, error) {
	signer, err := b.signer(ctx, after.redeemBy)
	if err != nil {
		return "", err
	}
	reservation, err := payword.SignReservation(payword.Reservation{
		Issuer: b.config.Issuer, Commitment: m.ID, Amount: after.reserved, Currency: m.Currency,
		Sequence: after.sequence, IssuedAt: b.now(), RedeemBy: after.redeemBy,
	}, signer)
	return reservation.Token, err
}

// setAside moves what after holds more than before from the available to the
// reserved balance and swaps the records, in one transaction. It reports
// whether it did; if not, the stored record is no longer before, and nothing
// was changed.
func (s *store) setAside(ctx context.Context, m *payword.Commitment, before, after record) (swapped bool, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "reserve", func(tx *ledger.Tx) error {
		swapped = false // what an earlier try of this transaction did was rolled back
		stored, err := loadRecord(ctx, tx, m.ID)
		if err != nil || stored.version != before.version {
			return err
		}
		if err := s.checkReservable(ctx, tx, m, after); err != nil {
			return err
		}
		if err := s.hold(ctx, tx, m, after, after.held-before.held); err != nil {
			return err
		}
		if swapped, err = saveRecord(ctx, tx, after); err == nil && !swapped {
			return fmt.Errorf("commitment %s changed within a transaction", m.ID)
		}
		return err
	})
	return swapped && err == nil && !refusal.Refused(), refusal, err
}

// checkReservable checks a reservation against everything else in the books.
func (s *store) checkReservable(ctx context.Context, tx *ledger.Tx, m *payword.Commitment, after record) error {
	if err := requireUnblocked(ctx, tx, m.Vendor); err != nil {
		return err
	}
	row, err := s.requireOpen(ctx, tx, after.account)
	if err != nil {
		return err
	}
	for _, id := range row.lineage() { // who has a sub-account pays what it owes first
		if err := s.requireNoDebt(ctx, tx, id); err != nil {
			return err
		}
	}
	if err := s.checkLimits(ctx, tx, row, after); err != nil {
		return err
	}
	reused, err := registerRoots(ctx, tx, []ownedCommitment{{after.account, m}})
	if err != nil {
		return err
	}
	if len(reused) > 0 {
		return refused(refuse(payword.RootReused, "a chain of this commitment belongs to another one: make new chains"))
	}
	if after.version == 0 {
		refusal, err := s.checkCommitmentsOfDay(ctx, tx, after.account)
		if err != nil || refusal.Refused() {
			return cmp.Or(err, error(refused(refusal)))
		}
	}
	var open int64
	if err := checkCertificate(ctx, tx, &m.Certificate); err != nil {
		return err
	}
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_commitments WHERE account = ? AND held > 0`, after.account).Scan(&open)
	if err != nil {
		return err
	}
	if open >= maxOpenReservations && after.version == 0 {
		return refused(refuse(payword.RateLimited, "%d reservations are open: an account has at most %d", open, maxOpenReservations))
	}
	// A commitment counts on the day of its last raise: with all that is
	// reserved while it is open, and with what was paid once it is closed.
	var today money.Amount
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(CASE WHEN closed = 1 OR paid > reserved THEN paid ELSE reserved END), 0) AS BIGINT)
		FROM broker_commitments WHERE account = ? AND vendor = ? AND day = ? AND id <> ?`,
		after.account, after.vendor, after.day, m.ID.String()).Scan(&today)
	if err != nil {
		return err
	}
	if limit := m.Certificate.Limit; today > limit-after.reserved {
		return refused(refuse(payword.OverCertificateLimit, "%s %s are reserved for %s today; with %s more it would exceed the limit of %s a day",
			today.Decimal(), m.Currency.Code(), m.Vendor, after.reserved.Decimal(), limit.Decimal()))
	}
	return nil
}

// hold moves amount, in micros, from the available to the reserved balance.
func (s *store) hold(ctx context.Context, tx *ledger.Tx, m *payword.Commitment, after record, amount money.Amount) error {
	if amount == 0 {
		return nil
	}
	err := tx.Post(ctx, ledger.Transfer{
		ID:    fmt.Sprintf("reserve/%s/%d", m.ID, after.sequence),
		Debit: availableAccount(after.account), Credit: reservedAccount(after.account),
		Amount: amount, Currency: s.currency, Kind: "reserve", Reference: m.ID.String(),
	})
	if !errors.Is(err, ledger.ErrInsufficient) {
		return err
	}
	available, err := tx.Account(ctx, availableAccount(after.account))
	if err != nil {
		return err
	}
	return refused(refuse(payword.InsufficientFunds, "reserving this takes %s %s more, and %s are available: fund the account first",
		amount.Decimal(), s.currency.Code(), available.Available().Decimal()))
}

// reservationList is a page of what the broker knows of an account's
// commitments, the earliest first.
type reservationList struct {
	Reservations []ownReservation `json:"reservations"`
	Next         string           `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// ownReservation is what the owner of a commitment is told of it.
type ownReservation struct {
	Commitment  string       `json:"commitment" doc:"a JWS"`
	Reservation string       `json:"reservation,omitempty" doc:"a JWS; absent if nothing was reserved and the vendor claimed all the same"`
	Reserved    money.Amount `json:"reserved" doc:"promised to the vendor, in micros"`
	Paid        money.Amount `json:"paid" doc:"to the vendor, in micros"`
	Closed      bool         `json:"closed" doc:"nothing more is paid, and what was left is available again"`
}

// reservations lists the commitments of an account in the order in which they
// were made.
func (s *store) reservations(ctx context.Context, account string, l Listing) (list reservationList, err error) {
	if l.After != "" {
		var id payword.CommitmentID
		if id.UnmarshalText([]byte(l.After)) != nil {
			return list, errAfter
		}
	}
	list.Reservations = []ownReservation{}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		page, err := recordsOf(ctx, tx, account, l.After, l.Limit+1)
		page, list.Next = cut(page, l, func(r record) string { return r.id.String() })
		for _, r := range page {
			list.Reservations = append(list.Reservations, ownReservation{
				Commitment: r.token, Reservation: r.reservation, Reserved: r.reserved, Paid: r.redeemed.Paid, Closed: r.closed,
			})
		}
		return err
	})
	return list, err
}

// recordsOf returns at most limit records after the one with the given id.
func recordsOf(ctx context.Context, tx *ledger.Tx, account, after string, limit int) ([]record, error) {
	return selectRecords(ctx, tx, `WHERE account = ?
		AND seq > COALESCE((SELECT seq FROM broker_commitments WHERE id = ? AND account = ?), 0)
		ORDER BY seq LIMIT ?`, account, after, account, limit)
}
