package broker_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/broker"
)

// The tokens of operators with names.
const (
	annasToken = "annas-token-of-many-letters"
	benosToken = "benos-token-of-many-letters"
)

var operators = []broker.Operator{
	{Name: "anna", Token: annasToken},
	{Name: "beno", Token: benosToken, ReadOnly: true},
}

// newOfficeBank opens a broker with two operators beside the one without a name.
func newOfficeBank(t *testing.T, change ...func(*broker.Config)) *bank {
	t.Helper()
	return newBankWith(t, func(c *broker.Config) {
		c.Operators = operators
		for _, apply := range change {
			apply(c)
		}
	})
}

func TestOperatorsByName(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(0)
	fund := map[string]any{"id": "transfer-1", "account": u.account, "amount": "5000000", "currency": "usd-micro"}
	cases := []struct {
		name, token string
		status      int
	}{
		{"a reader", benosToken, http.StatusForbidden},
		{"nobody", "somebody-elses-token-of-letters", http.StatusUnauthorized},
		{"no token", "", http.StatusUnauthorized},
		{"an operator", annasToken, http.StatusOK},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			request, _ := b.request("POST", "/v1/admin/fundings", fund)
			request.Header.Set("Authorization", "Bearer "+c.token)
			if got := b.do(request); got.status != c.status {
				t.Errorf("got status %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
	u.wantBalance(5_000_000, 0)
}

func TestOperatorsOfAConfig(t *testing.T) {
	cases := []struct {
		name      string
		operators []broker.Operator
		want      string
	}{
		{"a name with a capital", []broker.Operator{{Name: "Anna", Token: annasToken}}, "a-z"},
		{"no name", []broker.Operator{{Token: annasToken}}, "1 to 32"},
		{"a short token", []broker.Operator{{Name: "anna", Token: "short"}}, "at least 16"},
		{"one name twice", []broker.Operator{{Name: "anna", Token: annasToken}, {Name: "anna", Token: benosToken}}, "twice"},
		{"one token twice", []broker.Operator{{Name: "anna", Token: annasToken}, {Name: "beno", Token: annasToken}}, "twice"},
		{"the token of the other one", []broker.Operator{{Name: "anna", Token: "a-token-for-administrators"}}, "twice"},
		{"too many", make([]broker.Operator, 101), "at most 100"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			opened, err := broker.New(t.Context(), broker.Config{
				Issuer: issuer, Currency: usd, Database: filepath.Join(t.TempDir(), "broker.db"), Signer: newKey(),
				AdminToken: "a-token-for-administrators", Operators: c.operators,
			})
			if err == nil {
				t.Fatal("it opened", opened.Close())
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want something with %q", err, c.want)
			}
		})
	}
}

func TestTokenFiles(t *testing.T) {
	cases := []struct {
		name, text, want string // what the complaint says; "": none
	}{
		{"one token", "a-token-for-administrators\n", ""},
		{"operators", "# who may\nanna " + annasToken + "\n\nbeno  " + benosToken + " read-only\n", ""},
		{"nothing", "# nobody\n", "want one token"},
		{"a short one", "short\n", "at least 16"},
		{"two tokens", annasToken + "\n" + benosToken + "\n", "line 2"},
		{"a token below an operator", "anna " + annasToken + "\n" + benosToken + "\n", "line 2"},
		{"an operator below a token", benosToken + "\nanna " + annasToken + "\n", "line 2"},
		{"another word", "anna " + annasToken + " readonly\n", "line 1"},
		{"a short token of an operator", "anna short\n", "line 1"},
		{"a name twice", "anna " + annasToken + "\nanna " + benosToken + "\n", "twice"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			key, token := filepath.Join(folder, "broker.key"), filepath.Join(folder, "token")
			if err := os.WriteFile(token, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			// The key is missing, so that the command ends after the tokens.
			code, _, stderr := run(t, "serve", "--db", filepath.Join(folder, "broker.db"), "--origin", issuer, "--key", key, "--admin-token", token)
			if c.want == "" {
				c.want = "--key"
			}
			if code != 2 || !strings.Contains(stderr, c.want) {
				t.Errorf("got exit %d and %q, want 2 and something with %q", code, stderr, c.want)
			}
		})
	}
}
