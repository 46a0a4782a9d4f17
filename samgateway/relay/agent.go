package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/coder/websocket"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// maxAddressLetters bounds the address of a gateway.
	maxAddressLetters = 200
	// maxAnswerHeaderBytes bounds the headers of its first answer, which has some
	// hundreds: it need not be honest.
	maxAnswerHeaderBytes = 16 << 10
)

// CheckAddress says what is wrong with the address of a gateway: wss://, or ws://
// to this machine, with a host, and without a user, a query or a fragment.
func CheckAddress(address string) error {
	if err := CheckText("address of the gateway", address, 1, maxAddressLetters); err != nil {
		return err
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" || parsed.String() != address || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return fmt.Errorf("address of the gateway %q: want one such as wss://gateway.example/relay", address)
	}
	// The holder compares the host, and letters of other alphabets look like those of
	// this one: what is shown is what the browser's address line would show.
	if strings.ContainsFunc(parsed.Host, func(letter rune) bool { return letter > unicode.MaxASCII }) {
		return fmt.Errorf("address of the gateway %q: write a host with other letters than a to z as it stands in the domain name system, xn--…", address)
	}
	if parsed.Scheme != "wss" && (parsed.Scheme != "ws" || !payword.IsLoopbackHost(parsed.Hostname())) {
		return fmt.Errorf("address of the gateway %q: want wss://, or ws:// for this machine alone", address)
	}
	return nil
}

// NewClient returns what a gateway is called with. roots are nil but in tests: the
// certificates of this machine count.
func NewClient(roots *tls.Config) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: roots, MaxResponseHeaderBytes: maxAnswerHeaderBytes}
	return &http.Client{
		Transport: transport,
		// The holder agreed to one gateway, not to where it sends the agent.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Call is the agent's end of a session.
type Call struct {
	line   *line
	limits Limits
	hello  Hello
	// Offer is what the gateway would do. It fits the hello.
	Offer Offer
}

// Dial connects to a gateway, says hello and hears its offer. The card is not
// touched. An error is a sentence for people; the call is to be closed.
func Dial(ctx context.Context, client *http.Client, address string, hello Hello, limits Limits) (*Call, error) {
	hello.Version = Version
	if err := hello.Check(); err != nil {
		return nil, err
	}
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	limits = limits.orDefault()
	connecting, cancel := context.WithTimeout(ctx, limits.Connect)
	defer cancel()
	conn, answer, err := websocket.Dial(connecting, address, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return nil, dialError(answer, err)
	}
	c := &Call{line: newLine(ctx, conn, limits), limits: limits, hello: hello}
	if err := c.greet(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// dialError says in a sentence why there is no connection.
func dialError(answer *http.Response, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return errors.New("the gateway's certificate is not valid: do not pay there")
	case answer != nil && answer.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the gateway answered with status %d and took no session", answer.StatusCode)
	}
	return errors.New("the gateway cannot be reached")
}

func (c *Call) greet(ctx context.Context) error {
	if err := c.line.send(message{Type: typeHello, Hello: &c.hello}); err != nil {
		return err
	}
	m, err := c.line.want(ctx, typeOffer, c.limits.Connect)
	if err != nil {
		return err
	}
	c.Offer = *m.Offer
	return c.Offer.Check(c.hello)
}

// Merchant is that of the offer.
func (c *Call) Merchant() purse.ID {
	merchant, err := purse.ParseID(c.Offer.Merchant)
	if err != nil {
		return purse.ID{} // not after Offer.Check
	}
	return merchant
}

// Refuse tells the gateway why nothing will come of it, and closes the call.
func (c *Call) Refuse(sentence string) { c.line.refuse(sentence) }

// Close ends the connection. A session that goes on is cut.
func (c *Call) Close() { c.line.close() }

// Run lets the gateway talk to the card, within the agreement, and closes the
// call. The outcome is Undecided if it is unknown what was moved. What the gateway
// says in the result is quoted: it may say anything.
func (c *Call) Run(ctx context.Context, card smartcard.Card, agreed Agreement) Result {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, c.limits.Session)
	defer cancel()
	guard := NewGuard(agreed)
	result, err := c.exchange(ctx, card, guard)
	if err == nil {
		c.line.hangUp()
		return guard.Judge(result)
	}
	if guard.isMoving() || agreed.Intent == Resolve {
		return Result{Outcome: Undecided, Sentence: spoken(err)}
	}
	return Result{Outcome: Failed, Sentence: spoken(err)}
}

// spoken writes an error as people begin and end a sentence.
func spoken(err error) string {
	text := []rune(strings.TrimRight(err.Error(), ". "))
	if len(text) > 0 {
		text[0] = unicode.ToUpper(text[0])
	}
	return Sentence(string(text) + ".")
}

// exchange forwards commands and answers until the result is there.
func (c *Call) exchange(ctx context.Context, card smartcard.Card, guard *Guard) (Result, error) {
	if err := c.line.send(message{Type: typeBegin}); err != nil {
		return Result{}, err
	}
	for number := 1; ; number++ {
		m, err := c.line.next(ctx, c.limits.Silence)
		if err != nil {
			return Result{}, err
		}
		if m.Type == typeResult {
			result := *m.Result
			result.Sentence = Sentence("The gateway says: " + quoted(result.Sentence))
			return result, nil
		}
		err = errors.New("the gateway said something that has no place here")
		if m.Type == typeCommand && m.Number == number {
			err = guard.Check(m.Bytes)
		}
		if err != nil {
			c.line.refuse(err.Error())
			return Result{}, err
		}
		if err := c.forward(ctx, card, guard, m); err != nil {
			return Result{}, err
		}
	}
}

// forward asks the card and sends its answer. Of a card that is lost the gateway
// is told, which then has the last word.
func (c *Call) forward(ctx context.Context, card smartcard.Card, guard *Guard, command message) error {
	answer, err := card.Transmit(ctx, command.Bytes)
	if err == nil && (len(answer) < 2 || len(answer) > maxAnswerBytes) {
		err = smartcard.ErrTorn
	}
	if err == nil {
		guard.Answered(command.Bytes, answer)
		return c.line.send(message{Type: typeAnswer, Number: command.Number, Bytes: answer})
	}
	return c.line.send(message{Type: typeTorn, Number: command.Number})
}
