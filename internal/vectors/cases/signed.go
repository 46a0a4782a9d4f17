package cases

import (
	"fmt"
	"strings"
)

// mutations are what is wrong with a signed object whatever it says. Each gives
// a token that is refused as malformed.
func mutations(typ, party, payload string) []Case {
	good := header(typ, party)
	valid := sign(good, payload, party)
	parts := strings.Split(valid, ".")
	refused := func(name, comment, token string) Case {
		return Case{Name: name, Comment: comment, Expect: "malformed", Input: object{"token": token}}
	}
	withHeader := func(name, comment, header string) Case { return refused(name, comment, sign(header, payload, party)) }
	otherType := typeClaim
	if typ == typeClaim {
		otherType = typeCommitment
	}
	return []Case{
		withHeader("alg-none", "The one algorithm is EdDSA.", strings.Replace(good, "EdDSA", "none", 1)),
		withHeader("alg-es256", "The one algorithm is EdDSA.", strings.Replace(good, "EdDSA", "ES256", 1)),
		withHeader("alg-lower-case", "Names of algorithms are exact.", strings.Replace(good, "EdDSA", "eddsa", 1)),
		withHeader("typ-other", "A signed object of another type is not taken for this one.", strings.Replace(good, typ, otherType, 1)),
		withHeader("typ-missing", "Every object says its type.", strings.Replace(good, `,"typ":"`+typ+`"`, "", 1)),
		withHeader("header-crit", "There are no extensions, so none is critical.", repeatMember(good, `"crit":["exp"]`)),
		withHeader("header-jwk", "The key is never taken from the header.", repeatMember(good, `"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+b64(publicOf(party))+`"}`)),
		withHeader("header-jku", "Nor fetched from where it says.", repeatMember(good, `"jku":"https://broker.example/keys"`)),
		withHeader("header-x5c", "Nor from a chain of certificates.", repeatMember(good, `"x5c":["MIIB"]`)),
		withHeader("header-duplicate-member", "A JSON object has each member once.", repeatMember(good, `"alg":"EdDSA"`)),
		withHeader("header-upper-case-member", "Names of members are exact.", strings.Replace(good, `"alg"`, `"ALG"`, 1)),
		refused("payload-duplicate-member", "A JSON object has each member once, even with the same value.",
			sign(good, repeatMember(payload, `"iat":`+fmt.Sprint(issued)), party)),
		refused("payload-trailing-data", "Nothing follows the object.", sign(good, payload+"{}", party)),
		refused("payload-not-json", "The payload is a JSON object.", sign(good, "payword", party)),
		refused("base64-padding", "There is no padding.", parts[0]+"."+parts[1]+"."+parts[2]+"=="),
		refused("base64-newline", "There are no line breaks.", parts[0]+"."+parts[1]+"."+parts[2][:43]+"\n"+parts[2][43:]),
		refused("base64-stray-bits", "The unused bits of the last character are zero.", parts[0]+"."+parts[1]+"."+stray(parts[2])),
		refused("base64-plus", "The alphabet is the one for URLs.", "+"+valid[1:]),
		refused("two-parts", "A JWS has three parts.", parts[0]+"."+parts[1]),
		refused("four-parts", "A JWS has three parts.", valid+"."+parts[2]),
		refused("signature-short", "A signature has 64 bytes.", parts[0]+"."+parts[1]+"."+parts[2][:84]),
		refused("oversize", "Every object has a largest size.", sign(good, repeatMember(payload, `"note":"`+strings.Repeat("x", 3072)+`"`), party)),
	}
}

// stray sets an unused bit of the last character of base64url of 64 bytes,
// which stands for two bits.
func stray(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last|1])
}

// forged returns token with another signature: by whom, over other bytes.
func forged(token string) string {
	other := sign(header(typeClaim, "user"), "{}", "user")
	return token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
}

