package statement

import "fmt"

// Word names what disagrees, for programs. Besides those below it is a reason of
// the protocol (docs/protocol.md, section 11), such as bad-certificate.
type Word string

// The words that are not reasons of the protocol.
const (
	MalformedStatement Word = "malformed-statement" // a line that is not of the format, or too long
	IncompleteFile     Word = "incomplete-file"     // the file ends before the proof does, or goes on after it
	WrongIssuer        Word = "wrong-issuer"        // of another broker than the keys are for
	WrongCommitment    Word = "wrong-commitment"    // the id is not that of the token
	WrongOrder         Word = "wrong-order"         // a commitment twice, or out of its order
	WrongTails         Word = "wrong-tails"         // not one for each chain, or behind those of the claim
	WrongClaim         Word = "wrong-claim"         // of another commitment, or of less than was paid
	UnknownVendorKey   Word = "unknown-vendor-key"  // the claim is signed by none of the vendor's keys
	WrongSum           Word = "wrong-sum"           // before and now are not all that was paid
	WrongFee           Word = "wrong-fee"           // the share of the fee
	WrongTotal         Word = "wrong-total"         // the entries are not what the header says
	WrongProof         Word = "wrong-proof"         // the path does not lead to the day's root
	UnsignedDay        Word = "unsigned-day"        // no signed day, and one was wanted
	UnknownDayKey      Word = "unknown-day-key"     // the day is signed by another key
	BadDay             Word = "bad-day"             // the day's signature is wrong, or it is of another run
)

// Disagreement is the first thing in a statement that cannot be right.
type Disagreement struct {
	Line   int64  `json:"line"` // from 1
	Word   Word   `json:"word"`
	Detail string `json:"detail"` // a sentence, without its full stop
}

// Error says where and what.
func (d *Disagreement) Error() string {
	return fmt.Sprintf("line %d: %s: %s", d.Line, d.Word, d.Detail)
}
