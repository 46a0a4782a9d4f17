package clearing

import (
	"errors"

	"github.com/paywordhq/payword/internal/adminpage"
)

// Operator is somebody who plans, approves and runs settlements under a name of
// their own, which the records tell. The zero value is whoever may open the
// database.
type Operator = adminpage.Operator

// maxOperatorsBytes is more than the longest list has.
const maxOperatorsBytes = 1 << 20

// actor is who the records name for what an operator does.
func actor(by Operator) string {
	if by.Name == "" {
		return actorCommand
	}
	return operatorPrefix + by.Name
}

// ParseOperators reads who may act: a line "name token" or "name token
// read-only" for each, as in the broker's file of them. Empty lines and those
// that begin with # say nothing. No error repeats a token.
func ParseOperators(text []byte) ([]Operator, error) {
	token, operators, err := adminpage.ReadOperators(string(text))
	if err == nil && token != "" {
		err = errors.New("want a line \"name token\" for each operator: who approves has a name")
	}
	if err != nil {
		return nil, err
	}
	return operators, nil
}

// ErrNoOperator means that there is no operator of that name with that token.
var ErrNoOperator = errors.New("there is no operator of that name with that token")

// ProveOperator returns the operator of a name, if the token is that one's. All
// tokens take equally long to compare.
func ProveOperator(operators []Operator, name, token string) (Operator, error) {
	found, isOne := adminpage.NewOperators("", operators).Of(token)
	if !isOne || found.Name != name {
		return Operator{}, ErrNoOperator
	}
	return found, nil
}
