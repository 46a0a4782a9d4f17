package cases

import (
	"fmt"
	"strings"
	"time"
)

// payment returns the members of the user's payment of one chain's payword, as
// they stand in JSON.
func paymentOf(chain, index, number int, most string) object {
	return object{"commitment": b64(commitmentID(commitment(nil))), "chain": chain, "index": index,
		"payword": b64(word(chain, index)), "number": number, "max": most}
}

// headers: the compact form.
func headers() []Case {
	id := "id=:" + std64(commitmentID(commitment(nil))) + ":"
	w := "w=:" + std64(word(0, 57)) + ":"
	canonical := id + ", c=0, i=57, " + w + ", n=31, max=1500"
	output := paymentOf(0, 57, 31, "1500")
	var all []Case
	add := func(name, comment, expect, value string, output object) {
		all = append(all, Case{Name: "payword-" + name, Comment: comment, Expect: expect,
			Input: object{"field": "Payword", "value": value}, Output: output})
	}
	add("canonical", "The form that is written.", accepted, canonical, with(output, object{"canonical": canonical}))
	add("other-order", "The members of a dictionary stand in any order.", accepted, "max=1500, n=31, "+w+", i=57, c=0, "+id, with(output, object{"canonical": canonical}))
	add("white-space", "Spaces and tabs may stand around commas.", accepted, "  "+id+",c=0 ,\ti=57 , "+w+",  n=31,max=1500 ", with(output, object{"canonical": canonical}))
	longest := id + ", c=7, i=1048576, " + w + ", n=999999999999999, max=999999999999999"
	add("largest", "Every number at its largest.", accepted, longest,
		with(output, object{"chain": 7, "index": 1 << 20, "number": 999_999_999_999_999, "max": "999999999999999", "canonical": longest}))
	add("max-0", "A client may agree to pay nothing.", accepted, id+", c=0, i=57, "+w+", n=31, max=0",
		with(output, object{"max": "0", "canonical": id + ", c=0, i=57, " + w + ", n=31, max=0"}))
	for _, c := range malformedHeaders(id, w, canonical) {
		add(c[0], c[1], "malformed-header", c[2], nil)
	}
	return append(all, stateHeaders()...)
}

// malformedHeaders lists name, comment and value.
func malformedHeaders(id, w, canonical string) [][3]string {
	replace := func(old, new string) string { return strings.Replace(canonical, old, new, 1) }
	return [][3]string{
		{"empty", "Nothing is no payment.", ""},
		{"missing-max", "All six members are required.", replace(", max=1500", "")},
		{"missing-id", "All six members are required.", replace(id+", ", "")},
		{"duplicate-member", "Each member stands once, though dictionaries let the last one win.", canonical + ", i=58"},
		{"unknown-member", "There are no other members.", canonical + ", x=1"},
		{"parameter", "A member has no parameters.", replace("c=0", "c=0;a=1")},
		{"trailing-comma", "A dictionary does not end in a comma.", canonical + ","},
		{"boolean", "A member without a value is a boolean.", replace("c=0", "c")},
		{"upper-case-name", "Names are in lower case.", replace("max=", "Max=")},
		{"string-value", "A number is no string.", replace("i=57", `i="57"`)},
		{"decimal", "A number is an integer.", replace("i=57", "i=57.0")},
		{"negative", "A number is not negative.", replace("max=1500", "max=-1500")},
		{"leading-zero", "A number has one spelling.", replace("i=57", "i=057")},
		{"space-around-equals", "No space stands around the equals sign.", replace("i=57", "i = 57")},
		{"leading-tab", "Spaces may lead, a tab may not.", "\t" + canonical},
		{"index-0", "A payment releases at least one payword.", replace("i=57", "i=0")},
		{"index-over", "A chain has at most 2^20 steps.", replace("i=57", "i=1048577")},
		{"chain-8", "A commitment has at most eight chains, 0 to 7.", replace("c=0", "c=8")},
		{"number-0", "Numbers begin with 1.", replace("n=31", "n=0")},
		{"number-16-digits", "An integer has at most 15 digits.", replace("n=31", "n=1000000000000000")},
		{"payword-short", "A payword has 32 bytes.", replace(w, "w=:"+std64(word(0, 57)[:31])+":")},
		{"payword-stray-bits", "Base64 has one spelling.", replace(w, "w=:"+strings.Repeat("A", 42)+"B=:")},
		{"payword-unpadded", "Byte sequences are padded.", replace(w, strings.Replace(w, "=:", ":", 2))},
		{"payword-url-alphabet", "Byte sequences have the other alphabet than JSON.", replace(w, "w=:"+strings.Repeat("-", 42)+"8=:")},
		{"id-text", "An id is a byte sequence here.", replace(id, "id="+b64(commitmentID(commitment(nil))))},
		{"oversize", "At most 256 bytes.", canonical + strings.Repeat(" ", 257-len(canonical))},
	}
}

