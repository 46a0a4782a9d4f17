package cards_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// world is honest cards and SAMs that are torn, lost and late, and somebody in
// between who drops, forges, reorders and replays records.
type world struct {
	*office
	random *rand.Rand
	cards  []*purse.SoftCard
	sams   []*purse.SoftSAM
	torn   map[purse.ID]cards.Authorisation // by card
	lost   map[purse.ID]bool
	owed   map[purse.ID]money.Amount // to merchants, fees taken off
	walked map[purse.ID]money.Amount // taken off a card, and claimed by nobody
	loaded map[purse.ID]int          // how often since every SAM turned in its batch
}

func newWorld(t *testing.T, random *rand.Rand) *world {
	w := &world{office: newOffice(t), random: random, torn: make(map[purse.ID]cards.Authorisation), lost: make(map[purse.ID]bool),
		owed: make(map[purse.ID]money.Amount), walked: make(map[purse.ID]money.Amount), loaded: make(map[purse.ID]int)}
	for i := range 5 {
		account := ""
		if i < 3 {
			account = w.account(i, 150*money.Unit)
		}
		w.cards = append(w.cards, w.card(i, account))
	}
	for i := range 3 {
		w.sams = append(w.sams, w.sam(i))
	}
	return w
}

// times is how often a call is made: its answer may be lost.
func (w *world) times() int { return 1 + w.random.IntN(5)/4 }

func (w *world) net(amount money.Amount) money.Amount {
	fee, err := fee.Purse().Fee(amount, eur)
	if err != nil {
		w.t.Fatal(err)
	}
	return amount - min(fee, amount)
}

// loadSome loads a card, which may be torn off anywhere.
func (w *world) loadSome(card *purse.SoftCard) {
	if w.lost[card.ID] {
		return
	}
	w.resolveTorn(card)
	// What a card took back counts until its second load after it, if no batch says it
	// before: merchants turn in every day.
	if w.loaded[card.ID]++; w.loaded[card.ID] > 1 {
		for _, sam := range w.sams {
			w.submitSome(sam)
		}
		clear(w.loaded)
	}
	request, answer := ask(card, 1+w.random.Uint32N(40_00))
	var granted cards.Authorisation
	for range w.times() {
		a, refusal, err := w.AuthoriseLoad(w.t.Context(), request, answer)
		if err != nil {
			w.t.Fatal(err)
		}
		if refusal != nil {
			if refusal.Reason != cards.OverLimit && refusal.Reason != cards.Insufficient {
				w.t.Fatalf("a load is refused: %v", refusal)
			}
			return
		}
		granted = a
	}
	switch w.random.IntN(4) {
	case 0: // CREDIT does not come to the card
		w.torn[card.ID] = granted
		return
	case 1: // its answer does not come back
		if _, err := card.Credit(granted.Credit); err != nil {
			w.t.Fatal(err)
		}
		w.torn[card.ID] = granted
		return
	}
	receipt, err := card.Credit(granted.Credit)
	if err != nil {
		w.t.Fatal(err)
	}
	for range w.times() {
		if refusal, err := w.ConfirmLoad(w.t.Context(), granted.Reference, receipt.Append(nil)); err != nil || refusal != nil {
			w.t.Fatalf("%v (%v)", refusal, err)
		}
	}
}

// resolveTorn asks a card what came of its last load, unless a payment or a
// closing told it before.
func (w *world) resolveTorn(card *purse.SoftCard) {
	torn, isTorn := w.torn[card.ID]
	if !isTorn {
		return
	}
	delete(w.torn, card.ID)
	open, err := w.OpenLoads(w.t.Context(), 100)
	if err != nil {
		w.t.Fatal(err)
	}
	if !slices.ContainsFunc(open, func(l cards.OpenLoad) bool { return l.Reference == torn.Reference }) {
		return
	}
	challenge, refusal, err := w.ChallengeLoad(w.t.Context(), torn.Reference)
	if err != nil || refusal != nil {
		w.t.Fatalf("%v (%v)", refusal, err)
	}
	answer := card.LoadStatus(challenge).Append(nil)
	for range w.times() {
		if _, refusal, err := w.ResolveLoad(w.t.Context(), torn.Reference, answer); err != nil || refusal != nil {
			w.t.Fatalf("%v (%v)", refusal, err)
		}
	}
}

