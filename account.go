package payword

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// What the owner of an account exchanges with its broker, beside what stands in
// service.go.

// The paths of a broker that the owner of an account uses.
const (
	PathDevices     = "/v1/account/devices"
	PathSubAccounts = "/v1/account/sub-accounts"
	PathTransfers   = "/v1/account/transfers"
	PathLimits      = "/v1/account/limits"
	PathVouchers    = "/v1/account/vouchers"
	PathPayouts     = "/v1/account/payouts"
	PathClose       = "/v1/account/close"
	PathExport      = "/v1/account/export"
)

// The purposes of a Possession.
const (
	// PossessionDevice is to speak for the account, as the key that opened it.
	PossessionDevice = "device"
	// PossessionSubAccount is to have a sub-account of the account.
	PossessionSubAccount = "sub-account"
)

// Possession is what a new key signs to prove that whoever holds it wants it to
// speak for an account. It names everything that it is good for, so that the
// proof is of no use anywhere else.
type Possession struct {
	Purpose   string // PossessionDevice or PossessionSubAccount
	Broker    string // origin
	Account   string // that the device or the sub-account will belong to
	Challenge string // fresh, from the broker
}

func (p Possession) message() []byte {
	return []byte("payword-possession\n" + p.Purpose + "\n" + p.Broker + "\n" + p.Account + "\n" + p.Challenge)
}

// Sign returns the proof: the signature of signer, which must hold an Ed25519
// key, in base64url.
func (p Possession) Sign(signer crypto.Signer) (string, error) {
	if _, isEd25519 := signer.Public().(ed25519.PublicKey); !isEd25519 {
		return "", fmt.Errorf("proving possession: want an Ed25519 key, not %T", signer.Public())
	}
	signature, err := signer.Sign(nil, p.message(), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("proving possession: %w", err)
	}
	return base64url.EncodeToString(signature), nil
}

// Verify checks the proof of key. It refuses with BadSignature.
func (p Possession) Verify(key ed25519.PublicKey, proof string) Refusal {
	var signature [ed25519.SignatureSize]byte
	err := decodeFixed(signature[:], proof)
	if err == nil && !ed25519.Verify(key, p.message(), signature[:]) {
		err = errors.New("the key has not signed this purpose, broker, account and challenge")
	}
	if err != nil {
		return refuse(BadSignature, "proof: %v", err)
	}
	return Refusal{}
}

// Device is a key that speaks for an account.
type Device struct {
	Device  string `json:"device" doc:"the key's RFC 7638 thumbprint"`
	Name    string `json:"name" doc:"that the owner chose"`
	Created int64  `json:"created" doc:"seconds since 1970"`
	Current bool   `json:"current" doc:"it signed this request"`
}

// DeviceList is a page of what speaks for an account.
type DeviceList struct {
	Devices []Device `json:"devices"`
	Next    string   `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// AddDevice asks that a further key speak for the account. A device that does
// so already has signed the request.
type AddDevice struct {
	Key       PublicKey `json:"key" doc:"of the new device"`
	Name      string    `json:"name" minLength:"1" maxLength:"50" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	Challenge string    `json:"challenge" maxLength:"64"`
	Proof     string    `json:"proof" maxLength:"86" doc:"what the new key signed, see payword.Possession"`
}

// Limits bound what an account and its sub-accounts spend together. What is
// absent has no limit; 0 lets nothing through.
type Limits struct {
	VendorDay *money.Amount `json:"vendorDay,omitempty" doc:"for one vendor in a UTC day, in micros"`
	Day       *money.Amount `json:"day,omitempty" doc:"for all vendors in a UTC day, in micros"`
	Reserved  *money.Amount `json:"reserved,omitempty" doc:"set aside at once, in micros"`
}

// AccountLimits are the limits of an account by who set them: the lower one of
// each counts.
type AccountLimits struct {
	Own     Limits `json:"own" doc:"set by the owner; for a sub-account by its parent"`
	Ceiling Limits `json:"ceiling" doc:"set by the broker"`
}

