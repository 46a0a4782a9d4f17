package payword

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The header fields of a signed request to a broker: HTTP message signatures
// (RFC 9421) over a fixed set of components, so that there is one way to read
// them.
const (
	HeaderSignatureInput = "Signature-Input"
	HeaderSignature      = "Signature"
	HeaderContentDigest  = "Content-Digest"
)

// RequestMaxAgeSeconds is how far from the broker's clock the creation time of
// a signed request may be, either way.
const RequestMaxAgeSeconds = 300

// SignedRequest is what a request signature covers. Users sign with their
// account's key, vendors with the key that their origin lists.
type SignedRequest struct {
	Method    string
	TargetURI string // absolute: the broker's origin, path and query
	Digest    string // the Content-Digest field; of the empty body too
	Created   int64  // seconds since 1970
	KeyID     string // the key's thumbprint
	Nonce     string // 16 random bytes in base64url; a broker takes each once
}

// ContentDigest returns the Content-Digest field (RFC 9530) of a body.
func ContentDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha-256=:" + base64std.EncodeToString(sum[:]) + ":"
}

// parameters returns the signature's parameters (RFC 9421, section 2.3).
func (r SignedRequest) parameters() string {
	return `("@method" "@target-uri" "content-digest");created=` + strconv.FormatInt(r.Created, 10) +
		`;keyid="` + r.KeyID + `";nonce="` + r.Nonce + `";tag="payword-request"`
}

// base returns what is signed (RFC 9421, section 2.5).
func (r SignedRequest) base() []byte {
	return []byte(`"@method": ` + r.Method + "\n" +
		`"@target-uri": ` + r.TargetURI + "\n" +
		`"content-digest": ` + r.Digest + "\n" +
		`"@signature-params": ` + r.parameters())
}

// Sign returns the values of the Signature-Input and Signature fields.
func (r SignedRequest) Sign(signer crypto.Signer) (input, signature string, err error) {
	raw, err := signer.Sign(nil, r.base(), crypto.Hash(0))
	if err != nil {
		return "", "", fmt.Errorf("signing a request: %w", err)
	}
	return "sig=" + r.parameters(), "sig=:" + base64std.EncodeToString(raw) + ":", nil
}

// SignRequest signs an HTTP request, whose URL is absolute, with the body that
// it will have, and sets the three header fields. created is in seconds since
// 1970. The signer must hold an Ed25519 key.
func SignRequest(request *http.Request, body []byte, signer crypto.Signer, nonce Nonce, created int64) error {
	key, isEd25519 := signer.Public().(ed25519.PublicKey)
	if !isEd25519 {
		return fmt.Errorf("signing a request: want an Ed25519 key, not %T", signer.Public())
	}
	signed := SignedRequest{
		Method: request.Method, TargetURI: request.URL.String(), Digest: ContentDigest(body),
		Created: created, KeyID: Thumbprint(key), Nonce: base64url.EncodeToString(nonce[:]),
	}
	input, signature, err := signed.Sign(signer)
	if err != nil {
		return err
	}
	request.Header.Set(HeaderContentDigest, signed.Digest)
	request.Header.Set(HeaderSignatureInput, input)
	request.Header.Set(HeaderSignature, signature)
	return nil
}

// Verify reports whether key made the signature over r at about now, in seconds
// since 1970. It refuses with BadSignature.
func (r SignedRequest) Verify(key ed25519.PublicKey, signature string, now int64) Refusal {
	if r.Created < now-RequestMaxAgeSeconds || r.Created > now+RequestMaxAgeSeconds {
		return refuse(BadSignature, "the request was signed more than %d seconds from now", RequestMaxAgeSeconds)
	}
	encoded, prefixed := strings.CutPrefix(signature, "sig=:")
	encoded, suffixed := strings.CutSuffix(encoded, ":")
	raw, err := base64std.DecodeString(encoded)
	if !prefixed || !suffixed || err != nil || len(raw) != ed25519.SignatureSize {
		return refuse(BadSignature, "Signature: want sig=:…: with 64 bytes in base64")
	}
	if r.KeyID != Thumbprint(key) || !ed25519.Verify(key, r.base(), raw) {
		return refuse(BadSignature, "the signature does not fit the request and its key")
	}
	return Refusal{}
}

// ParseSignatureInput reads a Signature-Input field into the parts of a
// SignedRequest that it holds: Created, KeyID and Nonce. The rest is for the
// caller to fill in from the request itself. It refuses with BadSignature what
// is not exactly as Sign writes it.
func ParseSignatureInput(input string) (SignedRequest, Refusal) {
	const form = `want sig=("@method" "@target-uri" "content-digest");created=…;keyid="…";nonce="…";tag="payword-request"`
	var r SignedRequest
	if len(input) > 512 {
		return r, refuse(BadSignature, "Signature-Input: %s", form)
	}
	rest, _ := strings.CutPrefix(input, `sig=("@method" "@target-uri" "content-digest");created=`)
	created, rest, _ := strings.Cut(rest, `;keyid="`)
	r.KeyID, rest, _ = strings.Cut(rest, `";nonce="`)
	r.Nonce, _, _ = strings.Cut(rest, `"`)
	seconds, valid := parseDigits(created, 0, MaxNumber)
	r.Created = int64(seconds)
	var nonce Nonce
	var thumbprint [sha256.Size]byte
	if !valid || decodeFixed(nonce[:], r.Nonce) != nil || decodeFixed(thumbprint[:], r.KeyID) != nil || input != "sig="+r.parameters() {
		return SignedRequest{}, refuse(BadSignature, "Signature-Input: %s", form)
	}
	return r, Refusal{}
}
