// Package load makes requests that pay, sends them over many connections at once
// and looks at every answer. On the way of a request it neither uses net/http nor
// waits for anything but the network, so that one processor sends several times
// what a server on another one can answer.
package load

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Issuer is the broker that signs for the payers. It exists in no other place.
const Issuer = "https://broker.example"

// Price is what one request costs: one step of a chain.
const Price = money.Amount(1)

// maxSteps is the longest chain that is made: all of them are kept in memory,
// 32 bytes a step.
const maxSteps = 1 << 17

// seedOf returns a seed that is the same in every run.
func seedOf(name string) []byte {
	sum := sha256.Sum256([]byte("payword bench " + name))
	return sum[:]
}

var broker = ed25519.NewKeyFromSeed(seedOf("broker"))

// BrokerKeys returns the key set that a gate checks certificates with.
func BrokerKeys() ([]byte, error) { return payword.FormatJWKS(broker.Public().(ed25519.PublicKey)) }

// Chains are the paywords of many payers, W_0 first. Several vendors may be paid
// with the same ones: each has commitments of its own.
type Chains [][]payword.Payword

// NewChains makes chains that are long enough for a number of payments each.
func NewChains(payers, payments int) (Chains, error) {
	if payments < 1 || payments >= maxSteps {
		return nil, fmt.Errorf("chains for %d payments each: want 1 to %d; measure fewer rounds or shorter ones", payments, maxSteps-1)
	}
	chains := make(Chains, payers)
	for k := range chains {
		words := make([]payword.Payword, payments+1)
		words[payments] = payword.Payword(seedOf(fmt.Sprintf("chain %d", k)))
		for i := payments; i > 0; i-- {
			words[i-1] = words[i].Walk(1)
		}
		chains[k] = words
	}
	return chains, nil
}

// Payer pays one vendor with one commitment, one step for each request.
type Payer struct {
	commitment  payword.Commitment
	reservation payword.Reservation
	words       []payword.Payword
	next        uint32 // the step that is paid with next
}

// NewPayer signs a commitment to a vendor over the chain with a number.
func NewPayer(vendor string, chains Chains, number int, now time.Time) (*Payer, error) {
	words, seconds := chains[number], now.Unix()
	name := fmt.Sprintf("payer %d at %s", number, vendor)
	user := ed25519.NewKeyFromSeed(seedOf(name))
	limit := Price * money.Amount(len(words))
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: Issuer, Subject: fmt.Sprintf("user-%d", number), Key: user.Public().(ed25519.PublicKey),
		IssuedAt: seconds - 60, Expires: seconds + 86400, Currency: "usd-micro", Limit: limit,
	}, broker)
	if err != nil {
		return nil, err
	}
	commitment, err := payword.SignCommitment(payword.Commitment{
		Vendor: vendor, Certificate: certificate, IssuedAt: seconds - 30, Expires: seconds + 43200,
		Nonce: payword.Nonce(seedOf(name)[:payword.NonceBytes]), Currency: "usd-micro", Limit: limit,
		Chains: []payword.ChainTerms{{Root: words[0], Unit: Price, Length: uint32(len(words) - 1)}},
	}, user)
	if err != nil {
		return nil, err
	}
	reservation, err := payword.SignReservation(payword.Reservation{
		Issuer: Issuer, Commitment: commitment.ID, Amount: limit, Currency: "usd-micro",
		Sequence: 1, IssuedAt: seconds - 20, RedeemBy: commitment.Expires + 3600,
	}, broker)
	return &Payer{commitment: commitment, reservation: reservation, words: words, next: 1}, err
}

// left reports how many payments the payer can still make.
func (p *Payer) left() int { return len(p.words) - int(p.next) }

// appendPayment appends the header line that pays for the next request.
func (p *Payer) appendPayment(request []byte) []byte {
	payment := payword.Payment{
		Commitment: p.commitment.ID, Index: p.next, Payword: p.words[p.next], Number: uint64(p.next), Max: Price,
	}
	p.next++
	request = append(request, payword.HeaderPayword+": "...)
	request = append(request, payword.FormatPayment(payment)...)
	return append(request, "\r\n"...)
}

// appendOpening appends the header lines that open the commitment.
func (p *Payer) appendOpening(request []byte) []byte {
	request = append(request, payword.HeaderCommitment+": "+p.commitment.Token+"\r\n"...)
	return append(request, payword.HeaderReservation+": "+p.reservation.Token+"\r\n"...)
}
