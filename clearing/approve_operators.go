package clearing

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Operator is somebody who plans, approves and runs settlements under a name of
// their own, which the records tell. The zero value is whoever may open the
// database.
type Operator struct {
	// Name is 1 to 32 of a-z, 0-9, "." and "-".
	Name string
	// Token is what the operator proves to be it with: at least 16 bytes,
	// without spaces.
	Token string
	// ReadOnly operators look and change nothing.
	ReadOnly bool
}

const (
	// minToken is the length below which a token can be guessed.
	minToken = 16
	// maxOperators bounds the list: each token is compared with all.
	maxOperators = 100
	// maxOperatorsBytes is more than the longest list has.
	maxOperatorsBytes = 1 << 20
)

// actor is who the records name for what the operator does.
func (o Operator) actor() string {
	if o.Name == "" {
		return actorCommand
	}
	return operatorPrefix + o.Name
}

var operatorName = regexp.MustCompile(`^[a-z0-9.-]{1,32}$`)

// ParseOperators reads who may act: a line "name token" or "name token
// read-only" for each, as in the broker's file of them. Empty lines and those
// that begin with # say nothing. No error repeats a token.
func ParseOperators(text []byte) ([]Operator, error) {
	if len(text) > maxOperatorsBytes {
		return nil, fmt.Errorf("operators: %d bytes, want at most %d", len(text), maxOperatorsBytes)
	}
	var operators []Operator
	names, tokens := map[string]bool{}, map[string]bool{}
	for number, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) < 2 || len(words) > 3 || len(words) == 3 && words[2] != "read-only" {
			return nil, fmt.Errorf("operators: line %d: want \"name token\" or \"name token read-only\"", number+1)
		}
		o := Operator{Name: words[0], Token: words[1], ReadOnly: len(words) == 3}
		switch {
		case !operatorName.MatchString(o.Name):
			return nil, fmt.Errorf("operators: line %d: want a name of 1 to 32 of a-z, 0-9, . and -", number+1)
		case len(o.Token) < minToken:
			return nil, fmt.Errorf("operators: line %d: want a token of at least %d characters", number+1, minToken)
		case names[o.Name] || tokens[o.Token]:
			return nil, fmt.Errorf("operators: line %d: the name or the token stands twice", number+1)
		case len(operators) == maxOperators:
			return nil, fmt.Errorf("operators: more than %d", maxOperators)
		}
		names[o.Name], tokens[o.Token] = true, true
		operators = append(operators, o)
	}
	if len(operators) == 0 {
		return nil, errors.New("operators: want a line \"name token\" for each")
	}
	return operators, nil
}

// ErrNoOperator means that there is no operator of that name with that token.
var ErrNoOperator = errors.New("there is no operator of that name with that token")

// ProveOperator returns the operator of a name, if the token is that one's. All
// tokens take equally long to compare.
func ProveOperator(operators []Operator, name, token string) (Operator, error) {
	given := sha256.Sum256([]byte(token))
	found, isOne := Operator{}, false
	for _, o := range operators {
		sum := sha256.Sum256([]byte(o.Token))
		if subtle.ConstantTimeCompare(given[:], sum[:]) == 1 && o.Name == name {
			found, isOne = o, true
		}
	}
	if !isOne {
		return Operator{}, ErrNoOperator
	}
	return found, nil
}
