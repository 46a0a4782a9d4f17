package keyfile_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paywordhq/payword/internal/keyfile"
)

// hasty is a person who answers a question as soon as it is there.
type hasty struct {
	t        *testing.T
	terminal int
	keyboard io.Writer
	answer   string
	hidden   []bool // at each question
}

// Write implements io.Writer.
func (h *hasty) Write(text []byte) (int, error) {
	if string(text) == "\n" {
		return len(text), nil
	}
	h.hidden = append(h.hidden, isHidden(h.t, h.terminal))
	if _, err := io.WriteString(h.keyboard, h.answer+"\r"); err != nil {
		h.t.Error(err)
	}
	return len(text), nil
}

func isHidden(t *testing.T, terminal int) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(terminal, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO == 0
}

// What is typed is hidden before the question is there, and shown again afterwards.
func TestPromptHidesFirst(t *testing.T) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer keyboard.Close()
	fd := int(keyboard.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	person := &hasty{t: t, terminal: int(screen.Fd()), keyboard: keyboard, answer: "not for others"}
	got, err := keyfile.PromptNew(screen, person)
	if err != nil || string(got) != person.answer {
		t.Errorf("got %q (%v)", got, err)
	}
	if len(person.hidden) != 2 || !person.hidden[0] || !person.hidden[1] {
		t.Errorf("hidden at the questions: %v", person.hidden)
	}
	if isHidden(t, person.terminal) {
		t.Error("nothing that is typed is shown any more")
	}
}