func stateHeaders() []Case {
	tail := hash(append([]byte("payword-tail"), word(0, 57)...), 1)
	full := "reason=insufficient-credit, price=1000, n=31, accepted=57000, spent=57000, c=0, i=57, tail=:" + std64(tail) + ":"
	stranger := object{"reason": "payment-required", "price": "1000", "number": 0, "known": false}
	output := object{"reason": "insufficient-credit", "price": "1000", "number": 31, "known": true, "accepted": "57000",
		"spent": "57000", "chain": 0, "index": 57, "tailHash": b64(tail)}
	var all []Case
	add := func(name, comment, expect, value string, output object) {
		all = append(all, Case{Name: "state-" + name, Comment: comment, Expect: expect,
			Input: object{"field": "Payword-State", "value": value}, Output: output})
	}
	add("full", "What is told to who proved a payword.", accepted, full, with(output, object{"canonical": full}))
	add("price-only", "What is told to anybody.", accepted, "reason=payment-required, price=1000", with(stranger, object{"canonical": "reason=payment-required, price=1000"}))
	add("later-member", "Members of later versions are passed over.", accepted, "reason=payment-required, price=1000, later=?1", with(stranger, object{"canonical": "reason=payment-required, price=1000"}))
	add("partial", "The state is told in full or not at all.", accepted, "reason=payment-required, price=1000, accepted=57000", with(stranger, object{"canonical": "reason=payment-required, price=1000"}))
	const malformed = "malformed-header"
	add("no-price", "The price is told to anybody.", malformed, "reason=payment-required", nil)
	add("no-reason", "And so is the reason.", malformed, "price=1000", nil)
	add("unknown-reason", "The list of reasons is closed.", malformed, "reason=because, price=1000", nil)
	add("duplicate-member", "Each member stands once.", malformed, full+", price=1", nil)
	add("trailing-comma", "A dictionary does not end in a comma.", malformed, full+",", nil)
	add("negative", "An amount is not negative.", malformed, strings.Replace(full, "spent=57000", "spent=-1", 1), nil)
	add("oversize", "At most 512 bytes.", malformed, full+", later="+strings.Repeat("a", 512), nil)
	return all
}

var (
	serverSecret = digest("secret of the server")
	oldSecret    = digest("former secret of the server")
)

const pageURL = vendorOrigin + "/article?id=7&view=full"

// priceRequest is what a session challenge of these vectors quotes.
func priceRequest() object {
	return object{"amount": "1000", "currency": currency, "recipient": vendorOrigin, "unitType": "request",
		"methodDetails": object{"brokers": []string{brokerOrigin}, "httpMethod": "GET", "maxStep": 4096, "url": pageURL, "version": 1}}
}

// meteredRequest quotes the price of a token, and the most that an answer takes.
func meteredRequest() object {
	request := priceRequest()
	request["amount"], request["unitType"] = "3", "token"
	request["methodDetails"].(object)["ceiling"] = "20000"
	return request
}

// classed is the opaque parameter of a challenge that quotes one of a URL's
// prices.
func classed(class string) string {
	return b64([]byte(canonicalJSON(object{"class": class, "prices": b64(hash(nil, 2)[:9])})))
}

// canonicalJSON is RFC 8785 for what these vectors hold: sorted members, and
// "&" as it is.
func canonicalJSON(value object) string {
	return strings.ReplaceAll(encode(value), `\u0026`, "&")
}

// challenge returns a challenge without its id, some parameters changed.
func challenge(changes object) object {
	return with(object{"realm": "news.example", "method": "payword", "intent": "session",
		"request": b64([]byte(canonicalJSON(priceRequest()))), "expires": rfc3339(now + 300)}, changes)
}

