package clearing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	// It refuses duplicate members and other letter case, which encoding/json takes.
	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/money"
)

// Policy is what the operator decides about settlement runs. It is kept with
// each run, as it was when the run was planned, and is in the hash of its plan.
// The zero value is not fit for use: begin with DefaultPolicy.
type Policy struct {
	// Name is who pays, as bank files have it: up to 70 printable ASCII
	// characters, or "" for no bank files.
	Name string
	// IBAN is the account that is paid from and collected to, without spaces,
	// and BIC its bank's, which may be "". Without an IBAN what goes to IBANs is
	// on the list of what is paid by hand.
	IBAN, BIC string
	// CreditorID is the id under which direct debits are collected. Without one
	// nothing is collected.
	CreditorID string
	// NACHA is the data of files for banks in the United States. Without it what
	// goes there is on the list of what is paid by hand.
	NACHA *NACHA
	// Fee is the rule for fees.
	Fee fee.Schedule
	// MinimumPayout and MinimumCollection are the smallest amounts that are moved,
	// in micros; less is carried to the next run.
	MinimumPayout, MinimumCollection money.Amount
	// ApprovalAbove is the amount in micros above which a plan needs the approval
	// of a second operator: what it moves in all, out and in, with what was moved
	// on the same day without approval, or one line of it. nil: no plan needs it.
	// A plan with a higher limit than the run before, or none, needs it always.
	ApprovalAbove *money.Amount
	// ReservePpm is the part of every collection that is kept for refunds that
	// may still come, in parts per million, and RefundDays how long.
	ReservePpm int64
	RefundDays int64
	// PainVersion is the version of the payment files, such as "09" for
	// pain.001.001.09 and "08" for pain.008.001.08: "09" or "10".
	PainVersion string
}

// NACHA is what files for banks in the United States say of the broker.
type NACHA struct {
	// Destination is the routing number of the broker's bank, nine digits, and
	// DestinationName its name.
	Destination, DestinationName string
	// Origin is who the bank knows the broker as, up to ten capital letters and
	// digits, and CompanyID the same in each batch.
	Origin, CompanyID string
	// Offset is the broker's account at that bank, ACCOUNT/checking or
	// ACCOUNT/savings, where the bank wants balanced files. "": it wants none, as
	// most do.
	Offset string
}

const (
	// maxPolicyBytes is more than any policy needs.
	maxPolicyBytes = 64 << 10
	// maxRefundDays is 13 months, the longest time in which a direct debit is
	// given back.
	maxRefundDays = 400
	// million is what parts per million are parts of.
	million = 1_000_000
)

// DefaultPolicy is what holds where the operator has said nothing: the standard
// fee, no minimum, no approval, and everything on the list of what is paid by
// hand.
func DefaultPolicy() Policy {
	return Policy{Fee: fee.Standard(), ReservePpm: 0, RefundDays: 56, PainVersion: "09"}
}

// ParsePolicy reads a policy in JSON. Members that are left out are those of
// DefaultPolicy; a member that there is not, or that stands twice, is an error
// that names it.
func ParsePolicy(text []byte) (Policy, error) {
	p := DefaultPolicy()
	if len(text) > maxPolicyBytes {
		return Policy{}, fmt.Errorf("policy: %d bytes of JSON, want at most %d", len(text), maxPolicyBytes)
	}
	var minimumPayout, minimumCollection, approvalAbove *money.Amount
	var rule, nacha strict.RawMessage
	err := readMembers(text, map[string]any{
		"name": &p.Name, "iban": &p.IBAN, "bic": &p.BIC, "creditorId": &p.CreditorID, "nacha": &nacha, "fee": &rule,
		"minimumPayoutMicros": &minimumPayout, "minimumCollectionMicros": &minimumCollection, "approvalAboveMicros": &approvalAbove,
		"reservePpm": &p.ReservePpm, "refundDays": &p.RefundDays, "painVersion": &p.PainVersion,
	})
	if err == nil && nacha != nil {
		p.NACHA = new(NACHA)
		err = readMembers(nacha, map[string]any{"destination": &p.NACHA.Destination, "destinationName": &p.NACHA.DestinationName,
			"origin": &p.NACHA.Origin, "companyId": &p.NACHA.CompanyID, "offset": &p.NACHA.Offset})
	}
	if err == nil && rule != nil {
		p.Fee, err = fee.Parse(rule)
	}
	if err != nil {
		return Policy{}, fmt.Errorf("policy: %w", err)
	}
	p.MinimumPayout, p.MinimumCollection = orZero(minimumPayout), orZero(minimumCollection)
	p.ApprovalAbove = approvalAbove
	return p, p.check()
}

func orZero(amount *money.Amount) money.Amount {
	if amount == nil {
		return 0
	}
	return *amount
}

