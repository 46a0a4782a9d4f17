package purse

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// The application identifiers (AID) of PWP1, in category F of ISO/IEC 7816-5:
// not registered with anybody.
const (
	// CardAID is that of a purse card.
	CardAID = "\xF0\x50\x57\x50\x55\x52\x53\x45\x01"
	// SAMAID is that of a merchant's SAM.
	SAMAID = "\xF0\x50\x57\x53\x41\x4D\x00\x00\x01"
)

// Instruction is the second byte of a command.
type Instruction byte

// The commands that a card knows. SELECT, VERIFY and READ RECORD are of class
// 00, the others of class 80.
const (
	Select     Instruction = 0xA4 // data: AID
	Verify     Instruction = 0x20 // data: PIN, 4 to 8 ASCII digits; none: how many tries are left
	ReadRecord Instruction = 0xB2 // P1: record, 1 the newest; P2: 0C payments, 14 loads
	GetData    Instruction = 0xCA // P1: 00 numbers and balance, 01 state and counter of scripts
	StartPay   Instruction = 0x32
	Debit      Instruction = 0x36
	Recover    Instruction = 0x3C
	CancelLast Instruction = 0x40
	InitLoad   Instruction = 0x50
	Credit     Instruction = 0x52
	LoadStatus Instruction = 0x54
	Script     Instruction = 0x70 // P1: what it does
)

// The commands that a SAM knows besides Select and GetData, of class 80.
const (
	InitPay    Instruction = 0x30
	InitCancel Instruction = 0x31
	Authorize  Instruction = 0x34
	Commit     Instruction = 0x38
	VoidPay    Instruction = 0x3A
	GetRecord  Instruction = 0x3E
	CloseBatch Instruction = 0x60
	AckBatch   Instruction = 0x62
)

// P2 of READ RECORD: which of a card's logs is read.
const (
	PaymentsFile = 0x0C
	LoadsFile    = 0x14
)

// MaxCommandData is the most bytes of data in a command of short form.
const MaxCommandData = 255

// Command returns the bytes of a command of short form (ISO/IEC 7816-4 case 4),
// for whatever length of answer. data is at most 255 bytes.
func Command(instruction Instruction, p1, p2 byte, data []byte) []byte {
	command := []byte{classOf(instruction), byte(instruction), p1, p2}
	if len(data) > 0 {
		command = append(append(command, byte(len(data))), data...)
	}
	if instruction == Verify {
		return command // case 3: there is no answer but the status
	}
	return append(command, 0)
}

// StatusWord is the last two bytes of an answer.
type StatusWord uint16

// The status words of PWP1.
const (
	Done            StatusWord = 0x9000
	WrongLength     StatusWord = 0x6700
	PINWanted       StatusWord = 0x6982
	PINBlocked      StatusWord = 0x6983
	CardBlocked     StatusWord = 0x6984
	OutOfOrder      StatusWord = 0x6985
	WrongMAC        StatusWord = 0x6988
	WrongData       StatusWord = 0x6A80
	NotFound        StatusWord = 0x6A82
	NoRecord        StatusWord = 0x6A83
	NoData          StatusWord = 0x6A88
	NoInstruction   StatusWord = 0x6D00
	NoClass         StatusWord = 0x6E00
	TooLittle       StatusWord = 0x9401
	OverBalance     StatusWord = 0x9402
	OverTransaction StatusWord = 0x9403
	WrongSequence   StatusWord = 0x9404
	OverSAMLimit    StatusWord = 0x9406
	pinTries        StatusWord = 0x63C0 // and how many are left
)

var sentences = map[StatusWord]string{
	WrongLength: "the command has another length than it should", PINWanted: "the card wants its PIN first",
	PINBlocked: "the PIN was wrong too often: the issuer has to set a new one", CardBlocked: "the card is blocked by its issuer",
	OutOfOrder: "the card did not expect this now", WrongMAC: "the MAC is wrong: the other side has another key",
	WrongData: "the data make no sense to the card", NotFound: "the card has no such application or file", NoRecord: "the card has no such record",
	NoData: "the card has no such data", NoInstruction: "the card does not know this command", NoClass: "the card does not know this class of commands",
	TooLittle: "there is too little on the card", OverBalance: "the card may not hold so much", OverTransaction: "the card may not pay so much at once",
	WrongSequence: "the number is not the next one", OverSAMLimit: "the SAM may not take so much before it is turned in",
}

// Error is a sentence for people.
func (s StatusWord) Error() string {
	switch tries, is := s.Tries(); {
	case is && tries == 0:
		return sentences[PINBlocked]
	case is && tries == 1:
		return "the PIN is wrong: 1 try is left"
	case is:
		return fmt.Sprintf("the PIN is wrong: %d tries are left", tries)
	}
	if sentence, known := sentences[s]; known {
		return sentence
	}
	return fmt.Sprintf("the card answered %04X", uint16(s))
}

// Tries returns how many tries of the PIN are left, if the word says that.
func (s StatusWord) Tries() (tries int, is bool) {
	if s == PINBlocked {
		return 0, true
	}
	return int(s & 0xF), s&0xFFF0 == pinTries
}

// errNoAnswer means that an answer had no status: the card was torn.
var errNoAnswer = errors.New("the card gave no answer: it was pulled, or is broken")

// Answer splits an answer into data and status. A card that is pulled out can
// answer nothing at all without any error: that is an error here, and it is
// unknown what the card did. A status other than Done is no error here.
func Answer(answer []byte) (data []byte, status StatusWord, err error) {
	if len(answer) < 2 {
		return nil, 0, errNoAnswer
	}
	end := len(answer) - 2
	return answer[:end], StatusWord(big.Uint16(answer[end:])), nil
}

// AID writes an application identifier for people.
func AID(aid string) string { return strings.ToUpper(hex.EncodeToString([]byte(aid))) }

// command is a command that somebody sent.
type command struct {
	class       byte
	instruction Instruction
	p1, p2      byte
	data        []byte
}

// parseCommand reads a command of short form, of any of the four cases. Nothing
// more than what fits into one is taken, and how long an answer may be (Le) is
// not looked at: the answers here have one length each, at most 94 bytes.
func parseCommand(text []byte) (command, StatusWord) {
	if len(text) < 4 {
		return command{}, WrongLength
	}
	c := command{text[0], Instruction(text[1]), text[2], text[3], nil}
	rest := text[4:]
	if len(rest) <= 1 {
		return c, Done
	}
	length := int(rest[0])
	if length == 0 || len(rest) != 1+length && len(rest) != 2+length {
		return command{}, WrongLength // also what is of extended form
	}
	c.data = rest[1 : 1+length]
	return c, Done
}

// classOf returns the class of commands with this instruction.
func classOf(instruction Instruction) byte {
	if instruction == Select || instruction == Verify || instruction == ReadRecord {
		return 0
	}
	return 0x80
}

// answered appends the status to an answer.
func answered(data []byte, status StatusWord) []byte {
	if status != Done {
		data = nil
	}
	return big.AppendUint16(data, uint16(status))
}

// selected is the answer to SELECT: template of control information, with the
// name of the application.
func selected(aid string) []byte {
	return append([]byte{0x6F, byte(2 + len(aid)), 0x84, byte(len(aid))}, aid...)
}
