package kiosk

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// accountGroup is how many characters of an account are shown together.
const accountGroup = 4

// accountLetters are the characters of an account, in the order of the keyboard
// on the screen. One who looks for a letter finds it by the alphabet.
const accountLetters = "234567abcdefghijklmnopqrstuvwxyz"

// accountPattern is how the broker names accounts.
var accountPattern = regexp.MustCompile(`^[a-z2-7]{16}$`)

// load puts money on the card.
func (v *visit) load(ctx context.Context) error {
	amount, err := v.askAmount(ctx, Loading, v.purse.loadable(), "")
	if err != nil {
		return err
	}
	return v.move(ctx, view{Kind: Loading, Amount: amount}, true, func(ctx context.Context) (bool, error) {
		return false, v.config.Desk.Load(ctx, v.card, amount)
	})
}

// unload takes all money off the card.
func (v *visit) unload(ctx context.Context) error {
	return v.move(ctx, view{Kind: Unloading, Amount: v.purse.Balance}, false, func(ctx context.Context) (bool, error) {
		return v.config.Desk.Unload(ctx, v.card)
	})
}

// fund pays into an account of the broker.
func (v *visit) fund(ctx context.Context) error {
	typed, notice := "", ""
	for {
		a, err := v.ask(ctx, screen{name: "account", view: view{Typed: typed, Notice: notice}, actions: []string{actText, actBack}})
		if err != nil {
			return err
		}
		typed = cleanAccount(string(a.body))
		if !accountPattern.MatchString(typed) {
			notice = "account.wrong"
			continue
		}
		account := typed
		amount, err := v.askAmount(ctx, Funding, v.purse.payable(), account)
		if errors.Is(err, errBack) {
			notice = ""
			continue
		}
		if err != nil {
			return err
		}
		v.show(checkingScreen)
		err = v.work(ctx, "", func(ctx context.Context) error {
			return v.config.Desk.CheckAccount(ctx, account, v.purse.Unit, amount)
		})
		var refusal *Refusal
		if errors.As(err, &refusal) {
			notice = "refused." + string(refusal.Reason)
			continue
		}
		if err != nil {
			return v.failed(ctx, view{Kind: Funding, Amount: amount}, err)
		}
		return v.move(ctx, view{Kind: Funding, Amount: amount, Account: account}, false, func(ctx context.Context) (bool, error) {
			return v.config.Desk.Fund(ctx, v.card, account, v.purse.Unit, amount)
		})
	}
}

// cleanAccount takes away what people type between the groups of an account.
func cleanAccount(typed string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "\u2009", "").Replace(typed))
}

// payments shows the last ones.
func (v *visit) payments(ctx context.Context) error {
	var list []Payment
	for {
		if err := v.askPIN(ctx, view{}); err != nil {
			return err
		}
		err := v.work(ctx, "", func(ctx context.Context) (err error) {
			list, err = v.config.Desk.Payments(ctx, v.card)
			return err
		})
		if v.forgotPIN(err) {
			continue
		}
		if err != nil {
			return v.failed(ctx, view{}, err)
		}
		for i := range list {
			list[i].Time = list[i].Time.In(v.config.Location)
		}
		_, err = v.ask(ctx, screen{name: "payments", view: view{Purse: v.purse, Payments: list}, actions: []string{actBack, actEnd}})
		return err
	}
}

// forgotPIN reports whether the card wants its PIN once more.
func (v *visit) forgotPIN(err error) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != ReasonPINWanted || !v.isVerified {
		return false
	}
	v.isVerified = false
	return true
}

// askAmount asks how much, at most so many units.
func (v *visit) askAmount(ctx context.Context, kind Kind, most uint32, account string) (uint32, error) {
	asked := view{Purse: v.purse, Kind: kind, Most: most, Account: account, Choices: choices(v.purse.Unit, most)}
	for {
		a, err := v.ask(ctx, screen{name: "amount", view: asked, actions: []string{actText, actChoose, actBack}})
		if err != nil {
			return 0, err
		}
		amount, notice := readAmount(string(a.body), v.purse.Unit, most)
		if a.action == actChoose {
			amount, notice = readChoice(string(a.body), most)
		}
		if notice == "" {
			return amount, nil
		}
		asked.Typed, asked.Notice = string(a.body), notice
	}
}

