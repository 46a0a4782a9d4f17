package statement

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxClaimKeys bounds how many vendors a report lists with the keys that signed
// their claims: a user's statement may name many.
const maxClaimKeys = 1000

// Options say what a statement is checked against.
type Options struct {
	// Keys are the broker's, by kid, as its JWKS lists them. Certificates are
	// trusted if one of them signed.
	Keys map[string]ed25519.PublicKey
	// Issuer is the broker whose keys they are; "": whom the statement names.
	Issuer string
	// DayKeys are those of the broker's clearing, by kid. Without them (nil) the
	// signature of the day is not checked, and a statement without a day passes.
	DayKeys map[string]ed25519.PublicKey
	// VendorKeys are the vendor's own, by kid. Without them (nil) claims are
	// checked with the keys that the statement gives.
	VendorKeys map[string]ed25519.PublicKey
	// Progress, if it is set, is told now and then how many entries are done, of
	// how many.
	Progress func(done, all int64)
}

// Report is what a statement was found to prove.
type Report struct {
	Header
	// Cumulative is what was ever paid on the commitments, in micros.
	Cumulative Total `json:"cumulative"`
	// Hashes is how many steps were hashed, from the tails to the roots.
	Hashes int64 `json:"hashes"`
	// UncheckedClaims is how many claims were not checked, because the broker did
	// not know the vendor's key any more.
	UncheckedClaims int64 `json:"uncheckedClaims"`
	// ClaimKeys are the keys that signed the claims of each vendor, by their
	// thumbprints, at most 1000 vendors. The statement gave them: compare them with
	// those that the vendor's origin lists.
	ClaimKeys map[string][]string `json:"claimKeys"`
	// Leaf is the SHA-256 of all lines but the last, in base64url.
	Leaf string `json:"leaf"`
	// Day is the day that the statement was proved to be in; nil: there is none.
	Day *Day `json:"day,omitempty"`
	// DayKey is the kid of the key that signed the day; "": it was not checked.
	DayKey string `json:"dayKey,omitempty"`
	// DayToken is the day as it was signed.
	DayToken string `json:"-"`
}

// Verify reads a statement and checks all of it: every signature, every chain
// from its tail to its root, every sum, and its place in the signed day. It keeps
// one line at a time. An error is a *Disagreement, or the reader's. The report
// says how far it came.
//
// It takes at most 2^20 hashes for a chain and eight chains for an entry, which
// is a second; 4 signatures an entry; and no more memory for a long statement
// than for a short one, but for ClaimKeys.
func Verify(reader io.Reader, options Options) (Report, error) {
	v := &verifier{
		options: options, reader: bufio.NewReaderSize(reader, MaxLineBytes), hash: sha256.New(),
		report: Report{ClaimKeys: map[string][]string{}},
	}
	frequent := slices.Collect(maps.Values(options.Keys))
	v.signatures = payword.NewVerifier(slices.AppendSeq(frequent, maps.Values(options.VendorKeys))...)
	err := v.verify()
	return v.report, err
}

type verifier struct {
	options    Options
	reader     *bufio.Reader
	hash       hash.Hash
	line       int64
	signatures *payword.Verifier
	brokers    payword.Brokers
	shares     feeShares
	paid       Total
	last       string
	report     Report
}

func (v *verifier) disagree(word Word, format string, arguments ...any) error {
	return &Disagreement{Line: v.line, Word: word, Detail: fmt.Sprintf(format, arguments...)}
}

func (v *verifier) verify() error {
	if err := v.readHeader(); err != nil {
		return err
	}
	all := v.report.Commitments
	for done := range all {
		if v.options.Progress != nil && done%100 == 0 {
			v.options.Progress(done, all)
		}
		if err := v.readEntry(); err != nil {
			return err
		}
	}
	if v.paid != v.report.Paid {
		return v.disagree(WrongTotal, "the entries sum to %s, the header says %s", v.paid.Decimal(), v.report.Paid.Decimal())
	}
	if err := v.readProof(); err != nil {
		return err
	}
	if v.options.Progress != nil {
		v.options.Progress(all, all)
	}
	return nil
}

// next reads a line into target.
func (v *verifier) next(what string, target any) ([]byte, error) {
	v.line++
	line, err := v.reader.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, v.disagree(MalformedStatement, "the line has more than %d bytes", MaxLineBytes)
	case errors.Is(err, io.EOF):
		return nil, v.disagree(IncompleteFile, "the file ends where its %s should be", what)
	case err != nil:
		return nil, err
	}
	if err := decode(line, target); err != nil {
		return nil, v.disagree(MalformedStatement, "this is no %s: %v", what, err)
	}
	return line, nil
}

