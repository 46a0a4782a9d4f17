package cases

import (
	"crypto/ed25519"
	"fmt"
	"strings"
)

// signatures: requests to a broker, signed after RFC 9421.
func signatures() []Case {
	body := []byte(`{"amount":"1000000"}`)
	request := object{"method": "POST", "targetUri": brokerOrigin + "/v1/reservations",
		"digest": "sha-256=:" + std64(hash(body, 1)) + ":"}
	parameters := func(created int64, party string) string {
		return fmt.Sprintf(`("@method" "@target-uri" "content-digest");created=%d;keyid="%s";nonce="%s";tag="payword-request"`,
			created, thumbprint(publicOf(party)), b64(nonce))
	}
	base := func(parameters string) []byte {
		return []byte(`"@method": POST` + "\n" + `"@target-uri": ` + brokerOrigin + "/v1/reservations\n" +
			`"content-digest": sha-256=:` + std64(hash(body, 1)) + ":\n" + `"@signature-params": ` + parameters)
	}
	input := "sig=" + parameters(now, "user")
	signature := "sig=:" + std64(ed25519.Sign(keyOf("user"), base(parameters(now, "user")))) + ":"
	var all []Case
	add := func(name, comment, expect string, changes object) {
		in := with(object{"request": request, "body": b64(body), "input": input, "signature": signature,
			"key": b64(publicOf("user")), "now": now}, changes)
		c := Case{Name: name, Comment: comment, Expect: expect, Input: in}
		if expect == accepted {
			c.Output = object{"created": now, "keyId": thumbprint(publicOf("user")), "nonce": b64(nonce)}
		}
		all = append(all, c)
	}
	const refused = "bad-signature"
	add("plain", "Method, target and digest are signed.", accepted, nil)
	add("oldest", "Five minutes either way.", accepted, object{"now": now + 300})
	add("too-old", "More than five minutes.", refused, object{"now": now + 301})
	add("from-the-future", "More than five minutes.", refused, object{"now": now - 301})
	add("other-method", "The method is signed.", refused, object{"request": with(request, object{"method": "PUT"})})
	add("other-target", "The target is signed, its origin too.", refused, object{"request": with(request, object{"targetUri": otherBroker + "/v1/reservations"})})
	add("other-digest", "The digest of the body is signed.", refused, object{"request": with(request, object{"digest": "sha-256=:" + std64(hash(nil, 1)) + ":"}), "body": ""})
	add("other-key", "Another key did not sign.", refused, object{"key": b64(publicOf("vendor"))})
	add("keyid-other", "The key id is the thumbprint of the key.", refused, object{"input": "sig=" + parameters(now, "vendor"),
		"signature": "sig=:" + std64(ed25519.Sign(keyOf("user"), base(parameters(now, "vendor")))) + ":"})
	add("label", "There is one label.", refused, object{"input": "sig1=" + parameters(now, "user")})
	add("components", "There is one set of components.", refused, object{"input": strings.Replace(input, ` "content-digest"`, "", 1)})
	add("parameter-order", "There is one order of parameters.", refused, object{"input": strings.Replace(input, `;tag="payword-request"`, "", 1) + `;alg="ed25519";tag="payword-request"`})
	add("nonce-short", "A nonce has 16 bytes.", refused, object{"input": strings.Replace(input, b64(nonce), b64(nonce[:15]), 1)})
	add("keyid-free-text", "A key id is a thumbprint.", refused, object{"input": strings.Replace(input, thumbprint(publicOf("user")), "me", 1)})
	add("signature-padding", "Byte sequences are padded.", refused, object{"signature": strings.Replace(signature, "==:", ":", 1)})
	return all
}

// tailsOf returns tails of the user's chains at the indices, as in JSON.
func tailsOf(indices ...int) []object {
	tails := []object{}
	for chain, index := range indices {
		if index == 0 {
			tails = append(tails, object{"index": 0})
			continue
		}
		tails = append(tails, object{"index": index, "payword": b64(word(chain, index))})
	}
	return tails
}

func claimPayload() object {
	return object{"iss": vendorOrigin, "aud": brokerOrigin, "commitment": b64(commitmentID(commitment(nil))),
		"tails": tailsOf(57, 0), "amount": "57000", "iat": now}
}

