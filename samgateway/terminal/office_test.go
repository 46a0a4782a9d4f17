package terminal_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// office is clearing and broker in memory. It is honest, checks every MAC, moves
// cents between named accounts, and can fail, or lose its answer after it did
// the work.
type office struct {
	t     testing.TB
	keys  *purse.Keys
	mutex sync.Mutex
	// fault says what goes wrong with a question; nil: nothing ever does.
	fault func(question string) fault
	asked map[string]int

	// cents holds every cent there is, by account. Its sum is 0: cash and bank are
	// below it.
	cents    map[string]int64
	loads    map[purse.ID]*officeLoad
	payments map[payment]*officePayment
	voids    map[payment]purse.Proved
	position map[purse.ID]purse.Position
	batches  map[string]purse.MAC // by their bytes
	fundings map[string]funding
	cash     map[payment]bool
	// isForgiving says that a test wants a number to be used twice.
	isForgiving bool
	early       map[payment]earlyClaim // of cancellations whose batch is to come
	returned    map[payment]bool       // cancellations that the SAM has void and the card showed
	scripts     map[purse.ID][][]byte  // that were not done
	done        map[purse.ID]int       // scripts
	hot         []purse.ID
	closed      map[string]bool // accounts
}

type payment struct {
	merchant purse.ID
	tno      uint32
}

type officeLoad struct {
	load      purse.Load
	reference purse.ID
	challenge purse.Random
	state     string // pending, posted, void
}

type officePayment struct {
	proof       purse.Proof
	isDisputed  bool // its money waits
	isRefunded  bool // on a claim
	isCancelled bool
	isBatched   bool
}

type earlyClaim struct {
	text []byte
	macz purse.MAC
}

type funding struct {
	account string
	amount  money.Amount
}

func newOffice(t testing.TB) *office {
	return &office{
		t: t, keys: pursetest.Keys(t), asked: make(map[string]int), cents: map[string]int64{"bank": -1000_000_00},
		loads: make(map[purse.ID]*officeLoad), payments: make(map[payment]*officePayment), voids: make(map[payment]purse.Proved),
		position: make(map[purse.ID]purse.Position), batches: make(map[string]purse.MAC), fundings: make(map[string]funding),
		cash: make(map[payment]bool), returned: make(map[payment]bool), early: make(map[payment]earlyClaim), scripts: make(map[purse.ID][][]byte), done: make(map[purse.ID]int), closed: make(map[string]bool),
	}
}

// accountOf is where a card is loaded from.
func accountOf(card purse.ID) string { return "holder-" + card.String() }

func shadowOf(card purse.ID) string { return "shadow-" + card.String() }

func payableOf(merchant purse.ID) string { return "payable-" + merchant.String() }

func (o *office) issue(card purse.ID) { o.cents[accountOf(card)] += 250_000_00 }

func (o *office) move(from, to string, amount uint32) {
	o.cents[from] -= int64(amount)
	o.cents[to] += int64(amount)
}

var errAway = errors.New("clearing does not answer")

// ask does the work of a question, unless it fails; its answer may be lost.
func (o *office) ask(ctx context.Context, question string, work func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.asked[question]++
	fault := none
	if o.fault != nil {
		fault = o.fault(question)
	}
	if fault == before {
		return errAway
	}
	err := work()
	if fault != none {
		return errAway
	}
	return err
}

func refuse(reason purse.Reason) error {
	return &purse.Refusal{Reason: reason, Detail: "says the office"}
}

