package samgateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/kiosk"
	"github.com/paywordhq/payword/samgateway/profile"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/softcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// serveKiosk serves the page for the reader of the customer's card.
func (g *gateway) serveKiosk(ctx context.Context, group *errgroup.Group) error {
	if g.settings.kiosk == "" {
		return nil
	}
	// A reader that is not there yet is waited for; one that nobody named is not.
	if g.settings.cardReader+g.settings.cardFile == "" {
		return usage("--kiosk wants --card-reader: the reader beside its screen")
	}
	page, err := kiosk.New(kiosk.Config{
		Find: func(ctx context.Context) (smartcard.Reader, error) {
			if file := g.settings.cardFile; file != "" {
				return softcard.Reader(file), nil // without the file no card is in it
			}
			return g.reader(ctx, "card", g.settings.cardReader, "")
		},
		Desk: &kioskDesk{gateway: g}, Language: g.settings.kioskLanguage, Log: g.log,
	})
	if err != nil {
		return usage("--kiosk-language: %v", err)
	}
	listener, err := kiosk.Listen(ctx, g.settings.kiosk)
	if err != nil {
		return err
	}
	group.Go(func() error { return page.Serve(ctx, listener) })
	_, err = fmt.Fprintf(g.stdout, "samgateway listens for the kiosk on %s\n", listener.Addr())
	return err
}

// soon is how long a customer waits for more than the card.
const soon = 5 * time.Second

// kioskDesk does what customers ask for at the kiosk. Its methods are called by
// one goroutine.
type kioskDesk struct {
	*gateway
	unloading purse.ID // the card that was being unloaded last
	told      []string // the loads whose end the customer has seen, the last maxKept
}

// Read implements kiosk.Desk.
func (d *kioskDesk) Read(ctx context.Context, card smartcard.Card) (kiosk.Purse, error) {
	kind, err := profile.Identify(ctx, card)
	if err != nil {
		return kiosk.Purse{}, err
	}
	if kind.AID() == purse.CardAID {
		return d.ReadAgain(ctx, card)
	}
	summary, err := kind.Read(ctx, card)
	if err != nil {
		return kiosk.Purse{}, err
	}
	return balanceOnly(summary)
}

// balanceOnly is what is shown of a card that cannot pay here.
func balanceOnly(s profile.Summary) (kiosk.Purse, error) {
	currency, err := purse.CurrencyOf(s.Currency)
	if err != nil {
		return kiosk.Purse{}, err
	}
	unit := purse.Unit{Currency: currency, Exponent: -2}
	balance, err := unit.Count(s.Balance)
	return kiosk.Purse{Unit: unit, Balance: balance, ShowsBalanceOnly: true}, err
}

// ReadAgain implements kiosk.Desk.
func (d *kioskDesk) ReadAgain(ctx context.Context, card smartcard.Card) (kiosk.Purse, error) {
	client := smartcard.Purse{Card: card}
	data, err := client.Data(ctx)
	if err != nil {
		return kiosk.Purse{}, err
	}
	if err := data.Unit.Check(); err != nil {
		return kiosk.Purse{}, err
	}
	state, err := client.State(ctx)
	if err != nil {
		return kiosk.Purse{}, err
	}
	return kiosk.Purse{
		ID: data.Card, Unit: data.Unit, Balance: data.Balance, MaxBalance: data.MaxBalance, MaxPayment: data.MaxPayment,
		HasAccount: data.Holder != (purse.ID{}), IsBlocked: state.IsBlocked, Tries: int(data.Tries),
		ShowsBalanceOnly: data.Unit != d.unit, // no money of this gateway's
	}, nil
}

// Meet implements kiosk.Desk.
func (d *kioskDesk) Meet(ctx context.Context, card smartcard.Card) ([]kiosk.Outcome, error) {
	outcomes, err := d.meetCard(ctx, card)
	if slices.ContainsFunc(outcomes, func(o terminal.Outcome) bool { return endingOf(o) == kiosk.Late }) {
		outcomes = append(outcomes, d.resolveSoon(ctx, outcomes[0].Card)...)
	}
	var told []kiosk.Outcome
	for i, o := range outcomes {
		isSame := func(later terminal.Outcome) bool { return nameOf(later.Matter) == nameOf(o.Matter) }
		if slices.Contains(d.told, nameOf(o.Matter)) || slices.ContainsFunc(outcomes[i+1:], isSame) {
			continue
		}
		kind := kindOf(o.Matter)
		if kind == kiosk.Funding && o.Card == d.unloading {
			kind = kiosk.Unloading
		}
		told = append(told, kiosk.Outcome{Kind: kind, Amount: o.Amount, Unit: o.Unit, Ending: endingOf(o)})
	}
	return told, err
}

