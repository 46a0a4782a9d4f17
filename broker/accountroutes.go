package broker

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
)

// The paths below payword.PathDevices and payword.PathSubAccounts.
const (
	pathDevice           = payword.PathDevices + "/{device}"
	pathSubAccount       = payword.PathSubAccounts + "/{account}"
	pathSubAccountClose  = pathSubAccount + "/close"
	pathSubAccountVendor = pathSubAccount + "/vendors"
)

// opened is an answer with status 201 for what is new, and 200 for what was
// there.
type opened[T any] struct {
	Status int
	Body   T
}

func newOpened[T any](body T, isNew bool) *opened[T] {
	if isNew {
		return &opened[T]{http.StatusCreated, body}
	}
	return &opened[T]{http.StatusOK, body}
}

type deviceInput struct {
	Device string `path:"device" maxLength:"43" doc:"the key's RFC 7638 thumbprint"`
}

type renameInput struct {
	Device string `path:"device" maxLength:"43" doc:"the key's RFC 7638 thumbprint"`
	Body   struct {
		Name string `json:"name" minLength:"1" maxLength:"50" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	}
}

func registerDevices(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: payword.PathDevices, id: "listDevices", access: accountSigned,
		summary: "The keys that speak for the account"},
		func(ctx context.Context, input *listInput) (*body[payword.DeviceList], payword.Refusal, error) {
			list, err := b.store.devices(ctx, callerOf(ctx), input.Listing)
			return &body[payword.DeviceList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathDevices, id: "addDevice", access: accountSigned,
		summary: "Let a further key speak for the account", maxBody: smallBody, status: http.StatusCreated, also: http.StatusOK,
		description: "The same key again gets the same answer, with status 200."},
		func(ctx context.Context, input *body[payword.AddDevice]) (*opened[payword.Device], payword.Refusal, error) {
			device, isNew, refusal, err := b.addDevice(ctx, callerOf(ctx), input.Body)
			return newOpened(device, isNew), refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathDevice, id: "renameDevice", access: accountSigned,
		summary: "Give a device another name", maxBody: smallBody},
		func(ctx context.Context, input *renameInput) (*body[payword.Device], payword.Refusal, error) {
			device, refusal, err := b.renameDevice(ctx, callerOf(ctx), input.Device, input.Body.Name)
			return &body[payword.Device]{device}, refusal, err
		})
	register(a, route{method: http.MethodDelete, path: pathDevice, id: "removeDevice", access: accountSigned,
		summary: "End that a key speaks for the account, at once and for ever"},
		func(ctx context.Context, input *deviceInput) (*done, payword.Refusal, error) {
			refusal, err := b.RemoveDevice(ctx, callerOf(ctx).account, input.Device)
			return newDone(), refusal, err
		})
}

type subAccountInput struct {
	Account string `path:"account" maxLength:"64" doc:"the sub-account"`
}

type spendingPage struct {
	Listing
	Account string `path:"account" maxLength:"64" doc:"the sub-account"`
}

type changeSubAccountInput struct {
	Account string `path:"account" maxLength:"64" doc:"the sub-account"`
	Body    payword.ChangeSubAccount
}

func registerSubAccounts(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: payword.PathSubAccounts, id: "listSubAccounts", access: accountSigned,
		summary: "The sub-accounts of the account"},
		func(ctx context.Context, input *listInput) (*body[payword.SubAccountList], payword.Refusal, error) {
			list, err := b.store.subAccounts(ctx, callerOf(ctx).account, input.Listing)
			return &body[payword.SubAccountList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathSubAccounts, id: "openSubAccount", access: accountSigned,
		summary: "Open an account with a budget of its own for an agent's key", maxBody: smallBody, status: http.StatusCreated, also: http.StatusOK,
		description: "The same key again gets the same sub-account, with status 200."},
		func(ctx context.Context, input *body[payword.OpenSubAccount]) (*opened[payword.SubAccount], payword.Refusal, error) {
			sub, isNew, refusal, err := b.openSubAccount(ctx, callerOf(ctx), input.Body)
			return newOpened(sub, isNew), refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathSubAccount, id: "changeSubAccount", access: accountSigned,
		summary: "Rename, pause, resume or limit a sub-account", maxBody: smallBody},
		func(ctx context.Context, input *changeSubAccountInput) (*body[payword.SubAccount], payword.Refusal, error) {
			sub, refusal, err := b.changeSubAccount(ctx, callerOf(ctx), input.Account, input.Body)
			return &body[payword.SubAccount]{sub}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathSubAccountClose, id: "closeSubAccount", access: accountSigned,
		summary: "Close a sub-account; the rest goes back to its parent", maxBody: smallBody},
		func(ctx context.Context, input *subAccountInput) (*body[payword.SubAccount], payword.Refusal, error) {
			sub, refusal, err := b.closeSubAccount(ctx, callerOf(ctx), input.Account)
			return &body[payword.SubAccount]{sub}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathSubAccountVendor, id: "listSubAccountVendors", access: accountSigned,
		summary: "What a sub-account spent at each vendor"},
		func(ctx context.Context, input *spendingPage) (*body[payword.SpendingList], payword.Refusal, error) {
			list, refusal, err := b.store.spending(ctx, callerOf(ctx), input.Account, input.Listing)
			return &body[payword.SpendingList]{list}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathTransfers, id: "transfer", access: accountSigned,
		summary: "Move money to a sub-account, or back", maxBody: smallBody},
		func(ctx context.Context, input *body[payword.SubAccountTransfer]) (*body[payword.SubAccount], payword.Refusal, error) {
			sub, refusal, err := b.transferToSub(ctx, callerOf(ctx), input.Body)
			return &body[payword.SubAccount]{sub}, refusal, err
		})
}

// accountPayoutInput is a request for a payout, its destination checked.
type accountPayoutInput struct{ Body payword.RequestPayout }

// Resolve checks what a schema cannot.
func (i *accountPayoutInput) Resolve(huma.Context) []error {
	return destinationFaults(&i.Body.Destination)
}

// closeInput is a request to close an account, its destination checked.
type closeInput struct{ Body payword.CloseAccount }

// Resolve checks what a schema cannot.
func (i *closeInput) Resolve(huma.Context) []error {
	return destinationFaults(i.Body.Destination)
}

func destinationFaults(given *payword.PayoutDestination) []error {
	if given == nil {
		return nil
	}
	if err := checkPayoutDestination(*given); err != nil {
		return []error{&huma.ErrorDetail{Message: err.Error(), Location: "body.destination"}}
	}
	return nil
}

func registerOwner(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: payword.PathLimits, id: "getLimits", access: accountSigned,
		summary: "How much the account may spend"},
		func(ctx context.Context, _ *struct{}) (*body[payword.AccountLimits], payword.Refusal, error) {
			limits, err := b.store.limits(ctx, callerOf(ctx).account)
			return &body[payword.AccountLimits]{limits}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPut, path: payword.PathLimits, id: "setLimits", access: accountSigned,
		summary: "Replace the owner's own limits", maxBody: smallBody},
		func(ctx context.Context, input *body[payword.Limits]) (*body[payword.AccountLimits], payword.Refusal, error) {
			limits, refusal, err := b.setOwnLimits(ctx, callerOf(ctx).account, input.Body)
			return &body[payword.AccountLimits]{limits}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathVouchers, id: "redeemVoucher", access: accountSigned,
		summary: "Put the worth of a voucher on the account", maxBody: smallBody,
		description: "The same code again by the same account gets the same answer."},
		func(ctx context.Context, input *body[payword.RedeemVoucher]) (*body[payword.RedeemedVoucher], payword.Refusal, error) {
			answer, refusal, err := b.redeemVoucher(ctx, callerOf(ctx), input.Body)
			return &body[payword.RedeemedVoucher]{answer}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: payword.PathPayouts, id: "listPayouts", access: accountSigned,
		summary: "The payouts of the account, the earliest first"},
		func(ctx context.Context, input *listInput) (*body[payword.PayoutList], payword.Refusal, error) {
			list, err := b.store.payoutsOf(ctx, callerOf(ctx).account, input.Listing)
			return &body[payword.PayoutList]{list}, payword.Refusal{}, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathPayouts, id: "requestPayout", access: accountSigned,
		summary: "Set money aside to be paid out", maxBody: smallBody,
		description: "The same id and body again get what became of the payout."},
		func(ctx context.Context, input *accountPayoutInput) (*body[payword.Payout], payword.Refusal, error) {
			payout, refusal, err := b.requestPayout(ctx, callerOf(ctx), input.Body)
			return &body[payword.Payout]{payout}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathClose, id: "closeAccount", access: accountSigned,
		summary: "Close the account and pay out the rest", maxBody: smallBody,
		description: "Nothing new is promised from now on; the rest is set aside for a payout once no reservation is open."},
		func(ctx context.Context, input *closeInput) (*body[payword.Account], payword.Refusal, error) {
			account, refusal, err := b.closeAccount(ctx, callerOf(ctx), input.Body)
			return &body[payword.Account]{account}, refusal, err
		})
}