func rfc3339(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// bound returns the challenge with its id under secret (section 5.1.2.1.1).
func bound(c object, secret []byte) object {
	var slots []string
	for _, name := range []string{"realm", "method", "intent", "request", "expires", "digest", "opaque"} {
		text, _ := c[name].(string)
		slots = append(slots, text)
	}
	if header, present := c["header"].(string); present {
		slots = append(slots, header)
	}
	return with(c, object{"id": b64(mac(secret, []byte(strings.Join(slots, "|"))))})
}

// field returns a challenge as a WWW-Authenticate field.
func field(c object) string {
	var parameters []string
	for _, name := range []string{"id", "realm", "method", "intent", "request", "expires", "digest", "description", "opaque", "header"} {
		if text, present := c[name].(string); present {
			text = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
			parameters = append(parameters, name+`="`+text+`"`)
		}
	}
	return "Payment " + strings.Join(parameters, ", ")
}

func challenges() []Case {
	var all []Case
	bind := func(name, comment, expect string, c object) {
		made := Case{Name: "id-" + name, Comment: comment, Expect: expect,
			Input: object{"operation": "bind", "secret": b64(serverSecret), "challenge": c}}
		if expect == accepted {
			made.Output = object{"id": bound(c, serverSecret)["id"]}
		}
		all = append(all, made)
	}
	bind("seven-slots", "Absent parameters are empty slots.", accepted, challenge(nil))
	bind("eight-slots", "The field that the credential comes in is an eighth, if it is named.", accepted, challenge(object{"header": "Payment-Authorization"}))
	bind("all-slots", "Every parameter but the description is bound.", accepted,
		challenge(object{"header": "Payment-Authorization", "digest": "sha-256=:" + std64(hash(nil, 1)) + ":", "opaque": b64([]byte(`{"a":"b"}`)), "description": "One page"}))
	bind("separator-in-realm", "A slot with the separator could pass for two.", failed, challenge(object{"realm": "news|example"}))
	bind("separator-in-opaque", "A slot with the separator could pass for two.", failed, challenge(object{"opaque": "a|b"}))
	all = append(all, Case{Name: "request-canonical", Comment: "The request parameter is canonical JSON (RFC 8785) in base64url.", Expect: accepted,
		Input: object{"operation": "request", "request": priceRequest()}, Output: object{"text": b64([]byte(canonicalJSON(priceRequest())))}})
	bind("price-class", "The class of a price, and the set of prices it is of, are opaque and bound.", accepted, challenge(object{"opaque": classed("bots")}))
	all = append(all, Case{Name: "request-ceiling", Comment: "What is metered has a ceiling among the details.", Expect: accepted,
		Input: object{"operation": "request", "request": meteredRequest()}, Output: object{"text": b64([]byte(canonicalJSON(meteredRequest())))}})
	all = append(all, parsedChallenges()...)
	return append(all, checkedChallenges()...)
}

func parsedChallenges() []Case {
	session := bound(challenge(nil), serverSecret)
	charge := bound(challenge(object{"intent": "charge", "header": "Payment-Authorization", "description": `Say "please"`}), serverSecret)
	var all []Case
	add := func(name, comment, expect string, values []string, found ...object) {
		c := Case{Name: "parse-" + name, Comment: comment, Expect: expect, Input: object{"operation": "parse", "values": values}}
		if expect == accepted {
			c.Output = object{"challenges": append([]object{}, found...)}
		}
		all = append(all, c)
	}
	all = append(all, Case{Name: "format", Comment: "Every value is a quoted string.", Expect: accepted,
		Input: object{"operation": "format", "challenge": charge}, Output: object{"value": field(charge)}})
	add("one", "One challenge in one field.", accepted, []string{field(session)}, session)
	add("two-fields", "Every field counts, in their order.", accepted, []string{field(charge), field(session)}, charge, session)
	add("two-in-one-field", "Several challenges may share a field.", accepted, []string{field(charge) + ", " + field(session)}, charge, session)
	add("among-others", "Other schemes stand before, between and after.", accepted,
		[]string{`Basic realm="a, Payment b", charset="UTF-8", ` + field(session) + `, Negotiate YWJjZA==, ` + field(charge) + `, Bearer`}, session, charge)
	add("only-others", "No challenge of ours is no error.", accepted, []string{`Bearer realm="x"`, "Negotiate"})
	add("scheme-case", "The name of a scheme is in any case.", accepted, []string{"payment" + strings.TrimPrefix(field(session), "Payment")}, session)
	add("tokens", "A value may be a token.", accepted,
		[]string{`Payment id=abc, realm="r", method=payword, intent=session, request=e30`},
		object{"id": "abc", "realm": "r", "method": "payword", "intent": "session", "request": "e30"})
	add("unknown-parameter", "Unknown parameters are passed over.", accepted, []string{field(session) + `, later="1"`}, session)
	add("no-realm", "A challenge has a realm.", failed, []string{`Payment id="a", method="payword", intent="session", request="e30"`})
	add("no-id", "A challenge has an id.", failed, []string{strings.Replace(field(session), "id=", "ident=", 1)})
	add("parameter-twice", "A parameter stands once.", failed, []string{field(session) + `, realm="other"`})
	add("no-end-quote", "A quoted string ends.", failed, []string{strings.TrimSuffix(field(session), `"`)})
	add("control-character", "A quoted string holds no control characters.", failed, []string{field(session) + ", later=\"a\x00b\""})
	add("no-scheme", "A challenge begins with its scheme.", failed, []string{`"id"`})
	return all
}

func checkedChallenges() []Case {
	var all []Case
	add := func(name, comment, expect string, c object, changes object) {
		made := Case{Name: "check-" + name, Comment: comment, Expect: expect,
			Input: with(object{"operation": "check", "challenge": c, "secrets": []string{b64(serverSecret), b64(oldSecret)},
				"httpMethod": "GET", "url": pageURL, "now": now}, changes)}
		if expect == accepted {
			made.Output = object{"request": priceRequest()}
		}
		all = append(all, made)
	}
	good := bound(challenge(nil), serverSecret)
	add("session", "A challenge that was made here, for this resource.", accepted, good, nil)
	add("charge", "The same with the other intent.", accepted, bound(challenge(object{"intent": "charge"}), serverSecret), nil)
	add("former-secret", "Secrets overlap when they change.", accepted, bound(challenge(nil), oldSecret), nil)
	add("description-changed", "A description is for people and not bound.", accepted, with(good, object{"description": "Free!"}), nil)
	add("last-second", "It holds while now is before its end.", accepted, good, object{"now": now + 299})
	add("expired", "Now is its end.", "challenge-expired", good, object{"now": now + 300})
	add("no-end", "A challenge of ours always ends.", "challenge-expired", bound(challenge(object{"expires": without}), serverSecret), nil)
	cheap := priceRequest()
	cheap["amount"] = "1"
	add("price-changed", "Everything that counts is bound.", "invalid-challenge", with(good, object{"request": b64([]byte(canonicalJSON(cheap)))}), nil)
	add("realm-changed", "Everything that counts is bound.", "invalid-challenge", with(good, object{"realm": "shop.example"}), nil)
	add("end-changed", "Everything that counts is bound.", "invalid-challenge", with(good, object{"expires": rfc3339(now + 3000)}), nil)
	add("header-added", "Seven slots are not eight.", "invalid-challenge", with(good, object{"header": "Payment-Authorization"}), nil)
	add("header-removed", "Eight slots are not seven.", "invalid-challenge",
		with(bound(challenge(object{"header": "Payment-Authorization"}), serverSecret), object{"header": without}), nil)
	add("other-secret", "It was made elsewhere.", "invalid-challenge", bound(challenge(nil), digest("secret of somebody")), nil)
	add("no-request", "A challenge quotes a price.", "invalid-challenge", bound(challenge(object{"request": b64([]byte("{}"))}), serverSecret), nil)
	add("other-url", "A cheap quote buys nothing dear.", "wrong-resource", good, object{"url": vendorOrigin + "/dear"})
	add("other-http-method", "Reading is not writing.", "wrong-resource", good, object{"httpMethod": "POST"})
	metered := bound(challenge(object{"request": b64([]byte(canonicalJSON(meteredRequest())))}), serverSecret)
	add("ceiling", "A price of what is metered, up to a ceiling.", accepted, metered, nil)
	all[len(all)-1].Output = object{"request": meteredRequest()}
	lower := meteredRequest()
	lower["methodDetails"].(object)["ceiling"] = "3"
	add("ceiling-changed", "Everything that counts is bound.", "invalid-challenge", with(metered, object{"request": b64([]byte(canonicalJSON(lower)))}), nil)
	dear := bound(challenge(object{"opaque": classed("people")}), serverSecret)
	add("price-class", "A quote of one of the URL's prices.", accepted, dear, nil)
	add("price-class-changed", "A quote of one price buys at no other.", "invalid-challenge", with(dear, object{"opaque": classed("bots")}), nil)
	add("price-class-removed", "A quote of one price buys at no other.", "invalid-challenge", with(dear, object{"opaque": without}), nil)
	add("other-method", "This payment method alone.", "method-unsupported", bound(challenge(object{"method": "tempo"}), serverSecret), nil)
	add("other-intent", "These two intents alone.", "method-unsupported", bound(challenge(object{"intent": "subscription"}), serverSecret), nil)
	return all
}

// preferences: what Accept-Payment says of this method.
func preferences() []Case {
	var all []Case
	add := func(name, comment string, thousandths int, fields ...string) {
		all = append(all, Case{Name: name, Comment: comment, Expect: accepted,
			Input: object{"fields": append([]string{}, fields...), "intent": "session"}, Output: object{"thousandths": thousandths}})
	}
	add("absent", "No field is no wish.", 1000)
	add("named", "The method and the intent are named.", 500, "tempo/session, payword/session;q=0.5")
	add("never", "q=0 means never.", 0, "payword/session;q=0, */*")
	add("any-intent", "Any intent of this method.", 300, "payword/*;q=0.3, */session;q=0.9")
	add("any-method", "Any method with this intent, before any at all.", 900, "*/*;q=0.1, */session;q=0.9")
	add("others-only", "What is not listed is not wanted.", 0, "tempo/session, stripe/charge")
	add("two-fields", "Two fields are one list.", 250, "tempo/session", "payword/session;q=0.25")
	add("unreadable", "A field that cannot be read counts as absent.", 1000, "payword/session;q=2, tempo")
	return all
}

func credentials() []Case {
	session := bound(challenge(nil), serverSecret)
	payment := paymentOf(0, 57, 31, "1500")
	payload := object{"action": "pay", "commitmentId": payment["commitment"], "chain": 0, "index": 57,
		"payword": payment["payword"], "number": 31, "max": "1500"}
	document := func(changes object) string {
		return encode(object{"challenge": session, "payload": with(payload, changes)})
	}
	var all []Case
	add := func(name, comment, expect, value string, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Input: object{"value": value}, Output: output})
	}
	pay := func(changes object) string { return "Payment " + b64([]byte(document(changes))) }
	output := object{"challenge": session, "action": "pay", "payment": payment}
	add("pay", "The challenge as it came, and a payment.", accepted, pay(nil), output)
	add("scheme-case", "The name of a scheme is in any case.", accepted, "payment "+b64([]byte(document(nil))), output)
	add("open", "The commitment comes along and names itself.", accepted, pay(object{"commitmentId": without, "commitment": commitment(nil)}), output)
	add("open-named", "It may be named as well, if the name fits.", accepted, pay(object{"commitment": commitment(nil)}), output)
	const malformed = "malformed-credential"
	add("other-method", "The credential is for another payment method.", "method-unsupported",
		"Payment "+b64([]byte(encode(object{"challenge": with(session, object{"method": "tempo"}), "payload": object{"signature": "0x00"}}))), nil)
	add("other-scheme", "It is no credential of this scheme.", malformed, "Bearer "+b64([]byte(document(nil))), nil)
	add("padding", "There is no padding.", malformed, pay(nil)+"=", nil)
	add("not-json", "A credential is a JSON object.", malformed, "Payment "+b64([]byte("payword")), nil)
	add("duplicate-member", "A JSON object has each member once.", malformed,
		"Payment "+b64([]byte(`{"challenge":`+encode(session)+`,"payload":`+repeatMember(encode(payload), `"index":58`)+`}`)), nil)
	add("oversize", "At most 12288 bytes.", malformed, pay(object{"note": strings.Repeat("x", 12288)}), nil)
	refused := func(name, comment string, changes object) { add(name, comment, malformed, pay(changes), nil) }
	refused("no-commitment", "A payment is on a commitment.", object{"commitmentId": without})
	refused("commitment-other", "The name is another commitment's.", object{"commitment": commitment(object{"limit": "1"})})
	refused("chain-8", "A commitment has at most eight chains.", object{"chain": 8})
	refused("index-0", "A payment releases at least one payword.", object{"index": 0})
	refused("index-over", "A chain has at most 2^20 steps.", object{"index": 1<<20 + 1})
	refused("number-0", "Numbers begin with 1.", object{"number": 0})
	refused("number-over", "A number has at most 15 digits.", object{"number": 1_000_000_000_000_000})
	refused("no-max", "The client says what it agrees to pay.", object{"max": without})
	refused("max-number", "An amount is a string of digits.", object{"max": 1500})
	refused("payword-short", "A payword has 32 bytes.", object{"payword": b64(word(0, 57)[:31])})
	return all
}