// readMembers reads an object of JSON that has the members and no other, each
// at most once. null is no value for any of them.
func readMembers(text []byte, members map[string]any) error {
	var values map[string]strict.RawMessage
	if err := strict.Unmarshal(text, &values); err != nil {
		return err
	}
	if values == nil {
		return fmt.Errorf("want an object of JSON, not null")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		into, found := members[name]
		if !found {
			return fmt.Errorf("there is no member %.40q; there are %q", name, slices.Sorted(maps.Keys(members)))
		}
		if string(values[name]) == "null" {
			return fmt.Errorf("%s: leave it out where there is none", name)
		}
		if err := strict.Unmarshal(values[name], into); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// check says what is wrong with a policy, and what would be right.
func (p Policy) check() error {
	switch {
	case len(p.Name) > 70 || !isPrintable(p.Name):
		return fmt.Errorf("policy: name %.80q: want at most 70 printable ASCII characters", p.Name)
	case p.MinimumPayout < 0 || p.MinimumCollection < 0 || orZero(p.ApprovalAbove) < 0:
		return fmt.Errorf("policy: amounts are 0 or more")
	case p.ReservePpm < 0 || p.ReservePpm > million:
		return fmt.Errorf("policy: reservePpm %d: want 0 to %d, in parts per million", p.ReservePpm, million)
	case p.RefundDays < 0 || p.RefundDays > maxRefundDays:
		return fmt.Errorf("policy: refundDays %d: want 0 to %d", p.RefundDays, maxRefundDays)
	case p.PainVersion != "09" && p.PainVersion != "10":
		return fmt.Errorf("policy: painVersion %.20q: want \"09\" or \"10\"", p.PainVersion)
	}
	if err := p.checkBank(); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return p.Fee.Check()
}

// checkBank says what is wrong with what banks are told of the broker: it is
// found now, and not when the file for the bank is made.
func (p Policy) checkBank() error {
	if p.IBAN == "" && (p.BIC != "" || p.CreditorID != "") {
		return errors.New("bic and creditorId: want an iban beside them")
	}
	if p.IBAN != "" {
		if err := p.bankAccount().Check(); err != nil {
			return fmt.Errorf("iban %.40q, bic %.20q: %w", p.IBAN, p.BIC, err)
		}
	}
	if p.CreditorID != "" {
		if err := bankaccount.CheckCreditorID(p.CreditorID); err != nil {
			return fmt.Errorf("creditorId %.40q: %w, such as DE98ZZZ09999999999", p.CreditorID, err)
		}
	}
	if p.NACHA != nil {
		if err := p.originator().Check(); err != nil {
			return fmt.Errorf("nacha: %w", err)
		}
		if name := p.NACHA.DestinationName; name == "" || len(name) > 23 || !isPrintable(name) {
			return fmt.Errorf("nacha: destinationName %.40q: want 1 to 23 printable ASCII characters", name)
		}
	}
	if p.Name == "" && (p.IBAN != "" || p.NACHA != nil) {
		return errors.New("iban and nacha: want a name beside them")
	}
	return nil
}

// policyText is the canonical JSON of a policy: every member that is set, in
// this order. An amount is a string of digits.
type policyText struct {
	Name              string          `json:"name,omitempty"`
	IBAN              string          `json:"iban,omitempty"`
	BIC               string          `json:"bic,omitempty"`
	CreditorID        string          `json:"creditorId,omitempty"`
	NACHA             *nachaText      `json:"nacha,omitempty"`
	Fee               json.RawMessage `json:"fee"`
	MinimumPayout     string          `json:"minimumPayoutMicros"`
	MinimumCollection string          `json:"minimumCollectionMicros"`
	ApprovalAbove     string          `json:"approvalAboveMicros,omitempty"`
	ReservePpm        int64           `json:"reservePpm"`
	RefundDays        int64           `json:"refundDays"`
	PainVersion       string          `json:"painVersion"`
}

type nachaText struct {
	Destination     string `json:"destination"`
	DestinationName string `json:"destinationName"`
	Origin          string `json:"origin"`
	CompanyID       string `json:"companyId"`
	Offset          string `json:"offset,omitempty"`
}

// String returns the canonical text of a policy, which ParsePolicy reads: two
// policies are the same if and only if their texts are.
func (p Policy) String() string {
	text := policyText{
		Name: p.Name, IBAN: p.IBAN, BIC: p.BIC, CreditorID: p.CreditorID, Fee: json.RawMessage(p.Fee.String()),
		MinimumPayout: p.MinimumPayout.String(), MinimumCollection: p.MinimumCollection.String(),
		ReservePpm: p.ReservePpm, RefundDays: p.RefundDays, PainVersion: p.PainVersion,
	}
	if p.NACHA != nil {
		converted := nachaText(*p.NACHA)
		text.NACHA = &converted
	}
	if p.ApprovalAbove != nil {
		text.ApprovalAbove = p.ApprovalAbove.String()
	}
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err) // texts and integers alone
	}
	return string(encoded)
}
