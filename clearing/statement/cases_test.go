package statement_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/money"
)

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// tampering is one way to change a statement, and what a check makes of it.
type tampering struct {
	name, comment, expect string
	text                  func(t testing.TB) string
	options               func(*statement.Options)
}

// entryNamed returns the number of the line of a sale.
func entryNamed(t testing.TB, text, name string) int {
	t.Helper()
	id := ""
	for _, s := range honest() {
		if s.name == name {
			id = s.entry(t).Commitment.String()
		}
	}
	for number, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, `{"commitment":"`+id+`"`) {
			return number
		}
	}
	t.Fatalf("no entry of %s", name)
	return 0
}

// changed is an honest statement in which the entry of a sale differs.
func changed(name string, change func(*statement.Entry)) func(testing.TB) string {
	return func(t testing.TB) string {
		text := newBook(t, honest()...).text(t)
		return rewrite(t, text, entryNamed(t, text, name), change)
	}
}

// with is a statement of honest sales and one more.
func with(s sale) func(testing.TB) string {
	return func(t testing.TB) string {
		if s.vendor == "" {
			s.vendor = vendor
		}
		if s.units == nil {
			s.units, s.length, s.index, s.now = []money.Amount{1000}, 100, []uint32{10}, 10_000
		}
		return newBook(t, append(honest(), s)...).text(t)
	}
}

// signedAs changes the book before it is written.
func signedAs(change func(*book)) func(testing.TB) string {
	return func(t testing.TB) string {
		b := newBook(t, honest()...)
		change(b)
		return b.text(t)
	}
}

// lastLine changes the proof of an honest statement.
func lastLine(change func(*statement.Proof)) func(testing.TB) string {
	return func(t testing.TB) string {
		return rewrite(t, newBook(t, honest()...).text(t), 4, change)
	}
}

