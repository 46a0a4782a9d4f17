package broker_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// Nothing that is worth money, and nothing that proves who somebody is, is ever
// logged, whatever happens.
func TestNoSecretsInLogs(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	again := u.commit(s.origin, 50*cent, func(m *payword.Commitment) { m.Nonce = p.m.Nonce })
	reservation := p.mustReserve(40 * cent)
	claim := s.claim(p, 30, 30*cent)
	claim.Reservation = reservation.Token
	bad := s.claim(p, 35, 35*cent, func(c *payword.Claim) { c.Tails[0].Payword[0] ^= 1 })
	s.send(claim, bad, s.claim(again, 20, 20*cent), s.claim(p, 50, 50*cent))
	again.reserve(cent)
	p.reserve(90 * cent)
	u.call(u.key, "POST", payword.PathReservations, `{"commitment":"`+p.m.Token+`","amount":1}`)
	u.call(u.key, "POST", payword.PathReservations, p.m.Token)
	request := b.signed(u.key, "GET", payword.PathAccount, nil)
	b.do(request.Clone(t.Context()))
	b.do(request)
	forged := b.signed(newKey(), "GET", payword.PathAccount, nil)
	b.do(forged)
	b.admin("POST", "/v1/admin/fundings", map[string]string{"id": "x", "account": "y", "amount": "1", "currency": "usd-micro"})
	b.SetFault(func(string) error { return errDisk })
	b.admin("POST", "/v1/admin/fundings", map[string]string{"id": "x", "account": u.account, "amount": "1", "currency": "usd-micro"})
	s.send503(claim, s.claim(p, 36, 36*cent))
	b.SetFault(nil)

	log := b.journal.String()
	for _, wanted := range []string{"root reused", "request refused", "request failed"} {
		if !strings.Contains(log, wanted) {
			t.Fatalf("the log has no line %q, so that it shows nothing:\n%s", wanted, log)
		}
	}
	secrets := map[string]string{
		"the administration token": adminToken, "the seed": encode(u.seed[:]), "the account's key": encode(u.key.Seed()),
		"the commitment": part(p.m.Token), "the other commitment": part(again.m.Token), "the reservation": part(reservation.Token),
		"the claim": part(claim.Claim), "the signature": request.Header.Get(payword.HeaderSignature)[10:40],
		"the request's nonce": strings.Split(request.Header.Get(payword.HeaderSignatureInput), `"`)[9],
		"the pseudonym":       p.m.Certificate.Subject, "the vendor's key": encode(s.key.Seed()),
	}
	for index := range uint32(51) {
		tail := p.tail(index).Payword
		secrets["payword "+encode([]byte{byte(index)})] = encode(tail[:])
		secrets["payword in base64 "+encode([]byte{byte(index)})] = base64.StdEncoding.EncodeToString(tail[:])
	}
	for name, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log", name)
		}
	}
}

// part returns a piece of a token's payload: a token that was cut short is
// still too much.
func part(token string) string { return strings.Split(token, ".")[1][:60] }

// send503 sends claims that the broker cannot answer.
func (s *shop) send503(claims ...payword.Redemption) {
	s.t.Helper()
	a := s.call(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: claims})
	if a.status != 503 {
		s.t.Errorf("got %d %s, want 503", a.status, a.body)
	}
}

// The database holds no key of anybody and no payword past the deepest that was
// claimed.
func TestNoSecretsInDatabase(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	p.mustReserve(40 * cent)
	s.wantResult(s.claim(p, 30, 30*cent), payword.Accepted, 30*cent, 30*cent)
	files, err := filepath.Glob(b.config.Database + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %v (%v)", files, err)
	}
	content := ""
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		content += string(text)
	}
	claimed, next := p.tail(30).Payword, p.tail(31).Payword
	if !strings.Contains(content, string(claimed[:])) {
		t.Error("the payword that was claimed is not kept")
	}
	for name, secret := range map[string]string{
		"the next payword": string(next[:]), "the user's key": string(u.key.Seed()), "the seed": string(u.seed[:]),
		"the administration token": adminToken,
	} {
		if strings.Contains(content, secret) {
			t.Errorf("%s is in the database", name)
		}
	}
}
