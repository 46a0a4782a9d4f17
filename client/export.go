package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/paywordhq/payword"
)

// accountExport is what a broker tells of an account, list by list.
type accountExport struct {
	Account      payword.Account       `json:"account"`
	Limits       payword.AccountLimits `json:"limits"`
	Devices      []payword.Device      `json:"devices"`
	SubAccounts  []payword.SubAccount  `json:"subAccounts"`
	Payouts      []payword.Payout      `json:"payouts"`
	Certificates []json.RawMessage     `json:"certificates"`
	Reservations []json.RawMessage     `json:"reservations"`
}

// export writes all that the broker keeps of the account: its own export as it
// comes, or, from one that has none, everything that it lists.
func (w *Wallet) export(ctx context.Context, to io.Writer) error {
	err := w.askOwn(ctx, question{action: "exporting the account", method: http.MethodGet, path: payword.PathExport}, to)
	var refusal *BrokerError
	if !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound || refusal.Reason != payword.Accepted {
		return err
	}
	all, err := w.collectExport(ctx)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

func (w *Wallet) collectExport(ctx context.Context) (all accountExport, err error) {
	for _, read := range []func() error{
		func() (err error) { all.Account, err = w.Balance(ctx); return err },
		func() (err error) { all.Limits, err = w.limits(ctx); return err },
		func() (err error) { all.Devices, err = w.devices(ctx); return err },
		func() (err error) { all.SubAccounts, err = w.subAccounts(ctx); return err },
		func() (err error) { all.Payouts, err = w.payouts(ctx); return err },
		func() error {
			return w.pages(ctx, "asking for the certificates", payword.PathCertificates, func(ask func(any) error) (string, error) {
				var page struct {
					Certificates []json.RawMessage `json:"certificates"`
					Next         string            `json:"next"`
				}
				err := ask(&page)
				all.Certificates = append(all.Certificates, page.Certificates...)
				return page.Next, err
			})
		},
		func() error {
			return w.pages(ctx, "asking for the reservations", payword.PathReservations, func(ask func(any) error) (string, error) {
				var page struct {
					Reservations []json.RawMessage `json:"reservations"`
					Next         string            `json:"next"`
				}
				err := ask(&page)
				all.Reservations = append(all.Reservations, page.Reservations...)
				return page.Next, err
			})
		},
	} {
		if err := read(); err != nil {
			return all, err
		}
	}
	return all, nil
}
