package fee

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	// It refuses duplicate members and other letter case, which encoding/json takes.
	"github.com/go-jose/go-jose/v4/json"

	"github.com/paywordhq/payword/money"
)

const (
	// MaxTiers is the most tiers of a rule. Price lists have three or four; more
	// than this is a file that was made by mistake, and every fee walks them.
	MaxTiers = 32
	// maxVersionLength keeps a version within a column of a report.
	maxVersionLength = 64
	// maxTextBytes is more than a rule of MaxTiers tiers with spaces between
	// everything needs.
	maxTextBytes = 16 << 10
)

// Parse reads a rule in JSON: every member once, in any order, and no other. An
// error says what is wrong and what would be right.
func Parse(text []byte) (Schedule, error) {
	if len(text) > maxTextBytes {
		return Schedule{}, fmt.Errorf("fee rule: %d bytes of JSON, want at most %d", len(text), maxTextBytes)
	}
	var s Schedule
	var tiers []json.RawMessage
	err := readObject(text, []member{
		{"version", &s.Version}, {"basis", &s.Basis}, {"tiers", &tiers},
		{"minimumMicros", &s.Minimum}, {"rounding", &s.Rounding},
	})
	if err != nil {
		return Schedule{}, fmt.Errorf("fee rule: %w; a whole rule is %s", err, Standard())
	}
	for i, text := range tiers {
		var tier Tier
		if err := readObject(text, []member{{"fromMicros", &tier.From}, {"ratePpm", &tier.RatePpm}}); err != nil {
			return Schedule{}, fmt.Errorf(`fee rule: tier %d: %w; a whole tier is {"fromMicros":"0","ratePpm":3000}`, i+1, err)
		}
		s.Tiers = append(s.Tiers, tier)
	}
	if err := s.Check(); err != nil {
		return Schedule{}, err
	}
	return s, nil
}

// member is a name in an object of JSON, and where its value goes.
type member struct {
	name string
	into any
}

// readObject reads an object that has each of the members once and no other. A
// rate that was left out, or is null, must not become a rate of nothing.
func readObject(text []byte, members []member) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	for _, m := range members {
		value, exists := values[m.name]
		if !exists || string(value) == "null" {
			return fmt.Errorf("%s is missing", m.name)
		}
		if err := json.Unmarshal(value, m.into); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		delete(values, m.name)
	}
	if others := slices.Sorted(maps.Keys(values)); len(others) > 0 {
		return fmt.Errorf("there is no member %.40q", others[0])
	}
	return nil
}

// Check says what is wrong with a rule, and what would be right.
func (s Schedule) Check() error {
	if !isVersion(s.Version) {
		return fmt.Errorf("fee rule: version %.80q: want 1 to %d letters, digits and . _ - / +, the first a letter or a digit, such as %s",
			s.Version, maxVersionLength, Standard().Version)
	}
	if s.Basis != PerVendorRun && s.Basis != PerPurseTransaction {
		return fmt.Errorf("fee rule %s: basis %.40q: want %s or %s", s.Version, s.Basis, PerVendorRun, PerPurseTransaction)
	}
	if s.Rounding != ToMicro && s.Rounding != ToMinorUnit {
		return fmt.Errorf("fee rule %s: rounding %.40q: want %s or %s", s.Version, s.Rounding, ToMicro, ToMinorUnit)
	}
	if s.Minimum < 0 || s.Minimum > money.MaxAmount {
		return fmt.Errorf("fee rule %s: minimumMicros %s: want 0 to %s, in millionths of the major unit", s.Version, s.Minimum, money.MaxAmount)
	}
	return s.checkTiers()
}

func (s Schedule) checkTiers() error {
	if len(s.Tiers) < 1 || len(s.Tiers) > MaxTiers {
		return fmt.Errorf("fee rule %s: %d tiers: want 1 to %d", s.Version, len(s.Tiers), MaxTiers)
	}
	for i, tier := range s.Tiers {
		switch {
		case i == 0 && tier.From != 0:
			return fmt.Errorf("fee rule %s: tier 1 is from %s: want 0, so that every amount has a rate", s.Version, tier.From)
		case i > 0 && tier.From <= s.Tiers[i-1].From:
			return fmt.Errorf("fee rule %s: tier %d is from %s, and tier %d from %s: want each from more than the one before",
				s.Version, i+1, tier.From, i, s.Tiers[i-1].From)
		case tier.From > money.MaxAmount:
			return fmt.Errorf("fee rule %s: tier %d is from %s: want at most %s", s.Version, i+1, tier.From, money.MaxAmount)
		case tier.RatePpm < 0 || tier.RatePpm > million:
			return fmt.Errorf("fee rule %s: tier %d: ratePpm %d: want 0 to %d, in parts per million; 3000 are 0.3 percent",
				s.Version, i+1, tier.RatePpm, million)
		}
	}
	return nil
}

// isVersion keeps versions to what needs no quoting in JSON, in a plan's text
// and in a table that a spreadsheet opens.
func isVersion(text string) bool {
	for i, c := range []byte(text) {
		isWord := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		isMark := c == '.' || c == '_' || c == '-' || c == '/' || c == '+'
		if !isWord && (!isMark || i == 0) {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= maxVersionLength
}

// String returns the canonical text of a rule: JSON with its members in the
// order of the package's example and without spaces. Two rules are the same if
// and only if their texts are. Parse reads it.
func (s Schedule) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, `{"version":%q,"basis":%q,"tiers":[`, s.Version, s.Basis)
	for i, tier := range s.Tiers {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, `{"fromMicros":"%s","ratePpm":%d}`, tier.From, tier.RatePpm)
	}
	fmt.Fprintf(&text, `],"minimumMicros":"%s","rounding":%q}`, s.Minimum, s.Rounding)
	return text.String()
}

// MarshalJSON writes the canonical text. A rule that Check refuses has none.
func (s Schedule) MarshalJSON() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return []byte(s.String()), nil
}

// UnmarshalJSON reads a rule as Parse does.
func (s *Schedule) UnmarshalJSON(text []byte) error {
	read, err := Parse(text)
	if err != nil {
		return err
	}
	*s = read
	return nil
}
