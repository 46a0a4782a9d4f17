package samgateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/host"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// relayDesk does what readers at home ask for.
type relayDesk struct {
	*gateway
	idle idleTurns
}

// maxIdleTurns is how often in a minute the SAM begins a payment with a card at a
// reader elsewhere for nothing. Each costs the SAM a number, a record and two
// writes of its memory, and anybody can say that he has a card; those who stand
// before the kiosk are not to wait for that.
const maxIdleTurns = 10

// idleTurns counts them, in each minute of the clock.
type idleTurns struct {
	mutex  sync.Mutex // guards what follows
	minute int64
	count  int
}

// add counts so many more, and reports whether there were too many before.
func (t *idleTurns) add(now time.Time, more int) (isTooMany bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if minute := now.Unix() / 60; minute != t.minute {
		t.minute, t.count = minute, 0
	}
	isTooMany = t.count >= maxIdleTurns
	t.count += more
	return isTooMany
}

var errTooManyIdle = errors.New("too many cards came to the gateway that did not pay: try again in a minute")

// isIdleTurn reports whether a payment that failed so may have been begun by the
// SAM, for nothing.
func isIdleTurn(err error) bool {
	var status purse.StatusWord
	var refusal *purse.Refusal
	return !errors.Is(err, terminal.ErrUndecided) && (errors.Is(err, smartcard.ErrTorn) || errors.As(err, &status) || errors.As(err, &refusal))
}

// Offer implements relay.Desk.
func (d *relayDesk) Offer(_ context.Context, hello relay.Hello) (relay.Offer, error) {
	if hello.Intent != relay.Resolve {
		if hello.Currency != d.unit.Currency.Money() {
			return relay.Offer{}, fmt.Errorf("cards hold %s here, and not %s", d.unit.Currency.Money().Code(), hello.Currency.Code())
		}
		if _, err := d.unit.Count(hello.Amount); err != nil {
			return relay.Offer{}, fmt.Errorf("%s: cards count in %s here", hello.Amount.Decimal(), spoken(1, d.unit))
		}
	}
	// Whether the account of a funding takes it is asked when a card is there: the
	// holder has said yes by then, and whoever has none asks the broker nothing.
	merchant := d.state().batch.Merchant
	name := d.settings.merchantName
	if name == "" {
		name = "merchant " + merchant.String()
	}
	return relay.Offer{Merchant: merchant.String(), Name: name, Amount: hello.Amount, Currency: hello.Currency, Account: hello.Account}, nil
}

// Serve implements relay.Desk.
func (d *relayDesk) Serve(ctx context.Context, hello relay.Hello, card smartcard.Card) relay.Result {
	amount, err := d.unit.Count(hello.Amount)
	var result relay.Result
	if err == nil {
		result, err = d.serve(ctx, hello, amount, card)
	}
	if err != nil {
		result = relay.Result{Outcome: relay.Failed, Sentence: d.forHome(ctx, err)}
		// A line that is cut within a command says nothing of what the card did.
		if errors.Is(err, terminal.ErrUndecided) || errors.Is(err, terminal.ErrLoadUndecided) || errors.Is(err, smartcard.ErrTorn) {
			result.Outcome = relay.Undecided
		}
	}
	d.counts.count("relay-"+string(hello.Intent), string(result.Outcome))
	return result
}

// forHome says what an error means for somebody who is not of this house. The rest
// of it, which may name files and addresses, is logged.
func (d *relayDesk) forHome(ctx context.Context, err error) string {
	var (
		status  purse.StatusWord
		refusal *purse.Refusal
		refused *terminal.Refused
	)
	known := []error{
		terminal.ErrUndecided, terminal.ErrLoadUndecided, terminal.ErrOccupied, terminal.ErrSAMFull, terminal.ErrBatchClosed,
		smartcard.ErrTorn, smartcard.ErrForeign, errWhite, errTooManyIdle,
	}
	at := slices.IndexFunc(known, func(one error) bool { return errors.Is(err, one) })
	switch {
	case at >= 0:
		return upperFirst(known[at].Error())
	case errors.As(err, &status):
		return upperFirst(status.Error())
	case errors.As(err, &refusal):
		return upperFirst(refusal.Detail)
	case errors.As(err, &refused):
		return d.refusedFunding(ctx, refused)
	}
	d.log.WarnContext(ctx, "a reader at home was not served", "error", err.Error())
	return "The gateway cannot do it now: try again later."
}

// refusedFunding says why the broker would not fund an account, and nothing more of
// the account: how much it may still be given tells how much is on it, and which
// account is a card's, whoever knows the card's number could ask.
func (d *relayDesk) refusedFunding(ctx context.Context, refused *terminal.Refused) string {
	d.log.InfoContext(ctx, "the broker funds nothing for a reader at home", "reason", refused.Reason, "detail", refused.Sentence)
	switch refused.Reason {
	case payword.UnknownAccount.String():
		return "There is no such account."
	case payword.WrongCurrency.String():
		return "The account is in another currency than the card."
	case host.OverLimit:
		return "The account cannot be given so much now."
	}
	return "The account cannot be given anything now."
}

