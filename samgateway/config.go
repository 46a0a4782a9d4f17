package samgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/relay"
)

// maxConfigBytes bounds the file of settings: all of them take 2 KB.
const maxConfigBytes = 64 << 10

// settings are what a gateway has to be told, by flags or by the JSON file
// --config, which has the same under the same names. A flag outdoes the file.
type settings struct {
	cardReader, cardFile, pinFile string
	samReader, samFile, journal   string
	currency                      string
	exponent                      int
	clearing, broker              string
	keyFile, passphraseFile       string
	loadTerminal                  string
	closingTime                   string
	merchantName                  string
	relay, kiosk, metrics         string // addresses to listen at
	kioskLanguage                 string
	isBehindTLS                   bool

	configFile string
	flags      *flag.FlagSet
	names      []string // of the settings that the command takes
}

// setting is one of them.
type setting struct {
	flag, member string
	group        settingGroup
	target       any // *string, *int or *bool
	usage        string
}

// settingGroup is what settings are for: a command takes one or more.
type settingGroup int

const (
	cardSettings  settingGroup = 1 << iota // the card that is worked with
	pinSettings                            // what its PIN comes from
	samSettings                            // the SAM and its journal
	hostSettings                           // clearing and broker
	serveSettings                          // what serves
)

// all lists the settings. Names of files begin in the working directory.
func (s *settings) all() []setting {
	return []setting{
		{"card-reader", "cardReader", cardSettings, &s.cardReader, "`NAME` of the reader of the customer's card, or a part of it that no other reader has"},
		{"card-file", "cardFile", cardSettings, &s.cardFile, "`FILE` of a card, instead of --card-reader, to try things out"},
		{"pin-file", "pinFile", pinSettings, &s.pinFile, "`FILE` whose first line is the card's PIN; without it the reader's pad or the terminal is asked"},
		{"sam-reader", "samReader", samSettings, &s.samReader, "`NAME` of the SAM's reader, or a part of it that no other reader has"},
		{"sam-file", "samFile", samSettings, &s.samFile, "`FILE` of a SAM, instead of --sam-reader"},
		{"journal", "journal", samSettings, &s.journal, "`FILE` where it is written down what is about to be done; it is made if it is not there, and belongs to this SAM"},
		{"currency", "currency", samSettings, &s.currency, "`CODE` of the currency that the cards hold: USD, EUR, GBP or CHF"},
		{"exponent", "exponent", samSettings, &s.exponent, "power of ten of the cards' unit: -2 is cents"},
		{"clearing", "clearing", hostSettings, &s.clearing, "`ORIGIN` of clearing, such as https://clearing.example"},
		{"broker", "broker", hostSettings, &s.broker, "`ORIGIN` of the broker, such as https://broker.example"},
		{"key", "key", hostSettings, &s.keyFile, "`FILE` of the gateway's key, which the broker knows: \"samgateway key\" makes it"},
		{"passphrase-file", "passphraseFile", hostSettings, &s.passphraseFile, "`FILE` whose first line is the passphrase of the key; without it the terminal is asked"},
		{"load-terminal", "loadTerminal", hostSettings, &s.loadTerminal, "`LDA` that names this place in loads: 16 upper-case hexadecimal digits"},
		{"closing-time", "closingTime", serveSettings, &s.closingTime, "`TIME` of the day (UTC) when the batch is turned in, such as 22:00"},
		{"merchant-name", "merchantName", serveSettings, &s.merchantName, "`NAME` of the merchant for holders whose readers are at home, at most 64 letters"},
		{"relay", "relay", serveSettings, &s.relay, "`ADDRESS` and port where readers at home come in, for a TLS proxy in front (default: none is let in)"},
		{"kiosk", "kiosk", serveSettings, &s.kiosk, "`ADDRESS` and port of the kiosk's page, on this machine alone (default: there is none)"},
		{"kiosk-language", "kioskLanguage", serveSettings, &s.kioskLanguage, "`LANGUAGE` that the kiosk speaks until somebody chooses another: en, de or fr (default: en)"},
		{"metrics", "metrics", serveSettings, &s.metrics, "`ADDRESS` and port for /healthz and for metrics in the format of Prometheus (default: none)"},
		{"behind-tls", "behindTLS", serveSettings, &s.isBehindTLS, "a TLS proxy is in front of --relay, so that it may listen at another address than this machine's own"},
	}
}

// The defaults of settings.
const (
	defaultExponent    = -2
	defaultClosingTime = "22:00"
)

