package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/paywordhq/payword"
)

// isFresh reports whether a certificate is good for a commitment of full length,
// and need not be renewed yet: for a day and some minutes, or half of its life
// if that is less.
func (w *Wallet) isFresh(held heldCertificate) bool {
	certificate, err := payword.UnverifiedCertificate(held.Certificate)
	if err != nil {
		return false
	}
	ahead := min(commitmentSeconds+certificateMarginSeconds, (certificate.Expires-certificate.IssuedAt)/2)
	return w.now().Unix()+ahead < certificate.Expires
}

// certificateFor returns the certificate that the vendor knows the wallet by,
// renewed if it is about to expire, or a spare one, or a new one from the broker.
// A pseudonym that the broker renews no more is replaced. While the broker is
// away, what is good for some minutes will do.
func (w *Wallet) certificateFor(ctx context.Context, vendorOrigin string) (heldCertificate, error) {
	known := w.knownTo(vendorOrigin)
	if known.Certificate != "" && !w.isFresh(known) {
		renewed, err := w.renew(ctx, []heldCertificate{known})
		if err == nil {
			return renewed[0], nil
		}
		var refusal *BrokerError
		if !errors.As(err, &refusal) || refusal.Reason != payword.Accepted {
			known = heldCertificate{}
		}
	}
	if w.isGood(known) {
		return known, nil
	}
	for range 2 {
		if held, found := w.takeSpare(); found {
			return held, nil
		}
		if err := w.Certificates(ctx, spareCount); err != nil {
			return heldCertificate{}, err
		}
	}
	broker, _ := w.account()
	return heldCertificate{}, &BrokerError{Broker: broker, Action: "asking for certificates", Detail: "those it gives expire at once"}
}

// knownTo returns the certificate that a vendor knows the wallet by; it is empty
// if there is none.
func (w *Wallet) knownTo(vendorOrigin string) heldCertificate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.doc.Vendors[vendorOrigin]; v != nil {
		return v.heldCertificate
	}
	return heldCertificate{}
}

// renew gets another certificate for each pseudonym, under the same keys, and
// checks what it gets.
func (w *Wallet) renew(ctx context.Context, held []heldCertificate) ([]heldCertificate, error) {
	broker, currency := w.account()
	if broker == "" {
		return nil, ErrNoAccount
	}
	var request payword.RenewalRequest
	var olds []payword.Certificate
	for _, one := range held {
		old, err := payword.UnverifiedCertificate(one.Certificate)
		if err != nil {
			return nil, err
		}
		olds = append(olds, old)
		request.Subjects = append(request.Subjects, old.Subject)
	}
	var answer payword.CertificateAnswer
	ask := question{action: "renewing certificates", method: http.MethodPost, path: payword.PathRenewals, signed: true, body: request}
	if err := w.ask(ctx, broker, ask, &answer); err != nil {
		return nil, err
	}
	wrong := func(detail string) error {
		return &BrokerError{Broker: broker, Action: ask.action, Status: http.StatusOK, Detail: detail}
	}
	if len(answer.Certificates) != len(held) {
		return nil, wrong(fmt.Sprintf("it gave %d certificates for %d", len(answer.Certificates), len(held)))
	}
	var renewed []heldCertificate
	for k, token := range answer.Certificates {
		certificate, err := payword.UnverifiedCertificate(token)
		if err != nil {
			return nil, wrong(foreignText(err.Error()))
		}
		isSame := certificate.Subject == olds[k].Subject && certificate.Key.Equal(olds[k].Key) &&
			certificate.Issuer == broker && certificate.Currency == currency
		if !isSame {
			return nil, wrong("a certificate is another one than was to be renewed")
		}
		renewed = append(renewed, heldCertificate{Key: held[k].Key, Certificate: token})
	}
	return renewed, nil
}

// takeSpare takes a certificate that no vendor knows.
func (w *Wallet) takeSpare() (heldCertificate, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropOldSpares()
	if len(w.doc.Spares) == 0 {
		return heldCertificate{}, false
	}
	held := w.doc.Spares[0]
	w.doc.Spares = w.doc.Spares[1:]
	w.unsaved = true
	return held, true
}

// giveSpare puts a certificate back that was taken for a vendor and not used,
// unless the vendor knows it.
func (w *Wallet) giveSpare(vendorOrigin string, held heldCertificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.doc.Vendors[vendorOrigin]; v == nil || v.heldCertificate.Key != held.Key || v.heldCertificate.Certificate == "" {
		w.doc.Spares = append([]heldCertificate{held}, w.doc.Spares...)
		w.unsaved = true
	}
}

// closeTimeout is how long Close waits for spares that are being renewed: a
// command that pays for one page would otherwise never get to it.
const closeTimeout = 5 * time.Second

