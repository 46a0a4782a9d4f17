package payword_test

import (
	"crypto/ed25519"
	"fmt"

	"github.com/paywordhq/payword"
)

// A chain is hashed from its secret end down to its root. Whoever knows the
// root can check every payword of it.
func ExampleChain() {
	tip, _ := payword.Seed{}.Tip("https://news.example", payword.Nonce{}, 0, 1000)
	chain, _ := payword.NewChain(tip, 1000, 0)
	w, _ := chain.Release(3)
	fmt.Println(w.Walk(3) == chain.Root())
	// Output: true
}

// A user commits to a chain, pays with one payword, and the vendor checks it
// with one hash, with nothing but the broker's public key.
func Example() {
	broker := ed25519.NewKeyFromSeed(make([]byte, 32))
	user := ed25519.NewKeyFromSeed([]byte("fixed, so that the output is too"))
	brokers := payword.Brokers{"https://broker.example": {
		payword.Thumbprint(broker.Public().(ed25519.PublicKey)): broker.Public().(ed25519.PublicKey)}}

	// The broker issues a certificate.
	certificate, _ := payword.SignCertificate(payword.Certificate{Issuer: "https://broker.example", Subject: "u-1",
		Key: user.Public().(ed25519.PublicKey), IssuedAt: 1_790_000_000, Expires: 1_792_000_000, Currency: "usd-micro", Limit: 5_000_000}, broker)

	// The user makes a chain and commits to it.
	tip, _ := payword.Seed{1}.Tip("https://news.example", payword.Nonce{2}, 0, 1000)
	chain, _ := payword.NewChain(tip, 1000, 0)
	m, _ := payword.SignCommitment(payword.Commitment{Vendor: "https://news.example", Certificate: certificate, Nonce: payword.Nonce{2},
		IssuedAt: 1_790_000_000, Expires: 1_790_086_400, Currency: "usd-micro", Limit: 1_000_000,
		Chains: []payword.ChainTerms{{Root: chain.Root(), Unit: 1000, Length: 1000}}}, user)

	// The user pays.
	w, _ := chain.Release(1)
	header := payword.FormatPayment(payword.Payment{Commitment: m.ID, Index: 1, Payword: w, Number: 1, Max: 1000})

	// The vendor opens the commitment, judges the payment and charges it.
	opened, refusal := payword.ParseCommitment(m.Token, brokers)
	fmt.Println("commitment:", refusal.Reason)
	payment, _ := payword.ParsePayment(header)
	state := payword.NewState(&opened, opened.Limit, 0)
	verdict := payword.Judge(&opened, state.Tails[0], &payment, payword.Terms{Price: 1000, Now: 1_790_000_001, MaxStep: payword.DefaultMaxStep})
	fmt.Println("payment:", verdict.Reason, "after", verdict.Steps, "hash")
	outcome := state.Charge(&opened, &payword.Charge{Tail: verdict.Tail, Number: payment.Number, Price: 1000, Now: 1_790_000_001})
	fmt.Println("charged:", outcome.Reason, outcome.Price, "spent:", state.Spent(), "credit:", state.Credit(&opened))
	// Output:
	// commitment: accepted
	// payment: accepted after 1 hash
	// charged: accepted 1000 spent: 1000 credit: 0
}