func (o *office) AuthoriseLoad(ctx context.Context, request, answer []byte) (reference purse.ID, credit []byte, err error) {
	err = o.ask(ctx, "authorise", func() error {
		load, err := purse.ParseLoad(request, answer)
		if err != nil {
			return refuse(purse.Malformed)
		}
		key, err := o.keys.LoadKey(1, load.Answer.Card)
		if err != nil || !load.IsSigned(key) {
			return refuse("load-mac")
		}
		last := uint32(0)
		for _, other := range o.loads {
			switch {
			case other.load.Answer.Card != load.Answer.Card:
				continue
			case other.load == load && other.state == "pending":
				reference, credit = other.reference, load.Credit(key, other.reference)
				return nil
			case other.load == load:
				return refuse("load-ended")
			case other.state == "pending" && other.load.Answer.LNo < load.Answer.LNo:
				o.post(other)
			case other.state == "pending":
				return &purse.Refusal{Reason: "load-open", Detail: "says the office", Load: other.reference.String()}
			}
			if other.state == "posted" {
				last = max(last, other.load.Answer.LNo)
			}
		}
		if load.Answer.LNo != last+1 {
			return refuse("load-number")
		}
		reference = purse.ID{1}
		big.PutUint32(reference[4:], uint32(len(o.loads)+1))
		o.loads[reference] = &officeLoad{load: load, reference: reference, state: "pending"}
		o.move(accountOf(load.Answer.Card), "torn-loads", load.Request.Amount)
		credit = load.Credit(key, reference)
		return nil
	})
	return reference, credit, err
}

func (o *office) post(l *officeLoad) {
	l.state = "posted"
	o.move("torn-loads", shadowOf(l.load.Answer.Card), l.load.Request.Amount)
}

func (o *office) ConfirmLoad(ctx context.Context, reference purse.ID, receipt []byte) error {
	return o.ask(ctx, "confirm", func() error {
		l, found := o.loads[reference]
		if !found {
			return refuse("unknown-load")
		}
		read, err := purse.ParseReceipt(receipt)
		if err != nil {
			return refuse(purse.Malformed)
		}
		key, err := o.keys.LoadKey(1, l.load.Answer.Card)
		if err != nil || !l.load.IsReceipt(key, reference, read) {
			return refuse("load-mac")
		}
		return o.took(l)
	})
}

func (o *office) took(l *officeLoad) error {
	switch l.state {
	case "pending":
		o.post(l)
	case "void":
		o.t.Errorf("card %s took load %s, of which it was said that it did not", l.load.Answer.Card, l.reference)
		return refuse("load-ended")
	}
	return nil
}

func (o *office) ChallengeLoad(ctx context.Context, reference purse.ID) (challenge purse.Random, err error) {
	err = o.ask(ctx, "challenge", func() error {
		l, found := o.loads[reference]
		if !found || l.state != "pending" {
			return refuse("load-ended")
		}
		big.PutUint32(l.challenge[:], big.Uint32(l.challenge[:])+1)
		challenge = l.challenge
		return nil
	})
	return challenge, err
}

func (o *office) ResolveLoad(ctx context.Context, reference purse.ID, answer []byte) (taken bool, err error) {
	err = o.ask(ctx, "resolve", func() error {
		l, found := o.loads[reference]
		if !found {
			return refuse("unknown-load")
		}
		status, err := purse.ParseStatus(answer)
		if err != nil {
			return refuse(purse.Malformed)
		}
		key, err := o.keys.LoadKey(1, l.load.Answer.Card)
		if err != nil || status.Card != l.load.Answer.Card || !status.IsSigned(key, l.challenge) {
			return refuse("load-mac")
		}
		if status.Reference == reference && status.LNo == l.load.Answer.LNo {
			taken = true
			return o.took(l)
		}
		if status.LNo+1 != l.load.Answer.LNo || l.state == "posted" {
			return refuse("load-ended")
		}
		if l.state == "pending" {
			l.state = "void"
			o.move("torn-loads", accountOf(status.Card), l.load.Request.Amount)
		}
		return nil
	})
	return taken && err == nil, err
}

func (o *office) PayOnline(ctx context.Context, text []byte, previous purse.MAC) error {
	return o.ask(ctx, "pay", func() error {
		record, err := purse.ParseRecord(text)
		if err != nil || record.IsVoid || record.IsCancellation() {
			return refuse(purse.Malformed)
		}
		merchantKey, err := o.keys.MerchantKey(1, record.Merchant())
		if err != nil || !record.IsChained(merchantKey, previous) {
			return refuse(purse.BrokenChain)
		}
		cardKey, err := o.keys.ProofKey(1, record.Proof.Card)
		if err != nil || !record.Proof.IsProved(cardKey, record.MACZ) {
			return refuse(purse.WrongProof)
		}
		return o.book(record.Proof, false)
	})
}

