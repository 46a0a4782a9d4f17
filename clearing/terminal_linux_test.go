package clearing_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paywordhq/payword/clearing"
)

// terminal returns a terminal of 80 columns to write to, and a function that
// closes it and returns what was shown there.
func terminal(t *testing.T) (shown *os.File, ended func() string) {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(main.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	shown, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends with EIO when nobody has the terminal open any more.
		_, _ = io.Copy(&text, main)
		_ = main.Close()
	}()
	return shown, func() string {
		_ = shown.Close()
		<-done
		return text.String()
	}
}

// Who looks on sees how far a run is, and in the end nothing of it. The result
// is the same as where nobody looks.
func TestRunOnATerminal(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		database, folder := databaseFile(t), t.TempDir()
		screen, ended := terminal(t)
		args := []string{"run", "--now", "--db", database, "--out", folder}
		if quiet {
			args = append(args, "--quiet")
		}
		var stdout bytes.Buffer
		code := clearing.Main(t.Context(), args, &stdout, screen)
		shown := ended()
		if code != 0 || strings.Contains(stdout.String(), "\x1b") {
			t.Errorf("%q: got exit code %d, %q, %q", args, code, stdout.String(), shown)
		}
		if quiet {
			if shown != "" || stdout.Len() != 0 {
				t.Errorf("%q: got %q and %q, want nothing", args, stdout.String(), shown)
			}
			continue
		}
		for _, want := range []string{"checking the books ...", "[########################] paying     100%  6 of 6"} {
			if !strings.Contains(shown, want) {
				t.Errorf("on the terminal: got %q, want %q", shown, want)
			}
		}
		if !strings.HasSuffix(shown, "\r\x1b[K") || strings.Contains(shown, "\n") {
			t.Errorf("on the terminal: got %q, want one line, and that it is cleared in the end", shown)
		}
	}
}

// An error stands alone on its line.
func TestFailureOnATerminal(t *testing.T) {
	screen, ended := terminal(t)
	var stdout bytes.Buffer
	code := clearing.Main(t.Context(), []string{"run", "--db", databaseFile(t), "--out", t.TempDir()}, &stdout, screen)
	if shown := ended(); code != 1 || !strings.HasPrefix(shown, "payword clearing run: there is no such plan") {
		t.Errorf("got exit code %d, %q", code, shown)
	}
}
