package payword

import (
	"crypto/ed25519"
	"reflect"
	"testing"

	"github.com/go-jose/go-jose/v4/json"
)

// plainSeeds are claims in the plain spelling, and next to it.
var plainSeeds = []string{
	`{"aud":"https://v.example","iss":"u","iat":1,"exp":2,"jti":"AAAA","currency":"usd-micro","limit":"5","chains":[{"root":"AAAA","unit":"1","length":5},{"root":"BBBB","unit":"10","length":4294967295}],"certificate":"a.b.c"}`,
	`{"aud":"https://v.example","iss":"u","iat":1,"exp":2,"jti":"AAAA","currency":"usd-micro","limit":"5","chains":[],"certificate":"a.b.c"}`,
	`{"iss":"https://b.example","sub":"u","cnf":{"jwk":{"crv":"Ed25519","kty":"OKP","x":"AAAA"}},"iat":1,"exp":2,"jti":"AAAA","currency":"usd-micro","limit":"5","age":18,"status":{"status_list":{"idx":7,"uri":"https://b.example/l"}}}`,
	`{"iss":"https://b.example","sub":"u","cnf":{"jwk":{"crv":"Ed25519","kty":"OKP","x":"AAAA"}},"iat":1,"exp":2,"jti":"AAAA","currency":"usd-micro","limit":"5","prefixes":["192.0.2.0/24"]}`,
	`{"iss":"https://v.example","aud":"https://b.example","commitment":"AAAAAAAAAAAAAAAAAAAAAA","tails":[{"index":3,"payword":"AAAA"},{"index":0}],"amount":"5","final":true,"iat":1}`,
	`{"iss":"https://v.example","aud":"https://b.example","commitment":"AAAAAAAAAAAAAAAAAAAAAA","tails":[{"index":03}],"amount":"05","iat":1}`,
	`{"iss":"\u0061","aud":"é","commitment":"AAAAAAAAAAAAAAAAAAAAAA","tails":[{"index":4294967296}],"amount":"5","final":false,"iat":-1} `,
}

// FuzzPlain compares the plain spelling with the decoder: what is read from it
// is what the decoder reads.
func FuzzPlain(f *testing.F) {
	for _, seed := range plainSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compare(t, text, &commitmentClaims{}, &commitmentClaims{})
		compare(t, text, &certificateClaims{}, &certificateClaims{})
		compare(t, text, &claimClaims{}, &claimClaims{})
	})
}

func compare(t *testing.T, text string, quick, slow plainClaims) {
	t.Helper()
	if !isPlain(text, quick) {
		return
	}
	if err := json.Unmarshal([]byte(text), slow); err != nil || !reflect.DeepEqual(quick, slow) {
		t.Errorf("%s: got %+v quickly, and %+v, %v by the decoder", text, quick, slow, err)
	}
}

// What this package signs is plain.
func TestWhatIsSignedIsPlain(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	signed := func(token string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	c, err := SignCertificate(Certificate{
		Issuer: "https://b.example", Subject: "u", Key: public, IssuedAt: 1, Expires: 100, Currency: "usd-micro", Limit: 100, Age: 18,
		Status: &StatusEntry{Index: 3, URI: "https://b.example/v1/statuses/1"},
	}, key)
	certificate := signed(c.Token, err)
	m, err := SignCommitment(Commitment{
		Vendor: "https://v.example", Certificate: c, IssuedAt: 1, Expires: 50, Currency: "usd-micro", Limit: 10,
		Chains: []ChainTerms{{Root: Payword{1}, Unit: 1, Length: 10}, {Root: Payword{2}, Unit: 5, Length: 10}},
	}, key)
	commitment := signed(m.Token, err)
	k, err := SignClaim(Claim{
		Vendor: "https://v.example", Broker: "https://b.example", Commitment: m.ID, Amount: 3, Final: true, IssuedAt: 2,
		Tails: []Tail{{Index: 3, Payword: Payword{3}}, {}},
	}, key)
	claim := signed(k.Token, err)
	for _, one := range []struct {
		token, typ string
		claims     plainClaims
	}{{certificate, typeCertificate, &certificateClaims{}}, {commitment, typeCommitment, &commitmentClaims{}}, {claim, typeClaim, &claimClaims{}}} {
		object, err := splitJWS(one.token, one.typ, MaxCommitmentBytes)
		if err != nil {
			t.Fatal(err)
		}
		if !isPlain(string(object.payload), one.claims) {
			t.Errorf("%s is not plain: %s", one.typ, object.payload)
		}
		fresh := func() plainClaims { return reflect.New(reflect.TypeOf(one.claims).Elem()).Interface().(plainClaims) }
		compare(t, string(object.payload), fresh(), fresh())
	}
}
