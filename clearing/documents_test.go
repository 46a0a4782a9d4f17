package clearing_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/doctest"
	"github.com/paywordhq/payword/money"
)

var (
	pageCommand = regexp.MustCompile(`(?m)^### payword clearing ([a-z-]+)$`)
)

// Every command and each of its flags stands in docs/clearing.md, and nothing
// else does.
func TestDocumentOfCommands(t *testing.T) {
	section := doctest.Section(t, "clearing.md", "## Commands and flags")
	var headings []string
	for _, match := range pageCommand.FindAllStringSubmatch(section, -1) {
		headings = append(headings, match[1])
	}
	names := commandNames(t)
	slices.Sort(names)
	slices.Sort(headings)
	if !slices.Equal(headings, names) {
		t.Errorf("docs/clearing.md has commands\n%q\nand there are\n%q", headings, names)
	}
	ofAll, _, _ := strings.Cut(section, "\n### ")
	for _, name := range headings {
		if name == "cards" {
			continue // its words have flags of their own
		}
		flags := commandFlags(t, name)
		described := doctest.Named(doctest.Section(t, "clearing.md", "### payword clearing "+name))
		for _, flag := range doctest.Named(ofAll) {
			if _, exists := flags[strings.TrimPrefix(flag, "--")]; exists {
				described = append(described, flag)
			}
		}
		var want []string
		for flag := range flags {
			want = append(want, "--"+flag)
		}
		slices.Sort(described)
		slices.Sort(want)
		if !slices.Equal(described, want) {
			t.Errorf("docs/clearing.md has for payword clearing %s\n%q\nand the flags are\n%q", name, described, want)
		}
	}
}

var (
	cardsWord = regexp.MustCompile(`(?m)^  ([a-z-]+) `)
	wordRow   = regexp.MustCompile(`(?m)^\| ([a-z]+) \|(.*)\|$`)
	flagName  = regexp.MustCompile("`--([a-z-]+)`")
)

// Every word of cards and each of its flags stands in docs/clearing.md, and
// nothing else does.
func TestDocumentOfCards(t *testing.T) {
	section := doctest.Section(t, "clearing.md", "### payword clearing cards")
	_, help, _ := command(t, "cards", "help")
	var words []string
	for _, match := range cardsWord.FindAllStringSubmatch(help, -1) {
		words = append(words, match[1])
	}
	common := []string{"--db", "--json", "--quiet"}
	common = append(common, doctest.Named(section)...)
	described := make(map[string][]string)
	for _, row := range wordRow.FindAllStringSubmatch(section, -1) {
		own := slices.Clone(common)
		for _, match := range flagName.FindAllStringSubmatch(row[2], -1) {
			own = append(own, "--"+match[1])
		}
		slices.Sort(own)
		described[row[1]] = slices.Compact(own)
	}
	delete(described, "flag")
	delete(described, "word") // the headings of the tables
	if len(words) < 10 || len(described) != len(words) {
		t.Errorf("docs/clearing.md has words\n%q\nand there are\n%q", slices.Sorted(maps.Keys(described)), words)
	}
	for _, word := range words {
		code, stdout, _ := command(t, "cards", word, "-h")
		var want []string
		for _, match := range helpFlag.FindAllStringSubmatch(stdout, -1) {
			want = append(want, "--"+match[1])
		}
		slices.Sort(want)
		if code != 0 || !slices.Equal(described[word], want) {
			t.Errorf("docs/clearing.md has for payword clearing cards %s\n%q\nand the flags are\n%q", word, described[word], want)
		}
	}
}

// Every member of the policy stands in docs/clearing.md, and its example is one.
func TestDocumentOfPolicy(t *testing.T) {
	section := doctest.Section(t, "clearing.md", "## The policy")
	_, err := clearing.ParsePolicy([]byte(`{"nothing":1}`))
	if err == nil {
		t.Fatal("a member that there is not was taken")
	}
	_, list, _ := strings.Cut(err.Error(), "; there are ")
	var want []string
	for _, match := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(list, -1) {
		want = append(want, match[1])
	}
	if got := doctest.Named(section); !slices.Equal(got, want) {
		t.Errorf("docs/clearing.md has members\n%q\nand there are\n%q", got, want)
	}
	if _, err := clearing.ParsePolicy([]byte(example(t, section))); err != nil {
		t.Errorf("the example: %v", err)
	}
	_, err = clearing.ParsePolicy([]byte(`{"nacha":{"nothing":1}}`))
	if err == nil {
		t.Fatal("a member of nacha that there is not was taken")
	}
	_, list, _ = strings.Cut(err.Error(), "; there are ")
	for _, match := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(list, -1) {
		if !strings.Contains(section, "`"+match[1]+"`") {
			t.Errorf("docs/clearing.md does not name the member %s of nacha", match[1])
		}
	}
}

