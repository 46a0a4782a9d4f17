package bankaccount

import (
	"errors"
	"fmt"
	"strings"
)

// ACH is an account at an American bank, as the Automated Clearing House needs
// it.
type ACH struct {
	Routing string // nine digits, of the bank
	Account string // 1 to 17 letters, digits and hyphens
	Kind    string // KindChecking or KindSavings
}

// The kinds of American accounts.
const (
	KindChecking = "checking"
	KindSavings  = "savings"
)

// maxACHAccount is the width of the field in a NACHA file.
const maxACHAccount = 17

// String returns the form that ParseACH reads.
func (a ACH) String() string { return a.Routing + "/" + a.Account + "/" + a.Kind }

// ParseACH reads ROUTING/ACCOUNT/checking or ROUTING/ACCOUNT/savings.
func ParseACH(text string) (ACH, error) {
	routing, rest, _ := strings.Cut(text, "/")
	account, kind, found := strings.Cut(rest, "/")
	if !found {
		return ACH{}, errors.New("ach: want ROUTING/ACCOUNT/checking or ROUTING/ACCOUNT/savings")
	}
	a := ACH{Routing: routing, Account: account, Kind: kind}
	return a, a.check()
}

func (a ACH) check() error {
	if err := CheckRoutingNumber(a.Routing); err != nil {
		return err
	}
	if len(a.Account) < 1 || len(a.Account) > maxACHAccount || strings.ContainsFunc(a.Account, isNotInACHAccount) {
		return fmt.Errorf("account: want 1 to %d letters, digits and hyphens", maxACHAccount)
	}
	if a.Kind != KindChecking && a.Kind != KindSavings {
		return errors.New("ach: want checking or savings after the account")
	}
	return nil
}

func isNotInACHAccount(c rune) bool {
	return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-'
}

// CheckRoutingNumber says what is wrong with a routing number of the American
// Bankers Association: nine digits, of which the last makes the sum weighted by
// 3, 7 and 1 a multiple of ten.
func CheckRoutingNumber(routing string) error {
	if len(routing) != 9 {
		return errors.New("routing number: want nine digits")
	}
	sum := 0
	for k, c := range []byte(routing) {
		if !isDigit(c) {
			return errors.New("routing number: want nine digits")
		}
		sum += int(c-'0') * []int{3, 7, 1}[k%3]
	}
	if sum == 0 || sum%10 != 0 {
		return errors.New("routing number: its check digit is wrong")
	}
	return nil
}
