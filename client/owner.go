package client

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Ask asks the broker something in the name of the wallet's account, as the
// broker's OpenAPI document has it: path is one such as payword.PathLimits, and
// request, if it is not nil, the JSON of it, such as payword.Limits. The answer is
// read into answer, unless that is nil. Among the errors are ErrNoAccount and
// *BrokerError. What moves money has an id of its own, so that it can be asked for
// again where an answer was lost.
func (w *Wallet) Ask(ctx context.Context, method, path string, request, answer any) error {
	return w.askOwn(ctx, question{action: "asking " + method + " " + path, method: method, path: path, body: request}, answer)
}

// askOwn puts a question about the wallet's account to its broker.
func (w *Wallet) askOwn(ctx context.Context, q question, answer any) error {
	broker, _ := w.account()
	if broker == "" {
		return ErrNoAccount
	}
	q.signed = true
	return w.ask(ctx, broker, q, answer)
}

// askTwice puts a question that may be repeated, and repeats it once if no
// answer came.
func (w *Wallet) askTwice(ctx context.Context, q question, answer any) error {
	err := w.askOwn(ctx, q, answer)
	var lost *BrokerError
	if errors.As(err, &lost) && lost.unavailable() && ctx.Err() == nil {
		err = w.askOwn(ctx, q, answer)
	}
	return err
}

// newID returns a name for what is booked once for ever.
func newID() string {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
}

func (w *Wallet) devices(ctx context.Context) ([]payword.Device, error) {
	var list payword.DeviceList
	err := w.askOwn(ctx, question{action: "asking for the devices", method: http.MethodGet, path: payword.PathDevices}, &list)
	return list.Devices, err
}

func devicePath(id string) string { return payword.PathDevices + "/" + url.PathEscape(id) }

func (w *Wallet) renameDevice(ctx context.Context, id, name string) (renamed payword.Device, err error) {
	body := map[string]string{"name": name}
	return renamed, w.askTwice(ctx, question{action: "renaming a device", method: http.MethodPut, path: devicePath(id), body: body}, &renamed)
}

func (w *Wallet) removeDevice(ctx context.Context, id string) error {
	return w.askOwn(ctx, question{action: "removing a device", method: http.MethodDelete, path: devicePath(id)}, nil)
}

func (w *Wallet) subAccounts(ctx context.Context) (all []payword.SubAccount, err error) {
	err = w.pages(ctx, "asking for the sub-accounts", payword.PathSubAccounts, func(ask func(any) error) (string, error) {
		var page payword.SubAccountList
		err := ask(&page)
		all = append(all, page.SubAccounts...)
		return page.Next, err
	})
	return all, err
}

func subAccountPath(id string) string { return payword.PathSubAccounts + "/" + url.PathEscape(id) }

func (w *Wallet) changeSubAccount(ctx context.Context, id string, change payword.ChangeSubAccount) (sub payword.SubAccount, err error) {
	q := question{action: "changing a sub-account", method: http.MethodPut, path: subAccountPath(id), body: change}
	return sub, w.askTwice(ctx, q, &sub)
}

func (w *Wallet) closeSubAccount(ctx context.Context, id string) (sub payword.SubAccount, err error) {
	q := question{action: "closing a sub-account", method: http.MethodPost, path: subAccountPath(id) + "/close"}
	return sub, w.askTwice(ctx, q, &sub)
}

// transfer moves money to a sub-account, or back.
func (w *Wallet) transfer(ctx context.Context, t payword.SubAccountTransfer) (sub payword.SubAccount, err error) {
	q := question{action: "moving money", method: http.MethodPost, path: payword.PathTransfers, body: t}
	return sub, againWith(w.askTwice(ctx, q, &sub), t.ID)
}

// againWith says how something is asked for again that nobody knows whether it
// was done.
func againWith(err error, id string) error {
	var lost *BrokerError
	if errors.As(err, &lost) && lost.unavailable() {
		return fmt.Errorf("%w; it may have been done all the same: ask again with --id %s, which does it once", err, id)
	}
	return err
}

func (w *Wallet) spending(ctx context.Context, id string) (all []payword.VendorSpending, err error) {
	err = w.pages(ctx, "asking for what was spent", subAccountPath(id)+"/vendors", func(ask func(any) error) (string, error) {
		var page payword.SpendingList
		err := ask(&page)
		all = append(all, page.Vendors...)
		return page.Next, err
	})
	return all, err
}

func (w *Wallet) limits(ctx context.Context) (limits payword.AccountLimits, err error) {
	return limits, w.askOwn(ctx, question{action: "asking for the limits", method: http.MethodGet, path: payword.PathLimits}, &limits)
}

func (w *Wallet) setLimits(ctx context.Context, own payword.Limits) (limits payword.AccountLimits, err error) {
	return limits, w.askTwice(ctx, question{action: "setting limits", method: http.MethodPut, path: payword.PathLimits, body: own}, &limits)
}

