//go:build pcsc && cgo

package pcsc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paywordhq/payword/internal/pcsctest"
	"github.com/paywordhq/payword/samgateway/pcsc"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

func TestMain(m *testing.M) { os.Exit(pcsctest.Main(m)) }

// patience bounds what a test waits for.
const patience = 20 * time.Second

var ping = []byte{0x00, 0x10, 0x00, 0x00, 0x01, 0x55, 0x00}

// echo is a card that answers with what it was told, and 9000.
func echo() pcsctest.Card {
	return pcsctest.Card{Answer: func(command []byte) []byte { return append(slices.Clone(command), 0x90, 0x00) }}
}

func withPatience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// find returns the reader of PC/SC that is the virtual one.
func find(t *testing.T, virtual *pcsctest.Reader) smartcard.Reader {
	t.Helper()
	readers, err := pcsc.Readers{}.List(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, reader := range readers {
		names = append(names, reader.Name())
		if reader.Name() == virtual.Name() {
			return reader
		}
	}
	t.Fatalf("there is no reader %q among %q", virtual.Name(), names)
	return nil
}

// wait fails the test unless a card comes, or goes.
func wait(t *testing.T, reader smartcard.Reader, isPresent bool) {
	t.Helper()
	if err := reader.Wait(withPatience(t), isPresent); err != nil {
		t.Fatalf("waiting for a card (%t): %v", isPresent, err)
	}
}

// connect waits for a card and connects to it.
func connect(t *testing.T, reader smartcard.Reader) smartcard.Session {
	t.Helper()
	wait(t, reader, true)
	session, err := reader.Connect(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func TestReadersAreListed(t *testing.T) {
	t.Parallel()
	customer, merchant := pcsctest.New(t)
	readers, err := pcsc.Readers{}.List(withPatience(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, reader := range readers {
		names = append(names, reader.Name())
	}
	if !slices.IsSorted(names) || !slices.Contains(names, customer.Name()) || !slices.Contains(names, merchant.Name()) {
		t.Errorf("got %q, want them sorted, with %q and %q", names, customer.Name(), merchant.Name())
	}
}

func TestInsertionAndRemoval(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	if session, err := reader.Connect(withPatience(t)); !errors.Is(err, smartcard.ErrNoCard) {
		t.Errorf("connecting to an empty reader: %v, %v; want ErrNoCard", session, err)
	}
	wait(t, reader, false)
	for range 2 {
		virtual.Insert(t, echo())
		session := connect(t, reader)
		answer, err := session.Transmit(withPatience(t), ping)
		if want := append(slices.Clone(ping), 0x90, 0x00); err != nil || !bytes.Equal(answer, want) {
			t.Fatalf("got %X, %v; want %X", answer, err, want)
		}
		virtual.Remove()
		wait(t, reader, false)
		if answer, err := session.Transmit(withPatience(t), ping); !errors.Is(err, smartcard.ErrTorn) {
			t.Errorf("a command to a card that was removed: %X, %v; want ErrTorn", answer, err)
		}
		if err := session.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		if _, err := reader.Connect(withPatience(t)); !errors.Is(err, smartcard.ErrNoCard) {
			t.Errorf("connecting to a reader that was emptied: %v, want ErrNoCard", err)
		}
	}
}

// Two who wait at one reader take turns, and both see the card.
func TestManyWaitAtOneReader(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	var waiting sync.WaitGroup
	failed := make(chan error, 4)
	for range cap(failed) {
		waiting.Go(func() {
			failed <- reader.Wait(withPatience(t), true)
		})
	}
	virtual.Insert(t, echo())
	waiting.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWaitingIsBrokenOff(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reader.Wait(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := reader.Wait(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
}

// Cards of the older protocol let their answers be fetched.
func TestCardThatSpeaksT0(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	virtual.Insert(t, pcsctest.Card{IsT0: true, Answer: func(command []byte) []byte {
		switch {
		case bytes.Equal(command, []byte{0x00, 0xC0, 0x00, 0x00, 0x02}):
			return []byte{0xAA, 0xBB, 0x90, 0x00}
		case bytes.Equal(command, ping[:len(ping)-1]):
			return []byte{0x61, 0x02}
		}
		return []byte{0x67, 0x00}
	}})
	answer, err := connect(t, reader).Transmit(withPatience(t), ping)
	if want := []byte{0xAA, 0xBB, 0x90, 0x00}; err != nil || !bytes.Equal(answer, want) {
		t.Errorf("got %X, %v; want %X", answer, err, want)
	}
}

// A reader without a pad says so, and the session goes on.
func TestReaderWithoutAPad(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	virtual.Insert(t, echo())
	session := connect(t, reader)
	pad, isPad := session.(smartcard.PINPad)
	if !isPad {
		t.Fatal("a session has no VerifyPIN")
	}
	if status, err := pad.VerifyPIN(withPatience(t)); !errors.Is(err, smartcard.ErrNoPINPad) {
		t.Errorf("got %X, %v; want ErrNoPINPad", status, err)
	}
	if _, err := session.Transmit(withPatience(t), ping); err != nil {
		t.Error(err)
	}
	if _, err := session.Transmit(withPatience(t), ping[:3]); err == nil || errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("a command of 3 bytes: %v", err)
	}
}

// One session has the card, until it is closed.
func TestACardIsUsedAlone(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	virtual.Insert(t, echo())
	session := connect(t, reader)
	if _, err := reader.Connect(withPatience(t)); !errors.Is(err, smartcard.ErrBusy) {
		t.Errorf("a second session: %v, want ErrBusy", err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Transmit(withPatience(t), ping); err == nil {
		t.Error("a command after closing was sent")
	}
	if err := session.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	connect(t, reader)
}

// A card that was told its PIN is reset at the end of the session, any other is
// left as it is.
func TestCloseForgetsThePIN(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		command []byte
		status  []byte
		resets  bool
	}{
		{"another command", ping, []byte{0x90, 0x00}, false},
		{"the right PIN", []byte{0x00, 0x20, 0x00, 0x80, 0x04, '1', '1', '1', '1'}, []byte{0x90, 0x00}, true},
		{"a wrong PIN", []byte{0x00, 0x20, 0x00, 0x80, 0x04, '1', '1', '1', '1'}, []byte{0x63, 0xC2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			virtual, _ := pcsctest.New(t)
			reader := find(t, virtual)
			resets := 0
			var mu sync.Mutex
			count := func() int {
				mu.Lock()
				defer mu.Unlock()
				return resets
			}
			virtual.Insert(t, pcsctest.Card{
				Answer: func([]byte) []byte { return c.status },
				Reset: func() {
					mu.Lock()
					defer mu.Unlock()
					resets++
				},
			})
			session := connect(t, reader)
			if answer, err := session.Transmit(withPatience(t), c.command); err != nil || !bytes.Equal(answer, c.status) {
				t.Fatalf("got %X, %v", answer, err)
			}
			before := count()
			if err := session.Close(); err != nil {
				t.Fatal(err)
			}
			connect(t, reader) // after what closing did
			if resets := count() > before; resets != c.resets {
				t.Errorf("was reset: %t, want %t", resets, c.resets)
			}
		})
	}
}

// A card that is pulled after its PIN was entered does not keep the next one from
// being seen.
func TestPulledAfterThePIN(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	card := pcsctest.Card{Answer: func([]byte) []byte { return []byte{0x90, 0x00} }}
	virtual.Insert(t, card)
	session := connect(t, reader)
	if _, err := session.Transmit(withPatience(t), []byte{0x00, 0x20, 0x00, 0x80, 0x04, '1', '1', '1', '1'}); err != nil {
		t.Fatal(err)
	}
	virtual.Remove()
	if err := session.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	virtual.Exchange(t, card)
	if _, err := connect(t, reader).Transmit(withPatience(t), ping); err != nil {
		t.Errorf("the next card: %v", err)
	}
}

func TestMuteCard(t *testing.T) {
	t.Parallel()
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	card := echo()
	card.IsMute = true
	virtual.Insert(t, card)
	wait(t, reader, true)
	if session, err := reader.Connect(withPatience(t)); !errors.Is(err, smartcard.ErrMute) {
		t.Errorf("connecting to a mute card: %v, %v; want ErrMute", session, err)
	}
	virtual.Replace(t, echo())
	connect(t, reader)
}

// A card that stops answering keeps nobody: not who asked it, and not who uses
// another reader.
func TestCardThatStopsAnswering(t *testing.T) {
	t.Parallel()
	customer, merchant := pcsctest.New(t)
	one, other := find(t, customer), find(t, merchant)
	card := echo()
	card.StopsAt = 2
	customer.Insert(t, card)
	merchant.Insert(t, echo())
	session, neighbour := connect(t, one), connect(t, other)
	if _, err := session.Transmit(withPatience(t), ping); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := session.Transmit(ctx, ping); !errors.Is(err, smartcard.ErrTorn) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrTorn for context.DeadlineExceeded", err)
	}
	if _, err := session.Transmit(withPatience(t), ping); !errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("after that: %v, want ErrTorn", err)
	}
	if err := session.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, err := neighbour.Transmit(withPatience(t), ping); err != nil {
		t.Errorf("the other reader: %v", err)
	}
	if _, err := one.Connect(withPatience(t)); err == nil {
		t.Error("a card that does not answer was connected to")
	}
	customer.Replace(t, echo())
	wait(t, one, true)
	if _, err := connect(t, one).Transmit(withPatience(t), ping); err != nil {
		t.Errorf("the next card: %v", err)
	}
}

// A card that is pulled within a command is ErrTorn, whether the card did what it
// was told or not, and the next card is seen.
func TestTorn(t *testing.T) {
	t.Parallel()
	for _, how := range []pcsctest.How{pcsctest.Before, pcsctest.After, pcsctest.CutBefore, pcsctest.CutAfter} {
		for at := 1; at <= 2; at++ {
			t.Run(fmt.Sprintf("%s command %d", how, at), func(t *testing.T) {
				t.Parallel()
				virtual, _ := pcsctest.New(t)
				reader := find(t, virtual)
				card, done := echo(), 0
				card.Tear = pcsctest.Tear{At: at, How: how}
				answer := card.Answer
				card.Answer = func(command []byte) []byte {
					done++
					return answer(command)
				}
				virtual.Insert(t, card)
				session := connect(t, reader)
				for n := 1; n <= at+1; n++ {
					_, err := session.Transmit(withPatience(t), ping)
					if n < at && err != nil || n >= at && !errors.Is(err, smartcard.ErrTorn) {
						t.Fatalf("command %d: %v", n, err)
					}
				}
				if err := session.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
				virtual.Remove()
				want := at
				if how == pcsctest.Before || how == pcsctest.CutBefore {
					want--
				}
				if done != want {
					t.Errorf("the card did %d commands, want %d", done, want)
				}
				virtual.Replace(t, echo())
				if _, err := connect(t, reader).Transmit(withPatience(t), ping); err != nil {
					t.Errorf("the next card: %v", err)
				}
			})
		}
	}
}

// A card that is exchanged between two commands never gets what was meant for the
// one before.
func TestExchange(t *testing.T) {
	t.Parallel()
	for _, isQuick := range []bool{true, false} {
		t.Run(fmt.Sprintf("quick %t", isQuick), func(t *testing.T) {
			t.Parallel()
			virtual, _ := pcsctest.New(t)
			reader := find(t, virtual)
			virtual.Insert(t, echo())
			session := connect(t, reader)
			if _, err := session.Transmit(withPatience(t), ping); err != nil {
				t.Fatal(err)
			}
			if isQuick {
				virtual.Exchange(t, echo())
			} else {
				virtual.Replace(t, echo())
				wait(t, reader, true)
				if _, err := session.Transmit(withPatience(t), ping); !errors.Is(err, smartcard.ErrTorn) {
					t.Errorf("a command to the next card: %v, want ErrTorn", err)
				}
			}
			// Between two looks of pcscd nobody sees that it is another card. Its first
			// command may fail.
			if err := session.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
			session = connect(t, reader)
			if _, err := session.Transmit(withPatience(t), ping); errors.Is(err, smartcard.ErrTorn) && isQuick {
				_ = session.Close()
				session = connect(t, reader)
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err := session.Transmit(withPatience(t), ping); err != nil {
				t.Errorf("the next card: %v", err)
			}
		})
	}
}

func TestTwoReadersInParallel(t *testing.T) {
	t.Parallel()
	customer, merchant := pcsctest.New(t)
	var working sync.WaitGroup
	for number, virtual := range []*pcsctest.Reader{customer, merchant} {
		reader := find(t, virtual)
		virtual.Insert(t, pcsctest.Card{Answer: func(command []byte) []byte { return []byte{byte(number), command[4], 0x90, 0x00} }})
		session := connect(t, reader)
		working.Go(func() {
			for n := range 200 {
				command := []byte{0x80, 0x10, 0x00, 0x00, byte(n)}
				answer, err := session.Transmit(t.Context(), command)
				if want := []byte{byte(number), byte(n), 0x90, 0x00}; err != nil || !bytes.Equal(answer, want) {
					t.Errorf("got %X, %v; want %X", answer, err, want)
					return
				}
			}
		})
	}
	working.Wait()
}

// The tests below run alone, before all that are parallel: they stop pcscd, or
// measure this process.

// While nothing changes at a reader, nothing is done. PC/SC returns at once for a
// state that has the bit for a change in it.
func TestWaitingTakesNoTime(t *testing.T) {
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	wait(t, reader, false)
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	before := processorTime(t)
	if err := reader.Wait(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want context.DeadlineExceeded", err)
	}
	if taken := processorTime(t) - before; taken > 60*time.Millisecond {
		t.Errorf("waiting took %s of the processor, want next to nothing", taken)
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestServiceStopsAndStarts(t *testing.T) {
	virtual, _ := pcsctest.New(t)
	reader := find(t, virtual)
	virtual.Insert(t, echo())
	session := connect(t, reader)
	if _, err := session.Transmit(withPatience(t), ping); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- reader.Wait(withPatience(t), false) }()

	pcsctest.Stop(t)
	if err := <-waiting; !errors.Is(err, smartcard.ErrGone) {
		t.Errorf("who waited at a reader: %v, want ErrGone", err)
	}
	if _, err := session.Transmit(withPatience(t), ping); !errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("a command: %v, want ErrTorn", err)
	}
	if err := session.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if _, err := (pcsc.Readers{}).List(withPatience(t)); !errors.Is(err, smartcard.ErrNoService) {
		t.Errorf("the readers: %v, want ErrNoService", err)
	}
	if _, err := reader.Connect(withPatience(t)); !errors.Is(err, smartcard.ErrGone) || !errors.Is(err, smartcard.ErrNoService) {
		t.Errorf("connecting: %v, want ErrGone and ErrNoService", err)
	}
	if err := reader.Wait(withPatience(t), true); !errors.Is(err, smartcard.ErrGone) {
		t.Errorf("waiting: %v, want ErrGone", err)
	}

	pcsctest.Start(t)
	if _, err := connect(t, find(t, virtual)).Transmit(withPatience(t), ping); err != nil {
		t.Errorf("the same card, after the service was started: %v", err)
	}
}
