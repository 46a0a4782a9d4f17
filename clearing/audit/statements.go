package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// The lines of a statement, as docs/statements.md has them. They are written
// here once more, so that a statement says what the rows say whoever wrote it.
type (
	statementHead struct {
		Format      string           `json:"format"`
		Kind        string           `json:"kind"`
		Party       string           `json:"party"`
		Run         string           `json:"run"`
		PeriodEnd   string           `json:"periodEnd"`
		Issuer      string           `json:"issuer"`
		Currency    string           `json:"currency"`
		Commitments int64            `json:"commitments"`
		Paid        string           `json:"paid"`
		Settlement  *statementSettle `json:"settlement,omitempty"`
	}
	statementSettle struct {
		FeeRule string `json:"feeRule"`
		Gross   string `json:"gross"`
		Fee     string `json:"fee"`
		Payout  string `json:"payout"`
		Carried string `json:"carried"`
	}
	statementEntry struct {
		Commitment string          `json:"commitment"`
		PaidBefore string          `json:"paidBefore"`
		Paid       string          `json:"paid"`
		Cumulative string          `json:"cumulative"`
		Fee        string          `json:"fee,omitempty"`
		Tails      []statementTail `json:"tails"`
		Claim      string          `json:"claim"`
		ClaimKey   string          `json:"claimKey,omitempty"`
		Token      string          `json:"token"`
	}
	statementTail struct {
		Index   uint32 `json:"index"`
		Payword string `json:"payword,omitempty"`
	}
)

// party is whose statement one is, with what it is made of so far.
type party struct {
	head      statementHead
	paid, fee int64 // micros
	seen      *big.Int
	given     int64 // of the fee, micros
	text      hash.Hash
}

// checkStatements makes the statements of every run again, and the tree over
// them, and checks the chain of signed days.
func (a *auditor) checkStatements(ctx context.Context) error {
	if err := a.checkEvidence(ctx); err != nil {
		return err
	}
	days, err := a.loadDays(ctx)
	if err != nil {
		return err
	}
	for _, r := range a.runs {
		if r.isStarted() && r.evidenceSeq >= r.cutoff {
			if err := a.checkStatementsOf(ctx, r, days[r.id]); err != nil {
				return err
			}
		}
		delete(days, r.id)
	}
	for run := range days {
		a.find(DayDiffers, "run "+run, "it is not published", "a day of it is signed")
	}
	return nil
}

func (a *auditor) checkStatementsOf(ctx context.Context, r *run, day *signedDay) error {
	parties := make(map[string]*party) // by kind and name
	for _, step := range []func(context.Context, *run, map[string]*party) error{a.sumParties, a.settleParties, a.writeStatements} {
		if err := step(ctx, r, parties); err != nil {
			return err
		}
	}
	tree, err := a.compareStatements(ctx, r, parties)
	if err != nil || day == nil {
		return err
	}
	root := tree.root()
	if !bytes.Equal(day.root, root[:]) || day.leaves != tree.leaves {
		a.find(DayDiffers, "run "+r.id, fmt.Sprintf("the tree over its %d statements has the root %x", tree.leaves, root),
			fmt.Sprintf("%d statements with %x were signed", day.leaves, day.root))
	}
	return nil
}

// sumParties adds up what each statement is about.
func (a *auditor) sumParties(ctx context.Context, r *run, parties map[string]*party) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var vendor, account string
		var amount int64
		err := scan(&vendor, &account, &amount)
		for _, key := range []string{"vendor " + vendor, "user " + account} {
			p := parties[key]
			if p == nil {
				p = a.newParty(r, key)
				parties[key] = p
			}
			p.head.Commitments++
			p.paid += amount // the journal bounds it
		}
		return err
	}, `SELECT vendor, account, amount FROM clearing_evidence WHERE run_id = ?`, r.id)
}

func (a *auditor) newParty(r *run, key string) *party {
	kind, name, _ := strings.Cut(key, " ")
	return &party{text: sha256.New(), seen: new(big.Int), head: statementHead{Format: "payword-statement/1", Kind: kind, Party: name,
		Run: r.id, PeriodEnd: r.periodEnd, Issuer: a.issuer, Currency: r.currency}}
}