// resolveSoon goes on with what the card has just decided, if that takes no longer
// than its holder waits, and returns what became of it.
func (d *kioskDesk) resolveSoon(ctx context.Context, card purse.ID) []terminal.Outcome {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	outcomes, err := d.terminal.Resolve(ctx)
	if err != nil {
		d.log.WarnContext(ctx, "what a card decided goes on later", "error", err.Error())
	}
	d.endings.keep(outcomes)
	return d.endings.take(card)
}

// nameOf names what an outcome is about.
func nameOf(m terminal.Matter) string {
	if m.Kind == terminal.KindLoad {
		return m.Load.String()
	}
	return fmt.Sprintf("%s %s-%d %s", m.Kind, m.Merchant, m.TNo, m.Began)
}

// saidNow notes that the customer sees how something ended, so that it is not said
// once more when the card comes again.
func (d *kioskDesk) saidNow(name string) {
	d.told = append(d.told, name)
	d.told = d.told[max(0, len(d.told)-maxKept):]
}

func kindOf(m terminal.Matter) kiosk.Kind {
	switch {
	case m.Kind == terminal.KindLoad:
		return kiosk.Loading
	case m.Kind == terminal.KindCancellation:
		return kiosk.Cancelled
	case m.Kind == terminal.KindScript:
		return kiosk.Changing
	case m.Account != "":
		return kiosk.Funding
	}
	return kiosk.Paying
}

func endingOf(o terminal.Outcome) kiosk.Ending {
	switch o.State {
	case terminal.Recorded, terminal.Booked:
		if o.Account != "" {
			return kiosk.Late
		}
		return kiosk.Done
	case terminal.Funded, terminal.Cashed, terminal.Loaded, terminal.Scripted:
		return kiosk.Done
	case terminal.Voided, terminal.NotLoaded:
		return kiosk.Undone
	case terminal.Unproved, terminal.Claiming, terminal.Claimed:
		return kiosk.Returned
	}
	return kiosk.Unclear
}

// Verify implements kiosk.Desk.
func (d *kioskDesk) Verify(ctx context.Context, card smartcard.Card, digits []byte) (isRight bool, tries int, err error) {
	client := smartcard.Purse{Card: card}
	err = client.Verify(ctx, digits)
	var status purse.StatusWord
	if errors.As(err, &status) {
		if left, isWrong := status.Tries(); isWrong {
			return false, left, nil
		}
	}
	if err != nil {
		return false, 0, asRefusal(err)
	}
	data, err := client.Data(ctx)
	return err == nil, int(data.Tries), err
}

// Payments implements kiosk.Desk.
func (d *kioskDesk) Payments(ctx context.Context, card smartcard.Card) ([]kiosk.Payment, error) {
	paid, err := smartcard.Purse{Card: card}.Payments(ctx)
	if err != nil {
		return nil, asRefusal(err)
	}
	var list []kiosk.Payment
	for _, p := range paid {
		list = append(list, kiosk.Payment{
			Time: time.Unix(int64(p.Proof.Time), 0), Amount: p.Proof.Amount, Unit: p.Proof.Unit, Merchant: p.Proof.Merchant, IsBack: p.IsCancellation(),
		})
	}
	return list, nil
}

// Load implements kiosk.Desk. Nobody takes cash here, so a white card is not
// loaded, whatever it says of itself.
func (d *kioskDesk) Load(ctx context.Context, card smartcard.Card, amount uint32) error {
	receipt, err := d.loadFromAccount(ctx, card, amount)
	if err == nil {
		d.saidNow(receipt.Reference.String())
	}
	return d.ended("load", err)
}

// CheckAccount implements kiosk.Desk.
func (d *kioskDesk) CheckAccount(ctx context.Context, account string, unit purse.Unit, amount uint32) error {
	return asRefusal(d.broker.Check(ctx, account, unit.Amount(amount)))
}