func receipts() []Case {
	receipt := object{"status": "success", "method": "payword", "intent": "session", "timestamp": rfc3339(now),
		"reference": b64(commitmentID(commitment(nil))) + ".31", "amount": "1000", "currency": currency, "number": 31,
		"accepted": "57000", "spent": "57000", "credit": "0"}
	encoded := func(changes object) string { return b64([]byte(encode(with(receipt, changes)))) }
	add := func(name, comment, expect, value string, output object) Case {
		return Case{Name: name, Comment: comment, Expect: expect, Input: object{"value": value}, Output: output}
	}
	return []Case{
		add("session", "What was paid, and what is left.", accepted, encoded(nil), receipt),
		add("charge", "A receipt of a charge names its challenge.", accepted, encoded(object{"intent": "charge", "challengeId": "abc", "final": true}),
			with(receipt, object{"intent": "charge", "challengeId": "abc", "final": true})),
		add("status", "There is no receipt of a failure.", failed, encoded(object{"status": "failed"}), nil),
		add("currency-missing", "An amount has a currency.", failed, encoded(object{"currency": without}), nil),
		add("amount-number", "An amount is a string of digits.", failed, encoded(object{"amount": 1000}), nil),
		add("padding", "There is no padding.", failed, encoded(nil)+"=", nil),
		add("duplicate-member", "A JSON object has each member once.", failed, b64([]byte(repeatMember(encode(receipt), `"amount":"1"`))), nil),
		add("oversize", "At most 4096 bytes.", failed, encoded(object{"note": strings.Repeat("x", 4096)}), nil),
	}
}

