package broker_test

import (
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// tie ties the account to a holder.
func (u *user) tie(holder string) {
	u.t.Helper()
	_, refusal, err := u.SetHolder(u.t.Context(), u.account, holder)
	if err != nil || refusal.Refused() {
		u.t.Fatalf("tying the account to a holder: %v %v", refusal, err)
	}
}

// challenge gets a fresh challenge.
func (b *bank) challenge() string {
	b.t.Helper()
	var challenge payword.AccountChallenge
	b.plain("POST", payword.PathChallenges, nil).into(b.t, http.StatusOK, &challenge)
	return challenge.Challenge
}

// proof is what a new key signs for an account.
func (b *bank) proof(purpose, account, challenge string, key ed25519.PrivateKey) string {
	b.t.Helper()
	proof, err := payword.Possession{Purpose: purpose, Broker: issuer, Account: account, Challenge: challenge}.Sign(key)
	if err != nil {
		b.t.Fatal(err)
	}
	return proof
}

// addDevice asks that key speak for the account.
func (u *user) addDevice(key ed25519.PrivateKey, name string) answer {
	challenge := u.challenge()
	return u.call(u.key, "POST", payword.PathDevices, payword.AddDevice{
		Key: payword.NewPublicKey(publicKey(key)), Name: name, Challenge: challenge,
		Proof: u.proof(payword.PossessionDevice, u.account, challenge, key),
	})
}

// newDevice adds a device and returns the owner with that one in hand.
func (u *user) newDevice(name string) *user {
	u.t.Helper()
	other := *u
	other.key = newKey()
	want(u.t, u.addDevice(other.key, name), http.StatusCreated, payword.Accepted)
	return &other
}

func (u *user) removeDevice(key ed25519.PrivateKey) answer {
	return u.call(u.key, "DELETE", payword.PathDevices+"/"+payword.Thumbprint(publicKey(key)), nil)
}

// openSub asks for a sub-account for key.
func (u *user) openSub(key ed25519.PrivateKey, limits payword.Limits) answer {
	challenge := u.challenge()
	return u.call(u.key, "POST", payword.PathSubAccounts, payword.OpenSubAccount{
		Key: payword.NewPublicKey(publicKey(key)), Name: "agent", Challenge: challenge, Limits: limits,
		Proof: u.proof(payword.PossessionSubAccount, u.account, challenge, key),
	})
}

// newSub opens a sub-account with a balance and returns its agent.
func (u *user) newSub(balance money.Amount, limits payword.Limits) *user {
	u.t.Helper()
	agent := &user{bank: u.bank, key: newKey()}
	agent.seed[0] = 1
	var sub payword.SubAccount
	u.openSub(agent.key, limits).into(u.t, http.StatusCreated, &sub)
	agent.account = sub.Account
	if balance > 0 {
		want(u.t, u.transfer("first-"+sub.Account, agent, balance, false), http.StatusOK, payword.Accepted)
	}
	return agent
}

func (u *user) transfer(id string, agent *user, amount money.Amount, back bool) answer {
	return u.call(u.key, "POST", payword.PathTransfers,
		payword.SubAccountTransfer{ID: id, Account: agent.account, Amount: amount, Back: back})
}

func (u *user) setLimits(limits payword.Limits) answer {
	return u.call(u.key, "PUT", payword.PathLimits, limits)
}

func (u *user) payout(id string, amount money.Amount) answer {
	return u.call(u.key, "POST", payword.PathPayouts, payword.RequestPayout{
		ID: id, Amount: amount, Destination: payword.PayoutDestination{IBAN: ownIBAN},
	})
}

// close asks to close the account; where is an IBAN, or "" for none.
func (u *user) close(where string) answer {
	var request payword.CloseAccount
	if where != "" {
		request.Destination = &payword.PayoutDestination{IBAN: where}
	}
	return u.call(u.key, "POST", payword.PathClose, request)
}

func (u *user) wantState(state string) {
	u.t.Helper()
	var account payword.Account
	u.call(u.key, "GET", payword.PathAccount, nil).into(u.t, http.StatusOK, &account)
	if account.State != state {
		u.t.Errorf("the account is %s, want %s", account.State, state)
	}
}

// ownIBAN is a right one, of the standard's own examples.
const ownIBAN = "GB82 WEST 1234 5698 7654 32"

// micros is a limit.
func micros(amount money.Amount) *money.Amount { return &amount }

// voucherCodes makes vouchers.
func (b *bank) voucherCodes(batch string, count int, amount money.Amount, seconds int64) []string {
	b.t.Helper()
	codes, refusal, err := b.MakeVouchers(b.t.Context(), newBatch(b, batch, count, amount, seconds))
	if err != nil || refusal.Refused() || len(codes) != count {
		b.t.Fatalf("got %d vouchers, %v, %v", len(codes), refusal, err)
	}
	return codes
}

func (u *user) redeemVoucher(code string) answer {
	return u.call(u.key, "POST", payword.PathVouchers, payword.RedeemVoucher{Code: code})
}

// detail returns the sentence in problem details.
func (a answer) detail() string {
	var p struct{ Detail string }
	_ = json.Unmarshal(a.body, &p)
	return p.Detail
}

func newBatch(b *bank, id string, count int, amount money.Amount, seconds int64) broker.VoucherBatch {
	return broker.VoucherBatch{ID: id, Count: count, Amount: amount, Expires: b.clock.now().Add(time.Duration(seconds) * time.Second)}
}

func toAmount(count int) money.Amount { return money.Amount(count) }

// askCertificate asks for a certificate for a new key.
func (u *user) askCertificate() answer {
	return u.call(u.key, "POST", payword.PathCertificates,
		payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(newKey()))}})
}

// chainOf makes a commitment with one chain that is worth amount.
func chainOf(amount money.Amount) func(*payword.Commitment) {
	return func(m *payword.Commitment) { m.Chains = []payword.ChainTerms{{Unit: amount / 100, Length: 100}} }
}