// paySome lets a card pay a merchant, offline or online, or walk away.
func (w *world) paySome(card *purse.SoftCard, sam *purse.SoftSAM) {
	if w.lost[card.ID] || card.Balance == 0 {
		return
	}
	amount := 1 + w.random.Uint32N(min(card.Balance, 15_00))
	switch w.random.IntN(6) {
	case 0:
		w.walkAway(card, sam, amount)
		return
	case 1: // no card
		sam.Next()
		sam.Void(purse.ID{}, 0, amount, start, purse.NeverOrdered)
		return
	}
	record, previous := w.pay(sam, card, amount)
	w.owed[sam.Merchant] += w.net(cents.Amount(amount))
	if w.random.IntN(3) == 0 {
		for range w.times() {
			if _, refusal, err := w.PayOnline(w.t.Context(), record, previous); err != nil || refusal != nil {
				w.t.Fatalf("%v (%v)", refusal, err)
			}
		}
	}
	if w.random.IntN(4) == 0 {
		w.cancelSome(card, sam, amount)
	}
}

// cancelSome lets a card take its last payment back; the SAM may not hear of it.
func (w *world) cancelSome(card *purse.SoftCard, sam *purse.SoftSAM, amount uint32) {
	paid, sno := sam.TNo, card.SNo
	if w.random.IntN(2) == 0 {
		if _, _, err := sam.Cancel(card, uint32(w.now.Load())); err != nil {
			w.t.Fatal(err)
		}
		w.owed[sam.Merchant] -= w.net(cents.Amount(amount))
		return
	}
	tno := sam.Next()
	isDone := w.random.IntN(2) == 0
	var cancellation purse.Cancellation
	var macz purse.MAC
	if isDone {
		var err error
		if cancellation, macz, err = card.Cancel(sam.Merchant, tno, paid, uint32(w.now.Load())); err != nil {
			w.t.Fatal(err)
		}
		w.owed[sam.Merchant] -= w.net(cents.Amount(amount))
	}
	sam.Void(card.ID, sno+1, amount, start, purse.UnprovedCancellation)
	if !isDone {
		return // the card's next payment shows it, or an operator decides
	}
	want := "open" // until the batch comes
	if w.random.IntN(2) == 0 {
		want = "holder"
		w.submitSome(sam)
	}
	for range w.times() {
		d, refusal, err := w.ClaimCancellation(w.t.Context(), cancellation.Append(nil), macz)
		if err != nil || refusal != nil || d.State != want {
			w.t.Fatalf("%+v %v (%v)", d, refusal, err)
		}
	}
}

// walkAway takes the money off a card whose answer the SAM never gets in time.
func (w *world) walkAway(card *purse.SoftCard, sam *purse.SoftSAM, amount uint32) {
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), amount, uint32(w.now.Load()))
	if err != nil {
		w.t.Fatal(err)
	}
	isClaimed := w.random.IntN(3) > 0
	isFirst := w.random.IntN(2) == 0
	claim := func() {
		for range w.times() {
			if _, refusal, err := w.Claim(w.t.Context(), proof.Append(nil), macz, "torn at the till"); err != nil || refusal != nil {
				w.t.Fatalf("%v (%v)", refusal, err)
			}
		}
	}
	if isClaimed && isFirst {
		claim()
	}
	if isClaimed && isFirst && w.random.IntN(2) == 0 { // the till finds it after all
		if _, _, err := sam.Commit(proof, macz); err != nil {
			w.t.Fatal(err)
		}
		w.owed[sam.Merchant] += w.net(cents.Amount(amount))
		return
	}
	sam.Void(card.ID, proof.SNo, amount, start, purse.Unproved)
	if isClaimed && !isFirst {
		w.submitSome(sam)
		claim()
	}
	if !isClaimed {
		w.walked[card.ID] += cents.Amount(amount)
	}
}