func (v *verifier) readHeader() error {
	var header Header
	line, err := v.next("header", &header)
	if err != nil {
		return err
	}
	if err := header.check(); err != nil {
		return v.disagree(MalformedStatement, "%v", err)
	}
	if v.options.Issuer != "" && v.options.Issuer != header.Issuer {
		return v.disagree(WrongIssuer, "the statement is by %s, the keys are those of %s", header.Issuer, v.options.Issuer)
	}
	v.hash.Write(line)
	v.report.Header, v.shares = header, header.shares()
	v.brokers = payword.Brokers{header.Issuer: v.options.Keys}
	return nil
}

func (v *verifier) readEntry() error {
	var e Entry
	line, err := v.next("entry of a commitment", &e)
	if err != nil {
		return err
	}
	v.hash.Write(line)
	m, err := v.checkCommitment(&e)
	if err != nil {
		return err
	}
	claim, err := v.checkClaim(&e, &m)
	if err != nil {
		return err
	}
	if err := v.checkChains(&e, &m, &claim); err != nil {
		return err
	}
	return v.checkSums(&e)
}

// checkCommitment checks both signatures, the id, and that the commitment belongs
// here.
func (v *verifier) checkCommitment(e *Entry) (m payword.Commitment, err error) {
	id := e.Commitment.String()
	if v.last != "" && id <= v.last {
		return m, v.disagree(WrongOrder, "commitment %s stands after %s: entries are in the order of their ids, each once", id, v.last)
	}
	v.last = id
	if payword.NewCommitmentID(e.Token) != e.Commitment {
		return m, v.disagree(WrongCommitment, "commitment %s is not the one of this token", id)
	}
	m, refusal := v.signatures.ParseCommitment(e.Token, v.brokers)
	switch {
	case refusal.Refused():
		return m, v.refused(id, refusal)
	case v.report.Kind == Vendor && m.Vendor != v.report.Party:
		return m, v.disagree(Word(payword.WrongVendor.String()), "commitment %s is for %s, the statement for %s", id, m.Vendor, v.report.Party)
	case m.Currency != v.report.Currency:
		return m, v.disagree(Word(payword.WrongCurrency.String()), "commitment %s is in %s, the statement in %s", id, m.Currency.Code(), v.report.Currency.Code())
	}
	return m, nil
}

func (v *verifier) refused(id string, refusal payword.Refusal) error {
	return v.disagree(Word(refusal.Reason.String()), "commitment %s: %s", id, refusal.Detail)
}

// checkClaim checks the vendor's signature and that it asked for what was paid.
func (v *verifier) checkClaim(e *Entry, m *payword.Commitment) (claim payword.Claim, err error) {
	keys, err := v.claimKeys(e)
	if err != nil {
		return claim, err
	}
	if len(keys) == 0 {
		v.report.UncheckedClaims++
		return claim, nil
	}
	var refusal payword.Refusal
	var by ed25519.PublicKey
	for _, by = range keys {
		if claim, refusal = v.signatures.ParseClaim(e.Claim, by); refusal.Reason != payword.BadClaim {
			break
		}
	}
	switch {
	case refusal.Reason == payword.BadClaim && v.options.VendorKeys != nil:
		return claim, v.disagree(UnknownVendorKey, "commitment %s: none of the vendor's keys signed the claim", e.Commitment)
	case refusal.Refused():
		return claim, v.refused(e.Commitment.String(), refusal)
	case claim.Commitment != m.ID || claim.Vendor != m.Vendor || claim.Broker != v.report.Issuer:
		return claim, v.disagree(WrongClaim, "the claim is not by %s on commitment %s", m.Vendor, e.Commitment)
	case claim.Amount < e.Cumulative:
		return claim, v.disagree(WrongClaim, "commitment %s: the vendor claimed %s, and %s was paid", e.Commitment, claim.Amount.Decimal(), e.Cumulative.Decimal())
	}
	v.noteKey(m.Vendor, payword.Thumbprint(by))
	return claim, nil
}

// claimKeys returns the keys to check a claim with: the vendor's own, or the one
// that the entry gives.
func (v *verifier) claimKeys(e *Entry) ([]ed25519.PublicKey, error) {
	if v.options.VendorKeys != nil {
		return slices.Collect(maps.Values(v.options.VendorKeys)), nil
	}
	if e.ClaimKey == "" {
		return nil, nil
	}
	key, err := decodeHash(e.ClaimKey)
	if err == nil {
		err = payword.CheckPublicKey(key[:])
	}
	if err != nil {
		return nil, v.disagree(MalformedStatement, "claimKey: %v", err)
	}
	return []ed25519.PublicKey{key[:]}, nil
}

func (v *verifier) noteKey(vendor, keyID string) {
	known, found := v.report.ClaimKeys[vendor]
	if !found && len(v.report.ClaimKeys) >= maxClaimKeys || slices.Contains(known, keyID) || len(known) >= maxClaimKeys {
		return
	}
	v.report.ClaimKeys[vendor] = append(known, keyID)
}

