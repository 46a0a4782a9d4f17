package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const pathAdminRevocations = "/v1/admin/revocations"

// checkCertificate refuses with CertificateRevoked if a certificate was revoked
// or is suspended.
func checkCertificate(ctx context.Context, tx *ledger.Tx, certificate *payword.Certificate) error {
	var status uint8
	err := tx.QueryRowContext(ctx, `SELECT status FROM broker_statuses WHERE certificate = ?`, certificateID(certificate)).Scan(&status)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil // forgotten, which happens only after it has expired
	case err != nil:
		return err
	case status == payword.StatusSuspended:
		return refused(refuse(payword.CertificateRevoked, "the certificate is suspended, as all of this account are"))
	case status != payword.StatusValid:
		return refused(revokedCertificate())
	}
	return nil
}

// revokeCertificates revokes the certificates of one pseudonym of an account, or
// of all if subject is "", for ever; what was reserved stays redeemable. It
// returns how many pseudonyms were not revoked before.
func revokeCertificates(ctx context.Context, tx *ledger.Tx, account, subject string) (count int64, err error) {
	result, err := tx.ExecContext(ctx, `UPDATE broker_certificates SET revoked = ? WHERE account = ? AND (subject = ? OR ? = '') AND revoked = 0`,
		tx.Now().Unix(), account, subject, subject)
	if err == nil {
		count, err = result.RowsAffected()
	}
	if err != nil || count == 0 {
		return 0, err
	}
	const chosen = `account = ? AND (subject = ? OR ? = '') AND status <> 1`
	if err := setStatus(ctx, tx, payword.StatusInvalid, chosen, account, subject, subject); err != nil {
		return 0, err
	}
	what := "all"
	if subject != "" {
		what = subject
	}
	return count, audit(ctx, tx, auditEntry{"revoke-certificates", "account:" + account, fmt.Sprintf("%s: %d pseudonyms", what, count)})
}

// followState suspends the certificates of an account and of its sub-accounts
// where nothing new may be promised (it or its parent is not open, or it is
// paused), so that gates learn of it, and brings back those of all others, but
// for what was revoked.
func followState(ctx context.Context, tx *ledger.Tx, account string) error {
	const family = `account IN (SELECT a.id FROM broker_accounts a LEFT JOIN broker_accounts p ON p.id = a.parent
		WHERE (a.id = ? OR a.parent = ? AND a.parent <> '') AND `
	const held = family + `(a.state <> 'open' OR a.paused = 1 OR COALESCE(p.state, 'open') <> 'open')) AND status = 0`
	const free = family + `a.state = 'open' AND a.paused = 0 AND COALESCE(p.state, 'open') = 'open') AND status = 2`
	if err := setStatus(ctx, tx, payword.StatusSuspended, held, account, account); err != nil {
		return err
	}
	return setStatus(ctx, tx, payword.StatusValid, free, account, account)
}

// setStatus changes the status of the certificates that a condition chooses and
// has their hot lists signed anew.
func setStatus(ctx context.Context, tx *ledger.Tx, status int, condition string, arguments ...any) error {
	_, err := tx.ExecContext(ctx, `UPDATE broker_status_lists SET changes = changes + 1
		WHERE number IN (SELECT list FROM broker_statuses WHERE `+condition+`)`, arguments...)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE broker_statuses SET status = ? WHERE `+condition, append([]any{status}, arguments...)...)
	return err
}

// revoke revokes pseudonyms of an account, or all. It refuses with
// MalformedCertificate if nothing is named, or everything and something.
func (s *store) revoke(ctx context.Context, account string, request payword.RevocationRequest) (answer payword.RevocationAnswer, refusal payword.Refusal, err error) {
	if request.All == (len(request.Subjects) > 0) {
		return answer, refuse(payword.MalformedCertificate, "want either subjects or all"), nil
	}
	subjects := request.Subjects
	if request.All {
		subjects = []string{""}
	}
	refusal, err = s.update(ctx, "revoke", func(tx *ledger.Tx) error {
		answer.Revoked = 0
		for _, subject := range subjects {
			if subject == "" && !request.All {
				return refused(refuse(payword.MalformedCertificate, "a subject is empty"))
			}
			count, err := revokeCertificates(ctx, tx, account, subject)
			if err != nil {
				return err
			}
			answer.Revoked += count
		}
		return nil
	})
	return answer, refusal, err
}

// RevokeCertificates revokes all certificates of an account. It returns how many
// pseudonyms were not revoked before, and refuses with UnknownAccount.
func (b *Broker) RevokeCertificates(ctx context.Context, account string) (int64, payword.Refusal, error) {
	return b.store.revokeAccount(ctx, account, "")
}

// revokeAccount revokes one pseudonym of an account, or all if subject is "".
// It refuses with UnknownAccount.
func (s *store) revokeAccount(ctx context.Context, account, subject string) (count int64, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "revoke", func(tx *ledger.Tx) error {
		if _, err := s.accountIn(ctx, tx, account); errors.Is(err, ledger.ErrNotFound) {
			return refused(unknownAccount())
		} else if err != nil {
			return err
		}
		count, err = revokeCertificates(ctx, tx, account, subject)
		return err
	})
	return count, refusal, err
}

// adminRevocation is the body of an administrator's request to revoke.
type adminRevocation struct {
	Account string `json:"account" maxLength:"64"`
	Subject string `json:"subject,omitempty" maxLength:"64" doc:"one pseudonym of the account; without it all are revoked"`
}

func registerRevocations(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: payword.PathRevocations, id: "revokeCertificates", access: accountSigned,
		summary: "Revoke the certificates of pseudonyms, or all of the account, for ever", maxBody: smallBody,
		description: "The next hot list says so. What was reserved stays redeemable."},
		func(ctx context.Context, input *body[payword.RevocationRequest]) (*body[payword.RevocationAnswer], payword.Refusal, error) {
			answer, refusal, err := b.store.revoke(ctx, callerOf(ctx).account, input.Body)
			return &body[payword.RevocationAnswer]{answer}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathAdminRevocations, id: "revokeAccountCertificates", access: adminOnly,
		summary: "Revoke the certificates of an account", maxBody: smallBody},
		func(ctx context.Context, input *body[adminRevocation]) (*body[payword.RevocationAnswer], payword.Refusal, error) {
			count, refusal, err := b.store.revokeAccount(ctx, input.Body.Account, input.Body.Subject)
			return &body[payword.RevocationAnswer]{payword.RevocationAnswer{Revoked: count}}, refusal, err
		})
	registerStatusLists(a)
}
