package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// accountFlagValues are the flags of account, payout and voucher.
type accountFlagValues struct {
	holder, block, unblock         string
	vendorDay, day, reservedAtOnce string
	paid, refused                  string
	count                          int
	life                           time.Duration
	cancel                         string
}

// defaultVoucherLife is how long a voucher is good unless the operator says
// otherwise: to the end of the third year is common law for such things.
const defaultVoucherLife = 3 * 365 * 24 * time.Hour

func (c *command) stateFlags(flags *flag.FlagSet) {
	f := &c.accounts
	flags.StringVar(&f.holder, "holder", "", "tie the account to this `TEXT` of your own customer records; empty: to nobody")
	flags.StringVar(&f.block, "block", "", "promise nothing new from the account, for this `REASON`")
	flags.StringVar(&f.unblock, "unblock", "", "undo --block, for this `REASON`")
	flags.StringVar(&f.vendorDay, "ceiling-vendor-day", "", "the most that the account may spend at one vendor in a day, as `AMOUNT` or none")
	flags.StringVar(&f.day, "ceiling-day", "", "the most that the account may spend in a day, as `AMOUNT` or none")
	flags.StringVar(&f.reservedAtOnce, "ceiling-reserved", "", "the most that the account may have reserved at once, as `AMOUNT` or none")
}

// stateChange is one of the changes that the flags of account ask for.
type stateChange struct {
	flag  string
	apply func(context.Context, *store) (payword.Refusal, error)
}

// stateChanges returns what the flags ask for, in the order in which it is done,
// or a mistake of whoever called.
func (c *command) stateChanges() ([]stateChange, error) {
	f := c.accounts
	if c.isSet["block"] && c.isSet["unblock"] {
		return nil, usage("--block and --unblock: want one of them")
	}
	for name, reason := range map[string]string{"block": f.block, "unblock": f.unblock} {
		if err := checkReason(reason); c.isSet[name] && err != nil {
			return nil, usage("--%s: %v", name, err)
		}
	}
	ceiling, err := c.ceilingChange()
	if err != nil {
		return nil, err
	}
	id := c.accountID
	return []stateChange{
		{"holder", func(ctx context.Context, s *store) (payword.Refusal, error) {
			_, refusal, err := s.setHolder(ctx, id, f.holder)
			return refusal, err
		}},
		{"block", func(ctx context.Context, s *store) (payword.Refusal, error) {
			_, refusal, err := s.blockAccount(ctx, id, f.block)
			return refusal, err
		}},
		{"unblock", func(ctx context.Context, s *store) (payword.Refusal, error) {
			_, refusal, err := s.unblockAccount(ctx, id, f.unblock)
			return refusal, err
		}},
		ceiling,
	}, nil
}

// ceilingChange returns the change of those ceilings that were given; the others
// stay.
func (c *command) ceilingChange() (stateChange, error) {
	texts := map[string]string{
		"ceiling-vendor-day": c.accounts.vendorDay, "ceiling-day": c.accounts.day, "ceiling-reserved": c.accounts.reservedAtOnce,
	}
	given := make(map[string]*money.Amount)
	first := ""
	for name, text := range texts {
		if !c.isSet[name] {
			continue
		}
		first = name
		if text == "none" {
			given[name] = nil
			continue
		}
		amount, err := money.ParseDecimal(text)
		if err != nil {
			return stateChange{}, usage("--%s %q: want a number such as 20.00, or none", name, text)
		}
		given[name] = &amount
	}
	return stateChange{first, func(ctx context.Context, s *store) (payword.Refusal, error) {
		limits, err := s.limits(ctx, c.accountID)
		if err != nil {
			return payword.Refusal{}, err
		}
		for name, target := range map[string]**money.Amount{
			"ceiling-vendor-day": &limits.Ceiling.VendorDay, "ceiling-day": &limits.Ceiling.Day, "ceiling-reserved": &limits.Ceiling.Reserved,
		} {
			if amount, isGiven := given[name]; isGiven {
				*target = amount
			}
		}
		_, refusal, err := s.setCeiling(ctx, c.accountID, limits.Ceiling)
		return refusal, err
	}}, nil
}

func (c *command) payoutFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.accountID, "account", "", "the `ID` of the account; without it the payouts that wait are listed")
	flags.StringVar(&c.id, "id", "", "the `PAYOUT`")
	flags.StringVar(&c.accounts.paid, "paid", "", "it has left the bank account, with this `REFERENCE`")
	flags.StringVar(&c.accounts.refused, "refused", "", "give the money back to the account, for this `REASON`")
}

