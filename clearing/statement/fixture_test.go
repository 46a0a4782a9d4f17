package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/money"
)

const (
	issuer = "https://broker.example"
	vendor = "https://news.example"
	usd    = money.Currency("usd-micro")
	start  = 1_790_000_000 // seconds since 1970
)

// keyOf makes a key of a name, the same every time.
func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// set makes a set of public keys by kid.
func set(keys ...ed25519.PrivateKey) map[string]ed25519.PublicKey {
	found := map[string]ed25519.PublicKey{}
	for _, key := range keys {
		found[payword.Thumbprint(public(key))] = public(key)
	}
	return found
}

// sale is a commitment and what was paid on it.
type sale struct {
	name   string
	vendor string
	units  []money.Amount
	length uint32
	index  []uint32     // of the tails
	before money.Amount // paid before the period
	now    money.Amount // and in it

	// What differs from an honest one.
	broker  ed25519.PrivateKey
	user    ed25519.PrivateKey
	claimed *payword.Claim
	change  func(*payword.Commitment)
}

// entry signs everything.
func (s sale) entry(t testing.TB) statement.Entry {
	t.Helper()
	user, brokerKey := keyOf("user "+s.name), keyOf("broker")
	if s.broker != nil {
		brokerKey = s.broker
	}
	nonce := sha256.Sum256([]byte("nonce " + s.name))
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: issuer, Subject: "u-" + s.name, Key: public(user), IssuedAt: start, Expires: start + 2_592_000,
		ID: payword.Nonce(nonce[:16]), Currency: usd, Limit: 1_000_000_000,
	}, brokerKey)
	if err != nil {
		t.Fatal(err)
	}
	m := payword.Commitment{
		Vendor: s.vendor, Certificate: certificate, IssuedAt: start, Expires: start + 604_800,
		Nonce: payword.Nonce(nonce[16:]), Currency: usd, Limit: 100_000_000,
	}
	var tails []payword.Tail
	for k, unit := range s.units {
		tip := payword.Payword(sha256.Sum256([]byte{byte(k), s.name[0], s.name[len(s.name)-1]}))
		m.Chains = append(m.Chains, payword.ChainTerms{Root: tip.Walk(s.length), Unit: unit, Length: s.length})
		tail := payword.Tail{Index: s.index[k]}
		if tail.Index > 0 {
			tail.Payword = tip.Walk(s.length - tail.Index)
		}
		tails = append(tails, tail)
	}
	if s.change != nil {
		s.change(&m)
	}
	if m, err = payword.SignCommitment(m, user); err != nil {
		t.Fatal(err)
	}
	if s.user != nil {
		m.Token = resign(m.Token, s.user)
		m.ID = payword.NewCommitmentID(m.Token)
	}
	claim := payword.Claim{Vendor: s.vendor, Broker: issuer, Commitment: m.ID, Tails: tails, Amount: s.before + s.now, IssuedAt: start + 3600}
	if s.claimed != nil {
		claim.Amount = s.claimed.Amount
		if s.claimed.Vendor != "" {
			claim.Vendor = s.claimed.Vendor
		}
	}
	if claim, err = payword.SignClaim(claim, keyOf("vendor "+s.vendor)); err != nil {
		t.Fatal(err)
	}
	return statement.Entry{
		Commitment: m.ID, PaidBefore: s.before, Paid: s.now, Cumulative: s.before + s.now, Tails: statement.NewTails(tails),
		Claim: claim.Token, ClaimKey: payword.NewPublicKey(public(keyOf("vendor " + s.vendor))).X, Token: m.Token,
	}
}

// resign puts another signature under a token.
func resign(token string, key ed25519.PrivateKey) string {
	signed := token[:strings.LastIndexByte(token, '.')]
	return signed + "." + encode(ed25519.Sign(key, []byte(signed)))
}

// honest are three sales to one vendor.
func honest() []sale {
	return []sale{
		{name: "anna", vendor: vendor, units: []money.Amount{1000}, length: 100, index: []uint32{42}, now: 42_000},
		{name: "ben", vendor: vendor, units: []money.Amount{1000, 10_000}, length: 100, index: []uint32{7, 0}, before: 2000, now: 5000},
		{name: "carla", vendor: vendor, units: []money.Amount{100_000, 10}, length: 300, index: []uint32{3, 299}, now: 302_980},
	}
}

// book is a statement as the broker is about to write it.
type book struct {
	header  statement.Header
	entries []statement.Entry
	others  int // statements of the same day before it
	after   int // and after it
	number  int64
	dayKey  ed25519.PrivateKey // nil: unsigned
}

// newBook makes a vendor's statement of sales.
func newBook(t testing.TB, sales ...sale) *book {
	t.Helper()
	b := &book{others: 2, after: 300, number: 1, dayKey: keyOf("clearing"), header: statement.Header{
		Kind: statement.Vendor, Party: vendor, Run: "run-2026-11-22-1", PeriodEnd: "2026-11-22", Issuer: issuer, Currency: usd,
		Settlement: &statement.Settlement{FeeRule: "0.3pct-min-0.01/1", Gross: 400_000, Fee: 10_000, Payout: 380_000, Carried: 10_000},
	}}
	for _, s := range sales {
		b.entries = append(b.entries, s.entry(t))
	}
	b.sort()
	return b
}

func (b *book) sort() {
	slices.SortFunc(b.entries, func(x, y statement.Entry) int {
		return strings.Compare(x.Commitment.String(), y.Commitment.String())
	})
	b.header.Commitments, b.header.Paid = 0, 0
	for _, e := range b.entries {
		b.header.Commitments++
		b.header.Paid += statement.Total(e.Paid)
	}
}

// text writes the statement, with its day.
func (b *book) text(t testing.TB) string {
	t.Helper()
	var text bytes.Buffer
	w, err := statement.NewWriter(&text, b.header)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range b.entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := w.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(b.prove(t, leaf)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// prove puts a leaf among others and signs the day.
func (b *book) prove(t testing.TB, leaf statement.Digest) statement.Proof {
	t.Helper()
	leaves := make([]statement.Digest, b.others+1+b.after)
	for k := range leaves {
		leaves[k] = sha256.Sum256([]byte{byte(k), byte(k >> 8)})
	}
	leaves[b.others] = leaf
	tree := treeOf(t, leaves)
	proof, err := tree.Prove(int64(b.others))
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	if b.dayKey == nil {
		return proof
	}
	proof.Day, err = statement.SignDay(statement.Day{
		Issuer: b.header.Issuer, Number: b.number, Run: b.header.Run, PeriodEnd: b.header.PeriodEnd, Currency: b.header.Currency,
		Leaves: int64(len(leaves)), Root: encode(root[:]), IssuedAt: start + 90_000,
	}, b.dayKey)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func treeOf(t testing.TB, leaves []statement.Digest) *statement.Tree {
	t.Helper()
	tree, err := statement.NewTree(int64(len(leaves)), func(first int64, count int) ([]statement.Digest, error) {
		return leaves[first : first+int64(count)], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// options are what whoever checks knows of broker and clearing.
func options() statement.Options {
	return statement.Options{Keys: set(keyOf("broker")), Issuer: issuer, DayKeys: set(keyOf("clearing"))}
}

// rewrite changes one line of a statement, written as statements are.
func rewrite[T any](t testing.TB, text string, number int, change func(*T)) string {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	var value T
	if err := json.Unmarshal([]byte(lines[number]), &value); err != nil {
		t.Fatal(err)
	}
	change(&value)
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	lines[number] = line.String()
	return strings.Join(lines, "")
}
