//go:build unix

package broker_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// pile is what a vendor redeems, in memory: commitments that the broker has not
// seen, each with a certificate of its own, and a claim of the whole chain on
// each.
type pile struct {
	brokers  payword.Brokers
	vendor   ed25519.PublicKey
	verifier *payword.Verifier
	claims   []payword.Redemption
	checks   []check
}

// commitmentsOfPile is how many a pile has.
const commitmentsOfPile = 2048

func newPile(b *testing.B, paywords uint32) *pile {
	b.Helper()
	brokerKey, vendorKey := newKey(), newKey()
	p := &pile{
		brokers:  payword.Brokers{issuer: {payword.Thumbprint(publicKey(brokerKey)): publicKey(brokerKey)}},
		vendor:   publicKey(vendorKey),
		verifier: payword.NewVerifier(publicKey(brokerKey), publicKey(vendorKey)),
	}
	const vendor, now = "https://vendor.example", 1_790_000_000
	limit := money.Amount(paywords) * 1000
	for range commitmentsOfPile {
		userKey, tip, nonce := newKey(), payword.Payword{}, payword.Nonce{}
		_, _ = rand.Read(tip[:])
		_, _ = rand.Read(nonce[:])
		certificate, err := payword.SignCertificate(payword.Certificate{
			Issuer: issuer, Subject: encode(nonce[:]), Key: publicKey(userKey), IssuedAt: now, Expires: now + 86400, ID: nonce, Currency: usd, Limit: limit,
		}, brokerKey)
		if err != nil {
			b.Fatal(err)
		}
		commitment, err := payword.SignCommitment(payword.Commitment{
			Vendor: vendor, Certificate: certificate, IssuedAt: now, Expires: now + 86400, Nonce: nonce, Currency: usd, Limit: limit,
			Chains: []payword.ChainTerms{{Root: tip.Walk(paywords), Unit: 1000, Length: paywords}},
		}, userKey)
		if err != nil {
			b.Fatal(err)
		}
		claim, err := payword.SignClaim(payword.Claim{
			Vendor: vendor, Broker: issuer, Commitment: commitment.ID, Amount: limit, IssuedAt: now,
			Tails: []payword.Tail{{Index: paywords, Payword: tip}},
		}, vendorKey)
		if err != nil {
			b.Fatal(err)
		}
		p.claims = append(p.claims, payword.Redemption{Commitment: commitment.Token, Claim: claim.Token})
		p.checks = append(p.checks, check{tail: tip, steps: paywords, root: commitment.Chains[0].Root, signatures: []signature{
			signatureOf(publicKey(brokerKey), certificate.Token), signatureOf(publicKey(userKey), commitment.Token), signatureOf(publicKey(vendorKey), claim.Token),
		}})
	}
	return p
}

// baseline checks what there is to check with crypto/ed25519 and crypto/sha256,
// and reads nothing.
func (p *pile) baseline(b *testing.B) {
	for k := range p.checks {
		for _, s := range p.checks[k].signatures {
			if !ed25519.Verify(s.key, s.message, s.signature) {
				b.Fatal("a signature is refused")
			}
		}
		if !p.checks[k].isChainRight() {
			b.Fatal("a chain is wrong")
		}
	}
}

// verify does what a broker does with as many claims, from the first on, but for
// the database: it reads all tokens, as many at a time as a broker, checks the
// signatures and judges the claims.
func (p *pile) verify(b *testing.B, count int) {
	for from := 0; from < count; from += 500 {
		batch, part := p.verifier.NewBatch(), p.claims[from:min(from+500, count)]
		commitments, claims := make([]payword.Commitment, len(part)), make([]payword.Claim, len(part))
		cases := make([]payword.ClaimCase, len(part))
		for k, one := range part {
			var refusal payword.Refusal
			if commitments[k], refusal = batch.ParseCommitment(one.Commitment, p.brokers); refusal.Refused() {
				b.Fatal(refusal)
			}
			if claims[k], refusal = batch.ParseClaim(one.Claim, p.vendor); refusal.Refused() {
				b.Fatal(refusal)
			}
			m := &commitments[k]
			cases[k] = payword.ClaimCase{Commitment: m, Before: payword.NewRedeemed(m), Claim: &claims[k], Ceiling: m.Limit}
		}
		if slices.Contains(batch.Verify(), false) {
			b.Fatal("a signature is refused")
		}
		for some := range slices.Chunk(cases, 32) {
			payword.JudgeClaims(some)
		}
		for k := range cases {
			if cases[k].Due != commitments[k].Limit {
				b.Fatalf("%s are due, want %s: %v", cases[k].Due.Decimal(), commitments[k].Limit.Decimal(), cases[k].Refusal)
			}
		}
	}
}

// BenchmarkBarRedemption verifies the claims on 2,048 commitments with three
// signatures and a chain each, from their tokens on. The baseline is the same
// signatures and hashes by crypto/ed25519 and crypto/sha256, and nothing else.
func BenchmarkBarRedemption(b *testing.B) {
	for _, paywords := range []uint32{100, 1000, 10_000} {
		b.Run(fmt.Sprint(paywords), func(b *testing.B) {
			p := newPile(b, paywords)
			b.Run("baseline", func(b *testing.B) {
				for b.Loop() {
					p.baseline(b)
				}
				b.ReportMetric(commitmentsOfPile*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
			b.Run("payword", func(b *testing.B) {
				for b.Loop() {
					p.verify(b, commitmentsOfPile)
				}
				b.ReportMetric(commitmentsOfPile*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
		})
	}
}

// BenchmarkBarDay verifies a day of 2,500 payments a second, 10,000 to a
// commitment: 21,600 commitments, which are those of one pile again and again. It
// reports the time of the processor, which others on the machine disturb less.
func BenchmarkBarDay(b *testing.B) {
	const perSecond, perCommitment = 2500, 10_000
	p := newPile(b, perCommitment)
	begin := processorTime()
	for b.Loop() {
		for left := perSecond * 86400 / perCommitment; left > 0; left -= commitmentsOfPile {
			p.verify(b, min(left, commitmentsOfPile))
		}
	}
	b.ReportMetric((processorTime()-begin).Seconds()/float64(b.N), "seconds")
}
