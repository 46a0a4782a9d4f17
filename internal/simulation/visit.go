package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

type signer = ed25519.PrivateKey

// signedRequest makes a request as wallets and gates do.
func signedRequest(ctx context.Context, key signer, method, url, path string, content []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, payword.NonceBytes)
	_, _ = rand.Read(nonce) // never fails
	digest := payword.ContentDigest(content)
	input, signature, err := payword.SignedRequest{
		Method: method, TargetURI: issuer + path, Digest: digest, Created: time.Now().Unix(),
		KeyID: payword.Thumbprint(publicKey(key)), Nonce: base64.RawURLEncoding.EncodeToString(nonce),
	}.Sign(key)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(payword.HeaderSignatureInput, input)
	request.Header.Set(payword.HeaderSignature, signature)
	request.Header.Set(payword.HeaderContentDigest, digest)
	return request, nil
}

// certified is a certificate with its key.
type certified struct {
	certificate payword.Certificate
	key         ed25519.PrivateKey
}

// certify gets the certificates of a day.
func (d *day) certify(ctx context.Context, key signer) ([]certified, error) {
	all := make([]certified, certificatesPerUser)
	var request payword.CertificateRequest
	for k := range all {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		all[k].key = private
		request.Keys = append(request.Keys, payword.NewPublicKey(public))
	}
	var issued payword.CertificateAnswer
	if err := d.call(ctx, "certificates", key, http.MethodPost, payword.PathCertificates, request, &issued); err != nil {
		return nil, err
	}
	public := publicKey(keyOf("broker", 0))
	brokers := payword.Brokers{issuer: {payword.Thumbprint(public): public}}
	for k := range all {
		var refusal payword.Refusal
		if all[k].certificate, refusal = payword.ParseCertificate(issued.Certificates[k], brokers); refusal.Refused() {
			return nil, errors.New(refusal.String())
		}
	}
	return all, nil
}

// visit opens a commitment at a vendor, reserves for it, perhaps twice, and lets
// the vendor claim twice.
func (d *day) visit(ctx context.Context, key signer, c certified, vendor int, isRaised bool) error {
	seed := payword.Seed(derive("seed", vendor))
	m := payword.Commitment{
		Vendor: vendorOrigin(vendor), Certificate: c.certificate, IssuedAt: time.Now().Unix(), Nonce: newNonce(),
		Expires: time.Now().Unix() + 24*3600, Currency: currency, Limit: chainLength * unit,
		Chains: []payword.ChainTerms{{Unit: unit, Length: chainLength}},
	}
	tip, err := seed.Tip(m.Vendor, m.Nonce, 0, chainLength)
	if err != nil {
		return err
	}
	m.Chains[0].Root = tip.Walk(chainLength)
	if m, err = payword.SignCommitment(m, c.key); err != nil {
		return err
	}
	amounts := []money.Amount{firstAmount}
	if isRaised {
		amounts = append(amounts, raised)
	}
	for k, amount := range amounts {
		var answer payword.ReservationAnswer
		err := d.call(ctx, []string{"reserve", "raise"}[k], key, http.MethodPost, payword.PathReservations,
			payword.ReservationRequest{Commitment: m.Token, Amount: amount}, &answer)
		if err != nil {
			return err
		}
	}
	spent := []uint32{firstSpent, lastSpent}
	if !isRaised {
		spent[1] = firstSpent + 5
	}
	for k, index := range spent {
		claim := payword.Claim{
			Vendor: m.Vendor, Broker: issuer, Commitment: m.ID, Amount: money.Amount(index) * unit, IssuedAt: time.Now().Unix(),
			Tails: []payword.Tail{{Index: index, Payword: tip.Walk(chainLength - index)}}, Final: k == 1,
		}
		if err := d.claim(ctx, vendor, m.Token, claim); err != nil {
			return err
		}
	}
	return nil
}

// claim puts a claim into a vendor's queue, and sends the queue when it is long
// enough.
func (d *day) claim(ctx context.Context, vendor int, commitment string, claim payword.Claim) error {
	signed, err := payword.SignClaim(claim, keyOf("vendor", vendor))
	if err != nil {
		return err
	}
	q := &d.queues[vendor]
	q.mutex.Lock()
	q.claims = append(q.claims, payword.Redemption{Commitment: commitment, Claim: signed.Token})
	var batch []payword.Redemption
	if len(q.claims) >= claimsPerBatch {
		batch, q.claims = q.claims, nil
	}
	q.mutex.Unlock()
	return d.redeem(ctx, vendor, batch)
}

// redeem sends a batch, if there is one. What is refused is counted: in this
// day nothing should be.
func (d *day) redeem(ctx context.Context, vendor int, batch []payword.Redemption) error {
	if len(batch) == 0 {
		return nil
	}
	var answer payword.RedemptionAnswer
	err := d.call(ctx, "redeem", keyOf("vendor", vendor), http.MethodPost, payword.PathRedemptions,
		payword.RedemptionRequest{Vendor: vendorOrigin(vendor), Redemptions: batch}, &answer)
	if err != nil {
		return err
	}
	for _, result := range answer.Results {
		if result.Reason != payword.Accepted {
			d.refused.Add(1)
			return fmt.Errorf("claim refused: %s %s", result.Reason, result.Detail)
		}
	}
	d.counts.addClaims(len(batch))
	return nil
}

// redeemRest sends what is left in the queues.
func (d *day) redeemRest(ctx context.Context) error {
	for vendor := range d.queues {
		if err := d.redeem(ctx, vendor, d.queues[vendor].claims); err != nil {
			return err
		}
	}
	return nil
}
