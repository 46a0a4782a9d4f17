package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

func (c *command) subAccount(ctx context.Context, arguments []string) error {
	return c.choose(ctx, "sub-accounts", verbs{
		"open": (*command).openSubAccount, "list": (*command).listSubAccounts, "spending": (*command).subAccountSpending,
		"transfer": (*command).transferToSubAccount, "limits": (*command).limitSubAccount, "rename": (*command).renameSubAccount,
		"pause": func(c *command, ctx context.Context, arguments []string) error {
			return c.pauseSubAccount(ctx, true, arguments)
		},
		"resume": func(c *command, ctx context.Context, arguments []string) error {
			return c.pauseSubAccount(ctx, false, arguments)
		},
		"close": (*command).closeSubAccount,
	}, arguments)
}

// amountFlag makes a flag of an amount in major units; 0 means that it was not
// given.
func (c *command) amountFlag(name string) *money.Amount {
	amount := new(money.Amount)
	c.flags.Func(name, "", func(text string) error {
		parsed, err := money.ParseDecimal(text)
		if err == nil && parsed == 0 {
			err = errors.New("want more than 0")
		}
		*amount = parsed
		return err
	})
	return amount
}

func (c *command) openSubAccount(ctx context.Context, arguments []string) error {
	name, amount, agent, yes := c.nameFlag(), c.amountFlag("amount"), c.flags.String("agent", "", ""), c.flags.Bool("yes", false, "")
	change := c.limitFlags()
	others, err := c.parseSome(arguments, 0, "ANSWER")
	if err == nil {
		err = checkName(*name)
	}
	if err == nil && *agent != "" && others[0] != "" {
		err = usageError{"want either ANSWER, of a wallet on another machine, or --agent FILE"}
	}
	if err != nil {
		return err
	}
	if *agent != "" {
		return c.withWallet(func(wallet *Wallet) error {
			return c.openAgent(ctx, wallet, *agent, *name, change.of(payword.Limits{}), *amount)
		})
	}
	answer, err := c.answerFor(ctx, payword.PossessionSubAccount, others[0])
	if err != nil || answer == "" {
		return err
	}
	if err := c.confirmCode(*yes, answer); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		return c.openWithAnswer(ctx, wallet, *name, answer, change.of(payword.Limits{}), *amount)
	})
}

// openAgent makes the agent's wallet on this machine and lets it have a
// sub-account.
func (c *command) openAgent(ctx context.Context, wallet *Wallet, path, name string, limits payword.Limits, amount money.Amount) error {
	line, err := wallet.Invite(ctx, payword.PossessionSubAccount)
	if err != nil {
		return err
	}
	agent, err := CreateWallet(WalletConfig{Path: path})
	if errors.Is(err, fs.ErrExist) { // made before, perhaps by a try that broke off
		agent, err = OpenWallet(WalletConfig{Path: path})
	}
	if err != nil {
		return err
	}
	answer, err := agent.Join(ctx, line)
	if err == nil {
		err = c.openWithAnswer(ctx, wallet, name, answer, limits, amount)
	}
	if err == nil {
		_, err = agent.Balance(ctx) // tells it the id of its account
	}
	return errors.Join(err, agent.Close())
}

func (c *command) openWithAnswer(ctx context.Context, wallet *Wallet, name, answer string, limits payword.Limits, amount money.Amount) error {
	sub, err := wallet.OpenSubAccount(ctx, name, answer, limits)
	if err != nil {
		return err
	}
	if amount > 0 {
		funded, err := wallet.transfer(ctx, payword.SubAccountTransfer{ID: newID(), Account: sub.Account, Amount: amount})
		if err != nil {
			return fmt.Errorf("the sub-account %s is open, but was given no money (payword wallet subaccount transfer): %w", sub.Account, err)
		}
		sub = funded
	}
	return c.tellSubAccount(wallet, sub)
}

// tellSubAccount says what a sub-account is like after a change.
func (c *command) tellSubAccount(wallet *Wallet, sub payword.SubAccount) error {
	if c.asJSON {
		return json.NewEncoder(c.stdout).Encode(sub)
	}
	return c.tellSubAccounts(wallet, []payword.SubAccount{sub})
}

func (c *command) tellSubAccounts(wallet *Wallet, subs []payword.SubAccount) error {
	if len(subs) == 0 {
		fmt.Fprintln(c.stdout, "There are no sub-accounts: payword wallet subaccount open makes one.")
		return nil
	}
	_, currency := wallet.account()
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "Name\tState\tAvailable\tReserved\tSite a day\tDay\tAt once\tId\n")
	for _, sub := range subs {
		state := sub.State
		if sub.Paused && state == "open" {
			state = "paused"
		}
		fmt.Fprintf(out, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\t%s\n", shownName(sub.Name), state, sub.Available.Decimal(), currency.Code(),
			sub.Reserved.Decimal(), shownLimit(sub.Limits.VendorDay), shownLimit(sub.Limits.Day), shownLimit(sub.Limits.Reserved), sub.Account)
	}
	return out.Flush()
}

func (c *command) listSubAccounts(ctx context.Context, arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		subs, err := wallet.subAccounts(ctx)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(payword.SubAccountList{SubAccounts: append([]payword.SubAccount{}, subs...)})
		}
		return c.tellSubAccounts(wallet, subs)
	})
}