// move asks once more, with the PIN or without it, does it, and shows how it
// ended.
func (v *visit) move(ctx context.Context, what view, needsPIN bool, do func(ctx context.Context) (isLate bool, err error)) error {
	what.Purse = v.purse
	for {
		if err := v.confirm(ctx, what, needsPIN); err != nil {
			return err
		}
		v.doing = what
		err := v.work(ctx, what.Kind, func(ctx context.Context) (err error) {
			what.IsLate, err = do(ctx)
			return err
		})
		if v.forgotPIN(err) {
			continue
		}
		if errors.Is(err, errPulled) {
			v.rest.view.IsLate = what.IsLate
		}
		v.isVerified = v.isVerified && what.Kind == Loading
		if err != nil {
			return v.failed(ctx, what, err)
		}
		if err := v.readAgain(ctx); err != nil {
			if errors.Is(err, errPulled) { // just when it was done, and nobody was told yet
				v.rest = afterPull(what.Kind, nil)
				v.rest.view.IsLate = what.IsLate
			}
			return err
		}
		what.Purse = v.purse
		_, err = v.ask(ctx, screen{name: "done", view: what, actions: []string{actBack, actEnd}})
		return err
	}
}

// confirm returns when the customer agreed. Typing the PIN is agreeing.
func (v *visit) confirm(ctx context.Context, what view, needsPIN bool) error {
	if needsPIN && !v.isVerified {
		return v.askPIN(ctx, what)
	}
	_, err := v.ask(ctx, screen{name: "confirm", view: what, actions: []string{actGo, actBack}})
	return err
}

// readAgain reads the card after something was moved.
func (v *visit) readAgain(ctx context.Context) error {
	return v.work(ctx, "", func(ctx context.Context) (err error) {
		v.purse, err = v.config.Desk.ReadAgain(ctx, v.card)
		return err
	})
}

// failed shows that something did not work. It returns what ends the visit.
func (v *visit) failed(ctx context.Context, what view, err error) error {
	var refusal *Refusal
	what.Purse = v.purse
	failed := screen{name: "failed", view: what, actions: []string{actBack, actEnd}}
	switch {
	case errors.As(err, &refusal):
		failed.name, failed.view.Reason = "refused", refusal.Reason
		v.config.Log.Info("refused", "reason", refusal.Reason, "detail", refusal.Detail)
	case errors.Is(err, ErrUndecided):
		// The card is there and something else is not: it is settled without this
		// customer, or when the card comes back.
		failed.name, failed.actions = "undecided", []string{actEnd}
		v.config.Log.Error("it is not known how it ended", "kind", what.Kind, "error", err)
	case isCardLost(err), ctx.Err() != nil:
		return err
	default:
		v.config.Log.Error("it did not work", "kind", what.Kind, "error", err)
	}
	_, err = v.ask(ctx, failed)
	return err
}

// askPIN returns when the card was shown its PIN. what is shown beside it, so
// that people know what they agree to.
func (v *visit) askPIN(ctx context.Context, what view) error {
	if v.isVerified || !v.purse.HasAccount {
		return nil
	}
	what.Purse, what.Needs = v.purse, true
	if pad, has := v.card.(smartcard.PINPad); has {
		if err := v.askPad(ctx, pad, what); !errors.Is(err, smartcard.ErrNoPINPad) {
			return err
		}
	}
	for {
		if what.Purse.Tries == 0 {
			return v.failed(ctx, what, &Refusal{Reason: ReasonPINBlocked})
		}
		a, err := v.ask(ctx, screen{name: "pin", view: what, actions: []string{actPIN, actBack}})
		if err != nil {
			return err
		}
		if notice := checkPIN(a.body); notice != "" {
			a.wipe()
			what.Notice = notice
			continue
		}
		err = v.verify(ctx, a.body)
		a.wipe()
		if err != nil || v.isVerified {
			return err
		}
		what.Purse.Tries, what.Notice = v.purse.Tries, "pin.wrong"
	}
}

// verify shows the card the digits.
func (v *visit) verify(ctx context.Context, digits []byte) error {
	return v.work(ctx, "", func(ctx context.Context) (err error) {
		v.isVerified, v.purse.Tries, err = v.config.Desk.Verify(ctx, v.card, digits)
		return err
	})
}

// checkPIN says what is wrong with what was typed before the card counts a try.
func checkPIN(digits []byte) (notice string) {
	if !purse.IsPIN(digits) {
		return "pin.length"
	}
	return ""
}