// claims: the signed form of a claim.
func claims() []Case {
	in := func(token string) object { return object{"token": token, "key": b64(publicOf("vendor"))} }
	var all []Case
	for _, c := range mutations(typeClaim, "vendor", encode(claimPayload())) {
		c.Expect, c.Input = "malformed-claim", in(c.Input["token"].(string))
		all = append(all, c)
	}
	token := func(changes object) string {
		return sign(header(typeClaim, "vendor"), encode(with(claimPayload(), changes)), "vendor")
	}
	output := object{"vendor": vendorOrigin, "broker": brokerOrigin, "commitment": claimPayload()["commitment"],
		"tails": tailsOf(57, 0), "amount": "57000", "final": false, "issuedAt": now}
	add := func(name, comment, expect string, changes, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Input: in(token(changes)), Output: output})
	}
	add("plain", "One tail per chain; a chain that was not used has index 0.", accepted, nil, output)
	add("final", "The last claim says so.", accepted, object{"final": true}, with(output, object{"final": true}))
	const refused = "malformed-claim"
	add("tails-0", "A claim has at least one tail.", refused, object{"tails": []object{}}, nil)
	add("tails-9", "And at most eight.", refused, object{"tails": tailsOf(1, 1, 0, 0, 0, 0, 0, 0, 0)}, nil)
	add("tail-without-payword", "A tail proves something.", refused, object{"tails": []object{{"index": 57}}}, nil)
	add("tail-0-with-payword", "An unused chain proves nothing.", refused, object{"tails": []object{{"index": 0, "payword": b64(word(0, 57))}}}, nil)
	add("tail-over", "A chain has at most 2^20 steps.", refused, object{"tails": []object{{"index": 1<<20 + 1, "payword": b64(word(0, 57))}}}, nil)
	add("amount-number", "An amount is a string of digits.", refused, object{"amount": 57000}, nil)
	add("vendor-slash", "The vendor is an origin.", refused, object{"iss": vendorOrigin + "/"}, nil)
	return append(all,
		Case{Name: "signature-wrong", Comment: "A signature over other bytes.", Expect: "bad-claim", Input: in(forged(token(nil)))},
		Case{Name: "kid-other", Comment: "The kid is another key's.", Expect: "bad-claim",
			Input: in(sign(header(typeClaim, "user"), encode(claimPayload()), "vendor"))})
}

// redemptions: what a broker pays for a claim.
func redemptions() []Case {
	var all []Case
	claim := object{"vendor": vendorOrigin, "broker": brokerOrigin, "commitment": b64(commitmentID(commitment(nil))),
		"tails": tailsOf(57, 3), "amount": "87000"}
	add := func(name, comment, expect string, before, ceiling string, known []object, changes, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Output: output,
			Input: object{"commitment": commitment(nil), "brokers": brokers(), "before": object{"paid": before, "tails": known},
				"claim": with(claim, changes), "ceiling": ceiling}})
	}
	fresh, later := tailsOf(0, 0), tailsOf(57, 3)
	out := func(paid, due string, indices ...int) object {
		return object{"paid": paid, "due": due, "indices": indices}
	}
	add("first", "57 steps of 1000 and 3 of 10000.", accepted, "0", "1500000", fresh, nil, out("87000", "87000", 57, 3))
	add("less-than-proved", "A vendor claims what was spent, not what was released.", accepted, "0", "1500000", fresh, object{"amount": "80000"}, out("80000", "80000", 57, 3))
	add("repeated", "The same claim again is paid nothing more.", accepted, "87000", "1500000", later, nil, out("87000", "0", 57, 3))
	add("lower", "An older claim changes nothing.", accepted, "87000", "1500000", later, object{"tails": tailsOf(10, 0), "amount": "10000"}, out("87000", "0", 57, 3))
	add("growing", "Only the difference is due.", accepted, "87000", "1500000", later, object{"tails": tailsOf(60, 3), "amount": "90000"}, out("90000", "3000", 60, 3))
	add("fewer-tails", "Chains at the end that were not used may be left out.", accepted, "0", "1500000", fresh, object{"tails": tailsOf(57), "amount": "57000"}, out("57000", "57000", 57, 0))
	add("everything", "All chains together prove more than the limit allows.", accepted, "0", "1500000", fresh, object{"tails": tailsOf(1000, 100), "amount": "1500000"}, out("1500000", "1500000", 1000, 100))
	add("over-tails", "One micro more than the paywords prove.", "claim-over-tails", "0", "1500000", fresh, object{"amount": "87001"}, nil)
	add("over-limit-tails", "What is past the limit is not proved.", "claim-over-tails", "0", "1500000", fresh, object{"tails": tailsOf(1000, 100), "amount": "1500001"}, nil)
	add("over-reservation", "Less was reserved.", "claim-over-limit", "0", "50000", fresh, nil, nil)
	add("forged-tail", "The payword is not of this chain.", "forged-payword", "0", "1500000", fresh,
		object{"tails": []object{{"index": 57, "payword": b64(word(0, 58))}}}, nil)
	add("forged-lower-tail", "A tail that is known already is checked as well.", "forged-payword", "87000", "1500000", later,
		object{"tails": []object{{"index": 10, "payword": b64(word(0, 11))}}, "amount": "10000"}, nil)
	add("chain-exhausted", "The chain has 100 steps.", "chain-exhausted", "0", "1500000", fresh,
		object{"tails": []object{{"index": 0}, {"index": 101, "payword": b64(word(1, 100))}}}, nil)
	add("unknown-chain", "The commitment has two chains.", "unknown-chain", "0", "1500000", fresh, object{"tails": append(tailsOf(57, 3), object{"index": 0})}, nil)
	add("other-vendor", "The commitment is for another vendor.", "wrong-vendor", "0", "1500000", fresh, object{"vendor": "https://shop.example"}, nil)
	add("other-commitment", "The claim is for another commitment.", "malformed-claim", "0", "1500000", fresh, object{"commitment": b64(digest("other")[:16])}, nil)
	add("other-broker", "The claim is addressed to another broker.", "malformed-claim", "0", "1500000", fresh, object{"broker": otherBroker}, nil)
	return all
}