// settingsFlags adds the flags of groups of settings and --config. What a
// command does begins with complete.
func (c *command) settingsFlags(flags *flag.FlagSet, groups settingGroup) *settings {
	s := &settings{flags: flags, exponent: defaultExponent, closingTime: defaultClosingTime}
	flags.StringVar(&s.configFile, "config", "", "`FILE` of JSON that says the same as the flags, which outdo it: {\"samReader\": \"…\", \"currency\": \"USD\"}")
	for _, one := range s.all() {
		if one.group&groups == 0 {
			continue
		}
		s.names = append(s.names, one.flag)
		switch target := one.target.(type) {
		case *string:
			flags.StringVar(target, one.flag, *target, one.usage)
		case *int:
			flags.IntVar(target, one.flag, *target, one.usage)
		case *bool:
			flags.BoolVar(target, one.flag, *target, one.usage)
		}
	}
	return s
}

// complete reads the file, if one is named, and checks everything that is said,
// and that the required settings are. An error is wrong usage.
func (s *settings) complete(required ...string) error {
	if s.configFile != "" {
		if err := s.readFile(); err != nil {
			return usage("--config %s: %v", s.configFile, err)
		}
	}
	for _, one := range []struct {
		flag, value string
		check       func(value string) error
	}{
		{"clearing", s.clearing, payword.CheckOrigin},
		{"broker", s.broker, payword.CheckOrigin},
		{"load-terminal", s.loadTerminal, func(text string) error { _, err := purse.ParseID(text); return err }},
		{"closing-time", s.closingTime, func(text string) error { _, err := parseClosingTime(text); return err }},
		{"merchant-name", s.merchantName, func(text string) error { return relay.CheckText("name", text, 1, relay.MaxNameLetters) }},
		{"currency", s.currency, func(text string) error { _, err := parseCurrency(text); return err }},
	} {
		if one.value == "" {
			continue
		}
		if err := one.check(one.value); err != nil {
			return usage("--%s: %v", one.flag, err)
		}
	}
	switch {
	case s.exponent < purse.MinExponent || s.exponent > purse.MaxExponent:
		return usage("--exponent %d: want %d to %d", s.exponent, purse.MinExponent, purse.MaxExponent)
	case s.cardReader != "" && s.cardFile != "":
		return usage("--card-reader and --card-file: want one of them")
	case s.samReader != "" && s.samFile != "":
		return usage("--sam-reader and --sam-file: want one of them")
	case s.cardFile != "" && s.cardFile == s.samFile, s.cardReader != "" && s.cardReader == s.samReader:
		return usage("the customer's card and the SAM: want each in a place of its own")
	}
	if err := s.checkAddresses(); err != nil {
		return err
	}
	return s.require(required...)
}

// checkAddresses says what is wrong with where to listen. Cards and amounts pass
// there, so it is this machine alone, or behind TLS.
func (s *settings) checkAddresses() error {
	for _, one := range []struct {
		flag, address string
		isTLS         bool
	}{{"relay", s.relay, s.isBehindTLS}, {"kiosk", s.kiosk, false}, {"metrics", s.metrics, true}} {
		if one.address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(one.address)
		if err != nil {
			return usage("--%s %q: want an address and a port such as 127.0.0.1:8405", one.flag, one.address)
		}
		address, err := netip.ParseAddr(host)
		isLoopback := host == "localhost" || err == nil && address.IsLoopback()
		if !isLoopback && !one.isTLS {
			return usage("--%s %q: %s", one.flag, one.address, map[string]string{
				"relay": "readers come in by TLS alone: listen on 127.0.0.1 behind a proxy, or say with --behind-tls that one is in front",
				"kiosk": "the page moves money of the card that is in this machine's reader: listen on 127.0.0.1",
			}[one.flag])
		}
	}
	return nil
}

// insteadOf are flags of which one is given in place of the other.
var insteadOf = map[string]string{
	"card-reader": "card-file", "card-file": "card-reader", "sam-reader": "sam-file", "sam-file": "sam-reader",
}

// readFile takes over what the file says and no flag does.
func (s *settings) readFile() error {
	file, err := os.Open(s.configFile)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxConfigBytes+1))
	if err != nil {
		return err
	}
	if len(content) > maxConfigBytes {
		return fmt.Errorf("it has more than %d bytes", maxConfigBytes)
	}
	members, err := parseMembers(content)
	if err != nil {
		return err
	}
	isSet := make(map[string]bool)
	s.flags.Visit(func(f *flag.Flag) { isSet[f.Name] = true })
	known := make(map[string]setting)
	var names []string
	for _, one := range s.all() {
		known[one.member] = one
		names = append(names, one.member)
	}
	for _, member := range members {
		one, is := known[member.name]
		if !is {
			return fmt.Errorf("there is no setting %.80q%s", member.name, commandline.Meant("", member.name, names))
		}
		// Another reader by a flag takes the place of the file's file, too.
		if err := setFrom(member.value, one, isSet[one.flag] || isSet[insteadOf[one.flag]]); err != nil {
			return err
		}
	}
	return nil
}