// raw changes the text of an honest statement.
func raw(old, replacement string) func(testing.TB) string {
	return func(t testing.TB) string {
		text := newBook(t, honest()...).text(t)
		if !strings.Contains(text, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(text, old, replacement, 1)
	}
}

// dayHeader writes another header before the day of an honest statement, and signs
// it with the clearing's key.
func dayHeader(write func(kid string) string) func(testing.TB) string {
	return lastLine(func(p *statement.Proof) {
		key := keyOf("clearing")
		_, rest, _ := strings.Cut(p.Day, ".")
		p.Day = resign(encode([]byte(write(payword.Thumbprint(public(key)))))+"."+rest, key)
	})
}

func userBook(t testing.TB) *book {
	other := sale{name: "dora", vendor: "https://music.example:8443", units: []money.Amount{500}, length: 20, index: []uint32{20}, before: 4000, now: 6000}
	b := newBook(t, append(honest(), other)...)
	b.header.Kind, b.header.Party, b.header.Settlement, b.others = statement.User, "qwertyuiop234567", nil, 299
	return b
}

var tamperings = []tampering{
	{name: "good-vendor", comment: "Three commitments, one of them paid before, in a tree of 303.", expect: "accepted",
		text: signedAs(func(*book) {})},
	{name: "good-user", comment: "A user's, with two vendors.", expect: "accepted", text: func(t testing.TB) string { return userBook(t).text(t) }},
	{name: "good-empty", comment: "Nothing was redeemed, and something carried before was paid out.", expect: "accepted",
		text: signedAs(func(b *book) { b.entries = nil; b.sort() })},
	{name: "good-alone", comment: "The only statement of its day.", expect: "accepted",
		text: signedAs(func(b *book) { b.others, b.after = 0, 0 })},
	{name: "good-unsigned", comment: "Without a day, and none is asked for.", expect: "accepted",
		text: signedAs(func(b *book) { b.dayKey = nil }), options: func(o *statement.Options) { o.DayKeys = nil }},
	{name: "good-claim-over-paid", comment: "The vendor claimed more later than was paid in this period.", expect: "accepted",
		text: with(sale{name: "emil", claimed: &payword.Claim{Amount: 10_000}, vendor: vendor, units: []money.Amount{1000}, length: 100, index: []uint32{10}, now: 9_000})},
	{name: "good-claim-without-key", comment: "The vendor withdrew the key that signed the claim.", expect: "accepted",
		text: signedAs(func(b *book) { b.entries[0].ClaimKey = "" })},

	{name: "white-space", comment: "JSON that is written in another way.", expect: "malformed-statement", text: raw(`{"commitment":`, `{ "commitment":`)},
	{name: "member-twice", comment: "A member that stands twice.", expect: "malformed-statement", text: raw(`,"paidBefore":"0"`, `,"paidBefore":"0","paidBefore":"0"`)},
	{name: "member-unknown", comment: "A member more.", expect: "malformed-statement", text: raw(`,"paidBefore":"0"`, `,"note":"x","paidBefore":"0"`)},
	{name: "member-missing", comment: "A member less.", expect: "malformed-statement", text: raw(`"paidBefore":"0",`, ``)},
	{name: "amount-as-number", comment: "An amount that is no string.", expect: "malformed-statement", text: raw(`"paidBefore":"0"`, `"paidBefore":0`)},
	{name: "another-format", comment: "Version 2.", expect: "malformed-statement", text: raw(`payword-statement/1`, `payword-statement/2`)},
	{name: "another-kind", comment: "Neither a vendor's nor a user's.", expect: "malformed-statement", text: raw(`"kind":"vendor"`, `"kind":"broker"`)},
	{name: "settlement-differs", comment: "Fee, payout and carried are not the gross.", expect: "malformed-statement", text: raw(`"payout":"380000"`, `"payout":"380001"`)},
	{name: "line-too-long", comment: "A line of more than 8192 bytes.", expect: "malformed-statement", text: raw(`"party":"https://news.example"`, `"party":"`+strings.Repeat("a", 9000)+`"`)},
	{name: "empty-file", comment: "Nothing at all.", expect: "incomplete-file", text: func(testing.TB) string { return "" }},
	{name: "cut-off", comment: "The proof is missing.", expect: "incomplete-file", text: func(t testing.TB) string {
		text := newBook(t, honest()...).text(t)
		return text[:strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1]
	}},
	{name: "no-last-line-feed", comment: "The last line does not end.", expect: "incomplete-file", text: func(t testing.TB) string {
		return strings.TrimSuffix(newBook(t, honest()...).text(t), "\n")
	}},
	{name: "goes-on", comment: "A line after the proof.", expect: "incomplete-file", text: func(t testing.TB) string { return newBook(t, honest()...).text(t) + "{}\n" }},
	{name: "wrong-issuer", comment: "The keys are those of another broker.", expect: "wrong-issuer", text: signedAs(func(*book) {}),
		options: func(o *statement.Options) { o.Issuer = "https://other.example" }},

	{name: "unknown-broker", comment: "The certificate is signed by a key that is not the broker's.", expect: "unknown-broker", text: with(sale{name: "fritz", broker: keyOf("forger")})},
	{name: "commitment-signature", comment: "Somebody else signed the commitment.", expect: "bad-commitment", text: with(sale{name: "gerd", user: keyOf("forger")})},
	{name: "commitment-id", comment: "The id is that of another token.", expect: "wrong-commitment",
		text: changed("anna", func(e *statement.Entry) { e.Commitment[15] ^= 1 })},
	{name: "commitment-cut", comment: "The token is no JWS, under its own id.", expect: "malformed-commitment", text: signedAs(func(b *book) {
		b.entries = b.entries[:1]
		b.entries[0].Token = "e30.e30"
		b.entries[0].Commitment = payword.NewCommitmentID("e30.e30")
		b.sort()
	})},
	{name: "another-vendor", comment: "A commitment to somebody else.", expect: "wrong-vendor", text: with(sale{name: "hanna", vendor: "https://music.example:8443",
		units: []money.Amount{1000}, length: 100, index: []uint32{10}, now: 10_000})},
	{name: "out-of-order", comment: "Two entries have changed places.", expect: "wrong-order", text: func(t testing.TB) string {
		lines := strings.SplitAfter(newBook(t, honest()...).text(t), "\n")
		lines[1], lines[2] = lines[2], lines[1]
		return strings.Join(lines, "")
	}},
	{name: "twice", comment: "A commitment stands twice.", expect: "wrong-order", text: func(t testing.TB) string {
		lines := strings.SplitAfter(newBook(t, honest()...).text(t), "\n")
		lines[2] = lines[1]
		return strings.Join(lines, "")
	}},

	{name: "tail-forged", comment: "A payword that does not lead to the root.", expect: "forged-payword", text: signedAs(func(b *book) {
		b.entries[0].ClaimKey = "" // or the claim's tail would be found first
		b.entries[0].Tails[0].Payword = encode(make([]byte, 32))
	})},
	{name: "tail-index-raised", comment: "The payword is genuine, its index is not.", expect: "forged-payword",
		text: changed("anna", func(e *statement.Entry) { e.Tails[0].Index++ })},
	{name: "tail-past-the-end", comment: "An index past the chain's length.", expect: "chain-exhausted",
		text: changed("anna", func(e *statement.Entry) { e.Tails[0].Index = 101 })},
	{name: "tail-missing", comment: "One tail less than chains.", expect: "wrong-tails",
		text: changed("ben", func(e *statement.Entry) { e.Tails = e.Tails[:1] })},
	{name: "tail-behind-claim", comment: "The claim shows a deeper payword.", expect: "wrong-tails",
		text: changed("anna", func(e *statement.Entry) { e.Tails[0].Index-- })},
	{name: "tail-of-index-0", comment: "A payword for a chain that was not used.", expect: "malformed-statement",
		text: changed("ben", func(e *statement.Entry) { e.Tails[1].Payword = e.Tails[0].Payword })},
	{name: "paid-over-tails", comment: "Paid more than the paywords prove.", expect: "claim-over-tails", text: with(sale{name: "ida",
		vendor: vendor, units: []money.Amount{1000}, length: 100, index: []uint32{10}, now: 10_001})},
	{name: "paid-over-limit", comment: "Paid more than the commitment allows.", expect: "claim-over-tails", text: with(sale{name: "jan",
		vendor: vendor, units: []money.Amount{1_000_000}, length: 200, index: []uint32{150}, now: 100_000_001})},

	{name: "claim-signature", comment: "Another key signed the claim than the entry says.", expect: "bad-claim",
		text: changed("anna", func(e *statement.Entry) { e.ClaimKey = payword.NewPublicKey(public(keyOf("forger"))).X })},
	{name: "claim-not-by-vendor", comment: "The vendor compares with its own keys.", expect: "unknown-vendor-key", text: signedAs(func(*book) {}),
		options: func(o *statement.Options) { o.VendorKeys = set(keyOf("another key of the vendor")) }},
	{name: "claim-of-another", comment: "The claim is on another commitment.", expect: "wrong-claim", text: func(t testing.TB) string {
		carla := honest()[2].entry(t)
		return changed("anna", func(e *statement.Entry) { e.Claim = carla.Claim })(t)
	}},
	{name: "claim-by-another-vendor", comment: "Another vendor claims.", expect: "wrong-claim", text: with(sale{name: "karl",
		claimed: &payword.Claim{Amount: 10_000, Vendor: "https://other.example"}})},
	{name: "claim-under-paid", comment: "The vendor asked for less.", expect: "wrong-claim", text: with(sale{name: "lena", claimed: &payword.Claim{Amount: 9_999}})},
	{name: "claim-cut", comment: "The claim is no JWS.", expect: "malformed-claim",
		text: changed("anna", func(e *statement.Entry) { e.Claim = "e30" })},

	{name: "sum-wrong", comment: "Before and now are not the cumulative amount.", expect: "wrong-sum",
		text: changed("ben", func(e *statement.Entry) { e.PaidBefore = 1999 })},
	{name: "fee-wrong", comment: "A share of the fee that is too high by a micro.", expect: "wrong-fee",
		text: changed("anna", func(e *statement.Entry) { e.Fee++ })},
	{name: "total-too-high", comment: "The header says more than the entries.", expect: "wrong-total", text: func(t testing.TB) string {
		b := newBook(t, honest()...)
		b.header.Settlement = nil // or the shares of the fee would differ first
		return rewrite(t, b.text(t), 0, func(h *statement.Header) { h.Paid++ })
	}},
	{name: "total-too-low", comment: "The header says less than the entries.", expect: "wrong-total", text: func(t testing.TB) string {
		b := newBook(t, honest()...)
		b.header.Settlement = nil
		return rewrite(t, b.text(t), 0, func(h *statement.Header) { h.Paid -= 40_000 })
	}},
	{name: "count-too-low", comment: "The header says fewer entries than there are.", expect: "malformed-statement", text: func(t testing.TB) string {
		b := newBook(t, honest()...)
		b.header.Settlement = nil
		text := b.text(t)
		last := len(b.entries)
		text = rewrite(t, text, 0, func(h *statement.Header) { h.Commitments--; h.Paid -= statement.Total(b.entries[last-1].Paid) })
		return text
	}},

	{name: "entry-left-out", comment: "An entry less, with a header that agrees: the proof is another's.", expect: "wrong-proof", text: func(t testing.TB) string {
		whole := strings.SplitAfter(newBook(t, honest()...).text(t), "\n")
		part := strings.SplitAfter(newBook(t, honest()[:2]...).text(t), "\n")
		return strings.Join(part[:3], "") + whole[4]
	}},
	{name: "settlement-changed", comment: "Another payout, in sums that agree.", expect: "wrong-proof",
		text: raw(`"payout":"380000","carried":"10000"`, `"payout":"390000","carried":"0"`)},
	{name: "path-changed", comment: "A hash of the path.", expect: "wrong-proof", text: lastLine(func(p *statement.Proof) { p.Path[0] = encode(make([]byte, 32)) })},
	{name: "path-short", comment: "A hash less.", expect: "wrong-proof", text: lastLine(func(p *statement.Proof) { p.Path = p.Path[1:] })},
	{name: "index-changed", comment: "Another place in the tree.", expect: "wrong-proof", text: lastLine(func(p *statement.Proof) { p.Index++ })},
	{name: "index-past-the-end", comment: "A place that is not in the tree.", expect: "wrong-proof", text: lastLine(func(p *statement.Proof) { p.Index = 303 })},
	{name: "leaves-changed", comment: "Another number of statements than the day says.", expect: "bad-day", text: lastLine(func(p *statement.Proof) { p.Leaves++ })},
	{name: "day-missing", comment: "Unsigned, where a day is asked for.", expect: "unsigned-day", text: signedAs(func(b *book) { b.dayKey = nil })},
	{name: "day-by-another-key", comment: "Signed by a key that is not the clearing's.", expect: "unknown-day-key", text: signedAs(func(b *book) { b.dayKey = keyOf("forger") })},
	{name: "day-signature", comment: "Somebody else's signature under the day.", expect: "bad-day", text: lastLine(func(p *statement.Proof) { p.Day = resign(p.Day, keyOf("forger")) })},
	{name: "day-of-another-run", comment: "The day is genuine, and of another run.", expect: "bad-day", text: func(t testing.TB) string {
		other := newBook(t, honest()...)
		other.header.Run = "run-2026-11-23-1"
		lines := strings.SplitAfter(other.text(t), "\n")
		own := strings.SplitAfter(newBook(t, honest()...).text(t), "\n")
		return strings.Join(own[:4], "") + lines[4]
	}},
	{name: "day-header-differs", comment: "The clearing's own signature, under a header that is written in another way.", expect: "bad-day",
		text: dayHeader(func(kid string) string { return `{"typ":"payword-day+jwt","alg":"EdDSA","kid":"` + kid + `"}` })},
	{name: "day-kid-no-thumbprint", comment: "A kid that would write on a terminal what is not so.", expect: "bad-day",
		text: dayHeader(func(string) string {
			return "{\"alg\":\"EdDSA\",\"kid\":\"\x1b[2J\rAll of it agrees.\",\"typ\":\"payword-day+jwt\"}"
		})},
	{name: "day-kid-escaped", comment: "The same, as JSON writes it.", expect: "bad-day",
		text: dayHeader(func(string) string { return `{"alg":"EdDSA","kid":"\u001b[2J","typ":"payword-day+jwt"}` })},
	{name: "day-no-jws", comment: "The day is no JWS.", expect: "bad-day", text: lastLine(func(p *statement.Proof) { p.Day = "e30.e30" })},
	{name: "user-vendor-differs", comment: "A user's statement with a claim by another vendor than the commitment's.", expect: "wrong-claim", text: func(t testing.TB) string {
		s := sale{name: "mia", vendor: vendor, units: []money.Amount{1000}, length: 50, index: []uint32{5}, now: 5000, claimed: &payword.Claim{Amount: 5000, Vendor: "https://other.example"}}
		b := newBook(t, s)
		b.header.Kind, b.header.Party, b.header.Settlement = statement.User, "qwertyuiop234567", nil
		return b.text(t)
	}},
}

// check runs Verify and returns the word.
func check(text string, o statement.Options) (string, statement.Report, error) {
	report, err := statement.Verify(strings.NewReader(text), o)
	if err == nil {
		return "accepted", report, nil
	}
	if d, isDisagreement := err.(*statement.Disagreement); isDisagreement {
		return string(d.Word), report, err
	}
	return "error", report, err
}

func (c tampering) optionsOf() statement.Options {
	o := options()
	if c.options != nil {
		c.options(&o)
	}
	return o
}
