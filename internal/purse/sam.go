package purse

import (
	"fmt"
	"io"
)

// SAM is a merchant's security application module: what a chip would do, over a
// memory that survives. It is for one goroutine. What holds for Card of storing,
// resets and errors holds for it.
type SAM struct {
	memory     Memory
	random     io.Reader
	state      *samState // nil: to be loaded
	isSelected bool
	buffer     []byte // of the last state, to be used again
}

// OpenSAM returns the SAM whose state a memory has. random is read for RANDS; it
// is to be crypto/rand.Reader wherever there is money. ErrNotIssued may come
// back, and an error where the state is damaged.
func OpenSAM(memory Memory, random io.Reader) (*SAM, error) {
	s := &SAM{memory: memory, random: random}
	return s, s.loaded()
}

// Reset is what taking the SAM out, or a reset, does. An open transaction stays
// open.
func (s *SAM) Reset() { s.isSelected, s.state = false, nil }

func (s *SAM) loaded() error {
	if s.state != nil {
		return nil
	}
	framed, err := s.memory.Load()
	if err != nil {
		return fmt.Errorf("reading the SAM: %w", err)
	}
	if len(framed) == 0 {
		return ErrNotIssued
	}
	state, err := parseSAMState(framed)
	if err != nil {
		return err
	}
	s.state = state
	return nil
}

func (s *SAM) store(changed samState) error {
	s.buffer = changed.append(s.buffer[:0])
	if err := s.memory.Store(s.buffer); err != nil {
		s.Reset()
		return fmt.Errorf("storing the SAM: %w", err)
	}
	s.state = &changed
	return nil
}

// Transmit does one command and returns the answer, which ends with a status
// word. An error means that no answer leaves the SAM, and that it is unknown
// whether the command was done. command is not kept.
func (s *SAM) Transmit(command []byte) ([]byte, error) {
	if err := s.loaded(); err != nil {
		return nil, err
	}
	parsed, status := parseCommand(command)
	if status != Done {
		return answered(nil, status), nil
	}
	data, status, err := s.do(parsed)
	if err != nil {
		return nil, err
	}
	return answered(data, status), nil
}

// samCommand does one command with data of one of the lengths.
type samCommand struct {
	do      func(*SAM, command) ([]byte, StatusWord, error)
	lengths []int
}

var samCommands = map[Instruction]samCommand{
	InitPay:    {(*SAM).init, []int{initLength}},
	InitCancel: {(*SAM).initCancel, []int{initCancelLength}},
	Authorize:  {(*SAM).authorize, []int{StartLength}},
	Commit:     {(*SAM).commit, []int{PaidLength, CancelledLength}},
	VoidPay:    {(*SAM).void, []int{4, 4 + DeniedLength + len(Random{})}},
	GetRecord:  {(*SAM).getRecord, []int{4}},
	CloseBatch: {(*SAM).closeBatch, []int{0}},
	AckBatch:   {(*SAM).ackBatch, []int{block}},
	GetData:    {(*SAM).getData, []int{0}},
}

func (s *SAM) do(of command) ([]byte, StatusWord, error) {
	if of.class != 0 && of.class != 0x80 {
		return nil, NoClass, nil
	}
	if of.instruction == Select && of.class == 0 {
		return s.selectApplication(of)
	}
	known, is := samCommands[of.instruction]
	switch {
	case !is && of.instruction != Select:
		return nil, NoInstruction, nil
	case of.class != classOf(of.instruction):
		return nil, NoClass, nil
	case !s.isSelected:
		return nil, OutOfOrder, nil
	case of.p1 != 0 || of.p2 != 0:
		if of.instruction == GetData {
			return nil, NoData, nil
		}
		return nil, WrongData, nil
	}
	for _, length := range known.lengths {
		if len(of.data) == length {
			return known.do(s, of)
		}
	}
	return nil, WrongLength, nil
}

func (s *SAM) selectApplication(of command) ([]byte, StatusWord, error) {
	if of.p1 != 4 || of.p2 != 0 {
		return nil, WrongData, nil
	}
	if string(of.data) != SAMAID {
		return nil, NotFound, nil
	}
	s.isSelected = true
	return selected(SAMAID), Done, nil
}

func (s *SAM) getData(command) ([]byte, StatusWord, error) {
	return s.state.SAMData.Append(nil), Done, nil
}

func (s *SAM) getRecord(of command) ([]byte, StatusWord, error) {
	record, is := s.state.record(big.Uint32(of.data))
	if !is {
		return nil, NoRecord, nil
	}
	return append([]byte(nil), record...), Done, nil
}
