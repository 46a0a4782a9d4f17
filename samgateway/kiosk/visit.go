package kiosk

import (
	"context"
	"errors"
	"time"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// workTimeout bounds what is done with a card at once. Clearing and broker are
	// asked within it, each with time limits of their own.
	workTimeout = 2 * time.Minute
	// pullNotice is how long a reader may take to notice that the card is gone,
	// after a command failed for that: pcscd looks every 400 ms.
	pullNotice = 2 * time.Second
)

// How a dialogue ends other than by going on.
var (
	errBack   = errors.New("one screen back")
	errEnd    = errors.New("the customer is done")
	errIdle   = errors.New("nobody is there any more")
	errPulled = errors.New("the card is gone")
)

// visit is one card, from when it was put in until it is pulled out. Its methods
// belong to one goroutine.
type visit struct {
	*Kiosk
	card       smartcard.Session
	gone       chan struct{} // closed when no card is in the reader any more
	purse      Purse
	isVerified bool   // the PIN was right
	doing      view   // what moves money, while it does
	rest       screen // for when the card is gone
}

// unknown is what a card was doing when it was pulled.
type unknown struct {
	view
	balance uint32 // before it
}

// serveCard talks to whoever put the card in, until the card is out again. It
// returns what is to be shown then. An error means that the reader is gone.
func (k *Kiosk) serveCard(ctx context.Context, reader smartcard.Reader) (screen, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	k.newSession(readingScreen)
	v := &visit{Kiosk: k, gone: make(chan struct{}), rest: startScreen}
	var watched error
	go func() {
		watched = reader.Wait(ctx, false)
		close(v.gone)
	}()
	card, err := reader.Connect(ctx)
	if err == nil {
		v.card = card
		err = v.talk(ctx)
		if closed := card.Close(); closed != nil {
			k.config.Log.Warn("leaving the card", "error", closed)
		}
	}
	v.part(ctx, err)
	stop()
	<-v.gone
	if errors.Is(watched, context.Canceled) {
		watched = nil
	}
	return v.rest, watched
}

// part shows why the visit is over until the card is out.
func (v *visit) part(ctx context.Context, err error) {
	last := takeScreen
	switch {
	case err == nil, errors.Is(err, errEnd), errors.Is(err, errIdle):
	case errors.Is(err, errPulled), errors.Is(err, smartcard.ErrNoCard), ctx.Err() != nil:
		return
	case errors.Is(err, smartcard.ErrForeign):
		last = foreignScreen
	case errors.Is(err, smartcard.ErrMute):
		last = muteScreen
	default: // torn without the reader's knowing, busy, or a reader that fails
		v.config.Log.Warn("a card could not be used", "error", err)
		last = screen{name: "again"}
	}
	v.newSession(last)
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	select {
	case <-v.gone:
		return
	case <-ctx.Done():
		return
	case <-idle.C:
	}
	v.newSession(takeScreen)
	select {
	case <-v.gone:
	case <-ctx.Done():
	}
}

// talk is the dialogue. It returns when it is over, and why.
func (v *visit) talk(ctx context.Context) error {
	err := v.work(ctx, "", func(ctx context.Context) (err error) {
		v.purse, err = v.config.Desk.Read(ctx, v.card)
		return err
	})
	if err != nil {
		return err
	}
	if v.purse.ShowsBalanceOnly {
		_, err := v.ask(ctx, screen{name: "balance", view: view{Purse: v.purse}, actions: []string{actEnd}})
		return err
	}
	if err := v.meet(ctx); err != nil {
		return err
	}
	return v.menu(ctx)
}

// meet settles what was left open about the card and says how it ended.
func (v *visit) meet(ctx context.Context) error {
	var outcomes []Outcome
	err := v.work(ctx, "", func(ctx context.Context) (err error) {
		if outcomes, err = v.config.Desk.Meet(ctx, v.card); err == nil && len(outcomes) > 0 {
			v.purse, err = v.config.Desk.ReadAgain(ctx, v.card)
		}
		return err
	})
	for i, o := range outcomes {
		if !isTold(o) {
			outcomes[i].Ending = Unclear
		}
	}
	isOpen := err != nil && !isCardLost(err)
	if err != nil && !isOpen {
		return err
	}
	if !isOpen {
		outcomes = v.withUnknown(outcomes)
	}
	if isOpen {
		v.config.Log.Error("what a card left open is not settled", "error", err)
	}
	if !isOpen && len(outcomes) == 0 {
		return nil
	}
	_, err = v.ask(ctx, screen{
		name: "resolved", view: view{Purse: v.purse, Outcomes: outcomes, IsOpen: isOpen}, actions: []string{actBack, actEnd},
	})
	if errors.Is(err, errBack) {
		return nil
	}
	return err
}

// withUnknown adds how that ended in whose middle the card was pulled, if nobody
// else says it: nothing was begun then that had to be settled, and the balance
// says the rest.
func (v *visit) withUnknown(outcomes []Outcome) []Outcome {
	was := v.open
	if was == nil || was.Purse.ID != v.purse.ID {
		return outcomes
	}
	v.open = nil
	for _, o := range outcomes {
		if o.Kind == was.Kind {
			return outcomes
		}
	}
	ended := Outcome{Kind: was.Kind, Amount: was.Amount, Unit: was.Purse.Unit, Ending: Undone}
	switch {
	case v.purse.Balance == was.balance:
	case was.Kind == Loading && v.purse.Balance == was.balance+was.Amount:
		ended.Ending = Done
	case was.Kind != Loading && v.purse.Balance+was.Amount == was.balance:
		ended.Ending = Late
	default: // something else was done with it in between
		return outcomes
	}
	return append(outcomes, ended)
}

