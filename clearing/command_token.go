package clearing

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// readToken returns the token of an operator: from the environment, or typed on
// the terminal without being shown.
func readToken(name string, prompt io.Writer) (string, error) {
	if token := os.Getenv(operatorTokenVariable); token != "" {
		return token, nil
	}
	terminal := int(os.Stdin.Fd())
	if !term.IsTerminal(terminal) {
		return "", fmt.Errorf("the token of operator %s is missing: type it on a terminal, or put it into %s", name, operatorTokenVariable)
	}
	fmt.Fprintf(prompt, "Token of operator %s: ", name)
	token, err := term.ReadPassword(terminal)
	fmt.Fprintln(prompt)
	return string(token), err
}
