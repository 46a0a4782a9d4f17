package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// lookTimeout bounds how long a page waits for a card to say what it is.
const lookTimeout = 5 * time.Second

// job is what the holder said yes to.
type job struct {
	request *request
	agreed  shown
	pin     []byte // entered at the page; empty: at the reader
}

// errPIN means that the holder has to enter the PIN once more.
type errPIN struct{ sentence string }

// Error returns the sentence.
func (e errPIN) Error() string { return e.sentence }

// work does one job after the other.
func (a *Agent) work(ctx context.Context) {
	for {
		select {
		case next := <-a.jobs:
			a.do(ctx, next)
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) do(ctx context.Context, next job) {
	result, err := a.session(ctx, next)
	clear(next.pin)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.isBusy = false
	r := next.request
	if again := (errPIN{}); errors.As(err, &again) {
		r.phase, r.notice, r.shown = Waiting, again.sentence, nil
		r.expires = a.config.Now().Add(requestLife)
		return
	}
	if err != nil {
		result = relay.Result{Outcome: relay.Failed, Sentence: sentence(err)}
		if r.Intent == relay.Resolve {
			result.Outcome = relay.Undecided
		}
	}
	r.transaction, r.moved = result.Transaction, result.Amount
	r.end(map[relay.Outcome]Phase{relay.Done: Done, relay.Failed: Failed, relay.Undecided: Undecided}[result.Outcome], result.Sentence)
}

// session has the gateway talk to the card. An error means that nothing was moved.
func (a *Agent) session(ctx context.Context, next job) (relay.Result, error) {
	a.card.Lock()
	defer a.card.Unlock()
	card, err := a.connect(ctx)
	if err != nil {
		return relay.Result{}, err
	}
	defer card.Close()
	if err := card.isAgreed(next.agreed); err != nil {
		return relay.Result{}, err
	}
	if next.agreed.isPIN {
		if err := card.verify(ctx, next.pin); err != nil {
			return relay.Result{}, err
		}
		defer card.forget(ctx)
	}
	r := next.request
	hello := relay.Hello{Intent: r.Intent, Account: r.Account, Reference: r.Reference}
	if r.Intent != relay.Resolve {
		hello.Amount, hello.Currency = next.agreed.unit.Amount(next.agreed.amount), next.agreed.unit.Currency.Money()
	}
	call, err := relay.Dial(ctx, a.config.Client, r.Gateway, hello, a.config.Limits)
	if err != nil {
		return relay.Result{}, err
	}
	if call.Offer.Merchant != r.Merchant || call.Offer.Name != r.Payee {
		call.Refuse("the agent was told of another payee")
		return relay.Result{}, fmt.Errorf("the gateway belongs to %q (%s), and not to the payee that you agreed to", call.Offer.Name, call.Offer.Merchant)
	}
	agreement := relay.Agreement{Intent: r.Intent, Merchant: call.Merchant(), Amount: next.agreed.amount, Unit: next.agreed.unit, Card: card.data.Card}
	if r.Intent == relay.Resolve {
		result := call.Run(ctx, card, agreement)
		return a.resolved(r, card.data, result)
	}
	if err := a.store.begin(a.openingOf(r, card.data, next.agreed)); err != nil {
		call.Refuse(errNotWritten.Error())
		return relay.Result{}, a.asWritten(err)
	}
	result := call.Run(ctx, card, agreement)
	if result.Outcome != relay.Undecided {
		err = a.store.end(func(o opening) bool { return o.Request == r.id })
	}
	if err != nil { // what is decided is only asked about once more
		a.config.Log.Error("agent: a session is over and stays in the file", "error", err)
	}
	return result, nil
}

var errNotWritten = errors.New("the agent cannot write down what it begins")

// asWritten keeps what the file system says from the site, which reads how its
// request ended: it names folders of the holder's.
func (a *Agent) asWritten(err error) error {
	if errors.Is(err, errTooMuchOpen) {
		return err
	}
	a.config.Log.Error("agent: what is begun cannot be written down", "error", err)
	return errNotWritten
}

func (a *Agent) openingOf(r *request, data purse.CardData, agreed shown) opening {
	return opening{
		Request: r.id, Origin: r.origin, Gateway: r.Gateway, Merchant: r.Merchant, Payee: r.Payee, Intent: r.Intent,
		Amount: agreed.unit.Amount(agreed.amount), Currency: agreed.unit.Currency.Money(), Account: r.Account,
		Card: data.Card.String(), SNo: data.SNo, LNo: data.LNo, Began: a.config.Now().UTC(), Reference: r.Reference,
	}
}

// resolved takes what a gateway said about everything that was open between it and
// a card. What the card did, the card itself says by its numbers.
func (a *Agent) resolved(r *request, data purse.CardData, result relay.Result) (relay.Result, error) {
	if result.Outcome != relay.Done {
		return result, nil
	}
	isDecided := func(o opening) bool {
		return o.Gateway == r.Gateway && o.Merchant == r.Merchant && o.Card == data.Card.String()
	}
	var decided []opening
	for _, one := range a.store.open() {
		if isDecided(one) {
			decided = append(decided, one)
		}
	}
	if err := a.store.end(isDecided); err != nil {
		return relay.Result{}, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	said := result.Sentence
	for _, one := range decided {
		result.Sentence = relay.Sentence(one.byCard(data) + " " + said)
		a.tellResolved(one, result.Sentence)
	}
	return result, nil
}

// tellResolved has the site hear what became of its request, also of one of an
// agent that ran before this one. The caller has the mutex.
func (a *Agent) tellResolved(o opening, sentence string) {
	at := slices.IndexFunc(a.requests, func(r *request) bool { return r.id == o.Request })
	if at < 0 {
		a.requests = slices.Insert(a.requests, 0, o.request())
		at = 0
	}
	if a.requests[at].phase == Undecided {
		a.requests[at].end(Resolved, sentence)
	}
}

// byCard says what a card did since a session began, by its own numbers. They do
// not tell for whom.
func (o opening) byCard(data purse.CardData) string {
	before, now, did, didNot := o.SNo, data.SNo, "The card has paid since then.", "The card has not paid."
	if o.Intent == relay.Load {
		before, now, did, didNot = o.LNo, data.LNo, "The card was loaded since then.", "The card was not loaded."
	}
	if now == before {
		return didNot
	}
	return did
}

// held is the card in the reader, selected.
type held struct {
	smartcard.Session
	selected   []byte // the answer to SELECT
	data       purse.CardData
	isBlocked  bool
	isVerified bool // the holder has entered the PIN
}

// connect begins a session with the card in the reader.
func (a *Agent) connect(ctx context.Context) (*held, error) {
	session, err := a.config.Reader.Connect(ctx)
	if err != nil {
		return nil, err
	}
	h := &held{Session: session}
	if err := h.look(ctx); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return h, nil
}

func (h *held) look(ctx context.Context) error {
	answer, err := h.Session.Transmit(ctx, purse.Command(purse.Select, 4, 0, []byte(purse.CardAID)))
	if err != nil {
		return err
	}
	if _, status, err := purse.Answer(answer); err != nil || status != purse.Done {
		return smartcard.ErrForeign
	}
	h.selected = answer
	card := smartcard.Purse{Card: h.Session}
	if h.data, err = card.Data(ctx); err != nil {
		return err
	}
	if err := h.data.Unit.Check(); err != nil {
		return fmt.Errorf("the card counts in something that is not known here: %w", err)
	}
	state, err := card.State(ctx)
	h.isBlocked = state.IsBlocked
	return err
}

// Transmit is the card's. But once the holder has entered the PIN, SELECT is
// answered from memory: the card would forget the PIN by it.
func (h *held) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if h.isVerified && len(command) > 1 && purse.Instruction(command[1]) == purse.Select {
		return slices.Clone(h.selected), nil
	}
	return h.Session.Transmit(ctx, command)
}

// isAgreed reports whether the card is still the one that the holder was shown.
func (h *held) isAgreed(agreed shown) error {
	if h.data.Card != agreed.card || h.data.Unit != agreed.unit {
		return errors.New("another card is in the reader than when you said yes")
	}
	return nil
}

// verify shows the card its PIN: the one that was entered at the page, or at the
// reader. It goes nowhere else.
func (h *held) verify(ctx context.Context, pin []byte) error {
	var err error
	if len(pin) > 0 {
		err = smartcard.Purse{Card: h.Session}.Verify(ctx, pin)
	} else {
		err = h.verifyAtReader(ctx)
	}
	var status purse.StatusWord
	if errors.As(err, &status) {
		if tries, is := status.Tries(); is && tries > 0 {
			return errPIN{fmt.Sprintf("The PIN is wrong. Tries left: %d.", tries)}
		} else if is {
			return purse.PINBlocked
		}
	}
	h.isVerified = err == nil
	return err
}

// forget selects the purse once more, by which the card forgets that the PIN was
// entered: it stays in the reader, where other programs can reach it.
func (h *held) forget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	// A card that is gone has forgotten it.
	_, _ = h.Session.Transmit(ctx, purse.Command(purse.Select, 4, 0, []byte(purse.CardAID)))
}

func (h *held) verifyAtReader(ctx context.Context) error {
	err := smartcard.VerifyAtPad(ctx, h.Session)
	if errors.Is(err, smartcard.ErrNoPINPad) {
		return errPIN{"Enter the PIN here: the reader has no keys."}
	}
	return err
}

// look asks the card in the reader what it is, unless somebody works with it.
func (a *Agent) look(ctx context.Context) (data purse.CardData, isBlocked bool, err error) {
	a.card.Lock()
	defer a.card.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	card, err := a.connect(ctx)
	if err != nil {
		return purse.CardData{}, false, err
	}
	return card.data, card.isBlocked, card.Close()
}

// show writes down what the holder is shown of a card, or says why the request
// cannot be done with it.
func (r *request) show(data purse.CardData, isBlocked bool) error {
	if isBlocked {
		return purse.CardBlocked
	}
	s := &shown{card: data.Card, unit: data.Unit, isPIN: r.Intent == relay.Load && data.Holder != purse.ID{}}
	switch {
	case s.isPIN && data.Tries == 0:
		return purse.PINBlocked
	case r.Intent == relay.Resolve:
		if r.card != "" && r.card != data.Card.String() {
			return errors.New("this is another card: put in the one that was used then")
		}
	case r.Currency != data.Unit.Currency.Money():
		return fmt.Errorf("this card holds %s, not %s", data.Unit.Currency.Money().Code(), r.Currency.Code())
	case r.Intent == relay.Unload:
		s.amount = min(data.Balance, data.MaxPayment)
		if s.amount == 0 {
			return errors.New("there is nothing on this card")
		}
	default:
		count, err := data.Unit.Count(r.Amount)
		if err != nil {
			return errors.New("this card does not count in such small amounts")
		}
		if r.Intent != relay.Load && count > data.Balance {
			return purse.TooLittle
		}
		s.amount = count
	}
	if r.shown != nil {
		s.id = r.shown.id
	}
	if r.shown == nil || *r.shown != *s {
		s.id = secret()
		r.shown = s
	}
	return nil
}

// say takes the holder's yes to what was shown under an id.
func (a *Agent) say(id string, pin []byte) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	r := a.current()
	if r == nil || r.phase != Waiting || r.shown == nil || !equal(r.shown.id, id) || a.isBusy {
		return errors.New("what you said yes to is over, or was shown anew: look at it again")
	}
	if r.shown.isPIN && len(pin) > 0 && !purse.IsPIN(pin) {
		return errors.New("a PIN has 4 to 8 digits: no try was used up")
	}
	a.isBusy = true
	r.phase, r.notice = Working, ""
	a.jobs <- job{request: r, agreed: *r.shown, pin: pin}
	return nil
}

// decline takes the holder's no.
func (a *Agent) decline(id string) (origin string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	r := a.current()
	if r == nil || r.phase != Waiting || !equal(r.id, id) {
		return ""
	}
	r.end(Declined, "The holder said no.")
	return r.origin
}

// declineAll takes the holder's no to a site.
func (a *Agent) declineAll(origin string) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if r := a.current(); r != nil && r.phase == Waiting && r.origin == origin {
		r.end(Declined, "The holder said no.")
	}
}

// findOut begins to find out what became of a session, by the holder's word.
func (a *Agent) findOut(id string) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.current() != nil || a.isBusy {
		return errOccupied
	}
	all := a.store.open()
	at := slices.IndexFunc(all, func(o opening) bool { return equal(o.Request, id) })
	if at < 0 {
		return errors.New("that is known by now")
	}
	o := all[at]
	a.keep(&request{card: o.Card, RequestBody: RequestBody{
		Intent: relay.Resolve, Gateway: o.Gateway, Merchant: o.Merchant, Payee: o.Payee,
	}})
	return nil
}
