package cases

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// amounts: parsing the wire form and the form for people.
func amounts() []Case {
	var all []Case
	add := func(name, comment, expect, operation, text string, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect,
			Input: object{"operation": operation, "text": text}, Output: output})
	}
	micros := func(text string) object { return object{"amount": text} }
	add("wire-zero", "Nothing is an amount.", accepted, "parse", "0", micros("0"))
	add("wire-largest", "The largest integer of a structured field is the largest amount.", accepted, "parse", "999999999999999", micros("999999999999999"))
	add("wire-too-large", "One more has 16 digits.", failed, "parse", "1000000000000000", nil)
	add("wire-leading-zero", "A number has one spelling.", failed, "parse", "01500", nil)
	add("wire-sign", "The protocol has no negative amounts.", failed, "parse", "-1500", nil)
	add("wire-point", "The wire counts whole micros.", failed, "parse", "0.001", nil)
	add("wire-empty", "Nothing is not zero.", failed, "parse", "", nil)
	add("wire-other-digits", "Digits are ASCII.", failed, "parse", "١٢٣", nil)
	add("decimal-tenth-of-cent", "A tenth of a cent is 1000 micros.", accepted, "parse-decimal", "0.001", micros("1000"))
	add("decimal-whole", "No point is needed.", accepted, "parse-decimal", "12", micros("12000000"))
	add("decimal-largest", "Nine digits before the point and six after it.", accepted, "parse-decimal", "999999999.999999", micros("999999999999999"))
	add("decimal-too-fine", "Nothing is rounded: seven digits after the point are refused.", failed, "parse-decimal", "0.0000001", nil)
	add("decimal-no-whole", "A digit stands before the point.", failed, "parse-decimal", ".5", nil)
	add("format-two-digits", "At least two digits follow the point.", accepted, "format-decimal", "12500000", object{"decimal": "12.50"})
	add("format-no-zeros", "No needless zeros follow.", accepted, "format-decimal", "1500", object{"decimal": "0.0015"})
	add("currency", "A currency says its scale.", accepted, "parse-currency", "usd-micro", object{"code": "USD"})
	add("currency-bare", "Beside a bare code a general client would take micros for cents.", failed, "parse-currency", "usd", nil)
	add("currency-upper-case", "A currency has one spelling.", failed, "parse-currency", "USD-micro", nil)
	return all
}

// origins: the names of vendors and brokers.
func origins() []Case {
	var all []Case
	add := func(name, comment, expect, origin string) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Input: object{"origin": origin}})
	}
	add("plain", "An https origin in lower case.", accepted, "https://news.example")
	add("port", "A port that is not the default one stays.", accepted, "https://news.example:8443")
	add("ipv6", "An IPv6 address stands in brackets.", accepted, "https://[2001:db8::1]:8443")
	add("loopback", "Plain http is for this machine alone.", accepted, "http://127.0.0.1:8080")
	add("http", "Plain http is refused elsewhere.", failed, "http://news.example")
	add("default-port", "The default port is left out.", failed, "https://news.example:443")
	add("slash", "An origin has no path.", failed, "https://news.example/")
	add("upper-case", "An origin is one exact string.", failed, "https://News.example")
	add("user-name", "An origin has no user.", failed, "https://a@news.example")
	add("not-ascii", "A name is in its ASCII form.", failed, "https://zeitung-köln.example")
	add("leading-zero-port", "A number has one spelling.", failed, "https://news.example:08443")
	add("short-ipv4", "Browsers write this one as 127.0.0.1.", failed, "https://127.1")
	add("long-ipv6", "An IPv6 address has one spelling.", failed, "https://[2001:db8:0:0:0:0:0:1]")
	add("empty-label", "A label has at least one character.", failed, "https://news..example")
	add("too-long", "At most 270 bytes.", failed, "https://"+strings.Repeat("a.", 131)+"example")
	return all
}

