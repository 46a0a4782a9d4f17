package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/relay"
)

// RequestBody is what a site asks for.
type RequestBody struct {
	Intent relay.Intent `json:"intent"`
	// Gateway is the address of its relay, such as wss://gateway.example/relay.
	Gateway string `json:"gateway"`
	// Merchant is the MID of the gateway's SAM, and Payee its name. What the gateway
	// says of itself must be the same.
	Merchant string `json:"merchant"`
	Payee    string `json:"payee"`
	// Amount is in micros; absent for unload, which takes all that is on the card,
	// and for resolve.
	Amount   money.Amount   `json:"amount,omitempty"`
	Currency money.Currency `json:"currency,omitempty"`
	Account  string         `json:"account,omitempty"` // for fund
	// Reference is the site's own name for it, such as an order's number.
	Reference string `json:"reference,omitempty"`
}

// Phase is how far a request has come.
type Phase string

// The phases. A request ends in one of those after Working.
const (
	Waiting   Phase = "waiting" // for the holder
	Working   Phase = "working"
	Done      Phase = "done"
	Failed    Phase = "failed"    // nothing was moved
	Undecided Phase = "undecided" // it is not known yet what was moved
	Resolved  Phase = "resolved"  // it was undecided: the gateway knows by now
	Declined  Phase = "declined"  // the holder said no
	Expired   Phase = "expired"   // the holder said nothing
	Withdrawn Phase = "withdrawn" // the site did
)

// Answer is what a site is told of its request. What was paid it asks its own
// gateway: an agent can say anything.
type Answer struct {
	Request string `json:"request"`
	Phase   Phase  `json:"phase"`
	// Sentence is for the holder.
	Sentence    string       `json:"sentence,omitempty"`
	Transaction uint32       `json:"transaction,omitempty"` // TNo of a payment
	Amount      money.Amount `json:"amount,omitempty"`      // that was moved, in micros
	Expires     time.Time    `json:"expires"`
}

// request is one of a site's, or of the holder's own to find something out.
type request struct {
	RequestBody
	id          string
	origin      string // "": the holder's own, to find something out
	card        string // that it has to be; "": any
	phase       Phase
	sentence    string
	transaction uint32
	moved       money.Amount
	expires     time.Time
	notice      string // why the holder has to say it again
	shown       *shown // what the holder was shown last
}

// shown is what the yes is to.
type shown struct {
	id     string
	card   purse.ID
	amount uint32 // in units
	unit   purse.Unit
	isPIN  bool // the card wants its PIN
}

// check says what is wrong with a request, in a sentence for those who wrote the
// site.
func (b RequestBody) check() error {
	hello := relay.Hello{Version: relay.Version, Intent: b.Intent, Amount: b.Amount, Currency: b.Currency, Account: b.Account, Reference: b.Reference}
	if b.Intent == relay.Unload {
		if b.Amount != 0 {
			return errors.New("intent unload: want no amount: all that is on the card is unloaded")
		}
		hello.Amount = 1
	}
	if err := hello.Check(); err != nil {
		return err
	}
	if err := relay.CheckAddress(b.Gateway); err != nil {
		return err
	}
	if _, err := purse.ParseID(b.Merchant); err != nil {
		return fmt.Errorf("merchant: %w", err)
	}
	return relay.CheckText("payee", b.Payee, 1, relay.MaxNameLetters)
}

func (r *request) answer() Answer {
	return Answer{Request: r.id, Phase: r.phase, Sentence: r.sentence, Transaction: r.transaction, Amount: r.moved, Expires: r.expires.UTC()}
}

func (r *request) end(phase Phase, sentence string) {
	r.phase, r.sentence, r.notice, r.shown = phase, sentence, "", nil
}

var errOccupied = errors.New("another request waits for the holder: try again when that is done")

// add takes a site's request, if no other waits.
func (a *Agent) add(origin string, body RequestBody) (Answer, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.current() != nil || a.isBusy {
		return Answer{}, errOccupied
	}
	return a.keep(&request{RequestBody: body, origin: origin}).answer(), nil
}

// keep has a request wait for the holder. The caller has the mutex.
func (a *Agent) keep(added *request) *request {
	added.id, added.phase, added.expires = secret()[:idLetters], Waiting, a.config.Now().Add(requestLife)
	a.requests = append(a.requests, added)
	if len(a.requests) > maxKept {
		a.requests = slices.Delete(a.requests, 0, len(a.requests)-maxKept)
	}
	a.notice = ""
	return added
}

// idLetters make an id of 132 bits: nobody meets another's.
const idLetters = 22

// current returns the request that waits or is worked on, or nil. The caller has
// the mutex.
func (a *Agent) current() *request {
	if len(a.requests) == 0 {
		return nil
	}
	last := a.requests[len(a.requests)-1]
	if last.phase == Waiting && !a.config.Now().Before(last.expires) {
		last.end(Expired, "Nobody answered the request in time.")
	}
	if last.phase == Waiting || last.phase == Working {
		return last
	}
	return nil
}

// find returns a request of an origin, or nil. Of those of an agent that ran before
// this one, the undecided ones are left. The caller has the mutex.
func (a *Agent) find(origin, id string) *request {
	a.current() // so that what is too old says so
	for _, one := range a.requests {
		if one.origin == origin && equal(one.id, id) {
			return one
		}
	}
	for _, o := range a.store.open() {
		if o.Origin == origin && equal(o.Request, id) {
			return o.request()
		}
	}
	return nil
}

// request is the one that a session belongs to which is not decided.
func (o opening) request() *request {
	return &request{id: o.Request, origin: o.Origin, phase: Undecided, expires: o.Began.Add(requestLife), RequestBody: RequestBody{
		Intent: o.Intent, Gateway: o.Gateway, Merchant: o.Merchant, Payee: o.Payee, Amount: o.Amount, Currency: o.Currency,
		Account: o.Account, Reference: o.Reference,
	}, sentence: "It is not known yet what the card did."}
}

// withdraw ends a request for its site.
func (a *Agent) withdraw(origin, id string) (Answer, bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	found := a.find(origin, id)
	if found == nil {
		return Answer{}, false
	}
	if found.phase == Waiting {
		found.end(Withdrawn, "The site withdrew its request.")
	}
	return found.answer(), true
}
