package purse_test

import (
	crand "crypto/rand"
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
)

// shop is a SAM that several cards come to, in no order, with nobody who takes
// care: transactions are left, taken back twice, voided without asking.
type shop struct {
	t      *testing.T
	random *rand.Rand
	desk   *desk
	cards  []*purse.Card
	loaded []uint32 // of each card
	taken  uint64   // by batches that clearing has
	maybe  uint64   // that clearing is told may be on a card again
	before purse.Position
}

func newShop(t *testing.T, seed uint64) *shop {
	s := &shop{t: t, random: rand.New(rand.NewPCG(seed, 1)), desk: &desk{keys: pursetest.Keys(t)}}
	issue := samIssue(t)
	issue.Limit = 2000
	s.desk.sam, s.desk.safe = issueSAM(t, issue, crand.Reader)
	done(t, s.desk.sam, purse.Select, 4, 0, []byte(purse.SAMAID))
	for number := range 2 {
		issue := cardIssue(t)
		issue.Card[7], issue.Holder, issue.PIN = byte(number), purse.ID{}, ""
		card, _ := issueCard(t, issue, crand.Reader)
		done(t, card, purse.Select, 4, 0, []byte(purse.CardAID))
		s.cards, s.loaded = append(s.cards, card), append(s.loaded, 0)
	}
	return s
}

// try does one command and says whether it was done.
func (s *shop) try(to applet, instruction purse.Instruction, data []byte) ([]byte, bool) {
	answer, status := send(s.t, to, purse.Command(instruction, 0, 0, data))
	return answer, status == purse.Done
}

func (s *shop) load(number int) {
	card := s.cards[number]
	request := loadRequest(1 + s.random.Uint32N(3000))
	answer, is := s.try(card, purse.InitLoad, request)
	if !is {
		return
	}
	load, err := purse.ParseLoad(request, answer)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := s.desk.keys.LoadKey(1, load.Answer.Card)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, is := s.try(card, purse.Credit, load.Credit(key, purse.ID{1})); is {
		s.loaded[number] += load.Request.Amount
	}
}

// transact begins a payment or a cancellation and goes as far as it likes.
func (s *shop) transact(number int) {
	sam, card := s.desk.sam, s.cards[number]
	data := s.desk.samData(s.t)
	instruction, request, order := purse.InitPay, payRequest(1+s.random.Uint32N(300), 1), purse.Debit
	if s.random.IntN(2) == 0 && data.TNo > 0 {
		instruction, order = purse.InitCancel, purse.CancelLast
		request = be(data.TNo-s.random.Uint32N(min(data.TNo, 4)), be(1))
	}
	answer, is := s.try(sam, instruction, request)
	steps := []struct {
		to          applet
		instruction purse.Instruction
	}{{card, purse.StartPay}, {sam, purse.Authorize}, {card, order}, {sam, purse.Commit}}
	for _, step := range steps {
		if !is || s.random.IntN(8) == 0 {
			return // somebody pulls a plug, or walks away
		}
		answer, is = s.try(step.to, step.instruction, answer)
	}
}

// end asks the card what became of the open transaction, or does not.
func (s *shop) end() {
	sam := s.desk.sam
	data := s.desk.samData(s.t)
	if data.State != purse.SAMBegun && data.State != purse.SAMOrdered {
		return
	}
	number := int(data.Open.Card[7])
	if data.State == purse.SAMBegun || s.random.IntN(2) == 0 {
		s.walkAway(number, data)
		return
	}
	random := make([]byte, 16)
	answer, is := s.try(s.cards[number], purse.Recover, join(data.Merchant[:], be(data.TNo, be(data.Open.SNo)), random))
	switch {
	case !is:
		s.t.Fatalf("transaction %d: the card does not tell", data.TNo)
	case answer[0] == 1:
		done(s.t, sam, purse.Commit, 0, 0, answer[1:])
	default:
		done(s.t, sam, purse.VoidPay, 0, 0, join(be(data.TNo), answer, random))
	}
}

// walkAway voids what is open, and notes what only the card knows.
func (s *shop) walkAway(number int, data purse.SAMData) {
	record, err := purse.ParseRecord(done(s.t, s.desk.sam, purse.VoidPay, 0, 0, be(data.TNo)))
	if err != nil || record.Void.Proved == purse.NeverOrdered {
		return
	}
	random := make([]byte, 16)
	answer, _ := s.try(s.cards[number], purse.Recover, join(data.Merchant[:], be(data.TNo, be(data.Open.SNo)), random))
	switch isDone := len(answer) > 0 && answer[0] == 1; {
	case record.Void.Proved == purse.Unproved && isDone:
		s.taken += uint64(record.Void.Amount) // the holder has a proof of it
	case record.Void.Proved == purse.UnprovedCancellation && isDone:
		s.maybe += uint64(record.Void.Amount)
	}
}

func (s *shop) turnIn() {
	total, is := s.try(s.desk.sam, purse.CloseBatch, nil)
	if !is {
		return
	}
	parsed, err := purse.ParseTotal(total)
	if err != nil {
		s.t.Fatal(err)
	}
	var records []byte
	for tno := parsed.First; tno <= parsed.Last; tno++ {
		records = append(records, done(s.t, s.desk.sam, purse.GetRecord, 0, 0, be(tno))...)
	}
	batch, refusals, err := purse.CheckBatch(s.desk.keys, 1, s.before, total, records)
	if err != nil || len(refusals) > 0 {
		s.t.Fatalf("clearing refuses what an honest SAM made: %v (%v)", refusals, err)
	}
	done(s.t, s.desk.sam, purse.AckBatch, 0, 0, batch.Ack[:])
	s.before = purse.Position{Batch: parsed.Batch, TNo: parsed.Last}
	s.taken += parsed.Sum
}

// Whatever cards and a SAM are made to do, clearing takes the batch, and all that
// was loaded is on a card, in a batch, or where a card has the proof of it.
func TestClearingTakesWhatAnHonestSAMMade(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		s := newShop(t, seed)
		t.Logf("seed %d", seed)
		for range 400 {
			number := s.random.IntN(len(s.cards))
			switch s.random.IntN(12) {
			case 0:
				s.load(number)
			case 1:
				s.end()
				s.turnIn()
			case 2:
				s.desk.sam.Reset()
				s.cards[number].Reset()
				done(t, s.desk.sam, purse.Select, 4, 0, []byte(purse.SAMAID))
				done(t, s.cards[number], purse.Select, 4, 0, []byte(purse.CardAID))
			default:
				s.transact(number)
				s.end()
			}
		}
		s.end()
		s.turnIn()
		var loaded, left uint64
		for number, card := range s.cards {
			data, err := purse.ParseCardData(done(t, card, purse.GetData, 0, 0, nil))
			if err != nil {
				t.Fatal(err)
			}
			loaded, left = loaded+uint64(s.loaded[number]), left+uint64(data.Balance)
		}
		if loaded+s.maybe != left+s.taken {
			t.Fatalf("%d were loaded; %d are left, %d were taken, and %d of these may be on a card again", loaded, left, s.taken, s.maybe)
		}
	}
}
