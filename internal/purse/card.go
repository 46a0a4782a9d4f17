package purse

import (
	"fmt"
	"io"
	"slices"
)

// Card is a purse card: what a chip would do, over a memory that survives. It is
// for one goroutine.
//
// What changes is stored before the answer leaves. When storing fails it is
// unknown what is stored, so no answer leaves, and the card begins anew with what
// the memory then has.
type Card struct {
	memory Memory
	random io.Reader
	state  *cardState // nil: to be loaded

	// What follows is gone after a reset.
	isSelected bool
	isVerified bool // the PIN was right
	payment    *cardSession
	load       *Load
}

// cardSession is what START began.
type cardSession struct {
	opening Opening
	key     *Key // KS
}

// OpenCard returns the card whose state a memory has. random is read for RANDC;
// it is to be crypto/rand.Reader wherever there is money. ErrNotIssued may come
// back, and an error where the state is damaged.
func OpenCard(memory Memory, random io.Reader) (*Card, error) {
	c := &Card{memory: memory, random: random}
	return c, c.loaded()
}

// Reset is what taking a card out of a reader, or the reader's reset, does: what
// was begun is over, the PIN has to be entered again.
func (c *Card) Reset() {
	c.isSelected, c.isVerified = false, false
	c.endSession()
	c.state = nil
}

// endSession makes DEBIT, CANCEL LAST and CREDIT impossible until a session is
// begun again.
func (c *Card) endSession() { c.payment, c.load = nil, nil }

func (c *Card) loaded() error {
	if c.state != nil {
		return nil
	}
	framed, err := c.memory.Load()
	if err != nil {
		return fmt.Errorf("reading the card: %w", err)
	}
	if len(framed) == 0 {
		return ErrNotIssued
	}
	c.state, err = parseCardState(framed)
	return err
}

// store makes a state durable, and only then the card's. An error means that no
// answer may leave.
func (c *Card) store(changed cardState) error {
	if err := c.memory.Store(changed.append(nil)); err != nil {
		c.Reset()
		return fmt.Errorf("storing the card: %w", err)
	}
	c.state = &changed
	return nil
}

// Transmit does one command and returns the answer, which ends with a status
// word. An error means that no answer leaves the card, and that it is unknown
// whether the command was done: as when the card is pulled out. command is not
// kept.
func (c *Card) Transmit(command []byte) ([]byte, error) {
	if err := c.loaded(); err != nil {
		return nil, err
	}
	parsed, status := parseCommand(command)
	if status != Done {
		return answered(nil, status), nil
	}
	data, status, err := c.do(parsed)
	if err != nil {
		return nil, err
	}
	return answered(data, status), nil
}

// cardCommand does one command. The data of an answer count with status Done
// alone.
type cardCommand struct {
	do func(*Card, command) ([]byte, StatusWord, error)
	// isOfBlocked says that a blocked card does it, too.
	isOfBlocked bool
}

var cardCommands = map[Instruction]cardCommand{
	Verify:     {(*Card).verify, true},
	ReadRecord: {(*Card).readRecord, true},
	GetData:    {(*Card).getData, true},
	StartPay:   {(*Card).start, false},
	Debit:      {(*Card).debit, false},
	CancelLast: {(*Card).cancelLast, false},
	Recover:    {(*Card).recover, true},
	InitLoad:   {(*Card).initLoad, false},
	Credit:     {(*Card).credit, false},
	LoadStatus: {(*Card).loadStatus, true},
	Script:     {(*Card).script, true},
}

func (c *Card) do(of command) ([]byte, StatusWord, error) {
	if of.class != 0 && of.class != 0x80 {
		return nil, NoClass, nil
	}
	if of.instruction == Select && of.class == 0 {
		return c.selectApplication(of)
	}
	known, is := cardCommands[of.instruction]
	switch {
	case !is && of.instruction != Select:
		return nil, NoInstruction, nil
	case of.class != classOf(of.instruction):
		return nil, NoClass, nil
	case !c.isSelected:
		return nil, OutOfOrder, nil
	case c.state.isBlocked && !known.isOfBlocked:
		return nil, CardBlocked, nil
	}
	return known.do(c, of)
}

// selectApplication answers to SELECT. Whatever was selected, the PIN has to be
// entered again, and what was begun is over. A name that is not known leaves the
// purse selected if it was.
func (c *Card) selectApplication(of command) ([]byte, StatusWord, error) {
	c.endSession()
	c.isVerified = false
	if of.p1 != 4 || of.p2 != 0 {
		return nil, WrongData, nil
	}
	if string(of.data) != CardAID {
		return nil, NotFound, nil
	}
	c.isSelected = true
	return selected(CardAID), Done, nil
}

func (c *Card) getData(of command) ([]byte, StatusWord, error) {
	switch {
	case len(of.data) > 0:
		return nil, WrongLength, nil
	case of.p1 == 0 && of.p2 == 0:
		return c.state.CardData.Append(nil), Done, nil
	case of.p1 == 1 && of.p2 == 0:
		return ScriptState{c.state.isBlocked, c.state.scripts}.Append(nil), Done, nil
	default:
		return nil, NoData, nil
	}
}

// readRecord reads the logs. They are the holder's alone; a white card has no
// holder.
func (c *Card) readRecord(of command) ([]byte, StatusWord, error) {
	if len(of.data) > 0 {
		return nil, WrongLength, nil
	}
	if of.p2 != PaymentsFile && of.p2 != LoadsFile {
		return nil, NotFound, nil
	}
	if status := c.wantPIN(); status != Done {
		return nil, status, nil
	}
	record := int(of.p1) - 1
	switch {
	case record < 0:
		return nil, NoRecord, nil
	case of.p2 == PaymentsFile && record < len(c.state.payments):
		return slices.Clone(c.state.payments[record]), Done, nil
	case of.p2 == LoadsFile && record < len(c.state.loads):
		return c.state.loads[record].Append(nil), Done, nil
	default:
		return nil, NoRecord, nil
	}
}

// prepend returns a log with one more entry before the others, of which the
// oldest may go. The old log is left as it is.
func prepend[E any](log []E, entry E, most int) []E {
	longer := append(make([]E, 0, most), entry)
	return append(longer, log[:min(len(log), most-1)]...)
}
