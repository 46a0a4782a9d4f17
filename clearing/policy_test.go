package clearing_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/money"
)

// wholePolicy has every member.
const wholePolicy = `{"name":"Broker & Sons","iban":"DE89370400440532013000","bic":"COBADEFFXXX","creditorId":"DE98ZZZ09999999999",
	"nacha":{"destination":"021000021","destinationName":"A BANK","origin":"1234567890","companyId":"1234567890"},
	"fee":{"version":"1pct/1","basis":"vendor-run","tiers":[{"fromMicros":"0","ratePpm":10000}],"minimumMicros":"0","rounding":"micro"},
	"minimumPayoutMicros":"5000000","minimumCollectionMicros":"1000000","approvalAboveMicros":"1000000000",
	"reservePpm":20000,"refundDays":90,"painVersion":"10"}`

func TestParsePolicy(t *testing.T) {
	p, err := clearing.ParsePolicy([]byte(wholePolicy))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "Broker & Sons" || p.NACHA == nil || p.NACHA.CompanyID != "1234567890" || p.Fee.Version != "1pct/1" || p.MinimumPayout != 5*money.Unit ||
		p.MinimumCollection != money.Unit || *p.ApprovalAbove != 1000*money.Unit || p.ReservePpm != 20_000 || p.RefundDays != 90 || p.PainVersion != "10" {
		t.Errorf("got %+v", p)
	}
	for _, text := range []string{wholePolicy, `{}`, `{"approvalAboveMicros":"0"}`} {
		p, err := clearing.ParsePolicy([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		again, err := clearing.ParsePolicy([]byte(p.String()))
		if err != nil || again.String() != p.String() {
			t.Errorf("%s: written as %s, read again as %s (%v)", text, p, again, err)
		}
	}
	if p, err := clearing.ParsePolicy([]byte(` {} `)); err != nil || p.String() != clearing.DefaultPolicy().String() || p.ApprovalAbove != nil {
		t.Errorf("an empty policy: got %s (%v), want the default", p, err)
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	cases := []struct{ text, want string }{
		{``, "unexpected end"},
		{`[]`, "cannot unmarshal"},
		{`null`, "want an object"},
		{`{} {}`, "after top-level value"},
		{`{"nmae":"x"}`, `there is no member "nmae"; there are ["approvalAboveMicros"`},
		{`{"Name":"x"}`, `there is no member "Name"`},
		{`{"name":"x","name":"y"}`, "duplicate"},
		{`{"name":null}`, "leave it out"},
		{`{"name":"line\nbreak"}`, "printable"},
		{`{"iban":"DE89370400440532013000"}`, "a name beside them"},
		{`{"name":"x","iban":"DE89 3704"}`, "IBAN: want"},
		{`{"name":"x","bic":"COBADEFF"}`, "an iban beside them"},
		{`{"name":"x","creditorId":"DE98ZZZ09999999999"}`, "an iban beside them"},
		{`{"nacha":{}}`, "company id"},
		{`{"name":"x","nacha":{"destination":"02100002"}}`, "nacha: "},
		{`{"name":"x","nacha":{"bank":"a"}}`, `there is no member "bank"`},
		{`{"minimumPayoutMicros":5}`, "minimumPayoutMicros"},
		{`{"minimumPayoutMicros":"-5"}`, "digits only"},
		{`{"minimumPayoutMicros":"0.5"}`, "digits only"},
		{`{"reservePpm":1000001}`, "want 0 to 1000000"},
		{`{"reservePpm":-1}`, "want 0 to 1000000"},
		{`{"reservePpm":0.5}`, "reservePpm"},
		{`{"refundDays":401}`, "want 0 to 400"},
		{`{"painVersion":"03"}`, `want "09" or "10"`},
		{`{"fee":{"version":"x"}}`, "a whole rule is"},
		{`{"name":"` + strings.Repeat("x", 70_000) + `"}`, "want at most 65536"},
	}
	for _, c := range cases {
		_, err := clearing.ParsePolicy([]byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), "policy: ") && !strings.HasPrefix(err.Error(), "fee rule") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.100s: got %.300v, want %q", c.text, err, c.want)
		}
	}
}

// FuzzParsePolicy: what is accepted is written in one way, and read as the same.
func FuzzParsePolicy(f *testing.F) {
	for _, text := range []string{wholePolicy, `{}`, `{"approvalAboveMicros":"0"}`, `{"name":"\u0041"}`, `{"NAME":"a"}`, `{"fee":null}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := clearing.ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := clearing.ParsePolicy([]byte(p.String()))
		if err != nil || again.String() != p.String() {
			t.Errorf("%s: written as %s, read again as %s (%v)", text, p, again, err)
		}
	})
}

func TestParseOperators(t *testing.T) {
	operators, err := clearing.ParseOperators([]byte("# who may\n\nanna a-token-of-16-chars\r\nben.b another-token-of-ben read-only\n"))
	if err != nil || len(operators) != 2 || operators[0].Name != "anna" || operators[0].ReadOnly || !operators[1].ReadOnly {
		t.Errorf("got %+v, %v", operators, err)
	}
	many := ""
	for k := range 101 {
		many += fmt.Sprintf("operator-%d a-token-of-many-%d\n", k, k)
	}
	cases := []struct{ text, want string }{
		{"", "want one token of at least 16 characters, or a line"},
		{"# nobody\n", "or a line"},
		{"only-a-token-of-16", "who approves has a name"},
		{"anna a-token-of-16-chars\nben", "line 2: want"},
		{"anna a-token-of-16-chars readonly", "line 1: want"},
		{"Anna a-token-of-16-chars", "line 1: want a name"},
		{"anna secret", "line 1: want a token of at least 16"},
		{"anna a-token-of-16-chars\nanna other-token-of-16", "operator 2: the name or the token stands twice"},
		{"anna a-token-of-16-chars\nben a-token-of-16-chars", "operator 2: the name or the token stands twice"},
		{many, "want at most 100"},
		{"a-token-of-16-chars anna", "line 1: want a token"}, // the other way round
	}
	for _, c := range cases {
		_, err := clearing.ParseOperators([]byte(c.text))
		wantError(t, err, c.want)
		if err != nil && (strings.Contains(err.Error(), "token-of-16") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("the error tells a token: %v", err)
		}
	}
	for _, c := range []struct {
		name, token string
		want        bool
	}{
		{"anna", "a-token-of-16-chars", true}, {"ben.b", "another-token-of-ben", true}, {"anna", "another-token-of-ben", false},
		{"anna", "", false}, {"anna", "a-token-of-16-char", false}, {"carl", "a-token-of-16-chars", false}, {"", "", false},
	} {
		if got, err := clearing.ProveOperator(operators, c.name, c.token); (err == nil) != c.want || c.want && got.Name != c.name {
			t.Errorf("%s with %q: got %+v, %v; want %t", c.name, c.token, got, err, c.want)
		}
	}
}
