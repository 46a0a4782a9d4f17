package broker

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/netip"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// maxCertificates is how many certificates of one account are valid at a time:
// a reader visits that many sites in a month, and a table that anybody can fill
// must have an end.
const maxCertificates = 4096

// certify issues a certificate for each key, each with a pseudonym of its own.
// It refuses with MalformedCertificate, RateLimited or IdempotencyDiffers.
func (b *Broker) certify(ctx context.Context, account, idempotencyKey string, request payword.CertificateRequest) (payword.CertificateAnswer, payword.Refusal, error) {
	keys, prefixes, refusal := parseCertificateRequest(request)
	if refusal.Refused() {
		return payword.CertificateAnswer{}, refusal, nil
	}
	age, err := b.store.age(ctx, account)
	if err != nil {
		return payword.CertificateAnswer{}, payword.Refusal{}, err
	}
	var issued []payword.Certificate
	var answer payword.CertificateAnswer
	for _, key := range keys {
		certificate, err := b.signCertificate(key, prefixes, age)
		if err != nil {
			return payword.CertificateAnswer{}, payword.Refusal{}, err
		}
		issued = append(issued, certificate)
		answer.Certificates = append(answer.Certificates, certificate.Token)
	}
	refusal, err = b.store.update(ctx, "certify", func(tx *ledger.Tx) error {
		return b.store.once(ctx, tx, "certificates "+account, idempotencyKey, request, &answer, func() error {
			return storeCertificates(ctx, tx, account, issued)
		})
	})
	return answer, refusal, err
}

func parseCertificateRequest(request payword.CertificateRequest) ([]ed25519.PublicKey, []netip.Prefix, payword.Refusal) {
	var keys []ed25519.PublicKey
	for k, member := range request.Keys {
		key, err := member.Key()
		if err != nil {
			return nil, nil, refuse(payword.MalformedCertificate, "key %d: %v", k, err)
		}
		if containsKey(keys, key) {
			return nil, nil, refuse(payword.MalformedCertificate, "key %d stands twice: vendors could join what they know", k)
		}
		keys = append(keys, key)
	}
	var prefixes []netip.Prefix
	for _, text := range request.Prefixes {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix != prefix.Masked() {
			return nil, nil, refuse(payword.MalformedCertificate,
				"prefix %.50q: want one such as 192.0.2.0/24, without bits past its length", text)
		}
		prefixes = append(prefixes, prefix)
	}
	return keys, prefixes, payword.Refusal{}
}

func (b *Broker) signCertificate(key ed25519.PublicKey, prefixes []netip.Prefix, age int) (payword.Certificate, error) {
	now := b.now()
	certificate := payword.Certificate{
		Issuer: b.config.Issuer, Subject: randomID(), Key: key,
		IssuedAt: now, Expires: now + int64(b.config.CertificateLife/time.Second),
		Currency: b.store.currency, Limit: b.config.CertificateLimit, Prefixes: prefixes, Age: age,
	}
	_, _ = rand.Read(certificate.ID[:]) // never fails
	return payword.SignCertificate(certificate, b.config.Signer)
}

func (s *store) age(ctx context.Context, account string) (years int, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT age FROM broker_accounts WHERE id = ?`, account).Scan(&years)
	})
	return years, err
}

func storeCertificates(ctx context.Context, tx *ledger.Tx, account string, issued []payword.Certificate) error {
	var valid int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_certificates WHERE account = ? AND expires > ?`,
		account, tx.Now().Unix()).Scan(&valid)
	if err != nil {
		return err
	}
	if valid+len(issued) > maxCertificates {
		return refused(refuse(payword.RateLimited, "%d certificates are valid: an account has at most %d", valid, maxCertificates))
	}
	for _, certificate := range issued {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO broker_certificates (subject, account, key_id, expires, created) VALUES (?, ?, ?, ?, ?)`,
			certificate.Subject, account, payword.Thumbprint(certificate.Key), certificate.Expires, tx.Now().UnixMicro())
		if err != nil {
			return err
		}
	}
	return nil
}
