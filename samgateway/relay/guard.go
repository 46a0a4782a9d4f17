package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// Agreement is what the holder said yes to, as the card counts it.
type Agreement struct {
	Intent   Intent
	Merchant purse.ID
	Amount   uint32 // in units; 0 only for resolve
	Unit     purse.Unit
	Card     purse.ID
}

// orderAmountOffset is where M is in the data of DEBIT: after MID, TNo, SNo and CID.
const orderAmountOffset = 24

// Guard decides which commands of a gateway reach the card: those of PWP1 that
// belong to what the holder agreed to, in their order. It is for one session, and
// for one goroutine.
type Guard struct {
	agreed  Agreement
	count   int
	scripts int
	started []byte // MID and TNo of the last START
	sent    map[purse.Instruction]bool
	said    map[purse.Instruction]bool // answered, by whatever
	done    map[purse.Instruction]bool // answered by 9000
}

// NewGuard returns a guard of an agreement.
func NewGuard(agreed Agreement) *Guard {
	return &Guard{
		agreed: agreed, sent: make(map[purse.Instruction]bool), said: make(map[purse.Instruction]bool), done: make(map[purse.Instruction]bool),
	}
}

// Answered takes the card's answer to a command that was let pass.
func (g *Guard) Answered(command, answer []byte) {
	_, status, err := purse.Answer(answer)
	if err != nil {
		return
	}
	instruction := purse.Instruction(command[1])
	g.said[instruction] = true
	if status == purse.Done {
		g.done[instruction] = true
	}
}

// Judge compares what the gateway says with what the card was seen to do. The
// card's word counts: a gateway that is wrong, or lies, changes nothing about
// what is on the card. Nor do amount and transaction come from the gateway: they
// are those that the card was asked for.
func (g *Guard) Judge(result Result) Result {
	result = g.judge(result)
	result.Amount, result.Transaction = 0, 0
	if g.started != nil {
		result.Transaction = binary.BigEndian.Uint32(g.started[8:])
	}
	if result.Outcome == Done && g.agreed.Intent != Resolve {
		result.Amount = g.agreed.Unit.Amount(g.agreed.Amount)
	}
	return result
}

func (g *Guard) judge(result Result) Result {
	moved := g.done[purse.Debit] || g.done[purse.Credit]
	// It was pulled, or tells nothing, so that only the card knows.
	isUnknown := g.sent[purse.Debit] && !g.said[purse.Debit] || g.sent[purse.Credit] && !g.said[purse.Credit]
	switch {
	case g.agreed.Intent == Resolve && result.Outcome == Failed:
		result.Outcome = Undecided // what was open still is
	case g.agreed.Intent != Resolve && result.Outcome == Undecided && !g.isMoving():
		// It is undecided for the gateway, which cannot know that no order arrived.
		result.Outcome = Failed
	case moved && result.Outcome == Failed:
		return Result{Outcome: Undecided, Sentence: Sentence("The card did it, but for the gateway it failed. " + result.Sentence)}
	case isUnknown && result.Outcome != Undecided:
		return Result{Outcome: Undecided, Sentence: Sentence("The card was lost in the middle, and only it knows what it did. " + result.Sentence)}
	case !moved && result.Outcome == Done && g.agreed.Intent != Resolve:
		return Result{Outcome: Undecided, Sentence: Sentence("The gateway says that it is done, but this card was not asked to do it.")}
	}
	return result
}

// isMoving reports whether a command was let pass after which it takes the
// gateway's word, or the card's, to know what was moved.
func (g *Guard) isMoving() bool { return g.sent[purse.Debit] || g.sent[purse.InitLoad] }

// Check lets a command pass, and remembers it, or says in a sentence why it must
// not reach the card.
func (g *Guard) Check(command []byte) error {
	g.count++
	if g.count > maxCommands {
		return fmt.Errorf("the gateway sent more than %d commands", maxCommands)
	}
	if len(command) < 4 {
		return errors.New("the gateway sent a command that is none")
	}
	var data []byte
	if len(command) > 5 {
		data = command[5 : len(command)-1]
	}
	instruction, p1, p2 := purse.Instruction(command[1]), command[2], command[3]
	if instruction == purse.Verify {
		return errors.New("the gateway wanted to enter a PIN: that is for the holder alone")
	}
	if !bytes.Equal(command, purse.Command(instruction, p1, p2, data)) {
		return errors.New("the gateway sent a command in a form that is not that of the purse")
	}
	if err := g.checkCommand(instruction, p1, p2, data); err != nil {
		return err
	}
	g.sent[instruction] = true
	return nil
}

