package samgateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/softcard"
)

const (
	// insertTimeout is how long a command waits for somebody to put a card in.
	insertTimeout = time.Minute
	// reinsertTimeout is how long it waits for a card that was pulled out: its holder
	// is there, or does not come.
	reinsertTimeout = 10 * time.Second
	// busyTimeout is how long a command waits for another program to let go of the
	// card: many look at each card that is put in, for some hundred milliseconds.
	busyTimeout = 2 * time.Second
	// lookInterval is how often it looks again.
	lookInterval = 200 * time.Millisecond
)

// reader returns the reader that a setting names: a card in a reader of this
// machine, or in a file. what is "card" or "sam", as the flags begin.
func (c *command) reader(ctx context.Context, what, name, file string) (smartcard.Reader, error) {
	switch {
	case file != "":
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, usage("--%s-file: there is no file %s; \"samgateway personalise\" makes one", what, file)
		}
		return softcard.Reader(file), nil
	case name == "":
		return nil, usage("--%s-reader is missing: name the reader, or with --%s-file a file; \"samgateway readers\" lists the readers", what, what)
	}
	all, err := c.readers.List(ctx)
	if err != nil {
		return nil, err
	}
	found, err := pickReader(all, name)
	if err != nil {
		return nil, usage("--%s-reader: %v", what, err)
	}
	return found, nil
}

// pickReader finds a reader by its name, or by a part of it that no other has.
func pickReader(all []smartcard.Reader, name string) (smartcard.Reader, error) {
	var found []smartcard.Reader
	var names []string
	for _, reader := range all {
		if reader.Name() == name {
			return reader, nil
		}
		if strings.Contains(strings.ToLower(reader.Name()), strings.ToLower(name)) {
			found = append(found, reader)
		}
		names = append(names, fmt.Sprintf("%q", reader.Name()))
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(all) == 0:
		return nil, errors.New("no reader is connected: plug one in")
	case len(found) == 0:
		return nil, fmt.Errorf("no reader has %.80q in its name: there is %s", name, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("more than one reader has %.80q in its name: say more of %s", name, strings.Join(names, ", "))
}

// customer is the card that is worked with, selected, and what it says of
// itself.
type customer struct {
	smartcard.Session
	reader smartcard.Reader
	data   purse.CardData
}

// withCard waits for the customer's card, asks what it is and does the work with
// it.
func (c *command) withCard(ctx context.Context, s *settings, work func(*customer) error) error {
	reader, err := c.reader(ctx, "card", s.cardReader, s.cardFile)
	if err != nil {
		return err
	}
	session, err := c.connect(ctx, reader, insertTimeout)
	if err != nil {
		return err
	}
	card := &customer{Session: session, reader: reader}
	if err = card.look(ctx); err == nil {
		err = work(card)
	}
	return errors.Join(err, card.Close())
}

// look selects the purse and asks it about itself. A card that is blocked or
// foreign says so.
func (card *customer) look(ctx context.Context) (err error) {
	card.data, err = dataOf(ctx, card.Session)
	return err
}

// connect begins a session with the card in a reader, and waits for one to be put
// in.
func (c *command) connect(ctx context.Context, reader smartcard.Reader, patience time.Duration) (smartcard.Session, error) {
	session, err := connectFree(ctx, reader)
	if !errors.Is(err, smartcard.ErrNoCard) {
		return session, err
	}
	c.tell("Put the card into the reader %s.", reader.Name())
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := reader.Wait(limited, true); err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return nil, fmt.Errorf("%w: nobody put one in within %s", smartcard.ErrNoCard, patience.Round(time.Second))
		}
		return nil, err
	}
	return connectFree(ctx, reader)
}

// connectFree begins a session with the card that is there, as soon as no other
// program has it.
func connectFree(ctx context.Context, reader smartcard.Reader) (smartcard.Session, error) {
	limited, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	for {
		session, err := reader.Connect(ctx)
		if !errors.Is(err, smartcard.ErrBusy) || !pause(limited, lookInterval) {
			return session, err
		}
	}
}

// pause waits, and says whether ctx is not done.
func pause(ctx context.Context, length time.Duration) bool {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tell says something besides the result, for whoever looks on.
func (c *command) tell(format string, arguments ...any) {
	fmt.Fprintf(c.stderr, format+"\n", arguments...)
}

// verifyPIN has the card see its PIN: from a file, or from the reader's own pad,
// or from the terminal, which does not show it. It is kept nowhere.
func (c *command) verifyPIN(ctx context.Context, card *customer, pinFile string) error {
	if card.data.Tries == 0 {
		return purse.PINBlocked
	}
	if pinFile == "" {
		err := c.verifyAtPad(ctx, card)
		if !errors.Is(err, smartcard.ErrNoPINPad) {
			return err
		}
	}
	digits, err := c.readPIN(card, pinFile)
	if err != nil {
		return err
	}
	defer clear(digits)
	return smartcard.Purse{Card: card.Session}.Verify(ctx, digits)
}

// verifyAtPad has the holder enter the PIN at the reader. ErrNoPINPad means that
// it has no pad.
func (c *command) verifyAtPad(ctx context.Context, card *customer) error {
	if _, has := card.Session.(smartcard.PINPad); has {
		c.tell("If the reader asks for the PIN, enter it there.")
	}
	return smartcard.VerifyAtPad(ctx, card.Session)
}

// readPIN reads a PIN from a file or from the terminal. Errors do not quote it.
func (c *command) readPIN(card *customer, pinFile string) ([]byte, error) {
	var digits []byte
	var err error
	if pinFile != "" {
		if digits, err = keyfile.ReadPassphrase(pinFile); err != nil {
			return nil, usage("--pin-file: %v", err)
		}
	} else {
		question := fmt.Sprintf("PIN of card %s: ", card.data.Card)
		if card.data.Tries == 1 {
			question = fmt.Sprintf("PIN of card %s (the last try): ", card.data.Card)
		}
		digits, err = keyfile.Prompt(c.stdin, c.stderr, question)
		if errors.Is(err, keyfile.ErrNoTerminal) {
			return nil, usage("the card wants its PIN: call this from a terminal, or name the PIN's file with --pin-file; it is never an argument")
		}
		if err != nil {
			return nil, err
		}
	}
	if !purse.IsPIN(digits) { // it would use up a try
		clear(digits)
		return nil, usage("a PIN has %d to %d digits and nothing else: it was not shown to the card", purse.MinPINDigits, purse.MaxPINDigits)
	}
	return digits, nil
}
