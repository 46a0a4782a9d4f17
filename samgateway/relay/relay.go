// Package relay is how a card in a reader at home meets a SAM elsewhere: both
// ends of a WebSocket between the agent, which has the reader, and the gateway,
// which has the SAM. For the gateway the card at the other end is a
// smartcard.Card like any other.
//
// Each message is one JSON object, as text, of at most 4096 bytes:
//
//	agent    {"type":"hello","hello":{"version":1,"intent":"pay","amount":"1230000","currency":"eur-micro"}}
//	gateway  {"type":"offer","offer":{"merchant":"4D00000000000009","name":"A shop","amount":"1230000","currency":"eur-micro"}}
//	agent    {"type":"begin"}
//	gateway  {"type":"command","number":1,"bytes":"8032…"}
//	agent    {"type":"answer","number":1,"bytes":"C100…9000"}   or {"type":"torn","number":1}
//	gateway  {"type":"result","result":{"outcome":"done","sentence":"…"}}
//
// Either end may say {"type":"refused","sentence":"…"} in place of its next
// message. There is one session on a connection, and no command before the begin.
// Whoever misses an answer knows nothing about it: the agent comes again with the
// intent resolve, and the gateway finds out what became of everything that is
// open about the card.
//
// The agent forwards nothing blindly: Guard lets only the commands pass that
// belong to what the holder agreed to.
package relay

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

const (
	// maxMessageBytes bounds one message: a command has at most 261 bytes and an
	// answer 257, which are twice as many digits, and the texts of an offer fit too.
	maxMessageBytes = 4 << 10
	// maxCommands is the most that a gateway sends in a session. A payment after
	// 16 scripts and a look at every number takes about thirty.
	maxCommands = 128
	// maxAnswerBytes is the longest answer of short form: 256 bytes and the status.
	maxAnswerBytes = 258
	// MaxNameLetters bounds the name of a payee, in letters: what fits on a line of
	// a page.
	MaxNameLetters = 64
	// The other texts, in letters: what fits on a line or two.
	maxReferenceLetters = 64
	maxSentenceLetters  = 300
)

// Intent is what an agent comes for.
type Intent string

// The closed list of intents.
const (
	Pay     Intent = "pay"     // the merchant of the gateway's SAM
	Fund    Intent = "fund"    // an account of the broker, by a payment
	Load    Intent = "load"    // the card, from its holder's account
	Unload  Intent = "unload"  // the card, onto its holder's account: a payment of all that is on it
	Resolve Intent = "resolve" // find out what became of what is open about the card
)

var intents = []Intent{Pay, Fund, Load, Unload, Resolve}

// IsPayment reports whether the card is debited.
func (i Intent) IsPayment() bool { return i == Pay || i == Fund || i == Unload }

// Hello is what the agent wants.
type Hello struct {
	Version  int            `json:"version"`
	Intent   Intent         `json:"intent"`
	Amount   money.Amount   `json:"amount"` // in micros; 0 only for resolve
	Currency money.Currency `json:"currency,omitempty"`
	Account  string         `json:"account,omitempty"` // of the broker, for fund
	// Reference is the site's own name for what is paid, such as an order's.
	Reference string `json:"reference,omitempty"`
}

// Offer is what the gateway would do. Amount, currency and account are those of
// the hello, so that both say the same before the card is touched.
type Offer struct {
	Merchant string         `json:"merchant"` // MID, 16 upper-case hexadecimal digits
	Name     string         `json:"name"`     // of the merchant, for people
	Amount   money.Amount   `json:"amount"`
	Currency money.Currency `json:"currency,omitempty"`
	Account  string         `json:"account,omitempty"`
}

// Outcome is how a session ended.
type Outcome string

// The closed list of outcomes.
const (
	Done      Outcome = "done"
	Failed    Outcome = "failed"    // nothing was moved, for good
	Undecided Outcome = "undecided" // not known yet: come again with resolve
)

// Result is what came of a session.
type Result struct {
	Outcome     Outcome      `json:"outcome"`
	Sentence    string       `json:"sentence"`              // for the holder
	Transaction uint32       `json:"transaction,omitempty"` // TNo of a payment
	Amount      money.Amount `json:"amount"`                // that was moved, in micros
}

