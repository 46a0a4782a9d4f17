package client_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const usd = money.Currency("usd-micro")

// fakeBroker is a broker in memory: it checks every signature, keeps one
// balance per account key, and issues real certificates and reservations.
type fakeBroker struct {
	t      testing.TB
	server *httptest.Server
	key    ed25519.PrivateKey
	now    func() time.Time

	mu           sync.Mutex
	balance      money.Amount
	limit        money.Amount // of certificates
	lifeSeconds  int64        // of certificates
	accounts     map[string]ed25519.PublicKey
	reservations map[payword.CommitmentID]money.Amount
	certificates int
	subjects     []pseudonym
	listed       []map[string]any // of the reservations, the earliest first
	down         bool
	loseAnswer   bool // does the work of the next reservation and breaks off
	asked        map[string]int
	answers      map[string]string // bodies by their Idempotency-Key
	owner        ownerFake
}

func newFakeBroker(t testing.TB, now func() time.Time) *fakeBroker {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{
		t: t, key: key, now: now, balance: 100 * money.Unit, limit: 50 * money.Unit, lifeSeconds: 30 * 24 * 3600,
		accounts: make(map[string]ed25519.PublicKey), reservations: make(map[payword.CommitmentID]money.Amount),
		asked: make(map[string]int), answers: make(map[string]string), owner: newOwnerFake(),
	}
	b.server = httptest.NewServer(b)
	t.Cleanup(b.server.Close)
	return b
}

func (b *fakeBroker) origin() string { return b.server.URL }

func (b *fakeBroker) brokers() payword.Brokers {
	public := b.key.Public().(ed25519.PublicKey)
	return payword.Brokers{b.origin(): {payword.Thumbprint(public): public}}
}

func (b *fakeBroker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *fakeBroker) count(path string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[path]
}

func (b *fakeBroker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[r.URL.Path]++
	if b.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == payword.PathChallenges {
		b.answer(w, payword.AccountChallenge{Challenge: "challenge", Expires: b.now().Unix() + 300})
		return
	}
	var opening payword.OpenAccount
	if r.URL.Path == payword.PathAccounts {
		b.read(body, &opening)
		key, err := opening.Key.Key()
		if err != nil {
			b.t.Errorf("account key: %v", err)
			return
		}
		b.open(key)
	}
	if refusal := b.verify(r, body); refusal.Refused() {
		b.refuse(w, refusal)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		if known, found := b.answers[key]; found && known != string(body) {
			b.refuse(w, payword.Refusal{Reason: payword.IdempotencyDiffers})
			return
		}
		b.answers[key] = string(body)
	}
	if strings.HasPrefix(r.URL.Path, payword.PathAccount+"/") {
		b.serveOwner(w, r, body)
		return
	}
	switch r.URL.Path {
	case payword.PathAccounts, payword.PathAccount:
		b.answer(w, b.account())
	case payword.PathCertificates:
		if r.Method == http.MethodGet {
			b.listCertificates(w)
			return
		}
		b.issue(w, body)
	case payword.PathRenewals:
		b.renew(w, body)
	case payword.PathRevocations:
		b.revoke(w, body)
	case payword.PathReservations:
		if r.Method == http.MethodGet {
			b.answer(w, map[string]any{"reservations": b.listed})
			return
		}
		b.reserve(w, body)
	default:
		http.NotFound(w, r)
	}
}

func (b *fakeBroker) verify(r *http.Request, body []byte) payword.Refusal {
	signed, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if refusal.Refused() {
		return refusal
	}
	key := b.accounts[signed.KeyID]
	if key == nil {
		return payword.Refusal{Reason: payword.UnknownAccount, Detail: "no account has this key"}
	}
	if r.Header.Get(payword.HeaderContentDigest) != payword.ContentDigest(body) {
		return payword.Refusal{Reason: payword.BadSignature}
	}
	signed.Method, signed.TargetURI = r.Method, b.origin()+r.URL.RequestURI()
	signed.Digest = payword.ContentDigest(body)
	return signed.Verify(key, r.Header.Get(payword.HeaderSignature), b.now().Unix())
}

func (b *fakeBroker) issue(w http.ResponseWriter, body []byte) {
	var request payword.CertificateRequest
	b.read(body, &request)
	var answer payword.CertificateAnswer
	for _, member := range request.Keys {
		key, err := member.Key()
		if err != nil {
			b.t.Errorf("certificate key: %v", err)
			return
		}
		b.certificates++
		b.subjects = append(b.subjects, pseudonym{Subject: "user-" + money.Amount(b.certificates).String(), KeyID: payword.Thumbprint(key), key: key})
		answer.Certificates = append(answer.Certificates, b.sign(b.subjects[len(b.subjects)-1]))
	}
	b.answer(w, answer)
}

