package softcard_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/softcard"
)

var (
	cents    = purse.Unit{Currency: 0x0840, Exponent: -2}
	cardID   = purse.ID{0xC1, 7: 1}
	merchant = purse.ID{0x4D, 7: 9}
)

const testPIN = "4711"

func cardIssue(t testing.TB) purse.CardIssue {
	return purse.CardIssue{Keys: pursetest.Keys(t), KeyVersion: 1, Card: cardID, Holder: purse.ID{0xA0}, Unit: cents, MaxBalance: 20000, MaxPayment: 20000, PIN: testPIN}
}

// newCard returns the name of a file with a card.
func newCard(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card")
	if err := softcard.CreateCard(path, cardIssue(t)); err != nil {
		t.Fatal(err)
	}
	return path
}

func connect(t testing.TB, path string) smartcard.Session {
	t.Helper()
	session, err := softcard.Reader(path).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func TestACardKeepsWhatItKnows(t *testing.T) {
	path := newCard(t)
	session := connect(t, path)
	card := smartcard.Purse{Card: session}
	if err := card.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := card.Verify(t.Context(), []byte("1234")); !errors.Is(err, purse.StatusWord(0x63C2)) {
		t.Errorf("a wrong PIN: %v, want 63C2", err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Transmit(t.Context(), purse.Command(purse.GetData, 0, 0, nil)); err == nil {
		t.Error("a session that was closed goes on")
	}
	card = smartcard.Purse{Card: connect(t, path)}
	if _, err := card.Data(t.Context()); !errors.Is(err, purse.OutOfOrder) {
		t.Errorf("before SELECT: %v, want OutOfOrder: what was selected is gone with the session", err)
	}
	if err := card.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := card.Data(t.Context())
	if err != nil || data.Card != cardID || data.Tries != 2 {
		t.Errorf("got %+v, %v; want card %s with 2 tries left", data, err, cardID)
	}
}

func TestASAMInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sam")
	issue := purse.SAMIssue{Keys: pursetest.Keys(t), KeyVersion: 1, Merchant: merchant, Unit: cents, Limit: 100000}
	if err := softcard.CreateSAM(path, issue); err != nil {
		t.Fatal(err)
	}
	sam := smartcard.SAM{Card: connect(t, path)}
	if err := sam.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := sam.Data(t.Context()); err != nil || data.Merchant != merchant {
		t.Errorf("got %+v, %v; want merchant %s", data, err, merchant)
	}
	if err := softcard.CreateSAM(path, issue); !errors.Is(err, smartcard.ErrBusy) {
		t.Errorf("issuing a SAM that is in use: %v, want ErrBusy", err)
	}
}

func TestFilesAreTheirOwnersAlone(t *testing.T) {
	path := newCard(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := softcard.Reader(path).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %04o: %v, want that it has to be 0600", mode, err)
		}
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	for _, text := range []string{"", "anything"} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := softcard.CreateCard(path, cardIssue(t)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a file with %q: %v, want fs.ErrExist", text, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("the file has %q now, %v", got, err)
		}
		if _, err := softcard.Reader(path).Connect(t.Context()); err == nil || errors.Is(err, smartcard.ErrNoCard) {
			t.Errorf("a file with %q as a card: %v", text, err)
		}
	}
	path := newCard(t)
	if err := softcard.CreateCard(path, cardIssue(t)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a card: %v, want fs.ErrExist", err)
	}
}

func TestACardIsUsedAlone(t *testing.T) {
	path := newCard(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	session := connect(t, path)
	for _, name := range []string{path, link} {
		if _, err := softcard.Reader(name).Connect(t.Context()); !errors.Is(err, smartcard.ErrBusy) {
			t.Errorf("%s a second time: %v, want ErrBusy", filepath.Base(name), err)
		}
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	connect(t, link)
}

// Every byte of a card counts: a damaged one is not used.
func TestDamagedFile(t *testing.T) {
	path := newCard(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{good[:len(good)-1], append(bytes.Clone(good), 0), bytes.Repeat([]byte{'P'}, 2<<20)}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		damaged = append(damaged, changed)
	}
	for i, state := range damaged {
		if err := os.WriteFile(path, state, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := softcard.Reader(path).Connect(t.Context()); err == nil {
			t.Errorf("damaged file %d of %d was taken", i, len(damaged))
		}
	}
}

// wrongPIN is a command that the card has to store.
var wrongPIN = purse.Command(purse.Verify, 0, 0x80, []byte("1234"))

func selected(t testing.TB, path string) smartcard.Session {
	t.Helper()
	session := connect(t, path)
	if err := (smartcard.Purse{Card: session}).Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	return session
}

// A card whose file is moved away is one that was pulled: it is in one place.
func TestACardIsMovedAway(t *testing.T) {
	for _, isReplaced := range []bool{false, true} {
		path := newCard(t)
		session := selected(t, path)
		elsewhere := path + ".away"
		if err := os.Rename(path, elsewhere); err != nil {
			t.Fatal(err)
		}
		if isReplaced {
			if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := session.Transmit(t.Context(), wrongPIN); !errors.Is(err, smartcard.ErrTorn) {
			t.Errorf("replaced %t: %v, want ErrTorn", isReplaced, err)
		}
		if _, err := session.Transmit(t.Context(), wrongPIN); !errors.Is(err, smartcard.ErrTorn) {
			t.Errorf("replaced %t, again: %v, want ErrTorn", isReplaced, err)
		}
		if _, err := os.Stat(path); !isReplaced && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the card is there again: %v", err)
		}
		if tries, err := (smartcard.Purse{Card: selected(t, elsewhere)}).Tries(t.Context()); err != nil || tries != 3 {
			t.Errorf("replaced %t: %d tries, %v; want 3", isReplaced, tries, err)
		}
	}
}

// When a card cannot store, no answer leaves it, and it is as it was before.
func TestStoringFails(t *testing.T) {
	path := newCard(t)
	session := selected(t, path)
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Transmit(t.Context(), wrongPIN); !errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("got %v, want ErrTorn", err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if tries, err := (smartcard.Purse{Card: selected(t, path)}).Tries(t.Context()); err != nil || tries != 3 {
		t.Errorf("%d tries, %v; want 3", tries, err)
	}
}

func TestReaderOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card")
	reader := softcard.Reader(path)
	if reader.Name() != path {
		t.Errorf("it is named %q, want %q", reader.Name(), path)
	}
	if _, err := reader.Connect(t.Context()); !errors.Is(err, smartcard.ErrNoCard) {
		t.Errorf("without a file: %v, want ErrNoCard", err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("looking for a card left %q", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := reader.Wait(ctx, false); err != nil {
		t.Errorf("waiting for none: %v", err)
	}
	cancel()
	if err := reader.Wait(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v, want context.Canceled", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- reader.Wait(t.Context(), true) }()
	if err := softcard.CreateCard(path, cardIssue(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("waiting for a card: %v", err)
	}
	if err := softcard.Reader(filepath.Join(path, "under a file")).Wait(t.Context(), true); !errors.Is(err, smartcard.ErrGone) {
		t.Errorf("waiting where nothing can be: %v, want ErrGone", err)
	}
}

// The process that writes is killed at any time: the card is one that was, or the
// one after.
func TestKilledWhileStoring(t *testing.T) {
	const variable = "PAYWORD_TEST_SOFTCARD"
	if path := os.Getenv(variable); path != "" {
		session := selected(t, path)
		for {
			for _, pin := range []string{"1234", testPIN} {
				if _, err := session.Transmit(t.Context(), purse.Command(purse.Verify, 0, 0x80, []byte(pin))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	path := newCard(t)
	seen := map[int]int{}
	for range 15 {
		writer := exec.Command(os.Args[0], "-test.run=^TestKilledWhileStoring$")
		writer.Env = append(os.Environ(), variable+"="+path)
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		awaitChange(t, path, before)
		<-time.After(time.Duration(random.IntN(2000)) * time.Microsecond)
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := writer.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		card := smartcard.Purse{Card: selected(t, path)}
		tries, err := card.Tries(t.Context())
		if err != nil || tries < 1 || tries > 3 {
			t.Fatalf("%d tries, %v; want 1 to 3", tries, err)
		}
		seen[tries]++
		if err := card.Verify(t.Context(), []byte(testPIN)); err != nil {
			t.Fatal(err)
		}
		if session, is := card.Card.(smartcard.Session); !is || session.Close() != nil {
			t.Fatal("closing failed")
		}
	}
	t.Logf("tries left after the kills: %v", seen)
}

// awaitChange returns when the file was stored anew.
func awaitChange(t *testing.T, path string, before fs.FileInfo) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if now, err := os.Stat(path); err == nil && !os.SameFile(before, now) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("the writer wrote nothing")
		}
	}
}