// isCardLost reports whether an error means that nobody can talk to the card any
// more.
func isCardLost(err error) bool {
	for _, lost := range []error{errPulled, smartcard.ErrTorn, smartcard.ErrNoCard, smartcard.ErrMute, smartcard.ErrGone, smartcard.ErrForeign} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// menu is where everything begins. It returns when the visit is over.
func (v *visit) menu(ctx context.Context) error {
	for {
		a, err := v.ask(ctx, v.menuScreen())
		if err != nil {
			return err
		}
		switch a.action {
		case actLoad:
			err = v.load(ctx)
		case actFund:
			err = v.fund(ctx)
		case actUnload:
			err = v.unload(ctx)
		case actPayments:
			err = v.payments(ctx)
		}
		if err != nil && !errors.Is(err, errBack) {
			return err
		}
	}
}

// menuScreen offers what makes sense with the card as it is.
func (v *visit) menuScreen() screen {
	menu := screen{name: "menu", view: view{Purse: v.purse}, actions: []string{actEnd}}
	if v.purse.IsBlocked {
		return menu
	}
	if v.purse.HasAccount && v.purse.loadable() > 0 {
		menu.actions = append(menu.actions, actLoad)
	}
	if v.purse.payable() > 0 {
		menu.actions = append(menu.actions, actFund)
		if v.purse.HasAccount {
			menu.actions = append(menu.actions, actUnload)
		}
	}
	menu.actions = append(menu.actions, actPayments)
	return menu
}

// ask shows a screen and returns what it was answered with. It returns errBack,
// errEnd, errIdle or errPulled if there is nothing to go on with.
func (v *visit) ask(ctx context.Context, s screen) (answer, error) {
	v.show(s)
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	for {
		select {
		case a := <-v.answers:
			return a, stopped(a)
		case <-v.touched:
			idle.Reset(idleTime)
		case <-idle.C:
			if err := v.askWhetherAnybodyIsThere(ctx); err != nil {
				return answer{}, err
			}
			v.show(s)
			idle.Reset(idleTime)
		case <-v.gone:
			return answer{}, errPulled
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
}

// stopped says which answers end what is going on.
func stopped(a answer) error {
	switch a.action {
	case actBack:
		return errBack
	case actEnd:
		return errEnd
	}
	return nil
}

// askWhetherAnybodyIsThere shows nothing of the card. Any sign of life is enough.
func (v *visit) askWhetherAnybodyIsThere(ctx context.Context) error {
	v.show(screen{name: "still-there", view: view{Seconds: int(warningTime / time.Second)}, actions: []string{actGo, actEnd}})
	left := time.NewTimer(warningTime)
	defer left.Stop()
	select {
	case a := <-v.answers:
		return stopped(a)
	case <-v.touched:
		return nil
	case <-left.C:
		return errIdle
	case <-v.gone:
		return errPulled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work does something with the card and shows meanwhile that it is being done.
// kind is what moves money; "" only looks. If the card is pulled meanwhile it
// says so at once, waits for what becomes of it, and returns errPulled.
func (v *visit) work(ctx context.Context, kind Kind, do func(ctx context.Context) error) error {
	ctx, stop := context.WithTimeout(ctx, workTimeout)
	defer stop()
	if kind != "" {
		v.show(screen{name: "working", view: view{Kind: kind}})
	}
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	var err error
	select {
	case err = <-done:
		if !isTorn(err) {
			return err
		}
		v.awaitPull(ctx)
	case <-v.gone:
		if kind != "" {
			v.newSession(screen{name: "pulled", view: view{Kind: kind}})
		} else {
			v.newSession(startScreen)
			stop() // nobody waits for it
		}
		err = <-done // it fails at its next command, or needs the card no more
	}
	if kind != "" && isTorn(err) {
		v.open = &unknown{v.doing, v.purse.Balance}
	}
	select {
	case <-v.gone:
	default:
		return err // the card does not answer, and is still there
	}
	if kind != "" {
		v.rest = afterPull(kind, err)
	}
	return errPulled
}

// isTorn reports whether an error can come of a card that is being pulled.
func isTorn(err error) bool {
	return err != nil && !errors.Is(err, smartcard.ErrForeign) && (errors.Is(err, ErrUndecided) || isCardLost(err))
}

// awaitPull gives the reader time to notice that the card is gone.
func (v *visit) awaitPull(ctx context.Context) {
	notice := time.NewTimer(pullNotice)
	defer notice.Stop()
	select {
	case <-v.gone:
	case <-notice.C:
	case <-ctx.Done():
	}
}

// afterPull is what is told of an action in whose middle the card was pulled:
// what is known, and neither amount nor account, since the customer may have
// left.
func afterPull(kind Kind, err error) screen {
	var refusal *Refusal
	switch {
	case err == nil:
		return screen{name: "pulled-done", view: view{Kind: kind}, actions: []string{actBack}}
	case errors.As(err, &refusal):
		return screen{name: "pulled-refused", view: view{Kind: kind, Reason: refusal.Reason}, actions: []string{actBack}}
	}
	return screen{name: "pulled", view: view{Kind: kind}, actions: []string{actBack}}
}
