package payword_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/paywordhq/payword"
)

// seed adds to f what pick finds in the vectors of an area.
func seed(f *testing.F, area string, pick func(input object) []any) {
	f.Helper()
	for _, v := range readVectors(f) {
		if v.Area != area {
			continue
		}
		if values := pick(plain(f, v.Input).(object)); values != nil {
			f.Add(values...)
		}
	}
}

// texts picks members that are strings, if all are there.
func texts(names ...string) func(object) []any {
	return func(input object) []any {
		var values []any
		for _, name := range names {
			text, isText := input[name].(string)
			if !isText {
				return nil
			}
			values = append(values, text)
		}
		return values
	}
}

// FuzzParsePayment: what is accepted is written again with the same meaning,
// and a general parser of structured fields reads the same values. A space at the
// end changes nothing but the way that the header is read.
func FuzzParsePayment(f *testing.F) {
	seed(f, "headers", texts("value"))
	f.Fuzz(func(t *testing.T, value string) {
		p, refusal := payword.ParsePayment(value)
		if spaced, why := payword.ParsePayment(value + " "); len(value) < payword.MaxHeaderBytes && (spaced != p || why.Reason != refusal.Reason) {
			t.Errorf("%q is %+v, %s; with a space behind it %+v, %s", value, p, refusal, spaced, why)
		}
		if refusal.Refused() {
			if p != (payword.Payment{}) {
				t.Errorf("refused, and returned %+v", p)
			}
			return
		}
		if again, refusal := payword.ParsePayment(payword.FormatPayment(p)); refusal.Refused() || again != p {
			t.Errorf("written and read again: %+v (%s), want %+v", again, refusal, p)
		}
		dictionary, err := httpsfv.UnmarshalDictionary([]string{value})
		if err != nil {
			t.Fatalf("accepted %q, which is no dictionary: %v", value, err)
		}
		got := make(object)
		for _, name := range dictionary.Names() {
			member, _ := dictionary.Get(name)
			item, isItem := member.(httpsfv.Item)
			if !isItem || len(item.Params.Names()) > 0 {
				t.Fatalf("%s in %q is no bare item", name, value)
			}
			got[name] = item.Value
		}
		want := object{"id": p.Commitment[:], "c": int64(p.Chain), "i": int64(p.Index), "w": p.Payword[:],
			"n": int64(p.Number), "max": int64(p.Max)}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: a general parser reads %v, want %v", value, got, want)
		}
	})
}

// FuzzParseStatus: what is accepted is written again with the same meaning.
func FuzzParseStatus(f *testing.F) {
	seed(f, "headers", texts("value"))
	f.Fuzz(func(t *testing.T, value string) {
		s, refusal := payword.ParseStatus(value)
		if refusal.Refused() {
			return
		}
		if again, refusal := payword.ParseStatus(payword.FormatStatus(s)); refusal.Refused() || again != s {
			t.Errorf("written and read again: %+v (%s), want %+v", again, refusal, s)
		}
	})
}

// FuzzParseChallenges: the challenges of any field, written again one by one or
// together, are the same, also among those of other schemes.
func FuzzParseChallenges(f *testing.F) {
	seed(f, "challenges", func(input object) []any {
		values, _ := input["values"].([]any)
		if len(values) == 0 {
			return nil
		}
		return []any{values[0]}
	})
	f.Fuzz(func(t *testing.T, value string) {
		challenges, err := payword.ParseChallenges([]string{value})
		if err != nil || len(challenges) == 0 {
			return
		}
		var fields []string
		for _, c := range challenges {
			fields = append(fields, c.Format())
		}
		again, err := payword.ParseChallenges(fields)
		if err != nil || !slices.Equal(again, challenges) {
			t.Fatalf("written and read again: %q (%v), want %q", again, err, challenges)
		}
		joined := `Basic realm="a, b", ` + strings.Join(fields, ", Negotiate YQ==, ") + ", Bearer"
		if len(joined) > 4*payword.MaxChallengeBytes {
			return
		}
		if again, err = payword.ParseChallenges([]string{joined}); err != nil || !slices.Equal(again, challenges) {
			t.Errorf("written into one field and read again: %q (%v), want %q", again, err, challenges)
		}
	})
}

