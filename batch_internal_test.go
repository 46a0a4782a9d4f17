package payword

import (
	"crypto/ed25519"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/money"
)

// forge is a broker, a vendor and users that sign whatever they are told to.
type forge struct {
	t              *testing.T
	random         *rand.Rand
	broker, vendor ed25519.PrivateKey
	brokers        Brokers
}

func newForge(t *testing.T) *forge {
	seed := rand.Uint64()
	t.Log("seed", seed)
	f := &forge{t: t, random: rand.New(rand.NewPCG(seed, 0))}
	f.broker, f.vendor = f.key(), f.key()
	public := f.broker.Public().(ed25519.PublicKey)
	f.brokers = Brokers{"https://b.example": {Thumbprint(public): public}}
	return f
}

func (f *forge) key() ed25519.PrivateKey {
	secret := make([]byte, ed25519.SeedSize)
	for k := range secret {
		secret[k] = byte(f.random.Uint32())
	}
	return ed25519.NewKeyFromSeed(secret)
}

// sign signs without a look at what.
func (f *forge) sign(typ string, claims any, key ed25519.PrivateKey) string {
	f.t.Helper()
	token, err := signJWS(typ, claims, key)
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// spoilt changes the signature of a token.
func (f *forge) spoilt(token string) string {
	dot := strings.LastIndexByte(token, '.')
	signature, err := decodeBase64url(token[dot+1:])
	if err != nil {
		f.t.Fatal(err)
	}
	signature[f.random.IntN(len(signature))] ^= 1 << f.random.IntN(8)
	return token[:dot+1] + base64url.EncodeToString(signature)
}

// faults are what a commitment can have wrong.
var faults = []string{
	"certificate", "commitment", "both", "key of small order", "key with a second spelling", "key of small order, and no chains",
	"no chains, and certificate", "limit", "broker",
}

// commitment makes one with a fault, or without.
func (f *forge) commitment(fault string) string {
	user := f.key()
	key := user.Public().(ed25519.PublicKey)
	if strings.HasPrefix(fault, "key of small order") { // it fits any message, with R the same and S = 0
		key = make([]byte, ed25519.PublicKeySize)
		key[0] = 1
	}
	if fault == "key with a second spelling" {
		key, _ = hex.DecodeString("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	}
	certificate := certificateClaims{
		Issuer: "https://b.example", Subject: "u", Confirmation: confirmation{JWK: jwkOf(key)}, IssuedAt: 1, Expires: 100,
		ID: base64url.EncodeToString(make([]byte, NonceBytes)), Currency: "usd-micro", Limit: 100,
	}
	if fault == "broker" {
		certificate.Issuer = "https://other.example"
	}
	signed := f.sign(typeCertificate, certificate, f.broker)
	if fault == "certificate" || fault == "both" || fault == "no chains, and certificate" {
		signed = f.spoilt(signed)
	}
	claims := commitmentClaims{
		Vendor: "https://v.example", Subject: "u", IssuedAt: 1, Expires: 50, ID: base64url.EncodeToString(make([]byte, NonceBytes)),
		Currency: "usd-micro", Limit: 10, Certificate: signed,
		Chains: []chainClaims{{Root: base64url.EncodeToString(make([]byte, PaywordBytes)), Unit: 1, Length: 10}},
	}
	if strings.Contains(fault, "no chains") {
		claims.Chains = nil
	}
	if fault == "limit" {
		claims.Limit = 1000
	}
	token := f.sign(typeCommitment, claims, user)
	if !key.Equal(user.Public()) { // the kid and the signature of the key that is no user's
		dots := strings.SplitN(f.sign(typeCommitment, claims, user), ".", 3)
		header := `{"alg":"EdDSA","kid":"` + Thumbprint(key) + `","typ":"` + typeCommitment + `"}`
		forged := make([]byte, ed25519.SignatureSize)
		forged[0] = 1
		token = base64url.EncodeToString([]byte(header)) + "." + dots[1] + "." + base64url.EncodeToString(forged)
	}
	if fault == "commitment" || fault == "both" {
		token = f.spoilt(token)
	}
	return token
}

func (f *forge) claim(isSpoilt bool) string {
	token := f.sign(typeClaim, claimClaims{
		Vendor: "https://v.example", Broker: "https://b.example", Tails: []tailClaims{{}}, Amount: money.Amount(f.random.IntN(10)), IssuedAt: 2,
	}, f.vendor)
	if isSpoilt {
		token = f.spoilt(token)
	}
	return token
}

// Whatever is wrong with some of what a batch reads, and whether it is large
// enough to be proved together: what its checks find valid is what the functions
// of this package give, and the rest is refused by them.
func TestBatchGivesWhatOneByOneGives(t *testing.T) {
	f := newForge(t)
	vendorKey := f.vendor.Public().(ed25519.PublicKey)
	for _, size := range []int{10, 150} {
		for _, faulty := range []int{0, 1, size} {
			commitments, claims := make([]string, size), make([]string, size)
			for k := range size {
				fault := ""
				if k < faulty {
					fault = faults[(k+f.random.IntN(len(faults)))%len(faults)]
				}
				commitments[k], claims[k] = f.commitment(fault), f.claim(fault == "commitment")
			}
			verifier := NewVerifier(vendorKey)
			batch, ends := verifier.NewBatch(), []int{0}
			type read struct {
				commitment Commitment
				claim      Claim
				refusals   [2]Refusal
			}
			together, alone := make([]read, size), make([]read, size)
			for k := range size {
				together[k].commitment, together[k].refusals[0] = batch.ParseCommitment(commitments[k], f.brokers)
				together[k].claim, together[k].refusals[1] = batch.ParseClaim(claims[k], vendorKey)
				ends = append(ends, batch.Len())
				alone[k].commitment, alone[k].refusals[0] = ParseCommitment(commitments[k], f.brokers)
				alone[k].claim, alone[k].refusals[1] = ParseClaim(claims[k], vendorKey)
			}
			areValid := batch.Verify()
			for k := range size {
				isValid := !slices.Contains(areValid[ends[k]:ends[k+1]], false)
				isTaken := !alone[k].refusals[0].Refused() && !alone[k].refusals[1].Refused()
				switch {
				case isValid && !reflect.DeepEqual(together[k], alone[k]):
					t.Fatalf("%s: together %+v, alone %+v", commitments[k], together[k], alone[k])
				case !isValid && isTaken:
					t.Fatalf("%s and %s are not valid together, and taken alone", commitments[k], claims[k])
				case k >= faulty && !isTaken:
					t.Fatalf("what is right is refused: %+v", alone[k].refusals)
				case k < faulty && isTaken:
					t.Fatalf("what is wrong is taken: %s", commitments[k])
				}
			}
		}
	}
}
