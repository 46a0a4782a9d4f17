package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// MaxFindings is how many findings a report lists, the first ones in the order
// of kind and subject. All are counted.
const MaxFindings = 1000

// Kind says what is wrong. The list is closed.
type Kind string

// What is wrong with the evidence.
const (
	CommitmentMalformed Kind = "commitment-malformed" // it is no commitment, or its id is not its hash
	CertificateUnsigned Kind = "certificate-unsigned" // no known key of the broker signed it
	CommitmentUnsigned  Kind = "commitment-unsigned"  // the user did not sign it
	CommitmentOwner     Kind = "commitment-owner"     // its pseudonym is another account's
	CommitmentRow       Kind = "commitment-row"       // what is stored beside it says something else
	ReservationUnsigned Kind = "reservation-unsigned" // no known key of the broker signed it
	ReservationDiffers  Kind = "reservation-differs"  // it is for something else than what is stored
	ClaimUnsigned       Kind = "claim-unsigned"       // no key of the vendor signed it
	ClaimDiffers        Kind = "claim-differs"        // it is for something else than what is stored
	ClaimUnproved       Kind = "claim-unproved"       // the paywords prove less than it asks for
	TailForged          Kind = "tail-forged"          // hashing does not lead from the tail to the root
	PaidDiffers         Kind = "paid-differs"         // more or less was paid than what was claimed, or than is allowed
	HeldDiffers         Kind = "held-differs"         // more or less is set aside than what was reserved and not paid
	RootReused          Kind = "root-reused"          // two commitments have it, and it is not listed as fraud
	FraudUnfounded      Kind = "fraud-unfounded"      // the commitments that it names do not share the root
)

// What is wrong with the books.
const (
	AccountBalance      Kind = "account-balance"      // it is not the sum of its transfers
	AccountPending      Kind = "account-pending"      // it is not the sum of what is promised
	AccountFloor        Kind = "account-floor"        // it is below the least that is allowed
	AccountEvidence     Kind = "account-evidence"     // the evidence explains another balance
	AccountUnknown      Kind = "account-unknown"      // nobody knows whose it is
	AccountState        Kind = "account-state"        // what is on it cannot be, in that state
	CurrencySum         Kind = "currency-sum"         // the balances do not sum to zero
	TransferImpossible  Kind = "transfer-impossible"  // it breaks a rule of the journal
	TransferUnexplained Kind = "transfer-unexplained" // nothing is known that it is for
	TransferMissing     Kind = "transfer-missing"     // something is recorded that moved nothing
	TransferDiffers     Kind = "transfer-differs"     // it moved something else than what is recorded
	CommitmentTransfers Kind = "commitment-transfers" // what moved for it is not what its evidence says
	ReversedDiffers     Kind = "reversed-differs"     // another sum went back than what is recorded
	OutcomeDiffers      Kind = "outcome-differs"      // what the bank said is marked as done, and is not
	DaySum              Kind = "day-sum"              // it is not the sum of the day's transfers
)

// What is wrong with settlement runs.
const (
	RunHash            Kind = "run-hash"            // the plan is another one than was approved
	RunTotals          Kind = "run-totals"          // its lines sum to something else
	RunCutoff          Kind = "run-cutoff"          // it does not begin where the one before it ended
	RunApproval        Kind = "run-approval"        // nobody else stands behind it who must
	FeeRule            Kind = "fee-rule"            // the rule of that version is another one
	LineFee            Kind = "line-fee"            // the rule gives another fee or payout
	LinePosition       Kind = "line-position"       // another sum was owed at the cut-off
	LineMissing        Kind = "line-missing"        // somebody is owed something and is not in the run
	LineResult         Kind = "line-result"         // it cannot be so far in such a run
	InstructionDiffers Kind = "instruction-differs" // the order to the bank is not that of its line
	InstructionState   Kind = "instruction-state"   // its transfers are not those of its state
	TrialBalance       Kind = "trial-balance"       // balances when a run was closed that cannot be
	BankEntryDiffers   Kind = "bank-entry-differs"  // it is matched with an order that is in another state
	ReserveDiffers     Kind = "reserve-differs"     // the policy asks for another reserve
	EvidenceDiffers    Kind = "evidence-differs"    // what the run kept is not what was paid in its period
	StatementDiffers   Kind = "statement-differs"   // the rows make another statement
	DayDiffers         Kind = "day-differs"         // the tree or the chain of days is another one
	DayUnsigned        Kind = "day-unsigned"        // no known key of the clearing signed it
)

// What is wrong with purse cards.
const (
	ProofDiffers   Kind = "proof-differs"   // the card proved another payment
	ProofUnsigned  Kind = "proof-unsigned"  // the card's MAC is wrong
	BatchDiffers   Kind = "batch-differs"   // its records are others than it says
	DisputeDiffers Kind = "dispute-differs" // the payment is in another state than the dispute about it
	TakenBack      Kind = "taken-back"      // what went back of a payment, or was paid out of it, is another sum than the card or its batch says
	ScriptDiffers  Kind = "script-differs"  // issuer or card have signed another one
	CardAlarm      Kind = "card-alarm"      // it spent more than was loaded, and nobody was told
)

