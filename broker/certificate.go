package broker

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// maxCertificates is how many certificates of one account are valid at a
	// time, those that were revoked and have not expired among them: a reader
	// visits fewer sites in a week, and both the table and the hot lists, which
	// anybody can fill, must have an end.
	maxCertificates = 4096

	// issueSeconds is what the times in certificates are rounded to, down.
	// Those that were issued together would otherwise bear the same second, by
	// which two vendors could join them.
	issueSeconds = 3600
)

// issue is a certificate on its way to be issued.
type issue struct {
	certificate payword.Certificate
	place       place
	isRenewal   bool
}

// certify issues a certificate for each key, each with a pseudonym of its own.
// It refuses with MalformedCertificate, RateLimited or IdempotencyDiffers, as
// requireOpen does, and with OverAccountLimit if the account may spend nothing.
func (b *Broker) certify(ctx context.Context, account, idempotencyKey string, request payword.CertificateRequest) (payword.CertificateAnswer, payword.Refusal, error) {
	keys, prefixes, refusal := parseCertificateRequest(request)
	if refusal.Refused() {
		return payword.CertificateAnswer{}, refusal, nil
	}
	issues := make([]issue, len(keys))
	for k, key := range keys {
		issues[k].certificate = payword.Certificate{Subject: randomID(), Key: key, Prefixes: prefixes}
	}
	return b.issue(ctx, account, "certificates "+account, idempotencyKey, request, issues)
}

// renew issues a certificate for each pseudonym that the account has: with the
// same key and the same address prefixes, with what is known of the age now, and
// with an id and a place in a hot list of its own. Those that are valid stay so.
// It refuses with MalformedCertificate (no such pseudonym), CertificateRevoked,
// RateLimited or IdempotencyDiffers.
func (b *Broker) renew(ctx context.Context, account, idempotencyKey string, request payword.RenewalRequest) (payword.CertificateAnswer, payword.Refusal, error) {
	var issues []issue
	refusal, err := b.store.view(ctx, func(tx *ledger.Tx) error {
		issues = make([]issue, len(request.Subjects))
		for k, subject := range request.Subjects {
			certificate, err := loadPseudonym(ctx, tx, account, subject)
			if err != nil {
				return err
			}
			issues[k] = issue{certificate: certificate, isRenewal: true}
		}
		return nil
	})
	if err != nil || refusal.Refused() {
		return payword.CertificateAnswer{}, refusal, err
	}
	return b.issue(ctx, account, "renewals "+account, idempotencyKey, request, issues)
}

// loadPseudonym returns what stands in every certificate of a pseudonym.
func loadPseudonym(ctx context.Context, tx *ledger.Tx, account, subject string) (certificate payword.Certificate, err error) {
	var key []byte
	var prefixes string
	var revoked int64
	err = tx.QueryRowContext(ctx, `SELECT key, prefixes, revoked FROM broker_certificates WHERE subject = ? AND account = ?`,
		subject, account).Scan(&key, &prefixes, &revoked)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && len(key) == 0:
		return certificate, refused(refuse(payword.MalformedCertificate, "the account has no certificate of %.64q that can be renewed: ask for a new one", subject))
	case err == nil && revoked > 0:
		return certificate, refused(revokedCertificate())
	case err != nil:
		return certificate, err
	}
	certificate = payword.Certificate{Subject: subject, Key: key}
	for _, text := range strings.Fields(prefixes) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return certificate, fmt.Errorf("stored prefix: %w", err)
		}
		certificate.Prefixes = append(certificate.Prefixes, prefix)
	}
	return certificate, nil
}

func revokedCertificate() payword.Refusal {
	return refuse(payword.CertificateRevoked, "the certificate was revoked: ask for a new one, under a new key")
}