func certificates() []Case {
	in := func(token string) object { return object{"token": token, "brokers": brokers()} }
	var all []Case
	for _, c := range mutations(typeCertificate, "broker", encode(certificatePayload())) {
		c.Expect, c.Input["brokers"] = "malformed-certificate", brokers()
		all = append(all, c)
	}
	output := object{"issuer": brokerOrigin, "subject": "u-7f3a", "key": b64(publicOf("user")), "issuedAt": issued,
		"expires": certExpiry, "id": b64(digest("certificate")[:16]), "currency": currency, "limit": "5000000"}
	changed := func(name, comment, expect string, changes, more object) {
		c := Case{Name: name, Comment: comment, Expect: expect, Input: in(certificate(changes))}
		if expect == accepted {
			c.Output = with(output, more)
		}
		all = append(all, c)
	}
	changed("plain", "What a vendor reads of a certificate.", accepted, nil, nil)
	changed("everything", "Bound to two networks, with a proven age and an entry in the hot list.", accepted,
		object{"prefixes": []string{"192.0.2.0/24", "2001:db8::/32"}, "age": 18, "status": object{"status_list": object{"idx": 7, "uri": "https://broker.example/status/1"}}},
		object{"prefixes": []string{"192.0.2.0/24", "2001:db8::/32"}, "age": 18, "status": object{"idx": 7, "uri": "https://broker.example/status/1"}})
	changed("later-member", "Members of later versions are passed over.", accepted, object{"colour": "blue"}, nil)
	const refused = "malformed-certificate"
	changed("sub-missing", "A certificate is for somebody.", refused, object{"sub": without}, nil)
	changed("sub-space", "A subject holds letters, digits, - and _.", refused, object{"sub": "u 1"}, nil)
	changed("sub-too-long", "A subject has at most 64 bytes.", refused, object{"sub": strings.Repeat("u", 65)}, nil)
	changed("iss-slash", "The issuer is an origin.", refused, object{"iss": brokerOrigin + "/"}, nil)
	changed("limit-zero", "A limit is at least one micro.", refused, object{"limit": "0"}, nil)
	changed("limit-number", "An amount is a string of digits.", refused, object{"limit": 5000000}, nil)
	changed("currency-bare", "A currency says its scale.", refused, object{"currency": "usd"}, nil)
	changed("exp-before-iat", "A certificate is valid for a time.", refused, object{"exp": issued}, nil)
	changed("exp-fraction", "Times are whole seconds.", refused, object{"exp": certExpiry + 0.5}, nil)
	changed("jti-short", "The id has 16 bytes.", refused, object{"jti": b64(nonce[:15])}, nil)
	changed("prefix-stray-bits", "No bits are set past the length of a prefix.", refused, object{"prefixes": []string{"192.0.2.1/24"}}, nil)
	changed("prefixes-5", "At most four prefixes.", refused, object{"prefixes": []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "10.0.0.0/8"}}, nil)
	changed("cnf-small-order", "The user's key is not of small order.", refused,
		object{"cnf": object{"jwk": object{"kty": "OKP", "crv": "Ed25519", "x": b64(append([]byte{1}, make([]byte, 31)...))}}}, nil)
	changed("cnf-p256", "The user's key is an Ed25519 key.", refused,
		object{"cnf": object{"jwk": object{"kty": "EC", "crv": "P-256", "x": b64(publicOf("user"))}}}, nil)
	listed := func(uri string) object { return object{"status": object{"status_list": object{"idx": 7, "uri": uri}}} }
	changed("status-of-another-origin", "A hot list lies under the issuer's own origin.", refused, listed("https://stranger.example/1"), nil)
	changed("status-of-a-longer-name", "An origin is no prefix of a name.", refused, listed(brokerOrigin+".stranger.example/1"), nil)
	changed("status-with-user", "What stands before an @ is no origin.", refused, listed(brokerOrigin+"@stranger.example/1"), nil)
	changed("status-without-path", "A hot list has a path.", refused, listed(brokerOrigin+"/"), nil)
	changed("status-fragment", "And no fragment.", refused, listed(brokerOrigin+"/status/1#7"), nil)
	changed("unknown-issuer", "The vendor does not trust this broker.", "unknown-broker", object{"iss": "https://stranger.example"}, nil)
	changed("issuer-of-other-key", "A broker's key speaks for that broker alone.", "unknown-broker", object{"iss": otherBroker}, nil)
	all = append(all,
		Case{Name: "unknown-kid", Comment: "The broker has no such key.", Expect: "unknown-broker",
			Input: in(sign(header(typeCertificate, "user"), encode(certificatePayload()), "user"))},
		Case{Name: "signature-wrong", Comment: "A signature over other bytes.", Expect: "bad-certificate", Input: in(forged(certificate(nil)))},
		Case{Name: "signature-other-key", Comment: "The kid is the broker's, the signature is not.", Expect: "bad-certificate",
			Input: in(sign(header(typeCertificate, "broker"), encode(certificatePayload()), "user"))})
	return all
}