// submitSome hands in a batch, after somebody has tried to make another of it.
func (w *world) submitSome(sam *purse.SoftSAM) {
	total, records := sam.Close()
	if total == nil {
		return
	}
	batch := append(slices.Clone(total), records...)
	for range w.random.IntN(3) {
		bad := slices.Clone(batch)
		at := purse.TotalLength + w.random.IntN(len(records))
		switch w.random.IntN(4) {
		case 0:
			bad[w.random.IntN(len(bad))] ^= 1 << w.random.IntN(8)
		case 1: // dropped
			bad = bad[:at]
		case 2: // replayed
			bad = append(bad, records[:min(len(records), purse.PaymentLength)]...)
		case 3: // reordered, or nothing in a batch of one byte twice
			other := purse.TotalLength + w.random.IntN(len(records))
			bad[at], bad[other] = bad[other], bad[at]
		}
		if slices.Equal(bad, batch) {
			continue
		}
		if _, refusals, err := w.SubmitBatch(w.t.Context(), bad); err != nil || len(refusals) == 0 {
			w.t.Fatalf("a batch that was tampered with is taken: %v (%v)", refusals, err)
		}
	}
	for range w.random.IntN(2) { // the answer is lost
		if _, refusals, err := w.SubmitBatch(w.t.Context(), batch); err != nil || len(refusals) > 0 {
			w.t.Fatalf("%v (%v)", refusals, err)
		}
	}
	w.submit(sam)
}

// monthEnds hands in everything, and lets a month go by.
func (w *world) monthEnds() {
	for _, sam := range w.sams {
		w.submitSome(sam)
	}
	w.now.Add(31 * dayLong)
	for range w.times() {
		if _, waiting, err := w.PayBackDue(w.t.Context(), 100); err != nil || len(waiting) > 0 {
			w.t.Fatalf("%v (%v)", waiting, err)
		}
		if _, err := w.DecideDue(w.t.Context(), 100); err != nil {
			w.t.Fatal(err)
		}
	}
	open, err := w.Disputes(w.t.Context(), true, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range open {
		if _, refusal, err := w.Decide(w.t.Context(), d.Merchant, d.TNo, false, "anna"); d.Reason != "cancellation" || err != nil || refusal != nil {
			w.t.Fatalf("%+v: %v (%v)", d, refusal, err)
		}
	}
}

// wantAccounted fails unless every cent is where it belongs.
func (w *world) wantAccounted() {
	w.t.Helper()
	w.wantSound()
	kinds := slices.DeleteFunc(w.alarms(), func(kind cards.AlarmKind) bool { return kind == cards.OpenCancellation })
	if len(kinds) > 0 {
		w.t.Errorf("alarms %v about honest cards", kinds)
	}
	for _, card := range w.cards {
		want := cents.Amount(card.Balance) + w.walked[card.ID]
		if w.lost[card.ID] {
			want = 0 // paid back
		}
		w.wantBalance("card:"+card.ID.String()+":shadow", want)
	}
	for _, sam := range w.sams {
		w.wantBalance("merchant:"+sam.Merchant.String()+":payable", w.owed[sam.Merchant])
	}
	w.wantBalance("broker:cards:disputes", 0)
}

func TestEveryCentIsAccountedFor(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for range 150 {
		card, sam := w.cards[w.random.IntN(len(w.cards))], w.sams[w.random.IntN(len(w.sams))]
		switch n := w.random.IntN(100); {
		case n < 25:
			w.loadSome(card)
		case n < 80:
			w.paySome(card, sam)
		case n < 92:
			w.submitSome(sam)
		case n < 94 && !w.lost[card.ID]:
			if err := w.ReportCard(t.Context(), card.ID, false, "cash desk 1"); err != nil {
				t.Fatal(err)
			}
			w.lost[card.ID] = true
		case n < 96:
			w.monthEnds()
		default:
			w.now.Add(3600)
		}
	}
	for _, card := range w.cards {
		if !w.lost[card.ID] {
			w.resolveTorn(card)
		}
	}
	// The first decides what a lost card waits for, and the second pays it back.
	w.monthEnds()
	w.monthEnds()
	w.wantAccounted()
}
