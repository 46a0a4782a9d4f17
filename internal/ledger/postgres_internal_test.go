package ledger

import "testing"

func TestRebind(t *testing.T) {
	cases := []struct{ query, want string }{
		{`SELECT 1`, `SELECT 1`},
		{`a = ? AND b = ?`, `a = $1 AND b = $2`},
		{`a = '?' AND b = ?`, `a = '?' AND b = $1`},
		{`"?" = ? AND c = 'it''s ?' AND d = ?`, `"?" = $1 AND c = 'it''s ?' AND d = $2`},
		{`VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`},
	}
	for _, c := range cases {
		if got := (postgresEngine{}).rebind(c.query); got != c.want {
			t.Errorf("%s: got %s, want %s", c.query, got, c.want)
		}
	}
}
