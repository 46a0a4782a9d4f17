package broker

import (
	"context"
	"net/http"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// The paths for the operator's work on accounts.
const (
	pathAdminAccounts  = "/v1/admin/accounts"
	pathAdminAccount   = pathAdminAccounts + "/{account}"
	pathCeiling        = pathAdminAccount + "/limits"
	pathHolder         = pathAdminAccount + "/holder"
	pathBlock          = pathAdminAccount + "/block"
	pathUnblock        = pathAdminAccount + "/unblock"
	pathAdminDevice    = pathAdminAccount + "/devices/{device}"
	pathAdminPayouts   = "/v1/admin/account-payouts"
	pathPayoutPaid     = pathAdminPayouts + "/{account}/{payout}/paid"
	pathPayoutRefused  = pathAdminPayouts + "/{account}/{payout}/refused"
	pathVoucherBatches = "/v1/admin/vouchers"
)

// accountDetails is what an operator is told of an account.
type accountDetails struct {
	payword.Account
	Parent  string                `json:"parent,omitempty" doc:"the account that this sub-account belongs to"`
	Holder  string                `json:"holder,omitempty" doc:"in the operator's own records; absent: tied to nobody"`
	Age     int                   `json:"age" doc:"in years; 0: nothing proved"`
	Created int64                 `json:"created" doc:"seconds since 1970"`
	Limits  payword.AccountLimits `json:"limits"`
	Devices []payword.Device      `json:"devices"`
}

// accountDetailsList is a page of accounts, in the order of their ids.
type accountDetailsList struct {
	Accounts []accountDetails `json:"accounts"`
	Next     string           `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

func (s *store) detailsIn(ctx context.Context, tx *ledger.Tx, id string) (d accountDetails, err error) {
	row, err := requireAccount(ctx, tx, id)
	if err != nil {
		return d, err
	}
	if d.Account, err = s.accountIn(ctx, tx, id); err != nil {
		return d, err
	}
	if d.Limits, err = loadLimits(ctx, tx, id); err != nil {
		return d, err
	}
	devices, err := loadDevices(ctx, tx, id)
	d.Devices = []payword.Device{}
	for _, device := range devices {
		if device.removed == 0 {
			d.Devices = append(d.Devices, device.shown(caller{}))
		}
	}
	d.Parent, d.Holder, d.Age, d.Created = row.parent, row.holder, row.age, row.created/1_000_000
	return d, err
}

// details returns what an operator is told of an account. It refuses with
// UnknownAccount.
func (s *store) details(ctx context.Context, id string) (d accountDetails, refusal payword.Refusal, err error) {
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		d, err = s.detailsIn(ctx, tx, id)
		return err
	})
	return d, refusal, err
}

// allDetails lists accounts, in the order of their ids.
func (s *store) allDetails(ctx context.Context, l Listing) (list accountDetailsList, err error) {
	list.Accounts = []accountDetails{}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		ids, err := accountIDs(ctx, tx, l.After, l.Limit+1)
		if err != nil {
			return err
		}
		ids, list.Next = cut(ids, l, itself)
		for _, id := range ids {
			d, err := s.detailsIn(ctx, tx, id)
			if err != nil {
				return err
			}
			list.Accounts = append(list.Accounts, d)
		}
		return nil
	})
	return list, err
}

type accountInput struct {
	Account string `path:"account" maxLength:"64"`
}

type ceilingInput struct {
	Account string `path:"account" maxLength:"64"`
	Body    payword.Limits
}

type holderInput struct {
	Account string `path:"account" maxLength:"64"`
	Body    struct {
		Holder string `json:"holder" maxLength:"200" pattern:"^[^\\x00-\\x1f\\x7f]*$" doc:"in the operator's own records; empty: tied to nobody"`
	}
}

type reasonInput struct {
	Account string `path:"account" maxLength:"64"`
	Body    struct {
		Reason string `json:"reason" minLength:"1" maxLength:"200" pattern:"^[^\\x00-\\x1f\\x7f]+$" doc:"for the audit log"`
	}
}

type adminDeviceInput struct {
	Account string `path:"account" maxLength:"64"`
	Device  string `path:"device" maxLength:"43" doc:"the key's RFC 7638 thumbprint"`
}

func registerAccountAdministration(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathAdminAccounts, id: "listAccounts", access: adminOnly,
		summary: "The accounts, in the order of their ids"},
		func(ctx context.Context, input *listInput) (*body[accountDetailsList], payword.Refusal, error) {
			list, err := b.store.allDetails(ctx, input.Listing)
			return &body[accountDetailsList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodGet, path: pathAdminAccount, id: "getAccountDetails", access: adminOnly,
		summary: "One account"},
		func(ctx context.Context, input *accountInput) (*body[accountDetails], payword.Refusal, error) {
			details, refusal, err := b.store.details(ctx, input.Account)
			return &body[accountDetails]{details}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathCeiling, id: "setCeiling", access: adminOnly,
		summary: "Replace the limits that the broker sets for an account", maxBody: smallBody},
		func(ctx context.Context, input *ceilingInput) (*body[payword.AccountLimits], payword.Refusal, error) {
			limits, refusal, err := b.SetCeiling(ctx, input.Account, input.Body)
			return &body[payword.AccountLimits]{limits}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathHolder, id: "setHolder", access: adminOnly,
		summary: "Tie an account to the operator's own records, or to nobody", maxBody: smallBody},
		func(ctx context.Context, input *holderInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.SetHolder(ctx, input.Account, input.Body.Holder)
			return &body[payword.Account]{account}, refusal, err
		})
	registerBlocking(a)
	register(a, route{method: http.MethodDelete, path: pathAdminDevice, id: "removeDeviceOfAccount", access: adminOnly,
		summary: "End that a key speaks for an account, at once and for ever"},
		func(ctx context.Context, input *adminDeviceInput) (*done, payword.Refusal, error) {
			refusal, err := b.RemoveDevice(ctx, input.Account, input.Device)
			return newDone(), refusal, err
		})
	registerPayoutAdministration(a)
}

func registerBlocking(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: pathBlock, id: "blockAccount", access: adminOnly,
		summary: "Promise nothing new from an account", maxBody: smallBody,
		description: "No certificates, no reservations, no payouts, of its sub-accounts neither. What is reserved stays redeemable."},
		func(ctx context.Context, input *reasonInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.BlockAccount(ctx, input.Account, input.Body.Reason)
			return &body[payword.Account]{account}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathUnblock, id: "unblockAccount", access: adminOnly,
		summary: "Undo the blocking of an account", maxBody: smallBody},
		func(ctx context.Context, input *reasonInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.UnblockAccount(ctx, input.Account, input.Body.Reason)
			return &body[payword.Account]{account}, refusal, err
		})
}

type allPayoutsPage struct {
	Listing
	State string `query:"state" enum:"pending,paid,refused" default:"pending"`
}

type payoutEndInput struct {
	Account string `path:"account" maxLength:"64"`
	Payout  string `path:"payout" maxLength:"64"`
	Body    struct {
		Note string `json:"note" minLength:"1" maxLength:"200" pattern:"^[^\\x00-\\x1f\\x7f]+$" doc:"how it was paid, or why not; the owner reads it"`
	}
}

func registerPayoutAdministration(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathAdminPayouts, id: "listAllPayouts", access: adminOnly,
		summary: "The payouts in one state, the earliest first"},
		func(ctx context.Context, input *allPayoutsPage) (*body[payword.PayoutList], payword.Refusal, error) {
			list, err := b.store.allPayouts(ctx, input.State, input.Listing)
			return &body[payword.PayoutList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: pathPayoutPaid, id: "confirmPayout", access: adminOnly,
		summary: "Say that a payout has left the bank account", maxBody: smallBody},
		func(ctx context.Context, input *payoutEndInput) (*body[payword.Payout], payword.Refusal, error) {
			payout, refusal, err := b.PayoutPaid(ctx, input.Account, input.Payout, input.Body.Note)
			return &body[payword.Payout]{payout}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathPayoutRefused, id: "refusePayout", access: adminOnly,
		summary: "Give the money of a payout back to its account", maxBody: smallBody},
		func(ctx context.Context, input *payoutEndInput) (*body[payword.Payout], payword.Refusal, error) {
			payout, refusal, err := b.RefusePayout(ctx, input.Account, input.Payout, input.Body.Note)
			return &body[payword.Payout]{payout}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathVoucherBatches, id: "listVouchers", access: adminOnly,
		summary: "The batches of vouchers, and what became of them"},
		func(ctx context.Context, input *listInput) (*body[voucherBatchList], payword.Refusal, error) {
			list, err := b.store.voucherBatches(ctx, input.Listing)
			return &body[voucherBatchList]{list}, payword.Refusal{}, err
		})
}
