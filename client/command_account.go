package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

func (c *command) status(ctx context.Context, arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		status, err := wallet.Status(ctx)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(status)
		}
		return c.tellStatus(status)
	})
}

func (c *command) tellStatus(s Status) error {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	say := func(name, format string, arguments ...any) {
		fmt.Fprintf(out, "%s\t"+format+"\n", append([]any{name}, arguments...)...)
	}
	amount := func(a money.Amount) string { return a.Decimal() + " " + s.Account.Currency.Code() }
	say("Account", "%s at %s%s", s.Account.Account, s.Broker, describeState(s.Account))
	say("Available", "%s", amount(s.Account.Available))
	say("Reserved", "%s", amount(s.Account.Reserved))
	if s.Account.Credit > 0 {
		say("Credit line", "%s, of what is available", amount(s.Account.Credit))
	}
	if s.Account.Payouts > 0 {
		say("On its way out", "%s", amount(s.Account.Payouts))
	}
	if s.Account.Owed > 0 {
		say("Owed", "%s, which was taken back after it was spent; what comes in pays it first", amount(s.Account.Owed))
	}
	limits := effective(s.Limits)
	for _, one := range []struct {
		name  string
		limit *money.Amount
	}{{"One site a day", limits.VendorDay}, {"All sites a day", limits.Day}, {"Reserved at once", limits.Reserved}} {
		if one.limit != nil {
			say(one.name, "at most %s", amount(*one.limit))
		}
	}
	say("Certificates", "%s", describeCertificates(s.Certificates))
	return out.Flush()
}

// describeState says what is unusual about an account, or nothing.
func describeState(a payword.Account) string {
	text := ""
	if a.SubAccount {
		text += ", a sub-account"
	}
	if a.State != "open" && a.State != "" {
		text += ", " + foreignText(a.State)
	}
	if a.Paused {
		text += ", paused"
	}
	return text
}

func describeCertificates(s CertificateStatus) string {
	text := fmt.Sprintf("%d for sites, %d spare", s.Sites, s.Spares)
	if s.Expired > 0 {
		text += fmt.Sprintf("; %d expired", s.Expired)
	}
	if s.ExpireSoon > 0 {
		text += fmt.Sprintf("; %d expire soon and are renewed with the next payment", s.ExpireSoon)
	}
	if s.NextExpires > 0 {
		text += "; the next on " + moment(s.NextExpires)
	}
	return text
}

// limitChange is which limits are to be changed, and to what.
type limitChange struct{ vendorDay, day, reserved limitSetting }

// limitSetting is one limit as a flag gives it.
type limitSetting struct {
	isSet  bool
	amount *money.Amount // nil: none
}

// limitFlags makes the flags of limits.
func (c *command) limitFlags() *limitChange {
	change := &limitChange{}
	for name, setting := range map[string]*limitSetting{"vendor-day": &change.vendorDay, "day": &change.day, "reserved": &change.reserved} {
		c.flags.Func(name, "", func(text string) error {
			setting.isSet, setting.amount = true, nil
			if text == "none" {
				return nil
			}
			amount, err := money.ParseDecimal(text)
			if err != nil {
				return fmt.Errorf("%w, or none", err)
			}
			setting.amount = &amount
			return nil
		})
	}
	return change
}

func (l *limitChange) isSet() bool { return l.vendorDay.isSet || l.day.isSet || l.reserved.isSet }

// of returns the limits after the change.
func (l *limitChange) of(limits payword.Limits) payword.Limits {
	for _, one := range []struct {
		setting limitSetting
		limit   **money.Amount
	}{{l.vendorDay, &limits.VendorDay}, {l.day, &limits.Day}, {l.reserved, &limits.Reserved}} {
		if one.setting.isSet {
			*one.limit = one.setting.amount
		}
	}
	return limits
}

func shownLimit(limit *money.Amount) string {
	if limit == nil {
		return "none"
	}
	return limit.Decimal()
}

func (c *command) limits(ctx context.Context, arguments []string) error {
	change := c.limitFlags()
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		limits, err := wallet.limits(ctx)
		if err == nil && change.isSet() {
			limits, err = wallet.setLimits(ctx, change.of(limits.Own))
		}
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(limits)
		}
		return c.tellLimits(wallet, limits)
	})
}

func (c *command) tellLimits(wallet *Wallet, limits payword.AccountLimits) error {
	_, currency := wallet.account()
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s\tYours\tThe broker's\n", currency.Code())
	for _, one := range []struct {
		name         string
		own, ceiling *money.Amount
	}{
		{"One site a day", limits.Own.VendorDay, limits.Ceiling.VendorDay},
		{"All sites a day", limits.Own.Day, limits.Ceiling.Day},
		{"Reserved at once", limits.Own.Reserved, limits.Ceiling.Reserved},
	} {
		fmt.Fprintf(out, "%s\t%s\t%s\n", one.name, shownLimit(one.own), shownLimit(one.ceiling))
	}
	return out.Flush()
}

