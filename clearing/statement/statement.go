// Package statement is the format of statements that anybody can check: what a
// vendor was paid in a period, or a user paid, with the signatures and the
// paywords that prove it. It asks nobody: to check a statement takes its bytes and
// the public keys of the broker.
//
// A statement is JSON lines (docs/statements.md):
//
//	the header: whose it is, of which run, and its totals
//	an entry for each commitment, in the order of their ids
//	the proof: its place in the day's Merkle tree, and the signed day
//
// Every line is written in one way only, ASCII without white space, its members in
// the order of the types here, and ends with a line feed. Amounts are strings of
// micros. The leaf of a statement is the SHA-256 of all its lines but the last.
package statement

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Format is the first member of every statement: the format and its version.
const Format = "payword-statement/1"

// Kind says whose statement it is.
type Kind string

// The kinds of statements.
const (
	Vendor Kind = "vendor" // what one vendor was paid, by anybody
	User   Kind = "user"   // what one account of the broker paid, to anybody
)

const (
	// MaxLineBytes bounds a line. The longest is an entry: a commitment of 3072
	// bytes, a claim of 2048, eight tails and a few amounts.
	MaxLineBytes = 8192

	// maxNameBytes bounds the names in a header: that of a vendor fits the account
	// of the ledger that it is paid on, of 320 bytes.
	maxNameBytes = 305

	// maxPath bounds the path through a day's tree: that of 2^62 statements.
	maxPath = 62
)

// Header is the first line.
type Header struct {
	Format      string         `json:"format"`
	Kind        Kind           `json:"kind"`
	Party       string         `json:"party"`     // the vendor's origin, or the account at the broker
	Run         string         `json:"run"`       // the settlement run
	PeriodEnd   string         `json:"periodEnd"` // a day, 2026-11-22
	Issuer      string         `json:"issuer"`    // the broker's origin
	Currency    money.Currency `json:"currency"`
	Commitments int64          `json:"commitments"`          // number of entries
	Paid        Total          `json:"paid"`                 // in the period, the sum of the entries
	Settlement  *Settlement    `json:"settlement,omitempty"` // of a vendor only
}

// Settlement is what the run did with all that was payable to a vendor, whenever
// it was earned: gross is fee, payout and what is carried to the next run.
type Settlement struct {
	FeeRule string `json:"feeRule"` // version of the fee rule
	Gross   Total  `json:"gross"`
	Fee     Total  `json:"fee"`
	Payout  Total  `json:"payout"`
	Carried Total  `json:"carried"`
}

// Entry is the line of one commitment. Tails and claim are the latest that the
// broker had when it made the statement, so that they prove Cumulative or more.
type Entry struct {
	Commitment payword.CommitmentID `json:"commitment"`
	PaidBefore money.Amount         `json:"paidBefore"`    // in earlier periods, micros
	Paid       money.Amount         `json:"paid"`          // in this one
	Cumulative money.Amount         `json:"cumulative"`    // both
	Fee        money.Amount         `json:"fee,omitempty"` // this entry's share of the vendor's fee
	Tails      []Tail               `json:"tails"`         // of each chain, in order
	Claim      string               `json:"claim"`         // a JWS of the vendor
	ClaimKey   string               `json:"claimKey,omitempty"`
	Token      string               `json:"token"` // the commitment, a JWS of the user with the broker's certificate in it
}

// Tail is the deepest payword of a chain that was accepted. A chain of which
// nothing was spent has index 0 and no payword.
type Tail struct {
	Index   uint32 `json:"index"`
	Payword string `json:"payword,omitempty"` // base64url
}

// Proof is the last line: where the statement stands among those of its day.
type Proof struct {
	Index  int64    `json:"index"` // of its leaf, from 0
	Leaves int64    `json:"leaves"`
	Path   []string `json:"path"`          // the hashes beside the way to the root, base64url, from the leaf up
	Day    string   `json:"day,omitempty"` // the signed day; absent where the broker signed none
}

// Total is a sum of amounts, in micros: 0 to the largest int64, where a
// money.Amount on the wire ends at 15 digits.
type Total money.Amount

// MarshalText writes digits.
func (t Total) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(t), 10), nil }

// UnmarshalText reads 1 to 19 digits without a leading zero.
func (t *Total) UnmarshalText(text []byte) error {
	value, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil || strconv.FormatUint(value, 10) != string(text) {
		return fmt.Errorf("sum %.30q: want digits, counting millionths", text)
	}
	*t = Total(value)
	return nil
}

