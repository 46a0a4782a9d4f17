package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// Operator is somebody who may use the administration pages and routes under a
// name of their own, which the audit log tells.
type Operator struct {
	// Name is 1 to 32 of a-z, 0-9, "." and "-". It is "" for the one operator
	// whose token is Config.AdminToken.
	Name string
	// Token is what the operator proves to be it with: at least 16 bytes,
	// without spaces.
	Token string
	// ReadOnly operators look and change nothing.
	ReadOnly bool
}

// maxOperators bounds the list: each request with a token is compared with all.
const maxOperators = 100

// actor returns who the audit log names for what the operator does.
func (o Operator) actor() string {
	if o.Name == "" {
		return "admin"
	}
	return "admin:" + o.Name
}

// title is what the operator is called on the pages.
func (o Operator) title() string {
	if o.Name == "" {
		return "admin"
	}
	return o.Name
}

// check reports what is wrong with an operator of a name.
func (o Operator) check() error {
	for _, c := range []byte(o.Name) {
		isWord := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'
		if !isWord {
			return fmt.Errorf("operator %.40q: want a name of a-z, 0-9, . and -", o.Name)
		}
	}
	switch {
	case o.Name == "" || len(o.Name) > 32:
		return fmt.Errorf("operator %.40q: want a name of 1 to 32 characters", o.Name)
	case len(o.Token) < minAdminToken || strings.ContainsAny(o.Token, " \t\r\n"):
		return fmt.Errorf("operator %s: want a token of at least %d characters without spaces", o.Name, minAdminToken)
	}
	return nil
}

// checkOperators reports what is wrong with the list of those who may
// administrate.
func checkOperators(adminToken string, operators []Operator) error {
	if len(operators) > maxOperators {
		return fmt.Errorf("operators: %d, want at most %d", len(operators), maxOperators)
	}
	names, tokens := make(map[string]bool), map[string]bool{adminToken: true}
	for _, o := range operators {
		if err := o.check(); err != nil {
			return err
		}
		if names[o.Name] || tokens[o.Token] {
			return fmt.Errorf("operator %s: the name or the token stands twice", o.Name)
		}
		names[o.Name], tokens[o.Token] = true, true
	}
	return nil
}

// operator is an Operator with the hash of the token: all tokens take equally
// long to compare.
type operator struct {
	Operator
	sum [sha256.Size]byte
}

// newOperators returns all who may administrate, none if it is closed.
func newOperators(config Config) (all []operator) {
	listed := config.Operators
	if config.AdminToken != "" {
		listed = append([]Operator{{Token: config.AdminToken}}, listed...)
	}
	for _, o := range listed {
		all = append(all, operator{o, sha256.Sum256([]byte(o.Token))})
	}
	return all
}

// operatorOf returns whose token that is. It compares with every one, in
// constant time.
func (b *Broker) operatorOf(token string) (found operator, isOne bool) {
	sum := sha256.Sum256([]byte(token))
	for _, o := range b.operators {
		if subtle.ConstantTimeCompare(sum[:], o.sum[:]) == 1 {
			found, isOne = o, true
		}
	}
	return found, isOne
}

// bearerOf returns the operator whose token a request carries.
func (b *Broker) bearerOf(r *http.Request) (operator, bool) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return operator{}, false
	}
	return b.operatorOf(token)
}

// readOperators reads what stands in a token file: one token, or a line
// "name token" or "name token read-only" for each operator. Empty lines and
// those that begin with # say nothing.
func readOperators(text string) (adminToken string, operators []Operator, err error) {
	for number, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		isOneWord := len(words) == 1
		if adminToken != "" || isOneWord && operators != nil {
			return "", nil, fmt.Errorf("line %d: want one token, or a line \"name token\" for each operator", number+1)
		}
		if isOneWord {
			adminToken = words[0]
			continue
		}
		if len(words) > 3 || len(words) == 3 && words[2] != "read-only" {
			return "", nil, fmt.Errorf("line %d: want \"name token\" or \"name token read-only\"", number+1)
		}
		o := Operator{Name: words[0], Token: words[1], ReadOnly: len(words) == 3}
		if err := o.check(); err != nil {
			return "", nil, fmt.Errorf("line %d: %w", number+1, err)
		}
		operators = append(operators, o)
	}
	if adminToken != "" && len(adminToken) < minAdminToken || adminToken == "" && operators == nil {
		return "", nil, fmt.Errorf("want one token of at least %d characters, or a line \"name token\" for each operator", minAdminToken)
	}
	return adminToken, operators, checkOperators(adminToken, operators)
}