// book books a payment once.
func (o *office) book(proof purse.Proof, isBatched bool) error {
	key := payment{proof.Merchant, proof.TNo}
	paid, found := o.payments[key]
	if !found {
		o.payments[key] = &officePayment{proof: proof, isBatched: isBatched}
		o.move(shadowOf(proof.Card), payableOf(proof.Merchant), proof.Amount)
		return nil
	}
	if paid.proof != proof {
		if !o.isForgiving {
			o.t.Errorf("transaction %d is another payment than before", proof.TNo)
		}
		return refuse(purse.Differs)
	}
	if paid.isDisputed {
		paid.isDisputed = false
		o.move("disputes", payableOf(proof.Merchant), proof.Amount)
	}
	paid.isBatched = paid.isBatched || isBatched
	return nil
}

func (o *office) SubmitBatch(ctx context.Context, text []byte) (ack purse.MAC, err error) {
	err = o.ask(ctx, "batch", func() error {
		if before, found := o.batches[string(text)]; found {
			ack = before
			return nil
		}
		merchant := purse.ID(text[:8])
		batch, refusals, err := purse.CheckBatch(o.keys, 1, o.position[merchant], text[:purse.TotalLength], text[purse.TotalLength:])
		if err != nil || len(refusals) > 0 {
			o.t.Errorf("a batch is refused: %v (%v)", refusals, err)
			return refuse(purse.Malformed)
		}
		for _, entry := range batch.Entries {
			if err := o.bookEntry(entry); err != nil {
				o.t.Errorf("record %d: %v", entry.TNo(), err)
				return err
			}
		}
		o.position[merchant] = purse.Position{Batch: batch.Total.Batch, TNo: batch.Total.Last}
		o.batches[string(text)], ack = batch.Ack, batch.Ack
		return nil
	})
	return ack, err
}

func (o *office) bookEntry(entry purse.Entry) error {
	key := payment{entry.Merchant(), entry.TNo()}
	switch {
	case entry.IsCancellation():
		paid, found := o.payments[payment{entry.Merchant(), entry.PaidTNo}]
		if !found || paid.isCancelled || paid.proof.Amount != entry.Proof.Amount {
			return errors.New("a cancellation of what was not paid")
		}
		paid.isCancelled = true
		o.move(payableOf(entry.Merchant()), shadowOf(entry.Proof.Card), entry.Proof.Amount)
	case entry.IsVoid && entry.Void.Proved == purse.UnprovedCancellation:
		o.voids[key] = entry.Void.Proved
		paid, found := o.paymentOf(entry.Void.Card, entry.Void.SNo-1)
		if !found || paid.isCancelled || paid.isDisputed {
			return errors.New("a cancellation of what was not paid")
		}
		paid.isDisputed = true
		o.move(payableOf(entry.Merchant()), "disputes", entry.Void.Amount)
		if claim, isEarly := o.early[key]; isEarly {
			return o.claimReturned(claim.text, claim.macz)
		}
	case entry.IsVoid:
		o.voids[key] = entry.Void.Proved
		if paid, found := o.payments[key]; found {
			if !paid.isDisputed || entry.Void.Proved != purse.Unproved {
				return fmt.Errorf("void (%d) of what was paid", entry.Void.Proved)
			}
			o.refund(paid)
		}
	default:
		return o.book(entry.Proof, true)
	}
	return nil
}

func (o *office) paymentOf(card purse.ID, sno uint32) (*officePayment, bool) {
	for _, paid := range o.payments {
		if paid.proof.Card == card && paid.proof.SNo == sno {
			return paid, true
		}
	}
	return nil, false
}