// Decimal returns the sum in major units, for people.
func (t Total) Decimal() string { return money.Amount(t).Decimal() }

// plus adds an amount of 0 or more. It reports whether the sum fits.
func (t Total) plus(a money.Amount) (Total, bool) {
	if int64(a) < 0 || int64(t) > math.MaxInt64-int64(a) {
		return 0, false
	}
	return t + Total(a), true
}

// portion returns fee * part / whole, rounded down. part is at most whole.
func portion(fee, part, whole Total) Total {
	if whole <= 0 || part < 0 || part > whole || fee < 0 {
		return 0
	}
	high, low := bits.Mul64(uint64(fee), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole)) // at most fee
	return Total(quotient)
}

// feeShares gives each entry its share of a fee: what the portion of all entries
// up to it is more than that of those before it. So the shares sum to the fee
// exactly, and each is within a micro of its part.
type feeShares struct {
	fee, whole, seen, given Total
}

func (f *feeShares) next(paid money.Amount) money.Amount {
	f.seen += Total(paid)
	upTo := portion(f.fee, f.seen, f.whole)
	share := upTo - f.given
	f.given = upTo
	return money.Amount(share)
}

// encode writes a line with its line feed.
func encode(value any) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encoding a line: %w", err)
	}
	if line.Len() > MaxLineBytes {
		return nil, fmt.Errorf("encoding a line: %d bytes, at most %d", line.Len(), MaxLineBytes)
	}
	return line.Bytes(), nil
}

// decode reads a line, and refuses every spelling but that of encode.
func decode(line []byte, target any) error {
	if err := json.Unmarshal(line, target); err != nil {
		return errors.New("it is not JSON of the members that are wanted")
	}
	again, err := encode(target)
	if err != nil || !bytes.Equal(again, line) {
		return errors.New("it is not written as statements are: each member once and in order, without white space")
	}
	return nil
}

// check reports what is wrong with a header by itself.
func (h *Header) check() error {
	switch {
	case h.Format != Format:
		return fmt.Errorf("format: got %.40q, want %q", h.Format, Format)
	case h.Kind != Vendor && h.Kind != User:
		return fmt.Errorf("kind: got %.40q, want vendor or user", h.Kind)
	case !isName(h.Party) || !isName(h.Run):
		return fmt.Errorf("party and run: want 1 to %d printable ASCII characters", maxNameBytes)
	case payword.CheckOrigin(h.Issuer) != nil:
		return errors.New("issuer: want the broker's origin")
	case h.Currency == "":
		return errors.New("currency: missing")
	case h.Commitments < 0 || (h.Commitments == 0) != (h.Paid == 0):
		return errors.New("commitments and paid: want both or neither")
	}
	if _, err := time.Parse(time.DateOnly, h.PeriodEnd); err != nil {
		return errors.New("periodEnd: want a day such as 2026-11-22")
	}
	if s := h.Settlement; s != nil {
		switch {
		case h.Kind != Vendor:
			return errors.New("settlement: users have none")
		case !isName(s.FeeRule):
			return errors.New("feeRule: missing")
		case s.Fee > s.Gross || s.Payout > s.Gross-s.Fee || s.Carried != s.Gross-s.Fee-s.Payout:
			return errors.New("settlement: gross is not fee, payout and what is carried together")
		}
	}
	return nil
}

// shares returns what splits the fee over the entries.
func (h *Header) shares() feeShares {
	if h.Settlement == nil {
		return feeShares{}
	}
	return feeShares{fee: h.Settlement.Fee, whole: h.Paid}
}

// isName reports whether text is 1 to maxNameBytes of printable ASCII.
func isName(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return text != "" && len(text) <= maxNameBytes
}

// base64url is RFC 4648 section 5 without padding.
var base64url = base64.RawURLEncoding.Strict()

// decodeHash reads 32 bytes in base64url.
func decodeHash(text string) (hash [32]byte, err error) {
	decoded, err := base64url.DecodeString(text)
	if err != nil || len(decoded) != len(hash) || len(text) != base64url.EncodedLen(len(hash)) {
		return hash, errors.New("want 32 bytes in base64url, 43 characters")
	}
	return [32]byte(decoded), nil
}

// NewTails writes the tails of a commitment with so many chains.
func NewTails(tails []payword.Tail) []Tail {
	list := make([]Tail, len(tails))
	for k, tail := range tails {
		list[k].Index = tail.Index
		if tail.Index > 0 {
			list[k].Payword = base64url.EncodeToString(tail.Payword[:])
		}
	}
	return list
}