// FuzzFormatChallenge: any challenge is read again as it was, its id too, if it
// has the required parameters and holds no control characters.
func FuzzFormatChallenge(f *testing.F) {
	f.Add("news.example", "payword", "session", "e30", "2026-09-21T14:13:20Z", `Say "please" \ now`)
	f.Add("a|b", "", "", "", "", "")
	f.Add("", "payword", "charge", "e30", "", "tab\tinside, comma=\"1\"")
	f.Fuzz(func(t *testing.T, realm, method, intent, request, expires, description string) {
		for _, text := range []string{realm, method, intent, request, expires, description} {
			for _, c := range []byte(text) {
				if c < 0x20 && c != '\t' || c == 0x7f {
					return
				}
			}
		}
		c, err := payword.Challenge{Realm: realm, Method: method, Intent: intent, Request: request, Expires: expires, Description: description}.Bind([]byte("secret"))
		if err != nil {
			if !strings.Contains(realm+method+intent+request+expires, "|") {
				t.Fatalf("binding: %v", err)
			}
			return
		}
		field := c.Format()
		again, err := payword.ParseChallenges([]string{field})
		if method == "" || intent == "" || request == "" {
			if err == nil {
				t.Errorf("%q lacks a parameter and is accepted", field)
			}
			return
		}
		if len(field) <= 4*payword.MaxChallengeBytes && (err != nil || len(again) != 1 || again[0] != c) {
			t.Errorf("%q is read as %q (%v), want %q", field, again, err, c)
		}
	})
}

// FuzzParseCredential: what is accepted is written again with the same meaning.
func FuzzParseCredential(f *testing.F) {
	seed(f, "credentials", texts("value"))
	f.Fuzz(func(t *testing.T, value string) {
		c, refusal := payword.ParseCredential(value)
		if refusal.Refused() {
			return
		}
		if !payword.IsCredential(value) {
			t.Errorf("%q is read as a credential and not taken for one", value)
		}
		written, err := c.Format()
		if err != nil {
			return // escapes may make it longer than allowed
		}
		again, refusal := payword.ParseCredential(written)
		if refusal.Refused() || !reflect.DeepEqual(again, c) {
			t.Errorf("written and read again: %+v (%s), want %+v", again, refusal, c)
		}
		first, firstRefusal := c.Payload.Payment()
		second, secondRefusal := again.Payload.Payment()
		if first != second || firstRefusal != secondRefusal {
			t.Errorf("pays %+v (%s), written again %+v (%s)", first, firstRefusal, second, secondRefusal)
		}
		if firstRefusal.Refused() {
			return
		}
		header, refusal := payword.ParsePayment(payword.FormatPayment(first))
		if refusal.Refused() || header != first {
			t.Errorf("the compact form of %+v is read as %+v (%s)", first, header, refusal)
		}
	})
}