// setFrom sets a setting from its member, unless a flag has said it. A flag does
// not excuse a member that makes no sense.
func setFrom(value json.RawMessage, one setting, isSaid bool) error {
	var err error
	wanted := "a text"
	switch target := one.target.(type) {
	case *string:
		err = setValue(value, target, isSaid)
	case *int:
		wanted, err = "a whole number", setValue(value, target, isSaid)
	case *bool:
		wanted, err = "true or false", setValue(value, target, isSaid)
	}
	if err != nil {
		return fmt.Errorf("%q: want %s, which is %s", one.member, wanted, commandline.Plain(one.usage))
	}
	return nil
}

func setValue[T any](text json.RawMessage, target *T, isSaid bool) error {
	var value *T // null is no value
	err := json.Unmarshal(text, &value)
	if err == nil && value == nil {
		err = errors.New("null")
	}
	if err == nil && !isSaid {
		*target = *value
	}
	return err
}

// member is one of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// parseMembers reads a JSON object and refuses what would be read in two ways.
func parseMembers(content []byte) (members []member, err error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	token, err := decoder.Token()
	if err != nil || token != json.Delim('{') {
		return nil, errors.New(`want a JSON object such as {"samFile": "till.sam", "journal": "till.journal"}`)
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, brokenJSON(content, err)
		}
		name, _ := token.(string) // the names of members are nothing else
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, brokenJSON(content, err)
		}
		if slices.ContainsFunc(members, func(m member) bool { return m.name == name }) {
			return nil, fmt.Errorf("%.80q is there twice", name)
		}
		members = append(members, member{name, value})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, brokenJSON(content, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the JSON object")
	}
	return members, nil
}

// brokenJSON says in which line JSON is broken.
func brokenJSON(content []byte, err error) error {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		before := content[:min(max(0, int(syntax.Offset)), len(content))]
		return fmt.Errorf("line %d is no JSON: %w", 1+bytes.Count(before, []byte("\n")), err)
	}
	return fmt.Errorf("it is no JSON: %w", err)
}

// require reports the first of the settings that was not said.
func (s *settings) require(names ...string) error {
	for _, one := range s.all() {
		if text, is := one.target.(*string); is && *text == "" && slices.Contains(names, one.flag) {
			return usage("--%s is missing: name the %s", one.flag, commandline.Plain(one.usage))
		}
	}
	return nil
}

// unit is what the cards count in.
func (s *settings) unit() (purse.Unit, error) {
	if err := s.require("currency"); err != nil {
		return purse.Unit{}, err
	}
	currency, err := parseCurrency(s.currency)
	return purse.Unit{Currency: currency, Exponent: int8(s.exponent)}, err
}

func parseCurrency(code string) (purse.Currency, error) {
	currency, err := money.CurrencyFromCode(code)
	if err != nil {
		return 0, err
	}
	return purse.CurrencyOf(currency)
}

// parseClosingTime reads a time of the day.
func parseClosingTime(text string) (sinceMidnight time.Duration, err error) {
	clock, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%.20q: want a time of the day (UTC) from 00:00 to 23:59, such as 22:00", text)
	}
	return clock.Sub(clock.Truncate(24 * time.Hour)), nil
}

// parseAmount reads an amount of money for people, such as 5.00, and returns how
// many units it is, at least one.
func parseAmount(text string, unit purse.Unit) (uint32, error) {
	amount, err := money.ParseDecimal(text)
	if err != nil || amount < 1 {
		return 0, usage("%.40q is no amount: want a number above 0 such as 5.00", text)
	}
	count, err := unit.Count(amount)
	if err != nil {
		return 0, usage("%s: the cards count in %s %s, and hold at most 200.00", text, decimal(1, unit), unit.Currency.Money().Code())
	}
	return count, nil
}

// decimal writes an amount of units for people, with as many digits after the
// point as the unit has, but two at least where it has any.
func decimal(count uint32, unit purse.Unit) string { return unit.Amount(count).Decimal() }

// spoken is an amount with its currency.
func spoken(count uint32, unit purse.Unit) string {
	return decimal(count, unit) + " " + unit.Currency.Money().Code()
}