// checkChains hashes from the tails to the roots, by way of the claim's tails, and
// checks that they are worth what was paid.
func (v *verifier) checkChains(e *Entry, m *payword.Commitment, claim *payword.Claim) error {
	if len(e.Tails) != len(m.Chains) {
		return v.disagree(WrongTails, "commitment %s has %d chains, the statement %d tails", e.Commitment, len(m.Chains), len(e.Tails))
	}
	shown := payword.Claim{
		Commitment: m.ID, Vendor: m.Vendor, Broker: m.Certificate.Issuer, Amount: max(e.Cumulative, claim.Amount),
	}
	for k, tail := range e.Tails {
		own := payword.Tail{Index: tail.Index}
		if tail.Index > 0 || tail.Payword != "" {
			word, err := decodeHash(tail.Payword)
			if err != nil || tail.Index == 0 {
				return v.disagree(MalformedStatement, "commitment %s, tail %d: want an index from 1 on with its payword, or index 0 without", e.Commitment, k)
			}
			own.Payword = word
		}
		if k < len(claim.Tails) && claim.Tails[k].Index > own.Index {
			return v.disagree(WrongTails, "commitment %s, chain %d: the tail is behind that of the claim", e.Commitment, k)
		}
		shown.Tails = append(shown.Tails, own)
		v.report.Hashes += int64(min(own.Index, m.Chains[k].Length))
	}
	known := payword.NewRedeemed(m)
	if claim.Token != "" {
		var refusal payword.Refusal
		asked := *claim
		asked.Amount = 0 // what it is worth is judged with the statement's tails, which are deeper
		if known, _, refusal = payword.JudgeClaim(m, known, &asked, m.Limit); refusal.Refused() {
			return v.refused(e.Commitment.String(), refusal)
		}
	}
	if _, _, refusal := payword.JudgeClaim(m, known, &shown, m.Limit); refusal.Refused() {
		return v.refused(e.Commitment.String(), refusal)
	}
	return nil
}

func (v *verifier) checkSums(e *Entry) error {
	var fits bool
	v.paid, fits = v.paid.plus(e.Paid)
	switch {
	case e.Paid < 1 || e.PaidBefore+e.Paid != e.Cumulative:
		return v.disagree(WrongSum, "commitment %s: %s before and %s now are not %s", e.Commitment,
			e.PaidBefore.Decimal(), e.Paid.Decimal(), e.Cumulative.Decimal())
	case !fits || v.paid > v.report.Paid:
		return v.disagree(WrongTotal, "the entries up to here sum to more than the %s of the header", v.report.Paid.Decimal())
	}
	if want := v.shares.next(e.Paid); e.Fee != want {
		return v.disagree(WrongFee, "commitment %s: its share of the fee is %s, not %s", e.Commitment, want.Decimal(), e.Fee.Decimal())
	}
	v.report.Cumulative, fits = v.report.Cumulative.plus(money.Amount(e.Cumulative))
	if !fits {
		return v.disagree(WrongTotal, "the sum of all that was paid does not fit in 64 bits")
	}
	return nil
}

func (v *verifier) readProof() error {
	var proof Proof
	if _, err := v.next("proof", &proof); err != nil {
		return err
	}
	leaf := Digest(v.hash.Sum(nil))
	v.report.Leaf = base64url.EncodeToString(leaf[:])
	if _, err := v.reader.ReadByte(); err == nil {
		return v.disagree(IncompleteFile, "the file goes on after the proof")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if proof.Day == "" {
		if v.options.DayKeys != nil {
			return v.disagree(UnsignedDay, "the broker signed no day for this statement")
		}
		return nil
	}
	return v.checkDay(&proof, leaf)
}

func (v *verifier) checkDay(proof *Proof, leaf Digest) error {
	day, keyID, err := ParseDay(proof.Day, v.options.DayKeys)
	switch h := v.report.Header; {
	case errors.Is(err, ErrDayKey):
		return v.disagree(UnknownDayKey, "day %d is signed by key %s, which is not among the keys given", day.Number, keyID)
	case err != nil:
		return v.disagree(BadDay, "%v", err)
	case day.Issuer != h.Issuer || day.Run != h.Run || day.PeriodEnd != h.PeriodEnd || day.Currency != h.Currency || day.Leaves != proof.Leaves:
		return v.disagree(BadDay, "day %d is of run %s with %d statements, not the one of this statement", day.Number, day.Run, day.Leaves)
	}
	root, err := decodeHash(day.Root)
	if err != nil {
		return v.disagree(BadDay, "root: %v", err)
	}
	if err := proof.check(leaf, root); err != nil {
		return v.disagree(WrongProof, "%v", err)
	}
	v.report.Day, v.report.DayToken = &day, proof.Day
	if v.options.DayKeys != nil {
		v.report.DayKey = keyID
	}
	return nil
}