// meetAtHome decides what is open about a card, and returns what was decided now.
// What was decided while the card was away is kept for where somebody sees the
// card: from afar anybody can say that he has one of that number.
func (d *relayDesk) meetAtHome(ctx context.Context, card smartcard.Card) ([]terminal.Outcome, error) {
	data, err := dataOf(ctx, card)
	if err != nil {
		return nil, err
	}
	all, err := d.terminal.Meet(ctx, card)
	d.endings.keep(all)
	return slices.DeleteFunc(slices.Clone(all), func(o terminal.Outcome) bool { return o.Card != data.Card }), err
}

func (d *relayDesk) serve(ctx context.Context, hello relay.Hello, amount uint32, card smartcard.Card) (relay.Result, error) {
	// Before what its holder came for. To load, the card was shown its PIN in this
	// session, and would forget it.
	if hello.Intent.IsPayment() {
		_, err := d.meetAtHome(ctx, card)
		if errors.Is(err, smartcard.ErrTorn) { // there is no card any more
			return relay.Result{}, err
		}
		if err != nil {
			d.log.WarnContext(ctx, "not all that is open about a card could be decided", "error", err.Error())
		}
	}
	switch hello.Intent {
	case relay.Pay:
		return d.pay(ctx, card, terminal.Payment{Amount: amount, Unit: d.unit})
	case relay.Fund:
		return d.pay(ctx, card, terminal.Payment{Amount: amount, Unit: d.unit, Account: hello.Account})
	case relay.Unload:
		return d.unloadAtHome(ctx, card, amount)
	case relay.Load:
		return d.loadAtHome(ctx, card, amount)
	}
	outcomes, err := d.meetAtHome(ctx, card)
	if err != nil {
		return relay.Result{}, err
	}
	sentence := "Nothing is open about this card here."
	if len(outcomes) > 0 {
		sentence = upperFirst(sentencesOf(outcomes))
	}
	return relay.Result{Outcome: relay.Done, Sentence: sentence}, nil
}

func (d *relayDesk) pay(ctx context.Context, card smartcard.Card, payment terminal.Payment) (relay.Result, error) {
	if d.idle.add(d.now(), 0) {
		return relay.Result{}, errTooManyIdle
	}
	r, err := d.terminal.Pay(ctx, card, payment)
	if err != nil {
		if isIdleTurn(err) {
			d.idle.add(d.now(), 1)
		}
		return relay.Result{}, err
	}
	return relay.Result{Outcome: relay.Done, Sentence: sentenceOf(r), Transaction: r.TNo, Amount: r.Unit.Amount(r.Amount)}, nil
}

// unloadAtHome pays what the holder agreed to, which is all that is on the card,
// to the card's account. Nobody hands out cash there.
func (d *relayDesk) unloadAtHome(ctx context.Context, card smartcard.Card, amount uint32) (relay.Result, error) {
	data, err := dataOf(ctx, card)
	if err != nil {
		return relay.Result{}, err
	}
	account, err := d.accountOf(ctx, data.Card)
	if err != nil {
		return relay.Result{}, err
	}
	return d.pay(ctx, card, terminal.Payment{Amount: amount, Unit: d.unit, Account: account})
}

// accountOf returns the account of a card, or errWhite: there is no cash at home.
func (d *relayDesk) accountOf(ctx context.Context, card purse.ID) (string, error) {
	account, err := d.clearing.CardAccount(ctx, card)
	if err == nil && account == "" {
		err = errWhite
	}
	return account, err
}

func (d *relayDesk) loadAtHome(ctx context.Context, card smartcard.Card, amount uint32) (relay.Result, error) {
	// Clearing has to be there and to know the card before anything is written down
	// of a load: what nobody but a card that is none could decide would stay in the
	// journal. Selecting the card would make it forget its PIN.
	data, err := smartcard.Purse{Card: card}.Data(ctx)
	if err != nil {
		return relay.Result{}, err
	}
	if _, err := d.accountOf(ctx, data.Card); err != nil {
		return relay.Result{}, err
	}
	r, err := d.loadFromAccount(ctx, card, amount)
	if err != nil {
		return relay.Result{}, err
	}
	return relay.Result{Outcome: relay.Done, Sentence: "Loaded " + spoken(r.Amount, r.Unit) + ".", Amount: r.Unit.Amount(r.Amount)}, nil
}

// loadFromAccount loads a card that has an account. Clearing takes the gateway's
// word that a white card was paid for in cash, so where nobody takes any, a card
// must not pass for another one.
func (t *till) loadFromAccount(ctx context.Context, card smartcard.Card, amount uint32) (terminal.LoadReceipt, error) {
	return t.terminal.Load(ctx, notWhite{card}, amount)
}

// notWhite is a card that is not to be a white one. What a card says of itself in
// GET DATA nothing proves; what it says to INIT LOAD clearing checks, and that is
// looked at here before clearing has it.
type notWhite struct{ smartcard.Card }

// Transmit implements smartcard.Card.
func (c notWhite) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := c.Card.Transmit(ctx, command)
	if err != nil || len(command) < 5 || command[1] != byte(purse.InitLoad) {
		return answer, err
	}
	data, status, err := purse.Answer(answer)
	if err == nil && status == purse.Done {
		const head = 5 // before the data of a command
		var load purse.Load
		if load, err = purse.ParseLoad(command[head:min(len(command), head+purse.LoadRequestLength)], data); err == nil && load.Answer.Holder == (purse.ID{}) {
			err = errWhite
		}
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}