// claimReturned takes what a card says of a cancellation that its SAM has void:
// the money is on the card again, and no longer the merchant's.
func (o *office) claimReturned(text []byte, macz purse.MAC) error {
	said, err := purse.ParseCancellation(text)
	if err != nil {
		return refuse(purse.Malformed)
	}
	cardKey, err := o.keys.ProofKey(1, said.Card)
	if err != nil || !said.IsProved(cardKey, macz) {
		return refuse(purse.WrongProof)
	}
	key := payment{said.Merchant, said.TNo}
	paid, found := o.payments[payment{said.Merchant, said.PaidTNo}]
	switch {
	case o.returned[key]:
		return nil
	case !found || !paid.isDisputed && said.TNo > o.position[said.Merchant].TNo: // it decides when the batch is there
		o.early[key] = earlyClaim{text, macz}
		return nil
	case !paid.isDisputed:
		return refuse("unknown-payment")
	}
	o.move("disputes", shadowOf(said.Card), said.Amount)
	o.returned[key], paid.isCancelled, paid.isDisputed = true, true, false
	return nil
}

func (o *office) refund(paid *officePayment) {
	paid.isDisputed, paid.isRefunded = false, true
	o.move("disputes", accountOf(paid.proof.Card), paid.proof.Amount)
}

func (o *office) Claim(ctx context.Context, text []byte, macz purse.MAC) error {
	return o.ask(ctx, "claim", func() error {
		if len(text) == purse.CancellationLength {
			return o.claimReturned(text, macz)
		}
		proof, err := purse.ParseProof(text)
		if err != nil {
			return refuse(purse.Malformed)
		}
		cardKey, err := o.keys.ProofKey(1, proof.Card)
		if err != nil || !proof.IsProved(cardKey, macz) {
			return refuse(purse.WrongProof)
		}
		key := payment{proof.Merchant, proof.TNo}
		if paid, found := o.payments[key]; found {
			if paid.isDisputed || paid.isRefunded {
				return nil
			}
			return refuse("already-paid")
		}
		paid := &officePayment{proof: proof, isDisputed: true}
		o.payments[key] = paid
		o.move(shadowOf(proof.Card), "disputes", proof.Amount)
		if _, isVoid := o.voids[key]; isVoid {
			o.refund(paid)
		}
		return nil
	})
}

func (o *office) Scripts(ctx context.Context, card purse.ID) (commands [][]byte, err error) {
	err = o.ask(ctx, "scripts", func() error {
		commands = slices.Clone(o.scripts[card])
		return nil
	})
	return commands, err
}

func (o *office) ScriptDone(ctx context.Context, card purse.ID, answer []byte) error {
	return o.ask(ctx, "script", func() error {
		key, err := o.keys.LoadKey(1, card)
		if err != nil {
			return err
		}
		scripts := purse.Scripts{Key: key, Card: card}
		if len(o.scripts[card]) > 0 && scripts.IsDone(purse.ScriptKind(o.scripts[card][0][2]), big.Uint32(answer), answer) {
			o.scripts[card] = o.scripts[card][1:]
			o.done[card]++
		}
		return nil
	})
}

func (o *office) HotList(ctx context.Context) (cards []purse.ID, err error) {
	err = o.ask(ctx, "hotlist", func() error {
		cards = slices.Clone(o.hot)
		return nil
	})
	return cards, err
}

func (o *office) CardAccount(ctx context.Context, card purse.ID) (account string, err error) {
	err = o.ask(ctx, "account", func() error {
		account = accountOf(card)
		return nil
	})
	return account, err
}

func (o *office) CashOut(ctx context.Context, merchant purse.ID, tno uint32) error {
	return o.ask(ctx, "cash", func() error {
		key := payment{merchant, tno}
		paid, found := o.payments[key]
		if !found || paid.isCancelled || paid.isDisputed || paid.isRefunded {
			return refuse("unknown-payment")
		}
		if !o.cash[key] {
			o.cash[key] = true
			o.move(payableOf(merchant), "cash", paid.proof.Amount)
		}
		return nil
	})
}