// payout lists the payouts that wait, or ends one.
func (c *command) payout(ctx context.Context) error {
	if !c.isSet["account"] && !c.isSet["id"] && !c.isSet["paid"] && !c.isSet["refused"] {
		return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listPayouts(ctx, s) })
	}
	if err := c.require("account", "id"); err != nil {
		return err
	}
	if c.isSet["paid"] == c.isSet["refused"] {
		return usage("want either --paid or --refused")
	}
	state, note := payoutPaid, c.accounts.paid
	if c.isSet["refused"] {
		state, note = payoutRefused, c.accounts.refused
	}
	if err := checkReason(note); err != nil {
		return usage("--%s: %v", state, err)
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		ended, refusal, err := s.endPayout(ctx, c.accountID, c.id, state, note)
		if err != nil {
			return err
		}
		if refusal.Refused() {
			return errors.New(refusal.Detail)
		}
		return c.printPayouts([]payword.Payout{ended})
	})
}

func (c *command) listPayouts(ctx context.Context, s *store) error {
	var waiting []payword.Payout
	for l := firstListed; ; {
		page, err := s.allPayouts(ctx, payoutPending, l)
		if err != nil {
			return err
		}
		waiting = append(waiting, page.Payouts...)
		if l.After = page.Next; l.After == "" {
			return c.printPayouts(waiting)
		}
	}
}

func (c *command) printPayouts(payouts []payword.Payout) error {
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tPAYOUT\tAMOUNT\tCURRENCY\tSTATE\tDESTINATION")
	for _, p := range payouts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Account, p.ID, p.Amount.Decimal(), p.Currency.Code(), p.State,
			visible(p.Destination.IBAN+p.Destination.Reference)) // there is one of the two
	}
	return table.Flush()
}

func (c *command) voucherFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.id, "id", "", "names the `BATCH` that is made; without it the batches are listed")
	flags.IntVar(&c.accounts.count, "count", 0, "how `MANY`, 1 to 10000")
	flags.StringVar(&c.amount, "amount", "", "the worth of each, as `AMOUNT`")
	flags.DurationVar(&c.accounts.life, "life", defaultVoucherLife, "how long they are good")
	flags.StringVar(&c.accounts.cancel, "cancel", "", "make those of this `BATCH` worthless that nobody has redeemed, because they were not sold")
}

// voucher makes vouchers, cancels them, or lists the batches.
func (c *command) voucher(ctx context.Context) error {
	switch {
	case c.isSet["cancel"] && c.isSet["id"]:
		return usage("--id and --cancel: want one of them")
	case c.isSet["cancel"]:
		return c.withStore(ctx, ledger.Existing, func(s *store) error { return c.cancelVouchers(ctx, s) })
	case !c.isSet["id"] && !c.isSet["count"] && !c.isSet["amount"]:
		return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listVouchers(ctx, s) })
	}
	if err := c.require("id", "count", "amount"); err != nil {
		return err
	}
	amount, err := money.ParseDecimal(c.amount)
	if err != nil {
		return usage("--amount: %v", err)
	}
	now := time.Now()
	batch := VoucherBatch{ID: c.id, Count: c.accounts.count, Amount: amount, Expires: now.Add(c.accounts.life)}
	if err := batch.check(now); err != nil {
		return usage("%v", err)
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		codes, refusal, err := s.makeVouchers(ctx, batch, now)
		if err != nil {
			return err
		}
		if refusal.Refused() {
			return errors.New(refusal.Detail)
		}
		_, err = fmt.Fprintln(c.stdout, strings.Join(codes, "\n"))
		return err
	})
}

func (c *command) cancelVouchers(ctx context.Context, s *store) error {
	cancelled, refusal, err := s.cancelVouchers(ctx, c.accounts.cancel)
	if err != nil {
		return err
	}
	if refusal.Refused() {
		return errors.New(refusal.Detail)
	}
	_, err = fmt.Fprintf(c.stdout, "%d vouchers are worthless now\n", cancelled)
	return err
}

func (c *command) listVouchers(ctx context.Context, s *store) error {
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BATCH\tAMOUNT\tMADE\tOPEN\tREDEEMED\tEXPIRED\tCANCELLED\tGOOD UNTIL")
	for l := firstListed; ; {
		page, err := s.voucherBatches(ctx, l)
		if err != nil {
			return err
		}
		for _, batch := range page.Batches {
			fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", batch.Batch, batch.Amount.Decimal(), batch.Count, batch.Open,
				batch.Redeemed, batch.Expired, batch.Cancelled, time.Unix(batch.Expires, 0).UTC().Format(time.DateOnly))
		}
		if l.After = page.Next; l.After == "" {
			return table.Flush()
		}
	}
}
