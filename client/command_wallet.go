package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

func (c *command) create(arguments []string) error {
	encrypt := c.flags.Bool("encrypt", false, "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	passphrase, err := c.passphraseForNew(*encrypt)
	if err != nil {
		return err
	}
	wallet, err := CreateWallet(WalletConfig{Path: c.wallet, Passphrase: passphrase})
	if err != nil {
		return err
	}
	if err := wallet.Close(); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "Created wallet %s; %s.\n", c.wallet, protectionOf(passphrase))
	return nil
}

// passphraseForNew returns the passphrase of a new wallet, or nil.
func (c *command) passphraseForNew(encrypt bool) ([]byte, error) {
	passphrase, err := c.readPassphraseFile()
	if err == nil && encrypt && passphrase == nil {
		passphrase, err = c.newPassphrase()
	}
	return passphrase, err
}

func protectionOf(passphrase []byte) string {
	if passphrase == nil {
		return "its seed is in clear, so keep the file to yourself"
	}
	return "its seed is encrypted"
}

func (c *command) newPassphrase() ([]byte, error) {
	first, err := c.prompt("New passphrase: ")
	if err != nil {
		return nil, err
	}
	second, err := c.prompt("The same again: ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 || string(first) != string(second) {
		return nil, errors.New("the passphrase is empty, or the two are not the same")
	}
	return first, nil
}

// withWallet opens the wallet for do and closes it.
func (c *command) withWallet(do func(*Wallet) error) error {
	wallet, err := c.open()
	if err != nil {
		return err
	}
	return errors.Join(do(wallet), wallet.Close())
}

func (c *command) openAccount(ctx context.Context, arguments []string) error {
	broker := c.flags.String("broker", "", "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	if err := payword.CheckOrigin(*broker); err != nil {
		return usageError{fmt.Sprintf("--broker: %v", err)}
	}
	return c.withWallet(func(wallet *Wallet) error {
		account, err := wallet.OpenAccount(ctx, *broker)
		if err != nil {
			return err
		}
		return c.tellAccount(*broker, account)
	})
}

func (c *command) certificates(ctx context.Context, arguments []string) error {
	count := c.flags.Int("count", spareCount, "")
	bind := c.flags.String("bind", "", "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	if *count < 1 || *count > payword.MaxCertificatesPerRequest {
		return usageError{fmt.Sprintf("--count: want 1 to %d", payword.MaxCertificatesPerRequest)}
	}
	prefixes, err := parsePrefixes(*bind)
	if err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		if *bind != "" {
			if err := wallet.Bind(prefixes...); err != nil {
				return err
			}
		}
		if err := wallet.Certificates(ctx, *count); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "The wallet holds %d spare certificates.\n", wallet.Summary().Spares)
		return nil
	})
}

// parsePrefixes reads address prefixes with commas between, or "none".
func parsePrefixes(text string) (prefixes []netip.Prefix, err error) {
	if text == "" || text == "none" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, usageError{fmt.Sprintf("--bind %.50q: want prefixes such as 192.0.2.0/24, with commas between, or none", part)}
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func (c *command) balance(ctx context.Context, arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		account, err := wallet.Balance(ctx)
		if err != nil {
			return err
		}
		broker, _ := wallet.account()
		return c.tellAccount(broker, account)
	})
}

func (c *command) tellAccount(broker string, account payword.Account) error {
	if c.asJSON {
		return json.NewEncoder(c.stdout).Encode(account)
	}
	code := account.Currency.Code()
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "Account\t%s at %s\n", account.Account, broker)
	fmt.Fprintf(out, "Available\t%s %s\n", account.Available.Decimal(), code)
	fmt.Fprintf(out, "Reserved\t%s %s\n", account.Reserved.Decimal(), code)
	if account.Credit > 0 {
		fmt.Fprintf(out, "Credit line\t%s %s\n", account.Credit.Decimal(), code)
	}
	return out.Flush()
}

func (c *command) show(arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		summary := wallet.Summary()
		if c.asJSON {
			return json.NewEncoder(c.stdout).Encode(summary)
		}
		return c.tellSummary(summary)
	})
}

// shownReceipts is how many of the newest receipts show lists for people.
const shownReceipts = 10

func (c *command) tellSummary(s Summary) error {
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	say := func(name, format string, arguments ...any) {
		fmt.Fprintf(out, "%s\t"+format+"\n", append([]any{name}, arguments...)...)
	}
	amount := func(a money.Amount) string { return a.Decimal() + " " + s.Currency.Code() }
	say("Wallet", "%s", s.Path)
	if s.Broker == "" {
		say("Account", "none yet: payword wallet open-account")
		return out.Flush()
	}
	say("Account", "%s at %s", s.Account, s.Broker)
	say("Spare certificates", "%d", s.Spares)
	say("Spent", "%s (released %s, today %s)", amount(s.Spent), amount(s.Released), amount(s.Today))
	for _, site := range s.Sites {
		say("Site", "%s: spent %s", site.Vendor, amount(site.Spent))
		if site.Limit > 0 {
			say("", "open until %s, %s of %s not released", time.Unix(site.Expires, 0).UTC().Format(time.RFC3339),
				site.Left.Decimal(), amount(site.Limit))
		}
	}
	for _, receipt := range s.History[max(0, len(s.History)-shownReceipts):] {
		say("Paid", "%s  %s  %s", time.Unix(receipt.Time, 0).UTC().Format(time.RFC3339), amount(receipt.Amount), receipt.URL)
	}
	return out.Flush()
}
