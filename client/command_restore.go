package client

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword"
)

func (c *command) revoke(ctx context.Context, arguments []string) error {
	site := c.flags.String("site", "", "")
	all := c.flags.Bool("all", false, "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	if (*site == "") != *all {
		return usageError{"want either --site ORIGIN or --all"}
	}
	return c.withWallet(func(wallet *Wallet) error {
		var vendors []string
		if !*all {
			vendors = []string{*site}
		}
		count, err := wallet.Revoke(ctx, vendors...)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%d pseudonyms were revoked; sites refuse them within minutes.\n", count)
		return nil
	})
}

func (c *command) seed(arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		fmt.Fprintln(c.stdout, FormatSeed(wallet.Seed()))
		fmt.Fprintln(c.stderr, "Write it down and keep it like money: whoever has it has the account.")
		return nil
	})
}

func (c *command) restore(ctx context.Context, arguments []string) error {
	broker := c.flags.String("broker", "", "")
	seedFile := c.flags.String("seed-file", "", "")
	encrypt := c.flags.Bool("encrypt", false, "")
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	if err := payword.CheckOrigin(*broker); err != nil {
		return usageError{fmt.Sprintf("--broker: %v", err)}
	}
	var text []byte
	var err error
	if *seedFile != "" {
		text, err = readFirstLine(*seedFile)
	} else {
		text, err = c.prompt("Seed: ")
	}
	if err != nil {
		return err
	}
	seed, err := ParseSeed(string(text))
	if err != nil {
		return err
	}
	passphrase, err := c.passphraseForNew(*encrypt)
	if err != nil {
		return err
	}
	wallet, err := RestoreWallet(ctx, WalletConfig{Path: c.wallet, Passphrase: passphrase}, seed, *broker)
	if err != nil {
		return err
	}
	summary := wallet.Summary()
	if err := wallet.Close(); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "Restored wallet %s with the account %s and %d sites; %s.\n", c.wallet, summary.Account, len(summary.Sites), protectionOf(passphrase))
	return nil
}
