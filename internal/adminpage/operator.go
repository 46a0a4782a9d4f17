package adminpage

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// Operator is somebody who may use the administration pages and routes under a
// name of their own, which the audit log tells.
type Operator struct {
	// Name is 1 to 32 of a-z, 0-9, "." and "-". It is "" for the one operator
	// whose token stands in the file alone.
	Name string
	// Token is what the operator proves to be it with: at least MinToken bytes,
	// without spaces.
	Token string
	// ReadOnly operators look and change nothing.
	ReadOnly bool
}

const (
	// MinToken is the length below which a token can be guessed, in bytes.
	MinToken = 16

	// maxOperators bounds the list: each request with a token is compared with
	// all.
	maxOperators = 100
)

// Title is what the operator is called on the pages.
func (o Operator) Title() string {
	if o.Name == "" {
		return "admin"
	}
	return o.Name
}

// check reports what is wrong with an operator. It repeats neither word: whoever
// writes the token first has it in the place of the name.
func (o Operator) check() error {
	for _, c := range []byte(o.Name) {
		isWord := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'
		if !isWord {
			return errors.New("want a name of a-z, 0-9, . and -")
		}
	}
	switch {
	case o.Name == "" || len(o.Name) > 32:
		return errors.New("want a name of 1 to 32 characters")
	case len(o.Token) < MinToken || strings.ContainsAny(o.Token, " \t\r\n"):
		return fmt.Errorf("want a token of at least %d characters without spaces", MinToken)
	}
	return nil
}

// CheckOperators reports what is wrong with the list of those who may
// administrate: the one without a name, if token is not "", and others. No error
// repeats a token.
func CheckOperators(token string, others []Operator) error {
	if len(others) > maxOperators {
		return fmt.Errorf("operators: %d, want at most %d", len(others), maxOperators)
	}
	names, tokens := make(map[string]bool), map[string]bool{token: true}
	for k, o := range others {
		if err := o.check(); err != nil {
			return fmt.Errorf("operator %d: %w", k+1, err)
		}
		if names[o.Name] || tokens[o.Token] {
			return fmt.Errorf("operator %d: the name or the token stands twice", k+1)
		}
		names[o.Name], tokens[o.Token] = true, true
	}
	return nil
}

// Operators finds who has a token.
type Operators struct{ all []hashed }

// hashed is an Operator with the hash of the token: all tokens take equally long
// to compare.
type hashed struct {
	Operator
	sum [sha256.Size]byte
}

// NewOperators returns all who may administrate: the one without a name, if
// token is not "", and others.
func NewOperators(token string, others []Operator) (all Operators) {
	if token != "" {
		others = append([]Operator{{Token: token}}, others...)
	}
	for _, o := range others {
		all.all = append(all.all, hashed{o, sha256.Sum256([]byte(o.Token))})
	}
	return all
}

// IsEmpty reports whether nobody may administrate.
func (o Operators) IsEmpty() bool { return len(o.all) == 0 }

// Of returns whose token that is. It compares with every one, in constant time.
func (o Operators) Of(token string) (found Operator, isOne bool) {
	sum := sha256.Sum256([]byte(token))
	for _, one := range o.all {
		if subtle.ConstantTimeCompare(sum[:], one.sum[:]) == 1 {
			found, isOne = one.Operator, true
		}
	}
	return found, isOne
}

// named returns the operator of a name; "" is the one without.
func (o Operators) named(name string) (Operator, bool) {
	for _, one := range o.all {
		if one.Name == name {
			return one.Operator, true
		}
	}
	return Operator{}, false
}

// ReadOperators reads what stands in a token file: one token, or a line
// "name token" or "name token read-only" for each operator. Empty lines and
// those that begin with # say nothing. No error repeats a token.
func ReadOperators(text string) (token string, others []Operator, err error) {
	for number, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		isOneWord := len(words) == 1
		if token != "" || isOneWord && others != nil {
			return "", nil, fmt.Errorf("line %d: want one token, or a line \"name token\" for each operator", number+1)
		}
		if isOneWord {
			token = words[0]
			continue
		}
		if len(words) > 3 || len(words) == 3 && words[2] != "read-only" {
			return "", nil, fmt.Errorf("line %d: want \"name token\" or \"name token read-only\"", number+1)
		}
		o := Operator{Name: words[0], Token: words[1], ReadOnly: len(words) == 3}
		if err := o.check(); err != nil {
			return "", nil, fmt.Errorf("line %d: %w", number+1, err)
		}
		if others = append(others, o); len(others) > maxOperators {
			return "", nil, fmt.Errorf("line %d: want at most %d operators", number+1, maxOperators)
		}
	}
	if token != "" && len(token) < MinToken || token == "" && others == nil {
		return "", nil, fmt.Errorf("want one token of at least %d characters, or a line \"name token\" for each operator", MinToken)
	}
	return token, others, CheckOperators(token, others)
}