// FuzzParsePriceRequest: the canonical form is a fixed point, is read with the
// same meaning, and is what sorting the members gives.
func FuzzParsePriceRequest(f *testing.F) {
	seed(f, "challenges", func(input object) []any {
		challenge, _ := input["challenge"].(object)
		text, isText := challenge["request"].(string)
		if !isText {
			return nil
		}
		return []any{text}
	})
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"amount":"1","currency":"usd-micro","recipient":"https://a.example","methodDetails":{"brokers":null,"httpMethod":"GET","url":"https://a.example/\\u0026?a=\"&b"}}`)))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := payword.ParsePriceRequest(text)
		if err != nil {
			return
		}
		canonical, err := r.Canonical()
		if err != nil {
			return
		}
		again, err := payword.ParsePriceRequest(canonical)
		if err != nil {
			t.Fatalf("the canonical form of %+v is not read: %v", r, err)
		}
		fixed, err := again.Canonical()
		if err != nil || fixed != canonical {
			t.Errorf("canonical again: %s (%v), want %s", fixed, err, canonical)
		}
		if len(r.MethodDetails.Brokers) == 0 {
			r.MethodDetails.Brokers = []string{}
		}
		if !reflect.DeepEqual(again, r) {
			t.Errorf("written and read again: %+v, want %+v", again, r)
		}
		document, err := base64.RawURLEncoding.DecodeString(canonical)
		if err != nil {
			t.Fatal(err)
		}
		if sorted := sortedJSON(t, document); !bytes.Equal(sorted, document) {
			t.Errorf("canonical: %s, want %s", document, sorted)
		}
	})
}

// sortedJSON writes a document of printable ASCII again as RFC 8785 does.
func sortedJSON(tb testing.TB, document []byte) []byte {
	tb.Helper()
	var sorted bytes.Buffer
	encoder := json.NewEncoder(&sorted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain(tb, document)); err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimSpace(sorted.Bytes())
}

// change returns token with one byte replaced, removed or added.
func change(token string, position uint, with byte, kind uint8) string {
	at := int(position % uint(len(token)))
	switch kind % 4 {
	case 0:
		return token[:at] + string([]byte{with}) + token[at+1:]
	case 1:
		return token[:at] + token[at+1:]
	case 2:
		return token[:at] + string([]byte{with}) + token[at:]
	}
	return token[:at] + string([]byte{token[at] ^ 1<<(with%8)}) + token[at+1:]
}

// fuzzToken checks that no change of a token that parse accepts is accepted,
// and that whatever it accepts is exactly one of the tokens that were signed.
func fuzzToken(f *testing.F, area string, parse func(tb testing.TB, token string) bool) {
	signed := make(map[string]bool)
	for _, v := range readVectors(f) {
		if v.Area != area {
			continue
		}
		token := plain(f, v.Input).(object)["token"].(string)
		f.Add(token, uint(len(v.Name)), byte('A'), uint8(len(v.Name)))
		if parse(f, token) {
			signed[token] = true
		}
	}
	if len(signed) == 0 {
		f.Fatal("no vector is accepted")
	}
	good := slices.Sorted(maps.Keys(signed))
	f.Fuzz(func(t *testing.T, token string, position uint, with byte, kind uint8) {
		if parse(t, token) && !signed[token] {
			t.Errorf("accepted %q, which nobody signed", token)
		}
		base := good[position%uint(len(good))]
		if changed := change(base, position/uint(len(good)), with, kind); changed != base && parse(t, changed) {
			t.Errorf("accepted %q, a change of %q", changed, base)
		}
	})
}

// worldOf returns the keys of the brokers in the vectors of an area.
func worldOf(tb testing.TB, area string) (vectorBrokers, string) {
	tb.Helper()
	for _, v := range readVectors(tb) {
		if v.Area != area {
			continue
		}
		var in struct {
			Brokers    vectorBrokers
			Commitment string
		}
		if err := json.Unmarshal(v.Input, &in); err != nil {
			tb.Fatal(err)
		}
		return in.Brokers, in.Commitment
	}
	tb.Fatalf("no vectors of area %s", area)
	return nil, ""
}

func FuzzParseCertificate(f *testing.F) {
	brokers, _ := worldOf(f, "certificates")
	fuzzToken(f, "certificates", func(tb testing.TB, token string) bool {
		c, refusal := payword.ParseCertificate(token, brokers.brokers())
		unverified, err := payword.UnverifiedCertificate(token)
		if !refusal.Refused() && (err != nil || !reflect.DeepEqual(c, unverified) || c.Token != token) {
			tb.Errorf("without its signature %q is read as %+v (%v), want %+v", token, unverified, err, c)
		}
		return !refusal.Refused()
	})
}

func FuzzParseCommitment(f *testing.F) {
	brokers, _ := worldOf(f, "commitments")
	fuzzToken(f, "commitments", func(tb testing.TB, token string) bool {
		m, refusal := payword.ParseCommitment(token, brokers.brokers())
		unverified, err := payword.UnverifiedCommitment(token)
		if !refusal.Refused() && (err != nil || !reflect.DeepEqual(m, unverified) || m.Token != token) {
			tb.Errorf("without its signatures %q is read as %+v (%v), want %+v", token, unverified, err, m)
		}
		stored, err := payword.StoredCommitment(m.ID, token)
		if !refusal.Refused() && (err != nil || !reflect.DeepEqual(m, stored)) {
			tb.Errorf("from where it was stored %q is read as %+v (%v), want %+v", token, stored, err, m)
		}
		return !refusal.Refused()
	})
}

func FuzzParseReservation(f *testing.F) {
	brokers, token := worldOf(f, "reservations")
	m := brokers.commitment(f, token)
	fuzzToken(f, "reservations", func(tb testing.TB, token string) bool {
		r, refusal := payword.ParseReservation(token, m, brokers.brokers())
		if !refusal.Refused() && (r.Commitment != m.ID || r.Amount > m.Limit || r.Token != token) {
			tb.Errorf("accepted %+v for %s", r, m.ID)
		}
		return !refusal.Refused()
	})
}

func FuzzParseClaim(f *testing.F) {
	var in struct {
		Token string
		Key   binary
	}
	for _, v := range readVectors(f) {
		if v.Area == "claims" {
			decodeStrictly(f, v.Input, &in)
			break
		}
	}
	fuzzToken(f, "claims", func(_ testing.TB, token string) bool {
		_, refusal := payword.ParseClaim(token, ed25519.PublicKey(in.Key))
		return !refusal.Refused()
	})
}

// FuzzParseJWKS: every key that is accepted is a good one, and the set is
// written again with the same keys.
func FuzzParseJWKS(f *testing.F) {
	seed(f, "keys", texts("document"))
	f.Fuzz(func(t *testing.T, document string) {
		keys, err := payword.ParseJWKS([]byte(document))
		if err != nil {
			return
		}
		want := make(map[string]ed25519.PublicKey)
		for _, key := range keys {
			if err := payword.CheckPublicKey(key); err != nil {
				t.Errorf("accepted a key that is %v", err)
			}
			want[payword.Thumbprint(key)] = key
		}
		written, err := payword.FormatJWKS(slices.Collect(maps.Values(want))...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := payword.ParseJWKS(written); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("written and read again: %v (%v), want %v", got, err, want)
		}
	})
}

// FuzzCheckOrigin: what is accepted is exactly the origin that a general parser
// of URLs finds in it.
func FuzzCheckOrigin(f *testing.F) {
	seed(f, "origins", texts("origin"))
	f.Fuzz(func(t *testing.T, origin string) {
		if payword.CheckOrigin(origin) != nil {
			return
		}
		parsed, err := url.Parse(origin)
		if err != nil {
			t.Fatalf("accepted %q, which is no URL: %v", origin, err)
		}
		if got := parsed.Scheme + "://" + parsed.Host; got != origin {
			t.Errorf("accepted %q, whose origin is %q", origin, got)
		}
		if parsed.Scheme != "https" && !payword.IsLoopbackHost(parsed.Hostname()) {
			t.Errorf("accepted %q, which is neither https nor this machine", origin)
		}
	})
}

// FuzzParseSignatureInput: what is accepted is a structured field with the same
// values, and is what Sign writes.
func FuzzParseSignatureInput(f *testing.F) {
	seed(f, "signatures", texts("input"))
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Fuzz(func(t *testing.T, input string) {
		r, refusal := payword.ParseSignatureInput(input)
		if refusal.Refused() {
			return
		}
		if written, _, err := r.Sign(key); err != nil || written != input {
			t.Errorf("written again: %q (%v), want %q", written, err, input)
		}
		dictionary, err := httpsfv.UnmarshalDictionary([]string{input})
		if err != nil || !slices.Equal(dictionary.Names(), []string{"sig"}) {
			t.Fatalf("accepted %q, which is no dictionary of one signature (%v)", input, err)
		}
		member, _ := dictionary.Get("sig")
		list, isList := member.(httpsfv.InnerList)
		if !isList || len(list.Items) != 3 {
			t.Fatalf("accepted %q, which does not cover three components", input)
		}
		created, _ := list.Params.Get("created")
		keyID, _ := list.Params.Get("keyid")
		nonce, _ := list.Params.Get("nonce")
		if created != r.Created || keyID != r.KeyID || nonce != r.Nonce {
			t.Errorf("%q: a general parser reads %v, %v, %v, want %+v", input, created, keyID, nonce, r)
		}
	})
}

// FuzzParseReceipt: what is accepted is written again with the same meaning.
func FuzzParseReceipt(f *testing.F) {
	seed(f, "receipts", texts("value"))
	f.Fuzz(func(t *testing.T, value string) {
		receipt, err := payword.ParseReceipt(value)
		if err != nil {
			return
		}
		written, err := receipt.Format()
		if err != nil {
			t.Fatal(err)
		}
		if len(written) > 4096 {
			return // escapes may make it longer than allowed
		}
		if again, err := payword.ParseReceipt(written); err != nil || again != receipt {
			t.Errorf("written and read again: %+v (%v), want %+v", again, err, receipt)
		}
	})
}

// FuzzFingerprint: different requests have different fingerprints, wherever the
// parts are cut.
func FuzzFingerprint(f *testing.F) {
	f.Add("GET", "https://news.example/a", "", "", "GEThttps://news.example/a", "", "", "")
	f.Add("GET", "https://news.example/a", "b", "", "GET", "https://news.example/a", "", "b")
	f.Fuzz(func(t *testing.T, m1, u1, d1, c1, m2, u2, d2, c2 string) {
		if strings.Contains(m1+u1+d1+c1+m2+u2+d2+c2, "\x00") {
			return
		}
		first, second := payword.NewFingerprint(m1, u1, d1, c1), payword.NewFingerprint(m2, u2, d2, c2)
		same := m1 == m2 && u1 == u2 && d1 == d2 && c1 == c2
		if (first == second) != same {
			t.Errorf("fingerprints equal: %t, requests equal: %t", first == second, same)
		}
		sum := sha256.Sum256([]byte(strings.Join([]string{"payword-request-1", m1, u1, d1, c1, ""}, "\x00")))
		if first != payword.Fingerprint(sum[:payword.FingerprintBytes]) {
			t.Errorf("got %x, want the beginning of %x", first, sum)
		}
	})
}

// FuzzChainHash: walking is hashing, and two walks are one.
func FuzzChainHash(f *testing.F) {
	f.Add([]byte("payword"), uint8(3), uint8(5))
	f.Fuzz(func(t *testing.T, text []byte, first, second uint8) {
		start := payword.Payword(sha256.Sum256(text))
		want := start
		for range int(first) + int(second) {
			want = sha256.Sum256(want[:])
		}
		if got := start.Walk(uint32(first)).Walk(uint32(second)); !got.Equal(want) {
			t.Errorf("walked %d and %d: %x, want %x", first, second, got, want)
		}
	})
}