func commitments() []Case {
	var all []Case
	for _, c := range mutations(typeCommitment, "user", encode(commitmentPayload())) {
		c.Expect, c.Input["brokers"] = "malformed-commitment", brokers()
		all = append(all, c)
	}
	add := func(name, comment, expect, token string, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect,
			Input: object{"token": token, "brokers": brokers()}, Output: output})
	}
	token := commitment(nil)
	add("plain", "Its id is the first 16 bytes of the SHA-256 of its exact bytes.", accepted, token, object{
		"id": b64(commitmentID(token)), "vendor": vendorOrigin, "subject": "u-7f3a", "issuedAt": issued, "expires": expires,
		"nonce": b64(nonce), "currency": currency, "limit": "1500000", "chains": []object{chainTerms(0), chainTerms(1)}})
	all = append(all, malformedCommitments()...)
	add("over-certificate-limit", "The certificate allows 5 USD.", "over-certificate-limit", commitment(object{"limit": "5000001"}), nil)
	add("signature-wrong", "A signature over other bytes.", "bad-commitment", forged(token), nil)
	add("signature-other-key", "The kid is the user's, the signature is not.", "bad-commitment",
		sign(header(typeCommitment, "user"), encode(commitmentPayload()), "vendor"), nil)
	add("kid-other", "The signature is the user's, the kid is not.", "bad-commitment",
		sign(header(typeCommitment, "vendor"), encode(commitmentPayload()), "user"), nil)
	add("certificate-missing", "The certificate stands inside.", "malformed-certificate", commitment(object{"certificate": without}), nil)
	add("certificate-unknown-broker", "The vendor does not trust the broker of the certificate.", "unknown-broker",
		commitment(object{"certificate": certificate(object{"iss": "https://stranger.example"})}), nil)
	add("certificate-forged", "The user cannot issue a certificate.", "bad-certificate",
		commitment(object{"certificate": sign(header(typeCertificate, "broker"), encode(certificatePayload()), "user")}), nil)
	return append(all, commitmentTerms()...)
}

// malformedCommitments breaks one limit each.
func malformedCommitments() []Case {
	var all []Case
	changed := func(name, comment string, changes object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: "malformed-commitment",
			Input: object{"token": commitment(changes), "brokers": brokers()}})
	}
	nine := make([]object, 9)
	for k := range nine {
		nine[k] = object{"root": b64(digest(fmt.Sprint("root ", k))), "unit": "1", "length": 1}
	}
	one := func(changes object) object { return object{"chains": []object{with(chainTerms(0), changes)}} }
	changed("chains-0", "A commitment has at least one chain.", object{"chains": []object{}})
	changed("chains-9", "And at most eight.", object{"chains": nine})
	changed("roots-equal", "A payword must not count for two chains.", object{"chains": []object{chainTerms(0), with(chainTerms(1), object{"root": b64(word(0, 0))})}})
	changed("root-short", "A root has 32 bytes.", one(object{"root": b64(word(0, 0)[:31])}))
	changed("length-0", "A chain has at least one step.", one(object{"length": 0}))
	changed("length-over", "A chain has at most 2^20 steps.", one(object{"length": 1<<20 + 1}))
	changed("length-negative", "A length is a count.", one(object{"length": -1}))
	changed("unit-0", "A step is worth something.", one(object{"unit": "0"}))
	changed("unit-number", "An amount is a string of digits.", one(object{"unit": 1000}))
	changed("limit-0", "A limit is at least one micro.", object{"limit": "0"})
	changed("limit-over", "No commitment exceeds 10^15 - 1 micros.", object{"limit": "1000000000000000"})
	changed("currency-bare", "A currency says its scale.", object{"currency": "usd"})
	changed("currency-other", "It is the certificate's.", object{"currency": "eur-micro"})
	changed("expires-after-certificate", "D is not after E.", object{"exp": certExpiry + 1})
	changed("expires-before-issued", "A commitment is valid for a time.", object{"exp": issued})
	changed("vendor-slash", "The vendor is an origin.", object{"aud": vendorOrigin + "/"})
	changed("vendor-list", "A commitment is for one vendor.", object{"aud": []string{vendorOrigin}})
	changed("subject-other", "The issuer is the certificate's subject.", object{"iss": "u-other"})
	changed("nonce-missing", "The chains are made from the nonce.", object{"jti": without})
	changed("nonce-stray-bits", "Base64url has one spelling.", object{"jti": strings.Repeat("A", 21) + "B"})
	return all
}