// example returns the first example in JSON of a section.
func example(t *testing.T, section string) string {
	t.Helper()
	_, rest, found := strings.Cut(section, "```json\n")
	text, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("there is no example in JSON in\n%s", section)
	}
	return text
}

// The rule for fees in docs/clearing.md is the standard one, its members are
// all there are, and its figures are what the package computes.
func TestDocumentOfFees(t *testing.T) {
	section := doctest.Section(t, "clearing.md", "## Fees")
	rule, err := fee.Parse([]byte(example(t, section)))
	if err != nil || rule.String() != fee.Standard().String() {
		t.Errorf("the example is %s, %v; want %s", rule, err, fee.Standard())
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(fee.Standard().String()), &members); err != nil {
		t.Fatal(err)
	}
	if got, want := doctest.Named(section), slices.Sorted(maps.Keys(members)); !slices.Equal(got, want) {
		t.Errorf("docs/clearing.md has members\n%q\nand there are\n%q", got, want)
	}
	rows := regexp.MustCompile(`(?m)^\| ([0-9.]+) ([A-Z]{3}) \| [^|]* \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \|$`).FindAllStringSubmatch(section, -1)
	if len(rows) < 3 {
		t.Errorf("found %d rows of figures", len(rows))
	}
	for _, row := range rows {
		currency, err := money.CurrencyFromCode(row[2])
		if err != nil {
			t.Fatal(err)
		}
		owed := decimal(t, row[1])
		charged, paid, err := fee.Standard().Split(owed, currency)
		if err != nil || charged != decimal(t, row[3]) || paid != decimal(t, row[4]) || owed-charged-paid != decimal(t, row[5]) {
			t.Errorf("%s: got fee %s, paid %s (%v)", row[0], charged.Decimal(), paid.Decimal(), err)
		}
	}
	graded := fmt.Sprintf(`{"version":"a","basis":"vendor-run","tiers":%s,"minimumMicros":"0","rounding":"micro"}`,
		regexp.MustCompile(`(?s)\[\{.*?\}\]`).FindString(strings.SplitN(section, "Tiers are marginal", 2)[1]))
	tiers, err := fee.Parse([]byte(graded))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tiers.Fee(20_000*money.Unit, "eur-micro"); err != nil || !strings.Contains(section, "= "+got.Decimal()+".") {
		t.Errorf("the fee on 20,000 by tiers is %s (%v), which docs/clearing.md does not say", got.Decimal(), err)
	}
}

func decimal(t *testing.T, text string) money.Amount {
	t.Helper()
	amount, err := money.ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return amount
}

// Every reason why nothing is moved, and every state of a run, stands in
// docs/clearing.md.
func TestDocumentOfReasonsAndStates(t *testing.T) {
	section := doctest.Section(t, "clearing.md", "## Runs")
	for _, reason := range reasons(t) {
		if !slices.Contains(doctest.Named(section), reason) {
			t.Errorf("docs/clearing.md does not say what %s means", reason)
		}
	}
	for _, kind := range []string{clearing.KindVendor, clearing.KindMerchant, clearing.KindAccountPayout, clearing.KindCollection} {
		if !slices.Contains(doctest.Named(section), kind) {
			t.Errorf("docs/clearing.md does not say what lines of kind %s are", kind)
		}
	}
	for _, state := range []string{clearing.StateProposed, clearing.StateDiscarded, clearing.StateRunning, clearing.StateClosed, clearing.StateFinal} {
		if !regexp.MustCompile(`(?m)^    [^:]*\b` + state + `\b`).MatchString(section) {
			t.Errorf("the picture in docs/clearing.md does not show the state %s", state)
		}
	}
}

// reasons returns the values of the constants of type Reason.
func reasons(t *testing.T) (values []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, isValue := node.(*ast.ValueSpec)
			if !isValue || len(spec.Values) != 1 {
				return true
			}
			kind, isNamed := spec.Type.(*ast.Ident)
			literal, isLiteral := spec.Values[0].(*ast.BasicLit)
			if isNamed && isLiteral && kind.Name == "Reason" {
				value, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
			return true
		})
	}
	if len(values) < 5 {
		t.Fatalf("found the reasons %q; there are more", values)
	}
	return values
}