// Fund implements kiosk.Desk.
func (d *kioskDesk) Fund(ctx context.Context, card smartcard.Card, account string, unit purse.Unit, amount uint32) (isLate bool, err error) {
	d.unloading = purse.ID{}
	receipt, err := d.terminal.Pay(ctx, card, terminal.Payment{Amount: amount, Unit: unit, Account: account, Online: true})
	return err == nil && !receipt.IsFunded, d.ended("fund", err)
}

// Unload implements kiosk.Desk.
func (d *kioskDesk) Unload(ctx context.Context, card smartcard.Card) (isLate bool, err error) {
	data, err := dataOf(ctx, card)
	if err != nil {
		return false, d.ended("unload", err)
	}
	d.unloading = data.Card
	if data.Holder == (purse.ID{}) {
		return false, d.ended("unload", errWhite)
	}
	unloaded, err := d.till.unload(ctx, card, data)
	if err != nil && len(unloaded.receipts) > 0 {
		err = fmt.Errorf("%w: %d payments of the card were made: %v", kiosk.ErrUndecided, len(unloaded.receipts), err)
	}
	for _, receipt := range unloaded.receipts {
		isLate = isLate || !receipt.IsFunded
	}
	return isLate, d.ended("unload", err)
}

// ended counts how something ended, and says it as the kiosk understands it.
func (d *kioskDesk) ended(what string, err error) error {
	err = asRefusal(err)
	var refusal *kiosk.Refusal
	switch {
	case err == nil:
		d.counts.count("kiosk-"+what, "done")
	case errors.As(err, &refusal):
		d.counts.count("kiosk-"+what, "refused")
	case errors.Is(err, kiosk.ErrUndecided), errors.Is(err, smartcard.ErrTorn):
		d.counts.count("kiosk-"+what, "undecided")
	default:
		d.counts.count("kiosk-"+what, "failed")
	}
	return err
}

// Why something is refused, in the words of the kiosk.
var (
	statusReasons = map[purse.StatusWord]kiosk.Reason{
		purse.TooLittle: kiosk.ReasonTooLittle, purse.OverBalance: kiosk.ReasonOverLimit, purse.OverTransaction: kiosk.ReasonOverPayment,
		purse.PINWanted: kiosk.ReasonPINWanted, purse.PINBlocked: kiosk.ReasonPINBlocked, purse.CardBlocked: kiosk.ReasonCardBlocked,
		purse.OverSAMLimit: kiosk.ReasonTryLater,
	}
	clearingReasons = map[purse.Reason]kiosk.Reason{
		"limit": kiosk.ReasonOverLimit, "insufficient": kiosk.ReasonAccountShort, "account-state": kiosk.ReasonAccountState,
		"card-state": kiosk.ReasonCardBlocked, "unknown-card": kiosk.ReasonCardBlocked, terminal.HotListed: kiosk.ReasonCardBlocked,
		"load-open": kiosk.ReasonTryLater,
	}
)

// asRefusal turns a no of anybody's into one that the kiosk has words for. Other
// errors stay.
func asRefusal(err error) error {
	var status purse.StatusWord
	var byClearing *purse.Refusal
	var byBroker *terminal.Refused
	reason := kiosk.ReasonOther
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kiosk.ErrUndecided):
		return err
	case errors.Is(err, terminal.ErrUndecided), errors.Is(err, terminal.ErrLoadUndecided):
		return fmt.Errorf("%w: %w", kiosk.ErrUndecided, err)
	case errors.Is(err, smartcard.ErrTorn):
		return err
	case errors.Is(err, terminal.ErrOccupied), errors.Is(err, terminal.ErrSAMFull), errors.Is(err, terminal.ErrBatchClosed):
		reason = kiosk.ReasonTryLater
	case errors.Is(err, errWhite):
	case errors.As(err, &byBroker):
		reason = kiosk.ReasonAccountRefuses
		if byBroker.Reason == payword.UnknownAccount.String() {
			reason = kiosk.ReasonNoAccount
		}
	case errors.As(err, &byClearing):
		if known, is := clearingReasons[byClearing.Reason]; is {
			reason = known
		}
	case errors.As(err, &status):
		if known, is := statusReasons[status]; is {
			reason = known
		}
	default:
		return err
	}
	return &kiosk.Refusal{Reason: reason, Detail: err.Error()}
}