// problems: refusals as problem details.
func problems() []Case {
	const base = "https://paymentauth.org/problems/"
	tail := hash(append([]byte("payword-tail"), word(0, 57)...), 1)
	var all []Case
	add := func(reason, kind string, status int, known bool) {
		in := object{"reason": reason, "detail": "What to do.", "price": "1000", "number": 31, "currency": currency, "known": known}
		out := object{"type": base + kind, "status": status, "detail": "What to do.", "reason": reason, "price": "1000",
			"currency": currency, "number": 31}
		if known {
			state := object{"accepted": "57000", "spent": "57000", "chain": 0, "index": 57, "tailHash": b64(tail)}
			in, out = with(in, state), with(out, state)
		}
		all = append(all, Case{Name: reason, Comment: fmt.Sprintf("Answered with %d; general clients know the type.", status),
			Expect: reason, Input: in, Output: out})
	}
	add("payment-required", "payment-required", 402, false)
	add("insufficient-credit", "payment-insufficient", 402, true)
	add("price-over-max", "payment-insufficient", 402, true)
	add("challenge-expired", "payment-expired", 402, false)
	add("commitment-expired", "payment-expired", 402, false)
	add("malformed-header", "malformed-credential", 402, false)
	add("malformed-credential", "malformed-credential", 402, false)
	add("invalid-challenge", "invalid-challenge", 402, false)
	add("challenge-used", "invalid-challenge", 402, false)
	add("several-payments", "bad-request", 400, false)
	add("method-unsupported", "method-unsupported", 400, false)
	add("forged-payword", "verification-failed", 402, false)
	add("already-used", "verification-failed", 402, true)
	add("already-executed", "verification-failed", 409, true)
	add("insecure-transport", "verification-failed", 403, false)
	add("blocked", "verification-failed", 403, false)
	add("rate-limited", "verification-failed", 429, false)
	return all
}