// chains: from a seed to paywords.
func chains() []Case {
	derived := func(vendor string, nonce []byte, chain, length int, indices ...int) Case {
		end := tip(walletSeed, vendor, nonce, chain, length)
		var samples []object
		for _, index := range indices {
			samples = append(samples, object{"index": index, "payword": b64(hash(end, length-index))})
		}
		return Case{
			Expect: accepted,
			Input: object{"operation": "derive", "seed": b64(walletSeed), "vendor": vendor, "nonce": b64(nonce),
				"chain": chain, "length": length, "indices": indices},
			Output: object{"tip": b64(end), "paywords": samples},
		}
	}
	refusedDerivation := func(name, comment, vendor string, chain, length int) Case {
		return Case{Name: name, Comment: comment, Expect: failed, Input: object{"operation": "derive",
			"seed": b64(walletSeed), "vendor": vendor, "nonce": b64(nonce), "chain": chain, "length": length}}
	}
	named := func(name, comment string, c Case) Case {
		c.Name, c.Comment = name, comment
		return c
	}
	all := []Case{
		named("derive", "Index 0 is the root. Each payword is the SHA-256 of the next.", derived(vendorOrigin, nonce, 0, 1000, 0, 1, 2, 57, 500, 999, 1000)),
		named("derive-second-chain", "The chain's number is part of the derivation.", derived(vendorOrigin, nonce, 1, 1000, 0, 1, 1000)),
		named("derive-other-vendor", "So is the vendor.", derived("https://shop.example", nonce, 0, 1000, 0, 1, 1000)),
		named("derive-other-nonce", "So is the commitment's nonce.", derived(vendorOrigin, digest("other nonce")[:16], 0, 1000, 0, 1, 1000)),
		named("derive-other-length", "So is the length: no two chains share a root.", derived(vendorOrigin, nonce, 0, 999, 0, 1, 999)),
		named("derive-one-step", "The shortest chain.", derived(vendorOrigin, nonce, 0, 1, 0, 1)),
		named("derive-long", "A long chain, sampled around the powers of two.", derived(vendorOrigin, nonce, 0, 65536, 0, 1, 2, 3, 1023, 1024, 1025, 32767, 32768, 32769, 65535, 65536)),
		named("derive-longest", "The longest chain, near its end.", derived(vendorOrigin, nonce, 7, 1<<20, 1<<20-1000, 1<<20-1, 1<<20)),
		refusedDerivation("derive-chain-8", "A commitment has at most eight chains, 0 to 7.", vendorOrigin, 8, 1000),
		refusedDerivation("derive-length-0", "A chain has at least one step.", vendorOrigin, 0, 0),
		refusedDerivation("derive-length-over", "A chain has at most 2^20 steps.", vendorOrigin, 0, 1<<20+1),
		refusedDerivation("derive-vendor-too-long", "An origin has at most 270 bytes.", "https://"+strings.Repeat("a", 263), 0, 1000),
	}
	start, _ := hex.DecodeString(strings.Repeat("00", 32))
	for _, steps := range []int{0, 1, 256} {
		all = append(all, Case{Name: fmt.Sprintf("walk-%d", steps), Comment: "SHA-256 of 32 zero bytes, repeated.", Expect: accepted,
			Input:  object{"operation": "walk", "payword": b64(start), "steps": steps},
			Output: object{"payword": b64(hash(start, steps))}})
	}
	return append(all, Case{Name: "tail-hash", Comment: `SHA-256("payword-tail" || W).`, Expect: accepted,
		Input:  object{"operation": "tail-hash", "payword": b64(word(0, 57))},
		Output: object{"tailHash": b64(hash(append([]byte("payword-tail"), word(0, 57)...), 1))}})
}

// keys: thumbprints, and public keys that are refused.
func keys() []Case {
	rfc8037, _ := hex.DecodeString("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	all := []Case{
		{Name: "thumbprint-rfc8037", Comment: "The key of RFC 8037, appendix A.3.", Expect: accepted,
			Input:  object{"operation": "thumbprint", "key": b64(rfc8037)},
			Output: object{"thumbprint": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}},
		{Name: "thumbprint-user", Comment: "The key of the user in these vectors.", Expect: accepted,
			Input:  object{"operation": "thumbprint", "key": b64(publicOf("user"))},
			Output: object{"thumbprint": thumbprint(publicOf("user"))}},
	}
	refused := func(name, comment, key string) {
		bytes, _ := hex.DecodeString(key)
		all = append(all, Case{Name: name, Comment: comment, Expect: failed, Input: object{"operation": "check", "key": b64(bytes)}})
	}
	zeros := strings.Repeat("00", 31)
	refused("small-order-1", "The identity: one signature fits every message.", "01"+zeros)
	refused("small-order-2", "The point of order 2, y = -1.", "ec"+strings.Repeat("ff", 30)+"7f")
	refused("small-order-4", "A point of order 4, y = 0.", "00"+zeros)
	refused("small-order-8", "A point of order 8.", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	refused("small-order-8-other", "Another point of order 8.", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
	refused("non-canonical-y", "y = p + 3, which is 3 in another spelling and no small-order point.", "f0"+strings.Repeat("ff", 30)+"7f")
	refused("non-canonical-sign", "x = 0 with its sign bit set.", "01"+strings.Repeat("00", 30)+"80")
	refused("not-on-curve", "y = 2 has no x.", "02"+zeros)
	refused("short", "A key has 32 bytes.", zeros)
	member := func(party string) object {
		return object{"kty": "OKP", "crv": "Ed25519", "x": b64(publicOf(party)), "kid": thumbprint(publicOf(party))}
	}
	set := func(name, comment, expect, document string, output object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: expect, Input: object{"operation": "jwks", "document": document}, Output: output})
	}
	set("jwks", "Keys of other types are passed over.", accepted,
		encode(object{"keys": []object{member("broker"), {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"}, member("user")}}),
		object{"keys": object{thumbprint(publicOf("broker")): b64(publicOf("broker")), thumbprint(publicOf("user")): b64(publicOf("user"))}})
	set("jwks-kid-twice", "A kid names one key.", failed, encode(object{"keys": []object{member("broker"), member("broker")}}), nil)
	set("jwks-without-kid", "A key that nothing can name is a mistake.", failed, encode(object{"keys": []object{with(member("broker"), object{"kid": without})}}), nil)
	set("jwks-small-order", "A broker's key is checked like a user's.", failed,
		encode(object{"keys": []object{with(member("broker"), object{"x": b64(append([]byte{1}, make([]byte, 31)...))})}}), nil)
	set("jwks-duplicate-member", "A JSON object has each member once.", failed, `{"keys":[],"keys":[]}`, nil)
	return all
}
