package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// maxKeyGap is how many keys in a row may have no certificate before the rest
	// are taken for unused: more than a wallet ever asks for in vain.
	maxKeyGap = 1000

	// maxRestoredKeys bounds the keys that are looked at, some seconds of work.
	maxRestoredKeys = 100_000

	// maxRestoredPages bounds the pages that are read of a broker's list.
	maxRestoredPages = 1000
)

// RestoreWallet makes a wallet at config.Path from a seed and the broker that
// has its account. The broker knows the commitments that it reserved for and
// which keys have certificates; the seed gives the keys and the chains. How far
// each chain was released a wallet learns from the vendor, when it pays there
// next.
//
// What nobody but the lost file knew is gone: the receipts, what was released
// today and not claimed yet, and commitments that were never reserved.
//
// It refuses to replace a file. Among the errors are ErrLocked, fs.ErrExist and
// *BrokerError, with UnknownAccount if the broker has no account of the seed;
// then no file is left behind.
func RestoreWallet(ctx context.Context, config WalletConfig, seed payword.Seed, broker string) (*Wallet, error) {
	if err := payword.CheckOrigin(broker); err != nil {
		return nil, fmt.Errorf("restoring a wallet: %w", err)
	}
	lock, err := acquire(config.Path)
	if err != nil {
		return nil, err
	}
	w, err := restoreLocked(ctx, config, seed, broker)
	if err != nil {
		lock.Close()
		return nil, err
	}
	w.lock = lock
	return w, nil
}

func restoreLocked(ctx context.Context, config WalletConfig, seed payword.Seed, broker string) (*Wallet, error) {
	doc, err := newDocument(config, seed)
	if err != nil {
		return nil, err
	}
	w := newWallet(config, seed, doc)
	var account payword.Account
	ask := question{action: "asking for the account", method: http.MethodGet, path: payword.PathAccount, signed: true}
	if err := w.ask(ctx, broker, ask, &account); err != nil {
		return nil, err
	}
	w.doc.Broker, w.doc.Account, w.doc.Currency = broker, account.Account, account.Currency
	keys, err := w.restoreKeys(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.restoreCommitments(ctx, keys); err != nil {
		return nil, err
	}
	return w, w.save()
}

// ownKey is what the broker tells of a pseudonym.
type ownKey struct {
	Subject string `json:"subject"`
	KeyID   string `json:"keyId"`
	Revoked bool   `json:"revoked"`
}

// ownCommitment is what the broker tells of a commitment.
type ownCommitment struct {
	Commitment  string       `json:"commitment"`
	Reservation string       `json:"reservation"`
	Reserved    money.Amount `json:"reserved"`
	Paid        money.Amount `json:"paid"`
	Closed      bool         `json:"closed"`
}

// restoredKey is a key of the wallet's that has a certificate.
type restoredKey struct {
	number  uint32
	revoked bool
}

// pages reads a list of the broker's, page by page. read takes an answer and
// returns the mark of the next page, "" after the last.
func (w *Wallet) pages(ctx context.Context, action, path string, read func(ask func(target any) error) (next string, err error)) error {
	broker, _ := w.account()
	if broker == "" {
		return ErrNoAccount
	}
	next := ""
	for range maxRestoredPages {
		q := question{action: action, method: http.MethodGet, path: path, signed: true}
		if next != "" {
			q.path += "?after=" + url.QueryEscape(next)
		}
		var err error
		if next, err = read(func(target any) error { return w.ask(ctx, broker, q, target) }); err != nil || next == "" {
			return err
		}
	}
	return &BrokerError{Broker: broker, Action: action, Status: http.StatusOK, Detail: "its list has no end"}
}

// restoreKeys finds the numbers of the keys that have certificates, by the ids of
// the keys, and after them the number of the next key. Nobody else has w yet.
func (w *Wallet) restoreKeys(ctx context.Context) (map[string]restoredKey, error) {
	issued := make(map[string]bool) // revoked, by key id
	err := w.pages(ctx, "asking for the certificates", payword.PathCertificates, func(ask func(any) error) (string, error) {
		var page struct {
			Certificates []ownKey `json:"certificates"`
			Next         string   `json:"next"`
		}
		err := ask(&page)
		for _, one := range page.Certificates {
			issued[one.KeyID] = issued[one.KeyID] || one.Revoked
		}
		return page.Next, err
	})
	if err != nil {
		return nil, err
	}
	keys := make(map[string]restoredKey)
	for number := uint32(0); number < maxRestoredKeys && number < w.doc.NextKey+maxKeyGap && len(keys) < len(issued); number++ {
		key, err := w.certificateKey(number)
		if err != nil {
			return nil, err
		}
		id := payword.Thumbprint(publicOf(key))
		if revoked, found := issued[id]; found {
			keys[id] = restoredKey{number, revoked}
			w.doc.NextKey = number + 1
		}
	}
	return keys, nil
}

// restoreCommitments takes over the commitments that the broker knows. Nobody
// else has w yet.
func (w *Wallet) restoreCommitments(ctx context.Context, keys map[string]restoredKey) error {
	return w.pages(ctx, "asking for the reservations", payword.PathReservations, func(ask func(any) error) (string, error) {
		var page struct {
			Reservations []ownCommitment `json:"reservations"`
			Next         string          `json:"next"`
		}
		err := ask(&page)
		for _, one := range page.Reservations {
			if err == nil {
				err = w.restoreCommitment(one, keys)
			}
		}
		return page.Next, err
	})
}

// restoreCommitment takes over one commitment, if it is of this seed. Lists are in the order in which commitments were
// made, so that the last of a vendor's is its open one.
func (w *Wallet) restoreCommitment(own ownCommitment, keys map[string]restoredKey) error {
	wrong := func(err error) error {
		return &BrokerError{Broker: w.doc.Broker, Action: "asking for the reservations", Status: http.StatusOK, Detail: foreignText(err.Error())}
	}
	terms, err := payword.UnverifiedCommitment(own.Commitment)
	if err != nil {
		return wrong(err)
	}
	key, isOurs := keys[payword.Thumbprint(terms.Certificate.Key)]
	if !isOurs { // another device's: this one's budgets do not count it
		return nil
	}
	v := w.doc.Vendors[terms.Vendor]
	if v == nil {
		v = &vendor{LastPaid: terms.IssuedAt}
		w.doc.forgetOneSite()
		w.doc.Vendors[terms.Vendor] = v
	}
	paid := max(0, own.Paid)
	for _, sum := range []*total{&v.total, &w.doc.Total} {
		sum.Released, sum.Spent = addCapped(sum.Released, paid), addCapped(sum.Spent, paid)
	}
	if own.Closed || w.now().Unix() >= terms.Expires || key.revoked || own.Reservation == "" {
		return nil
	}
	count := len(terms.Chains)
	c := &commitment{
		Token: own.Commitment, Key: key.number, Reservation: own.Reservation, Cap: min(own.Reserved, terms.Limit),
		Released: make([]uint32, count), Surplus: make([]money.Amount, count), Proved: make([]uint32, count),
		NextNumber: 1, MaxStep: payword.DefaultMaxStep,
	}
	if err := c.check(terms.Vendor); err != nil || !isToken(own.Reservation) {
		return wrong(errors.Join(err, errors.New("a reservation has no form that fits a header")))
	}
	w.retire(v)
	v.Open, v.heldCertificate = c, heldCertificate{Key: key.number, Certificate: terms.Certificate.Token}
	return nil
}
