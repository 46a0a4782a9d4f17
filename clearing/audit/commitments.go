package audit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
)

// commitmentsPerPage is how many commitments are in memory at a time, about 5 KB
// each, and checked by all processors.
const commitmentsPerPage = 500

// commitmentRow is what the broker keeps of a commitment.
type commitmentRow struct {
	seq                     int64
	id, account, vendor     string
	token                   string
	reserved, held, paid    int64 // micros
	sequence, redeemBy, day int64
	reservation, claim      string
	tails                   []byte
	closed                  int64
	m                       payword.Commitment // once it is read; Token "": it cannot be
	isClaimUnchecked        bool               // the key that signed the claim is not kept any more
}

// checkCommitments reads every commitment and checks everything that is signed
// for it.
func (a *auditor) checkCommitments(ctx context.Context) error {
	var total int64
	if err := a.snapshot.one(ctx, `SELECT COUNT(*) FROM broker_commitments`, &total); err != nil {
		return err
	}
	var unchecked int64
	for after := int64(0); ; {
		page, err := a.commitmentPage(ctx, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		if err := a.checkPage(ctx, page); err != nil {
			return err
		}
		for _, row := range page {
			if row.isClaimUnchecked {
				unchecked++
			}
		}
		after = page[len(page)-1].seq
		a.looked.Commitments += int64(len(page))
		a.progress("commitments", a.looked.Commitments, total)
	}
	if unchecked > 0 {
		a.note("the signatures of %d claims were not checked: the vendors have taken back the keys that made them", unchecked)
	}
	return nil
}

func (a *auditor) commitmentPage(ctx context.Context, after int64) (page []*commitmentRow, err error) {
	err = a.snapshot.each(ctx, func(scan scanner) error {
		r := new(commitmentRow)
		page = append(page, r)
		return scan(&r.seq, &r.id, &r.token, &r.account, &r.vendor, &r.reserved, &r.held, &r.paid, &r.sequence, &r.redeemBy, &r.day,
			&r.reservation, &r.tails, &r.claim, &r.closed)
	}, `SELECT seq, id, token, account, vendor, reserved, held, paid, sequence, redeem_by, day, reservation, tails, claim, closed
		FROM broker_commitments WHERE seq > ? ORDER BY seq LIMIT ?`, after, commitmentsPerPage)
	return page, err
}

// checkPage checks signatures and chains on all processors, and then what the
// database knows of the pseudonyms and roots.
func (a *auditor) checkPage(ctx context.Context, page []*commitmentRow) error {
	var next atomic.Int64
	workers, _ := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() error {
			for k := next.Add(1) - 1; k < int64(len(page)); k = next.Add(1) - 1 {
				if err := ctx.Err(); err != nil {
					return err
				}
				a.checkCommitment(page[k])
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	if err := a.checkOwners(ctx, page); err != nil {
		return err
	}
	return a.checkRoots(ctx, page)
}

// checkCommitment checks what is signed for one commitment. It touches nothing
// but the row and the collector.
func (a *auditor) checkCommitment(r *commitmentRow) {
	if id := commitmentID(r.token); id != r.id {
		a.find(CommitmentMalformed, r.id, "the hash of the commitment is "+id, "it is stored under another id")
	}
	if !a.readCommitment(r) {
		return
	}
	if r.m.Vendor != r.vendor {
		a.find(CommitmentRow, r.id, "it pays "+r.m.Vendor, "it is stored for "+r.vendor)
	}
	if string(r.m.Currency) != a.currency {
		a.find(CommitmentRow, r.id, "it is in "+string(r.m.Currency), "the broker keeps "+a.currency)
	}
	a.checkReservation(r)
	a.checkPaid(r)
	a.checkHeld(r)
}

// commitmentID computes the id that a commitment has.
func commitmentID(token string) string {
	hash := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(hash[:payword.CommitmentIDBytes])
}

// readCommitment reads the commitment and checks the signatures of the broker
// and the user. It reports whether there is one to go on with.
func (a *auditor) readCommitment(r *commitmentRow) bool {
	m, refusal := a.verifier.ParseCommitment(r.token, a.brokers)
	a.signatures.Add(2)
	if !refusal.Refused() {
		r.m = m
		return true
	}
	kind := CommitmentMalformed
	switch refusal.Reason {
	case payword.UnknownBroker, payword.BadCertificate, payword.MalformedCertificate:
		kind = CertificateUnsigned
	case payword.BadCommitment:
		kind = CommitmentUnsigned
	}
	a.find(kind, r.id, refusal.Detail, "it is stored, and "+micros(r.paid)+" was paid on it")
	m, err := payword.UnverifiedCommitment(r.token)
	if err != nil {
		return false
	}
	r.m = m
	return true
}

// checkReservation checks the broker's word against what is set aside.
func (a *auditor) checkReservation(r *commitmentRow) {
	stored := fmt.Sprintf("%s reserved under number %d until %d", micros(r.reserved), r.sequence, r.redeemBy)
	if r.sequence == 0 {
		if r.reserved != 0 || r.reservation != "" {
			a.find(ReservationDiffers, r.id, "nothing was reserved", stored)
		}
		if r.redeemBy < r.m.Expires {
			a.find(ReservationDiffers, r.id, fmt.Sprintf("claims are paid until %d at least", r.m.Expires), stored)
		}
		return
	}
	word, refusal := payword.ParseReservation(r.reservation, &r.m, a.brokers)
	a.signatures.Add(1)
	switch refusal.Reason {
	case payword.Accepted:
	case payword.ReservationMismatch:
		a.find(ReservationDiffers, r.id, refusal.Detail, stored)
		return
	default:
		a.find(ReservationUnsigned, r.id, refusal.Detail, stored)
		return
	}
	day := word.IssuedAt / secondsPerDay
	if int64(word.Amount) != r.reserved || int64(word.Sequence) != r.sequence || word.RedeemBy != r.redeemBy || r.day != day && r.day != day-1 {
		a.find(ReservationDiffers, r.id,
			fmt.Sprintf("the broker's word of day %d is %s under number %d until %d", day, micros(int64(word.Amount)), word.Sequence, word.RedeemBy),
			fmt.Sprintf("%s, of day %d", stored, r.day))
	}
}

const secondsPerDay = 24 * 60 * 60

// checkPaid checks the claim, and the paywords that prove it, against what was
// paid.
func (a *auditor) checkPaid(r *commitmentRow) {
	proved := a.prove(r)
	if r.claim == "" {
		if r.paid != 0 {
			a.find(PaidDiffers, r.id, "nothing was claimed", micros(r.paid)+" was paid")
		}
		return
	}
	claim, isRead := a.readClaim(r)
	if !isRead {
		return
	}
	subject := fmt.Sprintf("the claim of %s is on %s by %s to %s", micros(claim.Amount), claim.Commitment, claim.Vendor, claim.Broker)
	if claim.Commitment != r.id || claim.Vendor != r.m.Vendor || claim.Broker != r.m.Certificate.Issuer {
		a.find(ClaimDiffers, r.id, subject, "it is stored for "+r.vendor)
	}
	if claim.Amount != r.paid || r.paid == 0 {
		a.find(PaidDiffers, r.id, micros(claim.Amount)+" was claimed", micros(r.paid)+" was paid")
	}
	if limit := int64(r.m.Limit); r.paid > limit {
		a.find(PaidDiffers, r.id, "the commitment's limit is "+micros(limit), micros(r.paid)+" was paid")
	}
	if proved.Cmp(claim.big()) < 0 {
		a.find(ClaimUnproved, r.id, "the paywords prove "+proved.String(), micros(claim.Amount)+" was claimed")
	}
	a.checkClaimedTails(r, claim)
}

// readClaim reads the claim and checks the vendor's signature.
func (a *auditor) readClaim(r *commitmentRow) (claimText, bool) {
	text, err := readClaimText(r.claim)
	if err != nil {
		a.find(ClaimUnsigned, r.id, "there is no claim: "+err.Error(), micros(r.paid)+" was paid")
		return text, false
	}
	keys := a.vendors[r.m.Vendor]
	if keys == nil {
		keys = new(vendorKeys)
	}
	refusal := payword.Refusal{Reason: payword.BadClaim, Detail: "the vendor has no key"}
	for _, key := range keys.keys {
		if payword.Thumbprint(key) != text.keyID {
			continue
		}
		a.signatures.Add(1)
		_, refusal = a.verifier.ParseClaim(r.claim, key)
	}
	if refusal.Refused() {
		if keys.removed[text.keyID] {
			r.isClaimUnchecked = true
			return text, true
		}
		a.find(ClaimUnsigned, r.id, refusal.Detail, micros(r.paid)+" was paid to "+r.vendor)
	}
	return text, true
}

// checkHeld checks what is set aside: what was reserved and not paid, and
// nothing once the commitment is closed.
func (a *auditor) checkHeld(r *commitmentRow) {
	want := max(0, r.reserved-r.paid)
	if r.closed != 0 || r.sequence == 0 {
		want = 0
	}
	if r.held != want {
		a.find(HeldDiffers, r.id, micros(want)+" is to be set aside", micros(r.held)+" is")
	}
}

// checkOwners checks that the pseudonyms of a page were issued to the accounts
// that pay.
func (a *auditor) checkOwners(ctx context.Context, page []*commitmentRow) error {
	subjects := make([]any, 0, len(page))
	for _, r := range page {
		subjects = append(subjects, r.m.Certificate.Subject)
	}
	owners := make(map[string]string, len(page))
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var subject, account string
		err := scan(&subject, &account)
		owners[subject] = account
		return err
	}, `SELECT subject, account FROM broker_certificates WHERE subject IN (?`+strings.Repeat(", ?", len(subjects)-1)+`)`, subjects...)
	for _, r := range page {
		if owner := owners[r.m.Certificate.Subject]; owner != r.account && r.m.Certificate.Subject != "" {
			a.find(CommitmentOwner, r.id, "its certificate was issued to account "+strconv.Quote(owner), "account "+r.account+" pays")
		}
	}
	return err
}

// checkRoots checks that every root of a page is registered for its account
// under the first commitment that had it, and that the others are listed as
// fraud. A root is registered once for an account, so that whatever is reused
// is found.
func (a *auditor) checkRoots(ctx context.Context, page []*commitmentRow) error {
	type root struct{ account, root string }
	var args []any
	for _, r := range page {
		for _, chain := range r.m.Chains {
			args = append(args, r.account, chain.Root[:])
		}
	}
	if len(args) == 0 {
		return nil
	}
	pair := "(" + a.snapshot.text() + ", " + a.snapshot.blob() + ")"
	first := make(map[root]string, len(args)/2)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var account, commitment string
		var value []byte
		err := scan(&account, &value, &commitment)
		first[root{account, string(value)}] = commitment
		return err
	}, `WITH wanted (account, root) AS (VALUES `+pair+strings.Repeat(", "+pair, len(args)/2-1)+`)
		SELECT r.account, r.root, r.commitment FROM wanted JOIN broker_roots r ON r.account = wanted.account AND r.root = wanted.root`, args...)
	if err != nil {
		return err
	}
	for _, r := range page {
		for k, chain := range r.m.Chains {
			earlier := first[root{r.account, string(chain.Root[:])}]
			if earlier == r.id {
				continue
			}
			if err := a.checkReuse(ctx, r, k, earlier); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkReuse checks that a commitment whose root another one had first is listed
// as fraud.
func (a *auditor) checkReuse(ctx context.Context, r *commitmentRow, chain int, earlier string) error {
	if earlier == "" {
		a.find(RootReused, r.id, fmt.Sprintf("it has the root of chain %d", chain), "nobody has that root")
		return nil
	}
	listed := int64(0)
	err := a.snapshot.each(ctx, func(scan scanner) error { return scan(&listed) },
		`SELECT COUNT(*) FROM broker_frauds WHERE root = ? AND commitment = ? AND earlier = ?`, r.m.Chains[chain].Root[:], r.id, earlier)
	if err == nil && listed == 0 {
		a.find(RootReused, r.id, fmt.Sprintf("commitment %s had the root of chain %d before", earlier, chain), "it is not listed as fraud")
	}
	return err
}

// checkFrauds checks that what is listed as fraud is one.
func (a *auditor) checkFrauds(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var root []byte
		var commitment, earlier, account, vendor string
		var token, earlierToken, owner, paidTo string
		if err := scan(&root, &commitment, &earlier, &account, &vendor, &token, &earlierToken, &owner, &paidTo); err != nil {
			return err
		}
		if !hasRoot(token, root) || !hasRoot(earlierToken, root) && earlierToken != "" || commitment == earlier || owner != account || paidTo != vendor {
			a.find(FraudUnfounded, commitment, "it does not share a root with "+earlier+" of account "+account, "it is listed as fraud")
		}
		return nil
	}, `SELECT f.root, f.commitment, f.earlier, f.account, f.vendor,
			COALESCE(c.token, ''), COALESCE(e.token, ''), COALESCE(c.account, ''), COALESCE(c.vendor, '')
		FROM broker_frauds f LEFT JOIN broker_commitments c ON c.id = f.commitment LEFT JOIN broker_commitments e ON e.id = f.earlier`)
}

func hasRoot(token string, root []byte) bool {
	m, err := payword.UnverifiedCommitment(token)
	if err != nil {
		return false
	}
	for _, chain := range m.Chains {
		if string(chain.Root[:]) == string(root) {
			return true
		}
	}
	return false
}

// micros writes an amount for people who compare it with the tables.
func micros(amount int64) string { return strconv.FormatInt(amount, 10) + " micros" }
