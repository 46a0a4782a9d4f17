package cases

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"maps"
	"strings"
)

// The world that the cases share.
const (
	brokerOrigin = "https://broker.example"
	vendorOrigin = "https://news.example"
	currency     = "usd-micro"

	now        = 1_790_000_000 // seconds since 1970
	issued     = now - 60
	expires    = now + 86_400      // D
	certExpiry = now + 30*86_400   // E
	redeemBy   = expires + 604_800 // D plus grace
)

// The types of the signed objects.
const (
	typeCertificate = "payword-certificate+jwt"
	typeCommitment  = "payword-commitment+jwt"
	typeReservation = "payword-reservation+jwt"
	typeClaim       = "payword-claim+jwt"
)

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func std64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

// digest returns 32 bytes that depend on name alone.
func digest(name string) []byte {
	sum := sha256.Sum256([]byte("payword vectors: " + name))
	return sum[:]
}

// keyOf returns the Ed25519 key of one of the parties.
func keyOf(party string) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(digest("key of " + party)) }

func publicOf(party string) ed25519.PublicKey { return keyOf(party).Public().(ed25519.PublicKey) }

// thumbprint is RFC 7638 of an OKP key.
func thumbprint(key []byte) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64(key) + `"}`))
	return b64(sum[:])
}

// brokers is what the vendor trusts: the broker's key, and that of another.
func brokers() object {
	return object{
		brokerOrigin: object{thumbprint(publicOf("broker")): b64(publicOf("broker"))},
		otherBroker:  object{thumbprint(publicOf("other broker")): b64(publicOf("other broker"))},
	}
}

const otherBroker = "https://other-broker.example"

// encode returns compact JSON with its members sorted.
func encode(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // the values are all written down here
	}
	return string(encoded)
}

// header returns the header of a JWS by one of the parties.
func header(typ, party string) string {
	return `{"alg":"EdDSA","kid":"` + thumbprint(publicOf(party)) + `","typ":"` + typ + `"}`
}

// sign returns a compact JWS of a header and a payload as they are written.
func sign(header, payload, party string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(ed25519.Sign(keyOf(party), []byte(signed)))
}

// without is the value of a member that with removes.
const without = "(without)"

// with returns a copy of base with some members changed.
func with(base, changes object) object {
	changed := maps.Clone(base)
	for name, value := range changes {
		if value == without {
			delete(changed, name)
			continue
		}
		changed[name] = value
	}
	return changed
}

// repeatMember returns JSON with one more member at the end of the object.
func repeatMember(text, member string) string {
	return strings.TrimSuffix(text, "}") + "," + member + "}"
}

// hash is one step of a chain, repeated.
func hash(word []byte, steps int) []byte {
	for range steps {
		sum := sha256.Sum256(word)
		word = sum[:]
	}
	return word
}

// tip is W_N by HKDF-SHA256 written out (RFC 5869): 32 bytes take one block.
func tip(seed []byte, vendor string, nonce []byte, chain, length int) []byte {
	var info []byte
	for _, field := range [][]byte{
		[]byte("payword-chain-1"), []byte(vendor), nonce,
		binary.BigEndian.AppendUint32(nil, uint32(chain)), binary.BigEndian.AppendUint32(nil, uint32(length)),
	} {
		info = append(binary.BigEndian.AppendUint16(info, uint16(len(field))), field...)
	}
	return mac(mac(make([]byte, sha256.Size), seed), append(info, 1))
}

// mac is HMAC-SHA256.
func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// The user's two chains: 1000 steps of 1000 micros and 100 of 10000.
var (
	walletSeed = digest("seed of the wallet")
	nonce      = digest("nonce")[:16]
	lengths    = []int{1000, 100}
	units      = []string{"1000", "10000"}
)

// word returns W_index of one of the user's chains.
func word(chain, index int) []byte {
	return hash(tip(walletSeed, vendorOrigin, nonce, chain, lengths[chain]), lengths[chain]-index)
}

func chainTerms(chain int) object {
	return object{"root": b64(word(chain, 0)), "unit": units[chain], "length": lengths[chain]}
}

func certificatePayload() object {
	return object{
		"iss": brokerOrigin, "sub": "u-7f3a",
		"cnf": object{"jwk": object{"kty": "OKP", "crv": "Ed25519", "x": b64(publicOf("user"))}},
		"iat": issued, "exp": certExpiry, "jti": b64(digest("certificate")[:16]),
		"currency": currency, "limit": "5000000",
	}
}

// certificate returns the user's certificate with some members changed.
func certificate(changes object) string {
	return sign(header(typeCertificate, "broker"), encode(with(certificatePayload(), changes)), "broker")
}

func commitmentPayload() object {
	return object{
		"aud": vendorOrigin, "iss": "u-7f3a", "iat": issued, "exp": expires, "jti": b64(nonce),
		"currency": currency, "limit": "1500000",
		"chains": []object{chainTerms(0), chainTerms(1)}, "certificate": certificate(nil),
	}
}

// commitment returns the user's commitment with some members changed.
func commitment(changes object) string {
	return sign(header(typeCommitment, "user"), encode(with(commitmentPayload(), changes)), "user")
}

// commitmentID is the first 16 bytes of the SHA-256 of a token.
func commitmentID(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:16]
}