func (c *command) voucher(ctx context.Context, arguments []string) error {
	others, err := c.parseSome(arguments, 0, "CODE")
	if err != nil {
		return err
	}
	if others[0] != "" {
		return usageError{"a voucher's code is worth money, and others on this machine can see arguments: type it when it is asked for, or pipe it in"}
	}
	return c.withWallet(func(wallet *Wallet) error {
		code, err := c.readLine("Voucher code: ")
		if err == nil && code == "" {
			err = errors.New("no code came on standard input: type it, or pipe it in")
		}
		if err != nil {
			return err
		}
		redeemed, err := wallet.redeemVoucher(ctx, code)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(redeemed)
		}
		currency := redeemed.Account.Currency.Code()
		fmt.Fprintf(c.stdout, "The voucher was worth %s %s; %s %s are available now.\n",
			redeemed.Amount.Decimal(), currency, redeemed.Account.Available.Decimal(), currency)
		return nil
	})
}

// destinationFlags makes the flags that say where money goes.
func (c *command) destinationFlags() *payword.PayoutDestination {
	where := &payword.PayoutDestination{}
	c.flags.StringVar(&where.IBAN, "iban", "", "")
	c.flags.StringVar(&where.Reference, "reference", "", "")
	return where
}

func describeDestination(where payword.PayoutDestination) string {
	if where.IBAN != "" {
		return "IBAN " + foreignText(where.IBAN)
	}
	return foreignText(where.Reference)
}

func (c *command) payout(ctx context.Context, arguments []string) error {
	amount, where, id, yes := c.amountFlag("amount"), c.destinationFlags(), c.idFlag(), c.flags.Bool("yes", false, "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	isGiven := where.IBAN != "" || where.Reference != ""
	switch {
	case *amount == 0 && isGiven:
		return usageError{"want --amount, such as --amount 5.00"}
	case *amount > 0 && (where.IBAN == "") == (where.Reference == ""):
		return usageError{"want either --iban or --reference, which say where the money goes"}
	case *amount == 0:
		return c.withWallet(func(wallet *Wallet) error { return c.listPayouts(ctx, wallet) })
	}
	return c.withWallet(func(wallet *Wallet) error {
		_, currency := wallet.account()
		if err := c.confirm(*yes, fmt.Sprintf("Pay out %s %s to %s?", amount.Decimal(), currency.Code(), describeDestination(*where))); err != nil {
			return err
		}
		payout, err := wallet.requestPayout(ctx, payword.RequestPayout{ID: *id, Amount: *amount, Destination: *where})
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(payout)
		}
		return c.tellPayouts([]payword.Payout{payout})
	})
}

func (c *command) listPayouts(ctx context.Context, wallet *Wallet) error {
	payouts, err := wallet.payouts(ctx)
	switch {
	case err != nil:
		return err
	case c.asJSON:
		return json.NewEncoder(c.stdout).Encode(payword.PayoutList{Payouts: append([]payword.Payout{}, payouts...)})
	case len(payouts) == 0:
		fmt.Fprintln(c.stdout, "No payout was asked for yet.")
		return nil
	}
	return c.tellPayouts(payouts)
}

func (c *command) tellPayouts(payouts []payword.Payout) error {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "Asked\tAmount\tState\tTo\tId\tNote")
	for _, p := range payouts {
		fmt.Fprintf(out, "%s\t%s %s\t%s\t%s\t%s\t%s\n", day(p.Created), p.Amount.Decimal(), p.Currency.Code(), foreignText(p.State),
			describeDestination(p.Destination), foreignText(p.ID), foreignText(p.Note))
	}
	return out.Flush()
}

func (c *command) close(ctx context.Context, arguments []string) error {
	where, yes := c.destinationFlags(), c.flags.Bool("yes", false, "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	if where.IBAN != "" && where.Reference != "" {
		return usageError{"want one of --iban and --reference, not both"}
	}
	var destination *payword.PayoutDestination
	if where.IBAN != "" || where.Reference != "" {
		destination = where
	}
	return c.withWallet(func(wallet *Wallet) error {
		account, err := wallet.Balance(ctx)
		if err != nil {
			return err
		}
		broker, _ := wallet.account()
		left, err := wallet.familyBalance(ctx, account)
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Close account %s at %s and all its sub-accounts, for ever? %s %s are on them.",
			account.Account, broker, left.Decimal(), account.Currency.Code())
		if err := c.confirm(*yes, question); err != nil {
			return err
		}
		if account, err = wallet.closeAccount(ctx, destination); err != nil {
			return err
		}
		if c.asJSON {
			return json.NewEncoder(c.stdout).Encode(account)
		}
		fmt.Fprintln(c.stdout, describeClosing(account))
		return nil
	})
}

func describeClosing(a payword.Account) string {
	code := a.Currency.Code()
	switch {
	case a.State == "closed":
		return "The account is closed."
	case a.Reserved > 0:
		return fmt.Sprintf("The account is closing: %s %s are reserved, and the rest is paid out once that has run out.", a.Reserved.Decimal(), code)
	}
	return fmt.Sprintf("The account is closing: %s %s are on their way out.", a.Payouts.Decimal(), code)
}

func (c *command) export(ctx context.Context, arguments []string) error {
	output := c.flags.String("o", "", "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		if *output == "" {
			return wallet.export(ctx, c.stdout)
		}
		file, err := os.OpenFile(*output, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		// One that was there before may have had another mode.
		return errors.Join(file.Chmod(0o600), wallet.export(ctx, file), file.Close())
	})
}