// issue draws a place in a hot list for each certificate, signs it and stores
// that it was issued; nothing is stored unless all are signed. It refuses as
// requireOpen does, and with OverAccountLimit if the account may spend nothing.
func (b *Broker) issue(ctx context.Context, account, scope, idempotencyKey string, request any, issues []issue) (payword.CertificateAnswer, payword.Refusal, error) {
	var answer payword.CertificateAnswer
	for range maxRounds {
		terms, refusal, err := b.store.termsOf(ctx, account, b.config.CertificateLimit)
		if err != nil || refusal.Refused() {
			return payword.CertificateAnswer{}, refusal, err
		}
		if err := b.prepare(ctx, terms, issues); err != nil {
			return payword.CertificateAnswer{}, payword.Refusal{}, err
		}
		tokens := make([]string, len(issues))
		for k := range issues {
			tokens[k] = issues[k].certificate.Token
		}
		refusal, err = b.store.update(ctx, "certify", func(tx *ledger.Tx) error {
			answer = payword.CertificateAnswer{Certificates: slices.Clone(tokens)}
			return b.store.once(ctx, tx, scope, idempotencyKey, request, &answer, func() error {
				if err := b.store.requireTerms(ctx, tx, account, b.config.CertificateLimit, terms); err != nil {
					return err
				}
				return storeCertificates(ctx, tx, account, issues)
			})
		})
		if !errors.Is(err, errPlaceTaken) && !errors.Is(err, errTermsChanged) {
			return answer, refusal, err
		}
	}
	return payword.CertificateAnswer{}, payword.Refusal{}, errContended
}

// prepare completes the certificates and signs them.
func (b *Broker) prepare(ctx context.Context, terms certificateTerms, issues []issue) error {
	places, err := b.store.drawPlaces(ctx, len(issues))
	if err != nil {
		return err
	}
	issued, expires := certificateTimes(b.now(), int64(b.config.CertificateLife/time.Second))
	// Whoever took it on credit claims until the grace is over.
	signer, err := b.signer(ctx, expires+int64(b.config.Grace/time.Second))
	if err != nil {
		return err
	}
	for k := range issues {
		c := issues[k].certificate
		c.Issuer, c.IssuedAt, c.Expires, c.Age = b.config.Issuer, issued, expires, terms.age
		c.Currency, c.Limit = b.store.currency, terms.limit
		c.Status = &payword.StatusEntry{Index: places[k].index, URI: b.config.Issuer + statusListPath(places[k].list)}
		_, _ = rand.Read(c.ID[:]) // never fails
		if issues[k].certificate, err = payword.SignCertificate(c, signer); err != nil {
			return err
		}
		issues[k].place = places[k]
	}
	return nil
}

// certificateTimes returns from when on and until when a certificate that is
// issued now is valid, in seconds since 1970. It is valid for its whole life and
// up to an hour more; one that is to live for less than a day is taken at its
// word.
func certificateTimes(now, life int64) (issued, expires int64) {
	if life < secondsPerDay {
		return now, now + life
	}
	issued = now - now%issueSeconds
	return issued, issued + issueSeconds + life
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

// storeCertificates stores what was issued. errPlaceTaken means that another one
// got a place of these meanwhile.
func storeCertificates(ctx context.Context, tx *ledger.Tx, account string, issues []issue) error {
	var valid int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_statuses WHERE account = ? AND expires > ?`,
		account, tx.Now().Unix()).Scan(&valid)
	if err != nil {
		return err
	}
	if valid+len(issues) > maxCertificates {
		return refused(refuse(payword.RateLimited, "%d certificates have not expired: an account has at most %d", valid, maxCertificates))
	}
	for _, one := range issues {
		if err := storeCertificate(ctx, tx, account, one); err != nil {
			return err
		}
	}
	return audit(ctx, tx, auditEntry{"issue-certificates", "account:" + account, fmt.Sprintf("%d certificates", len(issues))})
}

func storeCertificate(ctx context.Context, tx *ledger.Tx, account string, one issue) error {
	c := one.certificate
	if one.isRenewal {
		isValid, err := tx.ExecOne(ctx, `UPDATE broker_certificates SET expires = ? WHERE subject = ? AND account = ? AND revoked = 0`,
			c.Expires, c.Subject, account)
		if err == nil && !isValid { // revoked since it was looked at
			return refused(revokedCertificate())
		}
		if err != nil {
			return err
		}
	} else {
		var prefixes []string
		for _, prefix := range c.Prefixes {
			prefixes = append(prefixes, prefix.String())
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_certificates (subject, account, key_id, key, prefixes, expires, created)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, c.Subject, account, payword.Thumbprint(c.Key), []byte(c.Key),
			strings.Join(prefixes, " "), c.Expires, tx.Now().UnixMicro())
		if err != nil {
			return err
		}
	}
	isFree, err := tx.ExecOne(ctx, `INSERT INTO broker_statuses (certificate, list, place, subject, account, expires)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		certificateID(&c), one.place.list, one.place.index, c.Subject, account, c.Expires)
	if err == nil && !isFree {
		return errPlaceTaken
	}
	return err
}

