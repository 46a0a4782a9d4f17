package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"math/big"
	"strconv"

	"github.com/paywordhq/payword"
)

// paidOn is what a run's period paid on a commitment, and what was paid until
// its end in all.
type paidOn struct {
	amount, ever sum
	credit       fingerprint
}

// addToPeriod adds a payment to the period of the run that comes next.
func (j *journalFacts) addToPeriod(t *transferRow, commitment fingerprint) {
	p := j.period[commitment]
	if p == nil {
		p = new(paidOn)
		j.period[commitment] = p
	}
	facts := j.commitments[commitment]
	p.amount, p.ever, p.credit = p.amount.plus(t.amount), facts.fromReserved.add(facts.fromOther), t.toPrint
}

// compareEvidence compares what a run kept as evidence with the payments of its
// period, which the journal has just been read to the end of.
func (a *auditor) compareEvidence(ctx context.Context, r *run) error {
	j := &a.journal
	period := j.period
	if r.isStarted() {
		j.period = make(map[fingerprint]*paidOn)
	}
	if !a.snapshot.tables["clearing_evidence"] || !r.isStarted() || r.evidenceSeq < r.cutoff {
		return nil // nothing is collected, or not all
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var vendor, commitment string
		var amount, paid int64
		if err := scan(&vendor, &commitment, &amount, &paid); err != nil {
			return err
		}
		f := fingerprintOf(commitment)
		if !j.part.has(f) {
			return nil
		}
		p := period[f]
		if p == nil {
			p = new(paidOn)
		}
		delete(period, f)
		if !p.amount.is(amount) || !p.ever.is(paid) || p.credit != fingerprintOf("vendor:"+vendor+":payable") {
			a.find(EvidenceDiffers, "run "+r.id+" commitment "+commitment,
				fmt.Sprintf("its transfers pay %s micros in the period, %s in all", p.amount, p.ever),
				fmt.Sprintf("%s to %s in the period, %s in all", micros(amount), vendor, micros(paid)))
		}
		return nil
	}, `SELECT vendor, commitment, amount, paid FROM clearing_evidence WHERE run_id = ?`, r.id)
	if len(period) > 0 && err == nil {
		a.find(EvidenceDiffers, "run "+r.id, fmt.Sprintf("%d commitments more were paid on in the period", len(period)), "there is no evidence of them")
	}
	return err
}

// checkEvidence checks what runs kept as evidence: that it is of the commitment
// that it names, and proves what was paid.
func (a *auditor) checkEvidence(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var run, commitment, vendor, account, claim string
		var amount, paid int64
		var tails, key, storedTails []byte
		var r commitmentRow
		err := scan(&run, &commitment, &vendor, &account, &amount, &paid, &tails, &claim, &key, &r.token, &r.account, &storedTails, &r.claim)
		if err != nil {
			return err
		}
		a.looked.Evidence++
		subject := "run " + run + " commitment " + commitment
		if r.account != account {
			a.find(EvidenceDiffers, subject, "account "+strconv.Quote(r.account)+" pays", "it says that account "+account+" does")
		}
		if claim == r.claim && bytes.HasPrefix(storedTails, tails) && isEmpty(storedTails[len(tails):]) {
			return nil // it is that of the commitment, which is checked by itself
		}
		if r.m, err = payword.UnverifiedCommitment(r.token); err != nil {
			a.find(EvidenceDiffers, subject, "there is no such commitment", "it was paid on")
			return nil
		}
		r.id, r.tails = subject, append(tails, make([]byte, max(0, payword.MaxChains*tailBytes-len(tails)))...)
		a.checkOldEvidence(&r, claim, key, vendor, commitment, paid)
		return nil
	}, `SELECT e.run_id, e.commitment, e.vendor, e.account, e.amount, e.paid, e.tails, e.claim, e.claim_key,
			COALESCE(c.token, ''), COALESCE(c.account, ''), c.tails, COALESCE(c.claim, '')
		FROM clearing_evidence e LEFT JOIN broker_commitments c ON c.id = e.commitment`)
}

func isEmpty(stored []byte) bool {
	for _, b := range stored {
		if b != 0 {
			return false
		}
	}
	return true
}

// checkOldEvidence checks evidence that is not what the commitment has by now.
func (a *auditor) checkOldEvidence(r *commitmentRow, token string, key ed25519.PublicKey, vendor, commitment string, paid int64) {
	proved := a.prove(r)
	claim, err := readClaimText(token)
	if err != nil {
		a.find(ClaimUnsigned, r.id, "there is no claim: "+err.Error(), micros(paid)+" was paid")
		return
	}
	if claim.Commitment != commitment || claim.Vendor != vendor || claim.Amount < paid {
		a.find(ClaimDiffers, r.id, fmt.Sprintf("the claim of %s is on %s by %s", micros(claim.Amount), claim.Commitment, claim.Vendor),
			micros(paid)+" was paid to "+vendor)
	}
	if proved.Cmp(big.NewInt(paid)) < 0 {
		a.find(ClaimUnproved, r.id, "the paywords prove "+proved.String(), micros(paid)+" was paid")
	}
	if len(key) == 0 {
		return // it was withdrawn before the evidence was collected
	}
	a.signatures.Add(1)
	if _, refusal := payword.ParseClaim(token, key); refusal.Refused() || !a.isVendorKey(vendor, key) {
		a.find(ClaimUnsigned, r.id, "no key of the vendor signed it: "+refusal.Detail, micros(paid)+" was paid to "+vendor)
	}
}

// isVendorKey reports whether a vendor has a key, or had it.
func (a *auditor) isVendorKey(vendor string, key ed25519.PublicKey) bool {
	keys := a.vendors[vendor]
	if keys == nil {
		return false
	}
	for _, known := range keys.keys {
		if known.Equal(key) {
			return true
		}
	}
	return keys.removed[payword.Thumbprint(key)]
}