// Finding is one thing that does not agree.
type Finding struct {
	Kind Kind `json:"kind"`
	// Subject is what it is about: the id of a commitment, account, transfer,
	// run or the like.
	Subject string `json:"subject"`
	// Evidence is what the evidence says.
	Evidence string `json:"evidence"`
	// Books is what the books say instead.
	Books string `json:"books"`
}

func compareFindings(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject),
		cmp.Compare(a.Evidence, b.Evidence), cmp.Compare(a.Books, b.Books))
}

// Totals say how much was looked at, so that a clean report is worth something.
type Totals struct {
	Commitments  int64 `json:"commitments"`
	Signatures   int64 `json:"signatures"`
	Hashes       int64 `json:"hashes"`
	Accounts     int64 `json:"accounts"`
	Transfers    int64 `json:"transfers"`
	Payments     int64 `json:"payments"` // fundings, vouchers and payouts
	DaySums      int64 `json:"daySums"`
	Runs         int64 `json:"runs"`
	Lines        int64 `json:"lines"`
	Instructions int64 `json:"instructions"`
	BankEntries  int64 `json:"bankEntries"`
	Evidence     int64 `json:"evidence"`
	Statements   int64 `json:"statements"`
	Days         int64 `json:"days"`
	CardPayments int64 `json:"cardPayments"`
	Batches      int64 `json:"batches"`
}

// Report is what an audit found.
type Report struct {
	// Looked says how much was looked at.
	Looked Totals `json:"looked"`
	// Notes say what was not looked at, and why.
	Notes []string `json:"notes"`
	// Wrong is how many findings there are.
	Wrong int64 `json:"wrong"`
	// Findings are the first MaxFindings of them, sorted by kind and subject.
	Findings []Finding `json:"findings"`
}

// Clean says whether everything agrees.
func (r Report) Clean() bool { return r.Wrong == 0 }

// Write writes the report for people.
func (r Report) Write(w io.Writer) error {
	var text strings.Builder
	for _, line := range r.Looked.lines() {
		fmt.Fprintf(&text, "%12d %s\n", line.count, line.what)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	if r.Clean() {
		text.WriteString("everything agrees\n")
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	return r.WriteFindings(w)
}

// WriteFindings writes for people what does not agree, and nothing if everything
// does. Its errors are those of w.
func (r Report) WriteFindings(w io.Writer) error {
	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "WRONG %s %s: %s; the books say %s\n", f.Kind, f.Subject, f.Evidence, f.Books)
	}
	switch {
	case r.Clean():
	case r.Wrong > int64(len(r.Findings)):
		fmt.Fprintf(&text, "%d things do not agree, of which the first %d are listed\n", r.Wrong, len(r.Findings))
	default:
		fmt.Fprintf(&text, "%d things do not agree\n", r.Wrong)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

type countLine struct {
	count int64
	what  string
}

func (t Totals) lines() []countLine {
	return []countLine{
		{t.Commitments, "commitments"}, {t.Signatures, "signatures checked"}, {t.Hashes, "hashes computed"},
		{t.Accounts, "accounts"}, {t.Transfers, "transfers"}, {t.Payments, "fundings, vouchers and payouts"},
		{t.DaySums, "sums of days"}, {t.Runs, "settlement runs"}, {t.Lines, "lines of them"}, {t.Instructions, "orders to the bank"},
		{t.BankEntries, "entries of bank files"}, {t.Evidence, "rows of evidence"}, {t.Statements, "statements"}, {t.Days, "signed days"},
		{t.CardPayments, "payments of cards"}, {t.Batches, "batches of merchants"},
	}
}

// collector gathers what goroutines find.
type collector struct {
	mutex    sync.Mutex
	findings []Finding // at most twice MaxFindings, guarded by mutex, as are the next
	wrong    int64
	notes    []string

	looked             Totals       // by one goroutine
	signatures, hashes atomic.Int64 // by all
}

// find lists a finding. What is beyond the first ones is dropped now and then,
// so that the list does not depend on the order in which they were found.
func (c *collector) find(kind Kind, subject, evidence, books string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.wrong++
	c.findings = append(c.findings, Finding{kind, shown(subject), shown(evidence), shown(books)})
	if len(c.findings) == 2*MaxFindings {
		c.cut()
	}
}

// maxShown is how much is shown of a text, in bytes; the longest of ours have a
// few hundred.
const maxShown = 2000

// shown returns a text of the books as it is printed. Whoever can change them
// must not be able to write on the terminal that everything agrees, or to fill
// the memory: what cannot be seen is escaped, and what is longer is cut.
func shown(text string) string {
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	if strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) || c == utf8.RuneError }) {
		quoted := strconv.Quote(text)
		return quoted[1 : len(quoted)-1]
	}
	return text
}

func (c *collector) cut() {
	slices.SortFunc(c.findings, compareFindings)
	c.findings = c.findings[:min(len(c.findings), MaxFindings)]
}

func (c *collector) note(format string, args ...any) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.notes = append(c.notes, shown(fmt.Sprintf(format, args...)))
}

func (c *collector) finish() Report {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.cut()
	c.looked.Signatures, c.looked.Hashes = c.signatures.Load(), c.hashes.Load()
	return Report{
		Looked: c.looked, Notes: append([]string{}, c.notes...), Wrong: c.wrong, Findings: append([]Finding{}, c.findings...),
	}
}
