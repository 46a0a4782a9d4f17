package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxAnswerBytes bounds an answer of the broker: sixteen certificates take a
// fiftieth of it.
const maxAnswerBytes = 1 << 20

// question is a request to the broker.
type question struct {
	action         string // for people: what is asked for
	method, path   string
	body           any // nil: none
	signed         bool
	idempotencyKey string
}

// ask puts a question to a broker and reads the answer into target, unless that
// is nil, or copies it if target is an io.Writer. It returns a *BrokerError.
func (w *Wallet) ask(ctx context.Context, broker string, q question, target any) error {
	failed := func(err error) error { return &BrokerError{Broker: broker, Action: q.action, Err: err} }
	body := []byte{}
	if q.body != nil {
		encoded, err := json.Marshal(q.body)
		if err != nil {
			return failed(err)
		}
		body = encoded
	}
	request, err := http.NewRequestWithContext(ctx, q.method, broker+q.path, bytes.NewReader(body))
	if err != nil {
		return failed(err)
	}
	if q.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if q.idempotencyKey != "" {
		request.Header.Set("Idempotency-Key", q.idempotencyKey)
	}
	if q.signed {
		if err := w.sign(request, body); err != nil {
			return failed(err)
		}
	}
	raw, isRaw := target.(io.Writer)
	asker := w.broker
	if isRaw && asker.Timeout == brokerTimeout {
		asker.Timeout = exportTimeout
	}
	answer, err := asker.Do(request)
	if err != nil {
		return failed(err)
	}
	defer answer.Body.Close()
	if isRaw && answer.StatusCode/100 == 2 {
		if _, err := io.Copy(raw, answer.Body); err != nil {
			return failed(err)
		}
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
	if err != nil {
		return failed(err)
	}
	if answer.StatusCode/100 != 2 {
		refusal := brokerRefusal(broker, q.action, answer.StatusCode, content)
		if refusal.Reason == payword.UnknownAccount && q.isOfKnownKey() && w.hasAccount() {
			refusal.Detail = "the wallet's key does not speak for its account: another device removed it, " +
				"or has not taken its answer to the invitation yet"
		}
		return refusal
	}
	if target == nil {
		return nil
	}
	if err := json.Unmarshal(content, target); err != nil {
		return failed(fmt.Errorf("the answer is not what was asked for: %w", err))
	}
	return nil
}

// isOfKnownKey reports whether an account that is unknown must be the one of the
// key that signed the question, and not one that the question names.
func (q question) isOfKnownKey() bool {
	namesAnother := strings.HasPrefix(q.path, payword.PathSubAccounts+"/") || q.path == payword.PathTransfers
	return q.signed && q.path != payword.PathAccounts && !namesAnother
}

// hasAccount reports whether the wallet has an account, or should have.
func (w *Wallet) hasAccount() bool {
	broker, _ := w.account()
	return broker != ""
}

// brokerRefusal reads a broker's problem details.
func brokerRefusal(broker, action string, status int, content []byte) *BrokerError {
	var problem struct {
		Reason string `json:"reason"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	// An answer that is no problem document still has its status.
	_ = json.Unmarshal(content, &problem)
	for _, fault := range problem.Errors[:min(len(problem.Errors), 3)] { // what is wrong with the form of the question
		problem.Detail += ": " + fault.Message
		if fault.Location != "" {
			problem.Detail += " (" + fault.Location + ")"
		}
	}
	// A reason of a later version is no reason that we know; its status stays.
	reason, _ := payword.ParseReason(problem.Reason)
	return &BrokerError{Broker: broker, Action: action, Reason: reason, Detail: foreignText(problem.Detail), Status: status}
}

// sign signs a request with the account's key.
func (w *Wallet) sign(request *http.Request, body []byte) error {
	key, err := w.accountKey()
	if err != nil {
		return err
	}
	var nonce payword.Nonce
	if _, err := rand.Read(nonce[:]); err != nil {
		return err
	}
	return payword.SignRequest(request, body, key, nonce, w.now().Unix())
}

// OpenAccount opens an account at the broker, or finds the one that the wallet
// has there, and remembers it. A wallet has one account, in one currency. It
// returns a *BrokerError.
func (w *Wallet) OpenAccount(ctx context.Context, broker string) (payword.Account, error) {
	if err := payword.CheckOrigin(broker); err != nil {
		return payword.Account{}, fmt.Errorf("opening an account: %w", err)
	}
	if known, _ := w.account(); known != "" && known != broker {
		return payword.Account{}, fmt.Errorf("opening an account: the wallet has one at %s already; use another wallet", known)
	}
	key, err := w.accountKey()
	if err != nil {
		return payword.Account{}, err
	}
	challenge, err := w.challenge(ctx, broker)
	if err != nil {
		return payword.Account{}, err
	}
	var account payword.Account
	ask := question{
		action: "opening an account", method: http.MethodPost, path: payword.PathAccounts, signed: true,
		body: payword.OpenAccount{Key: payword.NewPublicKey(publicOf(key)), Challenge: challenge.Challenge},
	}
	if err := w.ask(ctx, broker, ask, &account); err != nil {
		return payword.Account{}, err
	}
	w.mu.Lock()
	w.doc.Broker, w.doc.Account, w.doc.Currency = broker, account.Account, account.Currency
	w.unsaved = true
	w.mu.Unlock()
	return account, w.save()
}

// account returns the broker and the currency of the wallet's account; both are
// empty if it has none.
func (w *Wallet) account() (broker string, currency money.Currency) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doc.Broker, w.doc.Currency
}

// Balance asks the broker for the account. It returns ErrNoAccount or a
// *BrokerError, with the reason UnknownAccount if the wallet's key does not speak
// for the account, not yet or not any more.
func (w *Wallet) Balance(ctx context.Context) (payword.Account, error) {
	var account payword.Account
	err := w.askOwn(ctx, question{action: "asking for the balance", method: http.MethodGet, path: payword.PathAccount}, &account)
	if err != nil {
		return account, err
	}
	w.mu.Lock()
	isNew := w.doc.Account != account.Account // of a wallet that joined
	if isNew {
		w.doc.Account = account.Account
		w.unsaved = true
	}
	w.mu.Unlock()
	if isNew {
		err = w.save()
	}
	return account, err
}

// Certificates gets spare certificates until the wallet holds n (1 to 16) that
// are good for a while. Each of them can open a commitment with one vendor that
// is new to the wallet. It returns ErrNoAccount or a *BrokerError.
func (w *Wallet) Certificates(ctx context.Context, n int) error {
	if n < 1 || n > payword.MaxCertificatesPerRequest {
		return fmt.Errorf("spare certificates: want 1 to %d", payword.MaxCertificatesPerRequest)
	}
	w.mu.Lock()
	w.dropOldSpares()
	missing := n - len(w.doc.Spares)
	first := w.doc.NextKey
	broker, currency := w.doc.Broker, w.doc.Currency
	if broker == "" || missing <= 0 {
		w.mu.Unlock()
		if broker == "" {
			return ErrNoAccount
		}
		return nil
	}
	w.doc.NextKey += uint32(missing) // two who ask at once must not ask for the same keys
	w.unsaved = true
	w.mu.Unlock()

	spares, err := w.requestCertificates(ctx, broker, currency, first, missing)
	if err != nil {
		w.giveNumbersBack(err, first, missing)
		return err
	}
	w.mu.Lock()
	w.doc.Spares = append(w.doc.Spares, spares...)
	w.unsaved = true
	w.mu.Unlock()
	return w.save()
}

// giveNumbersBack takes back the numbers of keys that the broker may not have seen.
// Asked again for the same, it gives what it issued and nobody got.
func (w *Wallet) giveNumbersBack(err error, first uint32, count int) {
	var refusal *BrokerError
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.As(err, &refusal) && refusal.unavailable() && w.doc.NextKey == first+uint32(count) {
		w.doc.NextKey = first
	}
}

// requestCertificates asks for a certificate for each of count keys from first
// on and checks what it gets.
func (w *Wallet) requestCertificates(ctx context.Context, broker string, currency money.Currency, first uint32, count int) ([]heldCertificate, error) {
	request, firstID := payword.CertificateRequest{Prefixes: w.boundTo()}, ""
	for k := range count {
		key, err := w.certificateKey(first + uint32(k))
		if err != nil {
			return nil, err
		}
		request.Keys = append(request.Keys, payword.NewPublicKey(publicOf(key)))
		if k == 0 {
			firstID = payword.Thumbprint(publicOf(key))
		}
	}
	var answer payword.CertificateAnswer
	ask := question{
		action: "asking for certificates", method: http.MethodPost, path: payword.PathCertificates, signed: true, body: request,
		// If the answer is lost in a crash, asking again gives the same ones. The
		// account's other devices number theirs as this one does.
		idempotencyKey: fmt.Sprintf("certificates-%s-%d", firstID, count),
	}
	if err := w.ask(ctx, broker, ask, &answer); err != nil {
		return nil, err
	}
	wrong := func(detail string) error {
		return &BrokerError{Broker: broker, Action: ask.action, Status: http.StatusOK, Detail: detail}
	}
	if len(answer.Certificates) != count {
		return nil, wrong(fmt.Sprintf("it gave %d certificates for %d keys", len(answer.Certificates), count))
	}
	var spares []heldCertificate
	for k, token := range answer.Certificates {
		certificate, err := payword.UnverifiedCertificate(token)
		if err != nil {
			return nil, wrong(foreignText(err.Error()))
		}
		if key, _ := request.Keys[k].Key(); !key.Equal(certificate.Key) {
			return nil, wrong("a certificate is for another key")
		}
		if certificate.Issuer != broker || certificate.Currency != currency {
			return nil, wrong("a certificate is by another broker or in another currency than the account")
		}
		spares = append(spares, heldCertificate{Key: first + uint32(k), Certificate: token})
	}
	return spares, nil
}

// maxReserveTries is how often a smaller amount is tried where a limit of the
// account is in the way: what is left of it the broker alone knows.
const maxReserveTries = 6

// reserve asks that the amount be set aside for a commitment. If the balance is
// smaller, it reserves what there is, if that is at least least; if a limit of the
// account is, a half, a quarter and so on, down to least. It returns the reservation
// and its amount, in micros.
func (w *Wallet) reserve(ctx context.Context, broker, commitment string, amount, least money.Amount) (string, money.Amount, error) {
	least = max(1, least)
	for try := 1; ; try++ {
		token, err := w.askReservation(ctx, broker, commitment, amount)
		refusal, refused := err.(*BrokerError)
		if !refused || try > maxReserveTries || amount <= least {
			return token, amount, err
		}
		switch refusal.Reason {
		case payword.InsufficientFunds:
			account, balanceErr := w.Balance(ctx)
			if balanceErr != nil || account.Available < least || account.Available >= amount {
				return "", 0, err
			}
			amount = account.Available
		case payword.OverAccountLimit:
			amount = max(least, amount/2)
			if try == maxReserveTries {
				amount = least
			}
		default:
			return "", 0, err
		}
	}
}

func (w *Wallet) askReservation(ctx context.Context, broker, commitment string, amount money.Amount) (string, error) {
	var answer payword.ReservationAnswer
	ask := question{
		action: "reserving", method: http.MethodPost, path: payword.PathReservations, signed: true,
		body: payword.ReservationRequest{Commitment: commitment, Amount: amount},
	}
	if err := w.ask(ctx, broker, ask, &answer); err != nil {
		return "", err
	}
	if !isToken(answer.Reservation) {
		return "", &BrokerError{Broker: broker, Action: ask.action, Status: http.StatusOK, Detail: "the reservation has no form that fits a header"}
	}
	return answer.Reservation, nil
}

// isToken reports whether text is a JWS as it may stand in a header.
func isToken(text string) bool {
	if text == "" || len(text) > payword.MaxReservationBytes {
		return false
	}
	for _, c := range []byte(text) {
		isPart := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
		if !isPart {
			return false
		}
	}
	return true
}