// commitmentTerms are cases of what a vendor checks once both signatures are
// right.
func commitmentTerms() []Case {
	var all []Case
	add := func(name, comment, expect, token, vendor, currency string, now int64) {
		c := Case{Name: name, Comment: comment, Expect: expect, Input: object{"token": token, "brokers": brokers(),
			"terms": object{"vendor": vendor, "currency": currency, "now": now}}}
		all = append(all, c)
	}
	token := commitment(nil)
	add("terms", "The vendor, the currency and the time are right.", accepted, token, vendorOrigin, currency, now)
	add("terms-last-second", "It is accepted while now < D.", accepted, token, vendorOrigin, currency, expires-1)
	add("terms-expired", "Now is D.", "commitment-expired", token, vendorOrigin, currency, expires)
	add("terms-certificate-expired", "Now is E, and D is E too.", "certificate-expired", commitment(object{"exp": certExpiry}), vendorOrigin, currency, certExpiry)
	add("terms-skew", "Clocks may differ by a minute.", accepted, token, vendorOrigin, currency, issued-60)
	add("terms-not-yet-valid", "And not by more.", "commitment-not-yet-valid", token, vendorOrigin, currency, issued-61)
	add("terms-wrong-vendor", "A commitment is of no use to another vendor.", "wrong-vendor", token, "https://shop.example", currency, now)
	add("terms-wrong-currency", "Prices here are in another currency.", "wrong-currency", token, vendorOrigin, "eur-micro", now)
	return all
}

func reservations() []Case {
	token := commitment(nil)
	payload := object{"iss": brokerOrigin, "commitment": b64(commitmentID(token)), "amount": "1000000", "currency": currency,
		"seq": 1, "iat": now, "redeem_by": redeemBy}
	in := func(reservation string) object {
		return object{"token": reservation, "commitment": token, "brokers": brokers()}
	}
	var all []Case
	for _, c := range mutations(typeReservation, "broker", encode(payload)) {
		c.Expect, c.Input = "malformed-reservation", in(c.Input["token"].(string))
		all = append(all, c)
	}
	signed := func(party string, changes object) string {
		return sign(header(typeReservation, party), encode(with(payload, changes)), party)
	}
	changed := func(name, comment, expect string, changes, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Input: in(signed("broker", changes)), Output: output})
	}
	output := object{"issuer": brokerOrigin, "commitment": b64(commitmentID(token)), "amount": "1000000", "currency": currency,
		"sequence": 1, "issuedAt": now, "redeemBy": redeemBy}
	changed("plain", "What a vendor reads of a reservation.", accepted, nil, output)
	changed("amount-limit", "Up to the commitment's limit.", accepted, object{"amount": "1500000"}, with(output, object{"amount": "1500000"}))
	const mismatch = "reservation-mismatch"
	changed("other-commitment", "It is for another commitment.", mismatch, object{"commitment": b64(digest("other")[:16])}, nil)
	changed("amount-over-limit", "It sets aside more than the commitment can pay.", mismatch, object{"amount": "1500001"}, nil)
	changed("amount-0", "It sets nothing aside.", mismatch, object{"amount": "0"}, nil)
	changed("currency-other", "It is in another currency.", mismatch, object{"currency": "eur-micro"}, nil)
	changed("seq-0", "The first is number 1.", mismatch, object{"seq": 0}, nil)
	changed("redeem-by-early", "It ends before the commitment.", mismatch, object{"redeem_by": expires - 1}, nil)
	changed("unknown-issuer", "The vendor does not trust this broker.", "unknown-broker", object{"iss": "https://stranger.example"}, nil)
	return append(all,
		Case{Name: "other-broker", Comment: "A trusted broker that did not issue the certificate.", Expect: mismatch,
			Input: in(signed("other broker", object{"iss": otherBroker}))},
		Case{Name: "signature-wrong", Comment: "A signature over other bytes.", Expect: "bad-reservation", Input: in(forged(signed("broker", nil)))})
}