// pseudonym is what the broker remembers of a certificate.
type pseudonym struct {
	Subject string `json:"subject"`
	KeyID   string `json:"keyId"`
	Revoked bool   `json:"revoked"`
	key     ed25519.PublicKey
}

func (b *fakeBroker) sign(p pseudonym) string {
	c := payword.Certificate{
		Issuer: b.origin(), Subject: p.Subject, Key: p.key,
		IssuedAt: b.now().Unix(), Expires: b.now().Unix() + b.lifeSeconds, Currency: usd, Limit: b.limit,
	}
	rand.Read(c.ID[:])
	signed, err := payword.SignCertificate(c, b.key)
	if err != nil {
		b.t.Errorf("signing a certificate: %v", err)
	}
	return signed.Token
}

func (b *fakeBroker) listCertificates(w http.ResponseWriter) {
	b.answer(w, map[string]any{"certificates": b.subjects})
}

func (b *fakeBroker) renew(w http.ResponseWriter, body []byte) {
	var request payword.RenewalRequest
	b.read(body, &request)
	var answer payword.CertificateAnswer
	for _, subject := range request.Subjects {
		for _, p := range b.subjects {
			if p.Subject != subject {
				continue
			}
			if p.Revoked {
				b.refuse(w, payword.Refusal{Reason: payword.CertificateRevoked})
				return
			}
			answer.Certificates = append(answer.Certificates, b.sign(p))
		}
	}
	b.answer(w, answer)
}

func (b *fakeBroker) revoke(w http.ResponseWriter, body []byte) {
	var request payword.RevocationRequest
	b.read(body, &request)
	var answer payword.RevocationAnswer
	for k := range b.subjects {
		if p := &b.subjects[k]; !p.Revoked && (request.All || slices.Contains(request.Subjects, p.Subject)) {
			p.Revoked = true
			answer.Revoked++
		}
	}
	b.answer(w, answer)
}

func (b *fakeBroker) isRevoked(subject string) bool {
	return slices.ContainsFunc(b.subjects, func(p pseudonym) bool { return p.Subject == subject && p.Revoked })
}

func (b *fakeBroker) reserve(w http.ResponseWriter, body []byte) {
	var request payword.ReservationRequest
	b.read(body, &request)
	m, refusal := payword.ParseCommitment(request.Commitment, b.brokers())
	if refusal.Refused() {
		b.refuse(w, refusal)
		return
	}
	before := b.reservations[m.ID]
	if b.isRevoked(m.Certificate.Subject) {
		b.refuse(w, payword.Refusal{Reason: payword.CertificateRevoked, Detail: "it was revoked"})
		return
	}
	amount := max(before, request.Amount)
	if limit := b.owner.limits.Own.Reserved; limit != nil && b.account().Reserved-before+amount > *limit {
		b.refuse(w, payword.Refusal{Reason: payword.OverAccountLimit, Detail: "the limit at once is reached"})
		return
	}
	if amount-before > b.balance {
		b.refuse(w, payword.Refusal{Reason: payword.InsufficientFunds, Detail: "the balance is too small"})
		return
	}
	b.balance -= amount - before
	b.reservations[m.ID] = amount
	r, err := payword.SignReservation(payword.Reservation{
		Issuer: b.origin(), Commitment: m.ID, Amount: amount, Currency: usd, Sequence: 1,
		IssuedAt: b.now().Unix(), RedeemBy: m.Expires + 24*3600,
	}, b.key)
	if err != nil {
		b.t.Errorf("signing a reservation: %v", err)
		return
	}
	b.listed = append(b.listed, map[string]any{"commitment": m.Token, "reservation": r.Token, "reserved": amount, "paid": money.Amount(0), "closed": false})
	if b.loseAnswer {
		b.loseAnswer = false
		panic(http.ErrAbortHandler)
	}
	b.answer(w, payword.ReservationAnswer{Reservation: r.Token})
}

func (b *fakeBroker) read(body []byte, target any) {
	if err := json.Unmarshal(body, target); err != nil {
		b.t.Errorf("the broker was sent no JSON: %v", err)
	}
}

func (b *fakeBroker) answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		b.t.Errorf("broker: %v", err)
	}
}

func (b *fakeBroker) refuse(w http.ResponseWriter, refusal payword.Refusal) {
	problem := payword.NewProblem(refusal, payword.Status{}, "")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem.Status)
	json.NewEncoder(w).Encode(problem)
}