// beginTending returns what renews the spares, for which Close waits. It does
// nothing if isWanted is not set, or while somebody else does it.
func (w *Wallet) beginTending(isWanted bool) func(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !isWanted || w.tending != nil {
		return func(context.Context) {}
	}
	done := make(chan struct{})
	w.tending = done
	return func(ctx context.Context) {
		w.tendSpares(ctx)
		w.mu.Lock()
		w.tending = nil
		w.mu.Unlock()
		close(done)
	}
}

// awaitTending waits until spares that are being renewed are, but not for long.
func (w *Wallet) awaitTending() {
	w.mu.Lock()
	tending := w.tending
	w.mu.Unlock()
	if tending == nil {
		return
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-tending:
	case <-timer.C:
	}
}

// tendSpares renews the spares of which half of the life is over, so that there
// are some for when the broker is away. It is called when the broker has just
// answered; if it does not any more, the spares are good as they are.
func (w *Wallet) tendSpares(ctx context.Context) {
	w.mu.Lock()
	var aged []heldCertificate
	for _, held := range w.doc.Spares {
		if len(aged) < payword.MaxCertificatesPerRequest && w.isHalfOver(held) {
			aged = append(aged, held)
		}
	}
	w.mu.Unlock()
	if len(aged) == 0 {
		return
	}
	renewed, err := w.renew(ctx, aged)
	if err != nil {
		return
	}
	w.mu.Lock()
	for k := range aged {
		for place := range w.doc.Spares { // unless a vendor was given it meanwhile
			if w.doc.Spares[place] == aged[k] {
				w.doc.Spares[place] = renewed[k]
				w.unsaved = true
			}
		}
	}
	w.mu.Unlock()
	_ = w.save() // what is not saved is renewed again, or saved with the next payment
}

// isHalfOver reports whether half of a certificate's life is over.
func (w *Wallet) isHalfOver(held heldCertificate) bool {
	certificate, err := payword.UnverifiedCertificate(held.Certificate)
	return err == nil && w.now().Unix() >= certificate.IssuedAt+(certificate.Expires-certificate.IssuedAt)/2
}

// Bind has the certificates that the wallet gets from now on bound to address
// prefixes, at most payword.MaxAddressPrefixes: vendors take them from there
// alone. Without any they are good everywhere. Spares are given up; a certificate
// that a vendor knows stays bound as it is, when it is renewed, too.
func (w *Wallet) Bind(prefixes ...netip.Prefix) error {
	if len(prefixes) > payword.MaxAddressPrefixes {
		return fmt.Errorf("binding to addresses: want at most %d prefixes", payword.MaxAddressPrefixes)
	}
	var texts []string
	for _, prefix := range prefixes {
		if !prefix.IsValid() || prefix != prefix.Masked() {
			return fmt.Errorf("binding to addresses: %s has bits set past its length", prefix)
		}
		texts = append(texts, prefix.String())
	}
	w.mu.Lock()
	w.doc.Prefixes, w.doc.Spares, w.unsaved = texts, nil, true
	w.mu.Unlock()
	return w.save()
}

// boundTo returns the prefixes that certificates are asked for with.
func (w *Wallet) boundTo() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doc.Prefixes
}

// Revoke has the broker revoke the certificates that the given vendors, by their
// origins, know the wallet by; without any, all of the account, such as those on
// a device that was lost. The vendors refuse what is signed with them soon; what
// was reserved is still paid to them. The wallet goes on under new pseudonyms. It
// returns how many pseudonyms were revoked that were not before, and ErrNoAccount
// or a *BrokerError.
func (w *Wallet) Revoke(ctx context.Context, vendors ...string) (int64, error) {
	broker, _ := w.account()
	if broker == "" {
		return 0, ErrNoAccount
	}
	request := payword.RevocationRequest{All: len(vendors) == 0}
	for _, origin := range vendors {
		certificate, err := payword.UnverifiedCertificate(w.knownTo(origin).Certificate)
		if err != nil {
			return 0, fmt.Errorf("revoking: %s has no certificate of this wallet", origin)
		}
		request.Subjects = append(request.Subjects, certificate.Subject)
	}
	var answer payword.RevocationAnswer
	ask := question{action: "revoking certificates", method: http.MethodPost, path: payword.PathRevocations, signed: true, body: request}
	if err := w.ask(ctx, broker, ask, &answer); err != nil {
		return 0, err
	}
	w.mu.Lock()
	if request.All {
		vendors = w.doc.origins()
		w.doc.Spares = nil
	}
	for _, origin := range vendors {
		if v := w.doc.Vendors[origin]; v != nil {
			v.heldCertificate = heldCertificate{}
			w.retire(v)
		}
	}
	w.unsaved = true
	w.mu.Unlock()
	return answer.Revoked, w.save()
}