func (w *Wallet) redeemVoucher(ctx context.Context, code string) (redeemed payword.RedeemedVoucher, err error) {
	q := question{action: "redeeming a voucher", method: http.MethodPost, path: payword.PathVouchers, body: payword.RedeemVoucher{Code: code}}
	return redeemed, w.askTwice(ctx, q, &redeemed)
}

func (w *Wallet) payouts(ctx context.Context) (all []payword.Payout, err error) {
	err = w.pages(ctx, "asking for the payouts", payword.PathPayouts, func(ask func(any) error) (string, error) {
		var page payword.PayoutList
		err := ask(&page)
		all = append(all, page.Payouts...)
		return page.Next, err
	})
	return all, err
}

func (w *Wallet) requestPayout(ctx context.Context, request payword.RequestPayout) (payout payword.Payout, err error) {
	q := question{action: "asking for a payout", method: http.MethodPost, path: payword.PathPayouts, body: request}
	return payout, againWith(w.askTwice(ctx, q, &payout), request.ID)
}

func (w *Wallet) closeAccount(ctx context.Context, destination *payword.PayoutDestination) (account payword.Account, err error) {
	body := payword.CloseAccount{Destination: destination}
	return account, w.askTwice(ctx, question{action: "closing the account", method: http.MethodPost, path: payword.PathClose, body: body}, &account)
}

// familyBalance returns what is on an account and its sub-accounts, in micros.
func (w *Wallet) familyBalance(ctx context.Context, account payword.Account) (money.Amount, error) {
	subs, err := w.subAccounts(ctx)
	sum := account.Available - account.Credit + account.Reserved
	for _, sub := range subs {
		sum += sub.Available + sub.Reserved
	}
	return sum, err
}

// Status is what the wallet and its broker know of the account.
type Status struct {
	Path         string                `json:"path"`
	Broker       string                `json:"broker"` // origin
	Account      payword.Account       `json:"account"`
	Limits       payword.AccountLimits `json:"limits"`
	Certificates CertificateStatus     `json:"certificates"`
	Payouts      []payword.Payout      `json:"payouts"` // those that are on their way
}

// CertificateStatus is what the wallet holds of certificates.
type CertificateStatus struct {
	Sites       int   `json:"sites"`                 // that know the wallet by a certificate of their own
	Spares      int   `json:"spares"`                // for sites that are new
	ExpireSoon  int   `json:"expireSoon"`            // of all these: the wallet renews them when it opens a commitment next
	Expired     int   `json:"expired"`               // of all these
	NextExpires int64 `json:"nextExpires,omitempty"` // of those that have not, seconds since 1970
}

// Status asks the broker for the account, its limits and its payouts, and adds what
// the wallet holds. Among the errors are ErrNoAccount and *BrokerError; what the
// wallet knows by itself is in Summary.
func (w *Wallet) Status(ctx context.Context) (Status, error) {
	account, err := w.Balance(ctx)
	if err != nil {
		return Status{}, err
	}
	limits, err := w.limits(ctx)
	if err != nil {
		return Status{}, err
	}
	broker, _ := w.account()
	s := Status{Path: w.path, Broker: broker, Account: account, Limits: limits, Certificates: w.certificateStatus(), Payouts: []payword.Payout{}}
	if account.SubAccount { // it has no payouts
		return s, nil
	}
	payouts, err := w.payouts(ctx)
	for _, payout := range payouts {
		if payout.State == "pending" {
			s.Payouts = append(s.Payouts, payout)
		}
	}
	return s, err
}

func (w *Wallet) certificateStatus() (s CertificateStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := func(held heldCertificate) {
		certificate, err := payword.UnverifiedCertificate(held.Certificate)
		switch {
		case err != nil || certificate.Expires <= w.now().Unix():
			s.Expired++
			return
		case !w.isFresh(held):
			s.ExpireSoon++
		}
		if s.NextExpires == 0 || certificate.Expires < s.NextExpires {
			s.NextExpires = certificate.Expires
		}
	}
	s.Spares = len(w.doc.Spares)
	for _, held := range w.doc.Spares {
		count(held)
	}
	for _, v := range w.doc.Vendors {
		if v.Certificate != "" {
			s.Sites++
			count(v.heldCertificate)
		}
	}
	return s
}

// effective returns the limits that hold: the lower one of each.
func effective(limits payword.AccountLimits) payword.Limits {
	lower := func(a, b *money.Amount) *money.Amount {
		if a == nil || b != nil && *b < *a {
			return b
		}
		return a
	}
	own, ceiling := limits.Own, limits.Ceiling
	return payword.Limits{
		VendorDay: lower(own.VendorDay, ceiling.VendorDay), Day: lower(own.Day, ceiling.Day), Reserved: lower(own.Reserved, ceiling.Reserved),
	}
}