// certificateID returns a certificate's jti as it is stored.
func certificateID(c *payword.Certificate) string {
	return base64.RawURLEncoding.EncodeToString(c.ID[:])
}

// certificateList is a page of an account's pseudonyms, the earliest first.
type certificateList struct {
	Certificates []ownCertificate `json:"certificates"`
	Next         string           `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// ownCertificate is what the owner of a pseudonym is told of it.
type ownCertificate struct {
	Subject string `json:"subject" doc:"the pseudonym"`
	KeyID   string `json:"keyId" doc:"RFC 7638 thumbprint of its key"`
	Expires int64  `json:"expires" doc:"of its last certificate, seconds since 1970"`
	Revoked bool   `json:"revoked"`
}

func (s *store) certificates(ctx context.Context, account string, l Listing) (list certificateList, refusal payword.Refusal, err error) {
	if l.After != "" && !isRandomID(l.After) {
		return list, refusal, errAfter
	}
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		list = certificateList{Certificates: []ownCertificate{}}
		rows, err := tx.QueryContext(ctx, `SELECT subject, key_id, expires, revoked FROM broker_certificates
			WHERE account = ? AND seq > COALESCE((SELECT seq FROM broker_certificates WHERE subject = ? AND account = ?), 0)
			ORDER BY seq LIMIT ?`, account, l.After, account, l.Limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one ownCertificate
			var revoked int64
			if err := rows.Scan(&one.Subject, &one.KeyID, &one.Expires, &revoked); err != nil {
				return err
			}
			one.Revoked = revoked > 0
			list.Certificates = append(list.Certificates, one)
		}
		list.Certificates, list.Next = cut(list.Certificates, l, func(c ownCertificate) string { return c.Subject })
		return rows.Err()
	})
	return list, refusal, err
}

type certificateInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"the same key and body get the same answer for a week"`
	Body           payword.CertificateRequest
}

type renewalInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"128" doc:"the same key and body get the same answer for a week"`
	Body           payword.RenewalRequest
}

func registerCertificates(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: payword.PathCertificates, id: "createCertificates", access: accountSigned,
		summary: "Issue one certificate for each key", maxBody: certificateBody,
		description: "Each is under a pseudonym of its own."},
		func(ctx context.Context, input *certificateInput) (*body[payword.CertificateAnswer], payword.Refusal, error) {
			answer, refusal, err := b.certify(ctx, callerOf(ctx).account, input.IdempotencyKey, input.Body)
			return &body[payword.CertificateAnswer]{answer}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: payword.PathCertificates, id: "listCertificates", access: accountSigned,
		summary:     "The pseudonyms of the account",
		description: "With them and its seed a lost wallet is restored."},
		func(ctx context.Context, input *listInput) (*body[certificateList], payword.Refusal, error) {
			list, refusal, err := b.store.certificates(ctx, callerOf(ctx).account, input.Listing)
			return &body[certificateList]{list}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: payword.PathRenewals, id: "renewCertificates", access: accountSigned,
		summary: "Issue another certificate for each pseudonym, under the same key", maxBody: smallBody,
		description: "A vendor goes on to know the user by the pseudonym. Certificates that are valid stay so."},
		func(ctx context.Context, input *renewalInput) (*body[payword.CertificateAnswer], payword.Refusal, error) {
			answer, refusal, err := b.renew(ctx, callerOf(ctx).account, input.IdempotencyKey, input.Body)
			return &body[payword.CertificateAnswer]{answer}, refusal, err
		})
	registerRevocations(a)
}
