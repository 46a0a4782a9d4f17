package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal means that there is nobody to ask for a passphrase.
var ErrNoTerminal = errors.New("a passphrase is needed: name its file with --passphrase-file, or call this from a terminal")

// ReadPassphrase returns the first line of a file that only its owner may read.
func ReadPassphrase(path string) ([]byte, error) {
	content, mode, err := ReadSmall(path)
	if err == nil {
		err = CheckPrivate(path, mode)
	}
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, fmt.Errorf("%s: the first line is empty", path)
	}
	return line, nil
}

// Prompt asks for a passphrase on the terminal that stdin is, without showing it.
// ErrNoTerminal means that it is none.
func Prompt(stdin io.Reader, stderr io.Writer, question string) ([]byte, error) {
	terminal, isFile := stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(terminal.Fd())) {
		return nil, ErrNoTerminal
	}
	// Hidden before the question is there: who answers it at once shall not be read.
	restore, err := hideInput(int(terminal.Fd()))
	if err != nil {
		return nil, fmt.Errorf("asking for the passphrase: %w", err)
	}
	defer restore()
	fmt.Fprint(stderr, question)
	passphrase, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(stderr)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return passphrase, nil
}

// PromptNew asks for a new passphrase, twice. Among the errors is ErrNoTerminal.
func PromptNew(stdin io.Reader, stderr io.Writer) ([]byte, error) {
	first, err := Prompt(stdin, stderr, "New passphrase: ")
	if err != nil {
		return nil, err
	}
	second, err := Prompt(stdin, stderr, "The same again: ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 || !bytes.Equal(first, second) {
		return nil, errors.New("the passphrase is empty, or the two are not the same")
	}
	return first, nil
}