// settleParties adds what the run did for vendors.
func (a *auditor) settleParties(ctx context.Context, r *run, parties map[string]*party) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var name, result string
		var gross, fee, amount int64
		err := scan(&name, &gross, &fee, &amount, &result)
		if result != "sent" {
			fee, amount = 0, 0
		}
		p := parties["vendor "+name]
		if p == nil {
			p = a.newParty(r, "vendor "+name)
			parties["vendor "+name] = p
		}
		p.fee = fee
		p.head.Settlement = &statementSettle{r.feeRule, decimal(gross), decimal(fee), decimal(amount), decimal(gross - fee - amount)}
		return err
	}, `SELECT party, gross, fee, amount, outcome FROM clearing_lines WHERE run_id = ? AND kind = 'vendor'`, r.id)
}

func decimal(amount int64) string { return strconv.FormatInt(amount, 10) }

// writeStatements hashes all statements line by line.
func (a *auditor) writeStatements(ctx context.Context, r *run, parties map[string]*party) error {
	for _, p := range parties {
		p.head.Paid = decimal(p.paid)
		p.write(p.head)
	}
	for kind, column := range map[string]string{"vendor": "vendor", "user": "account"} {
		err := a.snapshot.each(ctx, func(scan scanner) error {
			var name string
			var amount, paid int64
			var tails, key []byte
			var e statementEntry
			if err := scan(&name, &e.Commitment, &amount, &paid, &tails, &e.Claim, &key, &e.Token); err != nil {
				return err
			}
			e.PaidBefore, e.Paid, e.Cumulative = decimal(paid-amount), decimal(amount), decimal(paid)
			e.ClaimKey = base64.RawURLEncoding.EncodeToString(key)
			stored, _ := readTails(tails)
			for _, t := range stored {
				shown := statementTail{Index: t.index}
				if t.index > 0 {
					shown.Payword = base64.RawURLEncoding.EncodeToString(t.word[:])
				}
				e.Tails = append(e.Tails, shown)
			}
			p := parties[kind+" "+name]
			if share := p.share(amount); share != 0 {
				e.Fee = decimal(share)
			}
			p.write(e)
			return nil
		}, `SELECT e.`+column+`, e.commitment, e.amount, e.paid, e.tails, e.claim, e.claim_key, COALESCE(c.token, '')
			FROM clearing_evidence e LEFT JOIN broker_commitments c ON c.id = e.commitment WHERE e.run_id = ? ORDER BY e.`+column+`, e.commitment`, r.id)
		if err != nil {
			return err
		}
	}
	return nil
}

// write writes a line of a statement.
func (p *party) write(line any) {
	encoder := json.NewEncoder(p.text) // a hash takes everything
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(line) // texts and numbers alone
}

// share returns the share of a vendor's fee that an entry has: what the part of
// all entries up to it, rounded down, is more than what those before it have.
func (p *party) share(amount int64) int64 {
	if p.fee == 0 || p.paid == 0 {
		return 0
	}
	p.seen.Add(p.seen, big.NewInt(amount))
	upTo := new(big.Int).Mul(big.NewInt(p.fee), p.seen)
	share := upTo.Quo(upTo, big.NewInt(p.paid)).Int64() - p.given
	p.given += share
	return share
}

