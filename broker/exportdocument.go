package broker

import (
	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// accountExport is everything that the broker keeps of an account. It is written
// part by part, and never held as a whole.
type accountExport struct {
	Broker       string                           `json:"broker" doc:"origin"`
	Currency     money.Currency                   `json:"currency"`
	Account      exportedAccount                  `json:"account"`
	Devices      exportedList[exportedDevice]     `json:"devices" doc:"those that were removed among them"`
	SubAccounts  exportedList[exportedSubAccount] `json:"subAccounts" doc:"what a parent is shown of them; each exports itself"`
	Spending     exportedList[exportedSpending]   `json:"subAccountSpending" doc:"what the sub-accounts spent, by vendor"`
	Certificates exportedList[exportedPseudonym]  `json:"certificates" doc:"the pseudonyms of the account"`
	Commitments  exportedList[exportedCommitment] `json:"commitments" doc:"with everything that was signed for them"`
	Balances     exportedList[exportedBalance]    `json:"balances" doc:"of the account's accounts in the ledger, all as of one moment"`
	Entries      exportedList[exportedEntry]      `json:"entries" doc:"what the balances are made of: each of phase single or post counts"`
	Fundings     exportedList[exportedFunding]    `json:"fundings" doc:"what came in"`
	Vouchers     exportedList[exportedVoucher]    `json:"vouchers" doc:"that were redeemed"`
	Payouts      exportedList[payword.Payout]     `json:"payouts"`
	Frauds       exportedList[exportedFraud]      `json:"frauds" doc:"paywords that were released twice, as the broker recorded it"`
	Log          exportedList[exportedLogEntry]   `json:"auditLog" doc:"who changed what of the account, and what the account changed"`
}

// exportedList is a part of an export. What changed between its first and its
// last page may stand in it as it was before, or after.
type exportedList[T any] struct {
	AsOf  int64 `json:"asOf" doc:"when the first page was read, seconds since 1970"`
	Items []T   `json:"items"`
	Until int64 `json:"until" doc:"when the last page was read, seconds since 1970"`
}

type exportedAccount struct {
	AsOf    int64                 `json:"asOf" doc:"seconds since 1970"`
	Account payword.Account       `json:"account"`
	Parent  string                `json:"parent,omitempty" doc:"the account that this sub-account belongs to"`
	Name    string                `json:"name,omitempty" doc:"of a sub-account, by its parent"`
	Holder  string                `json:"holder,omitempty" doc:"what ties the account to the operator's own records; absent: nothing does"`
	Age     int                   `json:"age" doc:"in years; 0: nothing proved"`
	Created int64                 `json:"created" doc:"seconds since 1970"`
	Limits  payword.AccountLimits `json:"limits"`
	Closing *exportedClosing      `json:"closing,omitempty" doc:"absent: nobody asked to close it"`
}

type exportedClosing struct {
	Destination payword.PayoutDestination `json:"destination" doc:"where the rest goes; empty: nothing was left, or it goes to the parent"`
	Created     int64                     `json:"created" doc:"seconds since 1970"`
}

type exportedDevice struct {
	Device  string            `json:"device" doc:"the key's RFC 7638 thumbprint"`
	Key     payword.PublicKey `json:"key"`
	Name    string            `json:"name" doc:"that the owner chose"`
	Created int64             `json:"created" doc:"seconds since 1970"`
	Removed int64             `json:"removed,omitempty" doc:"seconds since 1970; absent: it speaks for the account"`
}

type exportedSubAccount struct {
	payword.SubAccount
	Created int64 `json:"created" doc:"seconds since 1970"`
}

type exportedSpending struct {
	Account string `json:"account" doc:"the sub-account"`
	payword.VendorSpending
}

type exportedPseudonym struct {
	Subject      string                `json:"subject" doc:"the pseudonym"`
	KeyID        string                `json:"keyId" doc:"RFC 7638 thumbprint of its key"`
	Prefixes     []string              `json:"prefixes" doc:"the networks that it is bound to"`
	Created      int64                 `json:"created" doc:"seconds since 1970"`
	Expires      int64                 `json:"expires" doc:"of its last certificate, seconds since 1970"`
	Revoked      int64                 `json:"revoked,omitempty" doc:"seconds since 1970; absent: it is not"`
	Certificates []exportedCertificate `json:"certificates" doc:"that have not expired for three days"`
}

type exportedCertificate struct {
	ID      string `json:"id" doc:"its jti, base64url"`
	List    int64  `json:"list" doc:"the hot list that tells of it"`
	Place   int64  `json:"place" doc:"in that list"`
	Status  string `json:"status" enum:"valid,invalid,suspended"`
	Expires int64  `json:"expires" doc:"seconds since 1970"`
}

type exportedCommitment struct {
	ID          string         `json:"id"`
	Vendor      string         `json:"vendor" doc:"origin"`
	Created     int64          `json:"created" doc:"when the broker saw it first, seconds since 1970"`
	Commitment  string         `json:"commitment" doc:"a JWS, signed by its user"`
	Reservation string         `json:"reservation,omitempty" doc:"the last one, a JWS, signed by the broker"`
	Claim       string         `json:"claim,omitempty" doc:"the highest that was paid, a JWS, signed by the vendor"`
	Reserved    money.Amount   `json:"reserved" doc:"promised to the vendor, in micros"`
	Held        money.Amount   `json:"held" doc:"of that, still set aside, in micros"`
	Paid        money.Amount   `json:"paid" doc:"to the vendor, in micros"`
	Sequence    uint32         `json:"sequence" doc:"of the reservation; 0: none"`
	RedeemBy    int64          `json:"redeemBy" doc:"seconds since 1970"`
	RaisedDay   int64          `json:"raisedDay" doc:"of the last raise, UTC days since 1970; 0: none"`
	Tails       []exportedTail `json:"tails" doc:"what was paid for"`
	Closed      bool           `json:"closed" doc:"nothing more is paid or reserved"`
}

type exportedTail struct {
	Chain   int    `json:"chain" doc:"of the commitment, from 0"`
	Index   uint32 `json:"index" doc:"how many paywords of the chain were paid"`
	Payword string `json:"payword" doc:"the last of them, base64url"`
}

type exportedBalance struct {
	LedgerAccount string       `json:"ledgerAccount" doc:"such as user:ID:available"`
	Balance       money.Amount `json:"balance" doc:"credits minus debits, in micros; below zero, with a minus, is owed"`
	Pending       money.Amount `json:"pending" doc:"of that, on its way out, in micros"`
	Created       int64        `json:"created" doc:"seconds since 1970"`
}

type exportedEntry struct {
	LedgerAccount string       `json:"ledgerAccount"`
	Number        int64        `json:"number" doc:"of the transfer; later ones have higher numbers"`
	Time          int64        `json:"time" doc:"seconds since 1970"`
	Transfer      string       `json:"transfer" doc:"its id"`
	Phase         string       `json:"phase" enum:"single,pending,post,void,expire"`
	Ends          string       `json:"ends,omitempty" doc:"the id of the pending transfer that this one ends"`
	Kind          string       `json:"kind"`
	Reference     string       `json:"reference" doc:"what it is about, such as the id of a commitment"`
	Other         string       `json:"other" doc:"the account on the other side"`
	Credit        money.Amount `json:"credit,omitempty" doc:"in micros"`
	Debit         money.Amount `json:"debit,omitempty" doc:"in micros"`
	Expires       int64        `json:"expires,omitempty" doc:"of a pending transfer that ends by itself, seconds since 1970"`
}

type exportedFunding struct {
	Funding   int64              `json:"funding" doc:"its number here"`
	Source    string             `json:"source" doc:"bank, stripe, direct-debit or gateway:NAME"`
	ID        string             `json:"id" doc:"the source's name for it"`
	Payment   string             `json:"payment,omitempty" doc:"what the source's reversals name it by"`
	Named     string             `json:"named" doc:"the account that the payment named"`
	Amount    money.Amount       `json:"amount" doc:"in micros"`
	Currency  money.Currency     `json:"currency"`
	Reversed  money.Amount       `json:"reversed" doc:"of that, taken back since, in micros"`
	Reversals []exportedReversal `json:"reversals" doc:"what was taken back of it, or is wanted back"`
	Created   int64              `json:"created" doc:"seconds since 1970"`
}

type exportedReversal struct {
	ID       string         `json:"id" doc:"the source's name for it"`
	Cause    string         `json:"cause" enum:"refund,dispute"`
	Amount   money.Amount   `json:"amount" doc:"in all, in micros"`
	Currency money.Currency `json:"currency"`
	Ended    bool           `json:"ended" doc:"it was undone"`
	Created  int64          `json:"created" doc:"seconds since 1970"`
}

type exportedVoucher struct {
	Voucher  string       `json:"voucher" doc:"SHA-256 of its code, hexadecimal"`
	Batch    string       `json:"batch"`
	Amount   money.Amount `json:"amount" doc:"in micros"`
	Redeemed int64        `json:"redeemed" doc:"seconds since 1970"`
	Expires  int64        `json:"expires" doc:"seconds since 1970"`
}

type exportedFraud struct {
	Root       string `json:"root" doc:"of the chain, base64url"`
	Commitment string `json:"commitment" doc:"that was paid on, its id"`
	Earlier    string `json:"earlier" doc:"the first commitment with the root, its id"`
	Vendor     string `json:"vendor" doc:"that was paid"`
	Created    int64  `json:"created" doc:"seconds since 1970"`
}

type exportedLogEntry struct {
	Time    int64  `json:"time" doc:"seconds since 1970"`
	Actor   string `json:"actor" doc:"such as account:ID, broker, or admin for an operator, whose name is not told"`
	Action  string `json:"action"`
	Subject string `json:"subject" doc:"such as account:ID"`
	Detail  string `json:"detail,omitempty" doc:"absent of a block, whose reason is the operator's"`
}