func (g *Guard) checkCommand(instruction purse.Instruction, p1, p2 byte, data []byte) error {
	switch instruction {
	case purse.Select:
		return unless(p1 == 4 && p2 == 0 && string(data) == purse.CardAID, "the gateway wanted another application of the card")
	case purse.GetData:
		return unless(p1 <= 1 && p2 == 0 && len(data) == 0, "the gateway asked for data that a purse has not")
	case purse.Script:
		g.scripts++
		return unless(p1 >= 1 && p1 <= 4 && p2 == 0 && g.scripts <= purse.MaxScripts && !g.hasBegun(), "the gateway sent an issuer's script where none may be")
	}
	if instruction == purse.ReadRecord {
		return errors.New("the gateway wanted to read the card's log: that is for the holder alone")
	}
	if p1 != 0 || p2 != 0 {
		return errors.New("the gateway sent a command in a form that is not that of the purse")
	}
	switch instruction {
	case purse.Recover:
		return unless(len(data) == purse.RecoverLength && g.isMerchant(data), "the gateway asked about a payment to somebody else")
	case purse.LoadStatus:
		return unless(len(data) == len(purse.Random{}), "the gateway sent a command of a wrong length")
	case purse.StartPay:
		return g.checkStart(data)
	case purse.Debit:
		return g.checkDebit(data)
	case purse.InitLoad:
		return g.checkInitLoad(data)
	case purse.Credit:
		return g.checkCredit(data)
	}
	return fmt.Errorf("the gateway sent command %02X, which has no place here", byte(instruction))
}

// hasBegun reports whether the card was asked to pay or to be loaded.
func (g *Guard) hasBegun() bool { return g.sent[purse.StartPay] || g.sent[purse.InitLoad] }

func (g *Guard) isMerchant(data []byte) bool { return purse.ID(data[:8]) == g.agreed.Merchant }

func (g *Guard) checkStart(data []byte) error {
	if !g.agreed.Intent.IsPayment() || g.sent[purse.Debit] {
		return errors.New("the gateway began a payment that you did not agree to")
	}
	if len(data) != purse.OpeningLength || !g.isMerchant(data) {
		return errors.New("the gateway began a payment to somebody else than you agreed to")
	}
	g.started = bytes.Clone(data[:12])
	return nil
}

func (g *Guard) checkDebit(data []byte) error {
	switch {
	case !g.agreed.Intent.IsPayment() || g.sent[purse.Debit]:
		return errors.New("the gateway asked for a payment that you did not agree to")
	case len(data) != purse.DebitLength || !bytes.Equal(data[:12], g.started):
		return errors.New("the gateway asked for another payment than the one that it began")
	case purse.ID(data[16:24]) != g.agreed.Card:
		return errors.New("the gateway asked another card than this one to pay")
	case !g.isAmount(data[orderAmountOffset:]):
		return errors.New("the gateway asked for another amount or currency than you agreed to")
	}
	return nil
}

func (g *Guard) checkInitLoad(data []byte) error {
	// It may be begun again as long as no value came: a load that was torn elsewhere
	// is settled in between.
	if g.agreed.Intent != Load || g.sent[purse.Credit] {
		return errors.New("the gateway began a load that you did not agree to")
	}
	return unless(len(data) == purse.LoadRequestLength && g.isAmount(data), "the gateway began a load of another amount or currency than you agreed to")
}

func (g *Guard) checkCredit(data []byte) error {
	if !g.sent[purse.InitLoad] || g.sent[purse.Credit] {
		return errors.New("the gateway sent the value of a load that was not begun")
	}
	isRight := len(data) == purse.CreditLength && binary.BigEndian.Uint32(data[12:]) == g.agreed.Amount
	return unless(isRight, "the gateway sent a load of another amount than you agreed to")
}

// isAmount compares M, CUR and EXP with what was agreed.
func (g *Guard) isAmount(data []byte) bool {
	unit := purse.Unit{Currency: purse.Currency(binary.BigEndian.Uint16(data[4:])), Exponent: int8(data[6])}
	return g.agreed.Amount > 0 && binary.BigEndian.Uint32(data) == g.agreed.Amount && unit == g.agreed.Unit
}

func unless(isRight bool, sentence string) error {
	if isRight {
		return nil
	}
	return errors.New(sentence)
}