// compareStatements compares the statements of a run with those that were kept,
// in their order, and returns the tree over those.
func (a *auditor) compareStatements(ctx context.Context, r *run, parties map[string]*party) (*tree, error) {
	var order []string
	for key := range parties {
		order = append(order, key)
	}
	slices.SortFunc(order, func(x, y string) int {
		if isVendor := strings.HasPrefix(x, "vendor "); isVendor != strings.HasPrefix(y, "vendor ") {
			if isVendor {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	t := new(tree)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var number, commitments int64
		var kind, name string
		var digest []byte
		if err := scan(&number, &kind, &name, &commitments, &digest); err != nil {
			return err
		}
		a.looked.Statements++
		p := parties[kind+" "+name]
		isNext := number == t.leaves && t.leaves < int64(len(order)) && order[t.leaves] == kind+" "+name
		switch {
		case p == nil || !isNext:
			a.find(StatementDiffers, "run "+r.id+" "+kind+" "+name, "it has no statement in that place", fmt.Sprintf("statement %d is", number))
		case commitments != p.head.Commitments || !bytes.Equal(digest, p.text.Sum(nil)):
			a.find(StatementDiffers, "run "+r.id+" "+kind+" "+name, fmt.Sprintf("its statement of %d commitments has the digest %x", p.head.Commitments, p.text.Sum(nil)),
				fmt.Sprintf("one of %d has %x", commitments, digest))
		}
		t.add(digest)
		return nil
	}, `SELECT number, kind, party, commitments, digest FROM clearing_statements WHERE run_id = ? ORDER BY number`, r.id)
	if err == nil && t.leaves != int64(len(order)) && (r.state == "final" || t.leaves > 0) {
		a.find(StatementDiffers, "run "+r.id, fmt.Sprintf("%d have a statement", len(order)), fmt.Sprintf("%d statements are kept", t.leaves))
	}
	return t, err
}

// tree is the Merkle tree of RFC 6962 over leaves that come one after the other.
type tree struct {
	leaves int64
	whole  []subtree // from the largest down
}

type subtree struct {
	leaves int64
	root   [sha256.Size]byte
}

func (t *tree) add(leaf []byte) {
	t.leaves++
	t.whole = append(t.whole, subtree{1, sha256.Sum256(append([]byte{0}, leaf...))})
	for n := len(t.whole); n > 1 && t.whole[n-1].leaves == t.whole[n-2].leaves; n = len(t.whole) {
		t.whole = append(t.whole[:n-2], subtree{2 * t.whole[n-1].leaves, node(t.whole[n-2].root, t.whole[n-1].root)})
	}
}

func node(left, right [sha256.Size]byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func (t *tree) root() [sha256.Size]byte {
	if len(t.whole) == 0 {
		return sha256.Sum256(nil)
	}
	root := t.whole[len(t.whole)-1].root
	for k := len(t.whole) - 2; k >= 0; k-- {
		root = node(t.whole[k].root, root)
	}
	return root
}

// signedDay is a day as it is stored.
type signedDay struct {
	root   []byte
	leaves int64
}

// dayText is what the token of a day says.
type dayText struct {
	Issuer    string `json:"iss"`
	Number    int64  `json:"number"`
	Run       string `json:"run"`
	PeriodEnd string `json:"periodEnd"`
	Currency  string `json:"currency"`
	Leaves    int64  `json:"leaves"`
	Root      string `json:"root"`
	Previous  string `json:"previous"`
}

// loadDays reads the days that were signed, and checks that each names the one
// before it and says what its row says.
func (a *auditor) loadDays(ctx context.Context) (map[string]*signedDay, error) {
	days, number, before := make(map[string]*signedDay), int64(0), ""
	runs := make(map[string]*run)
	for _, r := range a.runs {
		runs[r.id] = r
	}
	err := a.snapshot.each(ctx, func(scan scanner) error {
		d := new(signedDay)
		var id, previous, token string
		var got int64
		if err := scan(&id, &got, &d.root, &d.leaves, &previous, &token); err != nil {
			return err
		}
		days[id] = d
		number++
		a.looked.Days++
		want := dayText{Issuer: a.issuer, Number: number, Run: id, Leaves: d.leaves, Root: base64.RawURLEncoding.EncodeToString(d.root), Previous: before}
		if r := runs[id]; r != nil {
			want.PeriodEnd, want.Currency = r.periodEnd, r.currency
		}
		if text := a.readDay(id, token); text != want || got != number || previous != before {
			a.find(DayDiffers, "run "+id, fmt.Sprintf("the signed day is %+v", text), fmt.Sprintf("it is day %d, %+v", got, want))
		}
		hash := sha256.Sum256([]byte(token))
		before = hex.EncodeToString(hash[:])
		return nil
	}, `SELECT run_id, number, root, leaves, previous, token FROM clearing_days ORDER BY number`)
	if err == nil && number > 0 && a.options.DayKeys == nil {
		a.note("the signatures of %d days were not checked: give the published keys of clearing", number)
	}
	return days, err
}

// readDay reads the token of a day and checks who signed it, where that is known.
func (a *auditor) readDay(id, token string) (text dayText) {
	parts := strings.Split(token, ".")
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}
	var signature []byte
	var err error
	if len(parts) != 3 {
		return text
	}
	for k, target := range []any{&header, &text} {
		decoded, wrong := base64.RawURLEncoding.DecodeString(parts[k])
		if wrong == nil {
			wrong = json.Unmarshal(decoded, target)
		}
		if wrong != nil {
			err = wrong
		}
	}
	if err == nil {
		signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	}
	if a.options.DayKeys == nil {
		return text
	}
	a.signatures.Add(1)
	key := a.options.DayKeys[header.KeyID]
	isSigned := err == nil && header.Algorithm == "EdDSA" && header.Type == "payword-day+jwt" && len(key) == ed25519.PublicKeySize &&
		ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature)
	if !isSigned {
		a.find(DayUnsigned, "run "+id, "no known key of the clearing signed the day", "its key is "+strconv.Quote(header.KeyID))
	}
	return text
}