// findSubAccount returns the sub-account of an id or a name; of several with one
// name, the one that is not closed.
func findSubAccount(subs []payword.SubAccount, wanted string) (payword.SubAccount, error) {
	var open, closed []payword.SubAccount
	for _, sub := range subs {
		switch {
		case sub.Account == wanted:
			return sub, nil
		case sub.Name == wanted && sub.State != "closed":
			open = append(open, sub)
		case sub.Name == wanted:
			closed = append(closed, sub)
		}
	}
	found := open
	if len(open) == 0 {
		found = closed
	}
	switch len(found) {
	case 0:
		return payword.SubAccount{}, fmt.Errorf("no sub-account is called %.60q: payword wallet subaccount list shows them", wanted)
	case 1:
		return found[0], nil
	}
	return payword.SubAccount{}, fmt.Errorf("%d sub-accounts are called %.60q: give the id of the one you mean", len(found), wanted)
}

// withSubAccount opens the wallet, finds a sub-account, has it changed, and tells
// what it is like then.
func (c *command) withSubAccount(ctx context.Context, wanted string, do func(*Wallet, payword.SubAccount) (payword.SubAccount, error)) error {
	return c.withWallet(func(wallet *Wallet) error {
		subs, err := wallet.subAccounts(ctx)
		if err != nil {
			return err
		}
		sub, err := findSubAccount(subs, wanted)
		if err == nil {
			sub, err = do(wallet, sub)
		}
		if err != nil {
			return err
		}
		return c.tellSubAccount(wallet, sub)
	})
}

func (c *command) transferToSubAccount(ctx context.Context, arguments []string) error {
	amount, back, id := c.amountFlag("amount"), c.flags.Bool("back", false, ""), c.idFlag()
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err == nil && *amount == 0 {
		err = usageError{"want --amount, such as --amount 1.00"}
	}
	if err != nil {
		return err
	}
	return c.withSubAccount(ctx, others[0], func(wallet *Wallet, sub payword.SubAccount) (payword.SubAccount, error) {
		return wallet.transfer(ctx, payword.SubAccountTransfer{ID: *id, Account: sub.Account, Back: *back, Amount: *amount})
	})
}

// idFlag makes the flag --id, which names what is booked once for ever.
func (c *command) idFlag() *string { return c.flags.String("id", newID(), "") }

func (c *command) limitSubAccount(ctx context.Context, arguments []string) error {
	change := c.limitFlags()
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err != nil {
		return err
	}
	return c.withSubAccount(ctx, others[0], func(wallet *Wallet, sub payword.SubAccount) (payword.SubAccount, error) {
		if !change.isSet() {
			return sub, nil
		}
		limits := change.of(sub.Limits)
		return wallet.changeSubAccount(ctx, sub.Account, payword.ChangeSubAccount{Limits: &limits})
	})
}

func (c *command) renameSubAccount(ctx context.Context, arguments []string) error {
	name := c.nameFlag()
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err == nil {
		err = checkName(*name)
	}
	if err != nil {
		return err
	}
	return c.withSubAccount(ctx, others[0], func(wallet *Wallet, sub payword.SubAccount) (payword.SubAccount, error) {
		return wallet.changeSubAccount(ctx, sub.Account, payword.ChangeSubAccount{Name: name})
	})
}

func (c *command) pauseSubAccount(ctx context.Context, paused bool, arguments []string) error {
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err != nil {
		return err
	}
	return c.withSubAccount(ctx, others[0], func(wallet *Wallet, sub payword.SubAccount) (payword.SubAccount, error) {
		return wallet.changeSubAccount(ctx, sub.Account, payword.ChangeSubAccount{Paused: &paused})
	})
}

func (c *command) closeSubAccount(ctx context.Context, arguments []string) error {
	yes := c.flags.Bool("yes", false, "")
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err != nil {
		return err
	}
	return c.withSubAccount(ctx, others[0], func(wallet *Wallet, sub payword.SubAccount) (payword.SubAccount, error) {
		if err := c.confirm(*yes, fmt.Sprintf("Close sub-account %s, for ever?", shownName(sub.Name))); err != nil {
			return sub, err
		}
		return wallet.closeSubAccount(ctx, sub.Account)
	})
}

func (c *command) subAccountSpending(ctx context.Context, arguments []string) error {
	others, err := c.parse(arguments, "SUBACCOUNT")
	if err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		subs, err := wallet.subAccounts(ctx)
		if err != nil {
			return err
		}
		sub, err := findSubAccount(subs, others[0])
		if err != nil {
			return err
		}
		vendors, err := wallet.spending(ctx, sub.Account)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(payword.SpendingList{Vendors: append([]payword.VendorSpending{}, vendors...)})
		case len(vendors) == 0:
			fmt.Fprintf(c.stdout, "%s has reserved and spent nothing yet.\n", shownName(sub.Name))
			return nil
		}
		out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(out, "Paid\tReserved\tSite")
		for _, vendor := range vendors {
			fmt.Fprintf(out, "%s\t%s\t%s\n", vendor.Paid.Decimal(), vendor.Reserved.Decimal(), foreignText(vendor.Vendor))
		}
		return out.Flush()
	})
}