// OpenSubAccount asks for an account with its own small budget, for an agent's
// key. The account it will belong to has signed the request.
type OpenSubAccount struct {
	Key       PublicKey `json:"key" doc:"of the agent"`
	Name      string    `json:"name" minLength:"1" maxLength:"50" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	Challenge string    `json:"challenge" maxLength:"64"`
	Proof     string    `json:"proof" maxLength:"86" doc:"what the agent's key signed, see payword.Possession"`
	Limits    Limits    `json:"limits"`
}

// SubAccount is what the parent is told of a sub-account.
type SubAccount struct {
	Account   string       `json:"account"`
	Name      string       `json:"name"`
	State     string       `json:"state" enum:"open,blocked,closing,closed"`
	Paused    bool         `json:"paused"`
	Available money.Amount `json:"available" doc:"in micros"`
	Reserved  money.Amount `json:"reserved" doc:"in micros"`
	Limits    Limits       `json:"limits"`
}

// SubAccountList is a page of sub-accounts.
type SubAccountList struct {
	SubAccounts []SubAccount `json:"subAccounts"`
	Next        string       `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// ChangeSubAccount changes what is given of a sub-account.
type ChangeSubAccount struct {
	Name   *string `json:"name,omitempty" minLength:"1" maxLength:"50" pattern:"^[^\\x00-\\x1f\\x7f]+$"`
	Paused *bool   `json:"paused,omitempty"`
	Limits *Limits `json:"limits,omitempty"`
}

// SubAccountTransfer moves money between an account and a sub-account of it.
type SubAccountTransfer struct {
	ID      string       `json:"id" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9._:-]+$" doc:"names this transfer; it is booked once for ever"`
	Account string       `json:"account" maxLength:"64" doc:"the sub-account"`
	Back    bool         `json:"back,omitempty" doc:"from the sub-account to the parent"`
	Amount  money.Amount `json:"amount" pattern:"^[1-9][0-9]*$" doc:"in micros, at least 1"`
}

// VendorSpending is what a sub-account spent at one vendor.
type VendorSpending struct {
	Vendor   string       `json:"vendor"`
	Paid     money.Amount `json:"paid" doc:"ever paid to the vendor, in micros"`
	Reserved money.Amount `json:"reserved" doc:"set aside for it now, in micros"`
}

// SpendingList is a page of what a sub-account spent, by vendor.
type SpendingList struct {
	Vendors []VendorSpending `json:"vendors"`
	Next    string           `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// RedeemVoucher asks that the worth of a voucher be put on the account.
type RedeemVoucher struct {
	Code string `json:"code" maxLength:"64" doc:"as printed; case, spaces and hyphens do not count"`
}

// RedeemedVoucher is what a voucher was worth, and the account after it.
type RedeemedVoucher struct {
	Amount  money.Amount `json:"amount" doc:"in micros"`
	Account Account      `json:"account"`
}

// PayoutDestination is where a payout goes: one of the two.
type PayoutDestination struct {
	IBAN      string `json:"iban,omitempty" maxLength:"42" doc:"a bank account (ISO 13616); spaces do not count"`
	Reference string `json:"reference,omitempty" maxLength:"140" doc:"anything else that the broker's operator understands"`
}

// RequestPayout asks that money of the account be paid out.
type RequestPayout struct {
	ID          string            `json:"id" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9._:-]+$" doc:"names this payout; it is made once for ever"`
	Amount      money.Amount      `json:"amount" pattern:"^[1-9][0-9]*$" doc:"in micros, at least 1"`
	Destination PayoutDestination `json:"destination"`
}

// CloseAccount asks that the account be closed and the rest paid out.
type CloseAccount struct {
	Destination *PayoutDestination `json:"destination,omitempty" doc:"where the rest goes; may be absent if there is none"`
}

// Payout is money on its way out of an account.
type Payout struct {
	Account     string            `json:"account"`
	ID          string            `json:"id"`
	Amount      money.Amount      `json:"amount" doc:"in micros"`
	Currency    money.Currency    `json:"currency"`
	Destination PayoutDestination `json:"destination"`
	Closing     bool              `json:"closing" doc:"it is the rest of an account that closes"`
	State       string            `json:"state" enum:"pending,paid,refused"`
	Note        string            `json:"note,omitempty" doc:"how it was paid, or why it was refused"`
	Created     int64             `json:"created" doc:"seconds since 1970"`
	Ended       int64             `json:"ended,omitempty" doc:"seconds since 1970"`
}

// PayoutList is a page of payouts, the earliest first.
type PayoutList struct {
	Payouts []Payout `json:"payouts"`
	Next    string   `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}