func (o *office) Check(ctx context.Context, account string, _ money.Amount) error {
	return o.ask(ctx, "check", func() error {
		if o.closed[account] {
			return &terminal.Refused{Reason: "account-closed", Sentence: "the account is closed"}
		}
		return nil
	})
}

// Fund takes the money from what clearing has booked: a gateway makes none.
func (o *office) Fund(ctx context.Context, account, id string, amount money.Amount) error {
	return o.ask(ctx, "fund", func() error {
		if o.closed[account] {
			return &terminal.Refused{Reason: "account-closed", Sentence: "the account is closed"}
		}
		want := funding{account, amount}
		if before, found := o.fundings[id]; found {
			if before != want {
				o.t.Errorf("funding %s is another one than before", id)
			}
			return nil
		}
		count, err := cents.Count(amount)
		if err != nil {
			return err
		}
		merchant, err := purse.ParseID(id[:16])
		if err != nil {
			return err
		}
		o.fundings[id] = want
		o.move(payableOf(merchant), account, count)
		return nil
	})
}

// wantAccounted fails unless every cent is on a card, in an account or in a named
// suspense account, and once.
func (o *office) wantAccounted(t testing.TB, cards ...*device) {
	t.Helper()
	for _, card := range cards {
		data := card.data(t)
		if shadow := o.cents[shadowOf(data.Card)]; shadow != int64(data.Balance) {
			t.Errorf("card %s has %d cents on it, and clearing knows of %d", data.Card, data.Balance, shadow)
		}
	}
	if o.cents["torn-loads"] != 0 {
		t.Errorf("%d cents are left of loads", o.cents["torn-loads"])
	}
	payable, disputed := make(map[string]int64), int64(0)
	for key, paid := range o.payments {
		if paid.isRefunded || paid.isCancelled {
			continue
		}
		if paid.isDisputed {
			disputed += int64(paid.proof.Amount)
			continue
		}
		payable[payableOf(key.merchant)] += int64(paid.proof.Amount)
		o.wantServed(t, key, paid.proof.Amount, payable)
	}
	for _, name := range slices.Sorted(maps.Keys(o.cents)) {
		if len(name) > 8 && name[:8] == "payable-" && o.cents[name] != payable[name] {
			t.Errorf("%s: got %d cents, want %d", name, o.cents[name], payable[name])
		}
	}
	// What nobody knows for certain has a name, and an owner later.
	if o.cents["disputes"] != disputed {
		t.Errorf("disputes: got %d cents, want %d", o.cents["disputes"], disputed)
	}
	if len(o.fundings) > len(o.payments) {
		t.Errorf("%d fundings of %d payments", len(o.fundings), len(o.payments))
	}
}

// wantServed takes off what was funded, or paid out, of a payment. What a payment
// is for is told by its amount: see purposeOf.
func (o *office) wantServed(t testing.TB, key payment, amount uint32, payable map[string]int64) {
	t.Helper()
	funded, isFunded := o.fundings[purse.FundingID(key.merchant, key.tno)]
	purpose := purposeOf(amount)
	if want := (funding{purpose.Account, cents.Amount(amount)}); purpose.Account != "" && funded != want || purpose.Account == "" && isFunded {
		t.Errorf("transaction %d of %d cents: funded %+v, want %q", key.tno, amount, funded, purpose.Account)
	}
	if purpose.Cash != o.cash[key] {
		t.Errorf("transaction %d of %d cents: paid out in cash %v, want %v", key.tno, amount, o.cash[key], purpose.Cash)
	}
	if isFunded || o.cash[key] {
		payable[payableOf(key.merchant)] -= int64(amount)
	}
}

// purposeOf says what a payment of an amount is for, in all tests.
func purposeOf(amount uint32) terminal.Payment {
	p := terminal.Payment{Amount: amount}
	switch amount % 8 {
	case 1, 2, 3:
		p.Account = fmt.Sprintf("account-%d", amount%8)
	case 4:
		p.Online = true
	case 5:
		p.Cash = true
	}
	return p
}