// judge: whether a payment is genuine.
func judge() []Case {
	var all []Case
	add := func(name, comment, expect string, known, index int, changes, terms, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Output: output,
			Input: object{"commitment": commitment(nil), "brokers": brokers(),
				"known":   object{"index": known, "payword": b64(word(0, known))},
				"payment": with(paymentOf(0, index, 31, "1500"), changes),
				"terms":   with(object{"price": "1000", "now": now, "maxStep": 400}, terms)}})
	}
	proved := func(tail, steps int) object { return object{"proved": true, "tail": tail, "steps": steps} }
	not := func(steps int) object { return object{"proved": false, "steps": steps} }
	add("first", "From the root.", accepted, 0, 1, nil, nil, proved(1, 1))
	add("one-step", "One hash.", accepted, 56, 57, nil, nil, proved(57, 1))
	add("skip", "Five units with one payword.", accepted, 52, 57, nil, nil, proved(57, 5))
	add("same", "The tail again costs no hash.", accepted, 57, 57, nil, nil, proved(57, 0))
	add("behind-tail", "An older payword: the tail leads to it.", accepted, 57, 40, nil, nil, proved(57, 17))
	add("behind-tail-farthest", "256 steps behind.", accepted, 300, 44, nil, nil, proved(300, 256))
	add("stale", "257 steps behind.", "stale-payword", 301, 44, nil, nil, not(0))
	add("farthest", "As far as one request may go.", accepted, 100, 500, nil, nil, proved(500, 400))
	add("too-far", "One step more, and nothing is hashed.", "step-too-far", 100, 501, nil, nil, not(0))
	add("last", "The end of the chain.", accepted, 999, 1000, nil, nil, proved(1000, 1))
	add("exhausted", "One step past the end.", "chain-exhausted", 999, 1000, object{"index": 1001}, nil, not(0))
	add("forged", "A payword of another index.", "forged-payword", 56, 57, object{"payword": b64(word(0, 58))}, nil, not(1))
	add("forged-other-chain", "A payword of another chain.", "forged-payword", 56, 57, object{"payword": b64(word(1, 57))}, nil, not(1))
	add("forged-behind-tail", "A wrong payword that is older than the tail.", "forged-payword", 57, 40, object{"payword": b64(word(0, 41))}, nil, not(17))
	add("forged-same", "A wrong payword at the tail.", "forged-payword", 57, 57, object{"payword": b64(word(0, 56))}, nil, not(0))
	add("unknown-chain", "The commitment has two chains.", "unknown-chain", 56, 57, object{"chain": 2}, nil, not(0))
	add("expired", "Now is D.", "commitment-expired", 56, 57, nil, object{"now": expires}, not(0))
	add("last-second", "It is accepted while now < D.", accepted, 56, 57, nil, object{"now": expires - 1}, proved(57, 1))
	add("price-at-max", "The price may be all that the client agreed to.", accepted, 56, 57, nil, object{"price": "1500"}, proved(57, 1))
	add("price-over-max", "The price is higher; the payword is genuine all the same.", "price-over-max", 56, 57, nil, object{"price": "1501"}, proved(57, 1))
	return all
}