// Limits bound how long each end waits. A limit of zero is the usual one: 15 s, 15 s,
// 5 s, 45 s, 10 s and 3 min, in the order of the fields.
type Limits struct {
	Connect   time.Duration // until the offer is there
	Answer    time.Duration // of the card to a command that moves something, as the gateway sees it
	Look      time.Duration // of the card to any other, and of the agent to an offer; at most Answer
	Silence   time.Duration // of the gateway, while it talks to clearing or waits for its SAM
	Heartbeat time.Duration // between two pings of each end, and for their answers
	Session   time.Duration // from begin to result
}

// defaultLimits suit cards that take a second for a command, and lines of
// telephones. While a session lasts the SAM can wait for it, so it is not long.
// Anybody can come without a card and be silent: so what comes before a card has
// proved itself, and loses nothing by being begun again, has the least time.
var defaultLimits = Limits{
	Connect: 15 * time.Second, Answer: 15 * time.Second, Look: 5 * time.Second, Silence: 45 * time.Second,
	Heartbeat: 10 * time.Second, Session: 3 * time.Minute,
}

func (l Limits) orDefault() Limits {
	for _, pair := range []struct{ limit, usual *time.Duration }{
		{&l.Connect, &defaultLimits.Connect}, {&l.Answer, &defaultLimits.Answer}, {&l.Silence, &defaultLimits.Silence},
		{&l.Heartbeat, &defaultLimits.Heartbeat}, {&l.Session, &defaultLimits.Session}, {&l.Look, &defaultLimits.Look},
	} {
		if *pair.limit <= 0 {
			*pair.limit = *pair.usual
		}
	}
	l.Look = min(l.Look, l.Answer)
	return l
}

// Check says what is wrong with a hello, in a sentence.
func (h Hello) Check() error {
	if h.Version != Version {
		return fmt.Errorf("version %d of the relay: this end speaks version %d", h.Version, Version)
	}
	if !slices.Contains(intents, h.Intent) {
		return fmt.Errorf("intent %.20q: want pay, fund, load, unload or resolve", h.Intent)
	}
	if h.Intent == Resolve {
		if h.Amount != 0 || h.Currency != "" || h.Account != "" {
			return errors.New("intent resolve: want no amount, currency or account")
		}
		return CheckText("reference", h.Reference, 0, maxReferenceLetters)
	}
	if h.Amount <= 0 {
		return fmt.Errorf("amount %s: want micros above 0", h.Amount)
	}
	if _, err := purse.CurrencyOf(h.Currency); err != nil {
		return err
	}
	if (h.Account != "") != (h.Intent == Fund) {
		return fmt.Errorf("account %.70q with intent %s: fund needs one, and nothing else takes one", h.Account, h.Intent)
	}
	if err := CheckText("account", h.Account, 0, maxReferenceLetters); err != nil {
		return err
	}
	return CheckText("reference", h.Reference, 0, maxReferenceLetters)
}

// Check says what is wrong with an offer as an answer to a hello.
func (o Offer) Check(hello Hello) error {
	if _, err := purse.ParseID(o.Merchant); err != nil {
		return fmt.Errorf("merchant: %w", err)
	}
	if o.Amount != hello.Amount || o.Currency != hello.Currency || o.Account != hello.Account {
		return errors.New("the gateway offers another amount, currency or account than was asked for")
	}
	return CheckText("name of the payee", o.Name, 1, MaxNameLetters)
}

func (r Result) check() error {
	if !slices.Contains([]Outcome{Done, Failed, Undecided}, r.Outcome) {
		return fmt.Errorf("outcome %.20q: want done, failed or undecided", r.Outcome)
	}
	return CheckText("sentence", r.Sentence, 1, maxSentenceLetters)
}

// CheckText says what is wrong with a text that people will read: it has least to
// most letters, and none that cannot be seen or that turns the order of others
// round.
func CheckText(what, text string, least, most int) error {
	letters := []rune(text)
	if len(letters) < least || len(letters) > most {
		return fmt.Errorf("%s: want %d to %d letters, not %d", what, least, most, len(letters))
	}
	for _, letter := range letters {
		if letter == unicode.ReplacementChar || !unicode.IsPrint(letter) {
			return fmt.Errorf("%s: letter U+%04X cannot be shown", what, letter)
		}
	}
	return nil
}
