package caddymodule_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// wronglySigned returns a JWS with one bit of its signature changed.
func wronglySigned(t *testing.T, token string) string {
	t.Helper()
	end := strings.LastIndexByte(token, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(token[end:])
	if err != nil {
		t.Fatal(err)
	}
	signature[7] ^= 1
	return token[:end] + base64.RawURLEncoding.EncodeToString(signature)
}

// TestRefusalsOfWhatIsSigned opens commitments that are not signed by whom they
// should be, or say more than that one may say.
func TestRefusalsOfWhatIsSigned(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	const noJWS = "e30.e30.AAAA"
	tests := []struct {
		name   string
		wish   wish
		change func(*payer)
		want   payword.Reason
	}{
		{"a certificate that is none", wish{commitment: func(m *payword.Commitment) { m.Certificate.Token = noJWS }}, nil, payword.MalformedCertificate},
		{"a certificate nobody signed", wish{commitment: func(m *payword.Commitment) { m.Certificate.Token = wronglySigned(t, m.Certificate.Token) }}, nil, payword.BadCertificate},
		{"a commitment that is none", wish{}, func(p *payer) { p.commitment.Token = noJWS }, payword.MalformedCommitment},
		{"a commitment nobody signed", wish{}, func(p *payer) { p.commitment.Token = wronglySigned(t, p.commitment.Token) }, payword.BadCommitment},
		{"more than the certificate allows", wish{
			certificate: func(c *payword.Certificate) { c.Limit = money.Unit },
			commitment:  func(m *payword.Commitment) { m.Certificate.Limit = m.Limit },
		}, nil, payword.OverCertificateLimit},
		{"a reservation that is none", wish{}, func(p *payer) { p.reservation.Token = noJWS }, payword.MalformedReservation},
		{"a reservation nobody signed", wish{}, func(p *payer) { p.reservation.Token = wronglySigned(t, p.reservation.Token) }, payword.BadReservation},
	}
	before := storeBytes(t, gate.dir)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.wish.name, test.wish.vendor = test.name, gate.vendor
			p := newPayer(t, test.wish)
			if test.change != nil {
				test.change(p)
				p.commitment.ID = payword.NewCommitmentID(p.commitment.Token)
			}
			gate.wantRefusal(t, p.opening(p.payment(1, 1)), test.want.HTTPStatus(), test.want)
		})
	}
	if after := storeBytes(t, gate.dir); !slices.Equal(before, after) {
		t.Error("refusals wrote to the store")
	}
	p := newPayer(t, wish{name: "well signed", vendor: gate.vendor})
	gate.mustPay(t, "/", p.opening(p.payment(1, 1)))
}

// TestNumberBehindTheWindow sends a number that is too far behind the highest to
// tell whether it was used.
func TestNumberBehindTheWindow(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	p := newPayer(t, wish{name: "behind", vendor: gate.vendor})
	gate.mustPay(t, "/", p.opening(p.payment(1, payword.WindowSize+10)))
	gate.wantRefusal(t, p.header(p.payment(3, 10)), http.StatusPaymentRequired, payword.StaleNumber)
	response, _ := gate.mustPay(t, "/", p.header(p.payment(3, 11)))
	if got := statusOf(t, response); got.Spent != 2*testPrice || got.Accepted != 3*testPrice {
		t.Errorf("spent %s of %s", got.Spent, got.Accepted)
	}
}

// provoked says which test provokes a reason at a gate. It names the reason.
var provoked = map[string]string{
	"PaymentRequired": "TestRefusals", "MalformedHeader": "TestRefusals", "MalformedCredential": "TestRefusals",
	"MalformedCommitment": "TestRefusalsOfWhatIsSigned", "MalformedCertificate": "TestRefusalsOfWhatIsSigned",
	"MalformedReservation": "TestRefusalsOfWhatIsSigned", "SeveralPayments": "TestRefusals", "MethodUnsupported": "TestRefusals",
	"InsecureTransport": "TestNothingIsQuotedOverPlainHTTP",
	"InvalidChallenge":  "TestPaymentScheme", "ChallengeExpired": "TestSchemeStatuses", "ChallengeUsed": "TestChargeIntent", "WrongResource": "TestPaymentScheme",
	"UnknownBroker": "TestRefusals", "BadCertificate": "TestRefusalsOfWhatIsSigned", "CertificateExpired": "TestRefusals",
	"CertificateRevoked": "TestRevocationUnderTraffic", "WrongAddress": "TestRefusals", "Blocked": "TestBlockList",
	"BadCommitment": "TestRefusalsOfWhatIsSigned", "CommitmentExpired": "TestRefusals", "CommitmentNotYetValid": "TestRefusals",
	"OverCertificateLimit": "TestRefusalsOfWhatIsSigned", "WrongVendor": "TestRefusals", "WrongCurrency": "TestRefusals",
	"BadReservation": "TestRefusalsOfWhatIsSigned", "ReservationMismatch": "TestRefusals", "ReservationRequired": "TestRefusals",
	"CreditLimit": "TestCreditCaps", "UnknownCommitment": "TestRefusals", "CommitmentClosed": "TestPaymentScheme",
	"UnknownChain": "TestRefusals", "ChainExhausted": "TestRefusals", "StalePayword": "TestRefusals", "StepTooFar": "TestRefusals",
	"ForgedPayword": "TestRefusals", "StaleNumber": "TestNumberBehindTheWindow", "AlreadyUsed": "TestRefusals",
	"AlreadyExecuted": "TestRetryIsFreeAndRepeatBuysNothing", "PriceOverMax": "TestRefusals", "InsufficientCredit": "TestGenuinePaywordCountsEvenIfRefused", "RateLimited": "TestForgedPaywordsAreRateLimited",
}

// brokersOnly are the reasons that a broker alone gives: to a vendor who claims,
// or to a user who reserves.
var brokersOnly = []string{
	"MalformedClaim", "BadClaim", "UnknownVendor", "UnknownAccount", "ClaimOverTails", "ClaimOverLimit", "ClaimTooLate",
	"InsufficientFunds", "RootReused", "BadSignature", "VendorNotProved", "IdempotencyDiffers", "VendorBlocked",
	"AccountClosed", "OverAccountLimit", "NotPermitted", "UnknownDevice", "UnknownPayout", "BadVoucher",
}

// TestEveryReasonIsProvoked holds the table above to the list of reasons, and to
// the tests that it names.
func TestEveryReasonIsProvoked(t *testing.T) {
	source, err := os.ReadFile("../reason.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string) // by word
	for _, match := range regexp.MustCompile(`(?m)^\t([A-Z]\w+):\s+"([a-z-]+)",$`).FindAllStringSubmatch(string(source), -1) {
		names[match[2]] = match[1]
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	bodies := make(map[string]string)
	function := regexp.MustCompile(`(?ms)^func (Test\w+)\(t \*testing\.T\) \{\n(.*?)^\}`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			bodies[match[1]] = match[2]
		}
	}
	for _, reason := range payword.Reasons() {
		name := names[reason.String()]
		test, isProvoked := provoked[name]
		switch {
		case isProvoked == slices.Contains(brokersOnly, name):
			t.Errorf("%s (%s) stands in none of the two tables, or in both", reason, name)
		case isProvoked && !strings.Contains(bodies[test], "payword."+name) && !strings.Contains(bodies[test], reason.String()):
			t.Errorf("%s does not name %s", test, name)
		}
	}
	if len(provoked)+len(brokersOnly) != len(payword.Reasons()) {
		t.Error("the tables name what is no reason")
	}
}
