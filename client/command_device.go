package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/paywordhq/payword"
)

func (c *command) device(ctx context.Context, arguments []string) error {
	return c.choose(ctx, "devices", verbs{
		"list": (*command).listDevices, "add": (*command).addDevice, "rename": (*command).renameDevice, "remove": (*command).removeDevice,
	}, arguments)
}

func (c *command) listDevices(ctx context.Context, arguments []string) error {
	if _, err := c.parse(arguments); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		devices, err := wallet.devices(ctx)
		if err != nil {
			return err
		}
		return c.tellDevices(devices)
	})
}

func (c *command) tellDevices(devices []payword.Device) error {
	if c.asJSON {
		return json.NewEncoder(c.stdout).Encode(payword.DeviceList{Devices: devices})
	}
	out := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "Name\tSince\tId")
	for _, device := range devices {
		mark := ""
		if device.Current {
			mark = "  (this one)"
		}
		fmt.Fprintf(out, "%s\t%s\t%s%s\n", shownName(device.Name), day(device.Created), device.Device, mark)
	}
	return out.Flush()
}

func shownName(name string) string {
	if name == "" {
		return "-"
	}
	return foreignText(name)
}

func day(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.DateOnly) }

func moment(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// nameFlag makes the flag --name, which checkName checks.
func (c *command) nameFlag() *string { return c.flags.String("name", "", "") }

func checkName(name string) error {
	isOneLine := !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if name == "" || utf8.RuneCountInString(name) > 50 || !isOneLine || !utf8.ValidString(name) {
		return usageError{"want --name with 1 to 50 characters, such as --name laptop"}
	}
	return nil
}

func (c *command) addDevice(ctx context.Context, arguments []string) error {
	name, yes := c.nameFlag(), c.flags.Bool("yes", false, "")
	others, err := c.parseSome(arguments, 0, "ANSWER")
	if err == nil {
		err = checkName(*name)
	}
	if err != nil {
		return err
	}
	answer, err := c.answerFor(ctx, payword.PossessionDevice, others[0])
	if err != nil || answer == "" {
		return err
	}
	if err := c.confirmCode(*yes, answer); err != nil {
		return err
	}
	return c.withWallet(func(wallet *Wallet) error {
		device, err := wallet.AddDevice(ctx, *name, answer)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(device)
		}
		fmt.Fprintf(c.stdout, "Added device %s. It has the account now; payword wallet status there says so.\n", shownName(device.Name))
		return nil
	})
}

// answerFor returns the answer that was given as an argument, or else invites and
// asks for it; it is "" if the invitation was all that was asked for.
func (c *command) answerFor(ctx context.Context, purpose, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	line := ""
	// Closed before the question, so that others can use the wallet meanwhile.
	err := c.withWallet(func(wallet *Wallet) (err error) {
		line, err = wallet.Invite(ctx, purpose)
		return err
	})
	if err != nil {
		return "", err
	}
	if c.asJSON {
		return "", json.NewEncoder(c.stdout).Encode(map[string]string{"invitation": line})
	}
	fmt.Fprintf(c.stdout, "On the other machine, within five minutes:\n\n  payword wallet join %s --wallet wallet.json\n\n", line)
	answer, err := c.readLine("Paste here the line that it prints: ")
	if err == nil && answer == "" {
		err = errors.New("no answer came: once you have it, give it as an argument")
	}
	return answer, err
}

// confirmCode asks whether both machines show the same.
func (c *command) confirmCode(yes bool, answer string) error {
	code, err := JoinCode(answer)
	if err != nil {
		return err
	}
	return c.confirm(yes, fmt.Sprintf("Does the other machine show the code %s?", code))
}

// findDevice returns the device of a name or of the beginning of an id.
func findDevice(devices []payword.Device, wanted string) (payword.Device, error) {
	var found []payword.Device
	for _, device := range devices {
		switch {
		case device.Device == wanted:
			return device, nil
		case device.Name == wanted || len(wanted) >= 4 && strings.HasPrefix(device.Device, wanted):
			found = append(found, device)
		}
	}
	switch len(found) {
	case 0:
		return payword.Device{}, fmt.Errorf("no device is called %.60q: payword wallet device list shows them", wanted)
	case 1:
		return found[0], nil
	}
	return payword.Device{}, fmt.Errorf("%d devices are called %.60q: give the id of the one you mean", len(found), wanted)
}

// withDevice opens the wallet and finds a device of its account.
func (c *command) withDevice(ctx context.Context, wanted string, do func(*Wallet, payword.Device) error) error {
	return c.withWallet(func(wallet *Wallet) error {
		devices, err := wallet.devices(ctx)
		if err != nil {
			return err
		}
		device, err := findDevice(devices, wanted)
		if err != nil {
			return err
		}
		return do(wallet, device)
	})
}

func (c *command) renameDevice(ctx context.Context, arguments []string) error {
	name := c.nameFlag()
	others, err := c.parse(arguments, "DEVICE")
	if err == nil {
		err = checkName(*name)
	}
	if err != nil {
		return err
	}
	return c.withDevice(ctx, others[0], func(wallet *Wallet, device payword.Device) error {
		renamed, err := wallet.renameDevice(ctx, device.Device, *name)
		switch {
		case err != nil:
			return err
		case c.asJSON:
			return json.NewEncoder(c.stdout).Encode(renamed)
		}
		fmt.Fprintf(c.stdout, "The device is called %s now.\n", shownName(renamed.Name))
		return nil
	})
}

func (c *command) removeDevice(ctx context.Context, arguments []string) error {
	lost, yes := c.flags.Bool("lost", false, ""), c.flags.Bool("yes", false, "")
	others, err := c.parse(arguments, "DEVICE")
	if err != nil {
		return err
	}
	return c.withDevice(ctx, others[0], func(wallet *Wallet, device payword.Device) error {
		what := fmt.Sprintf("Remove device %s, for ever?", shownName(device.Name))
		if device.Current {
			what = "Remove THIS device, for ever? Its wallet has no account then."
		}
		if err := c.confirm(*yes, what); err != nil {
			return err
		}
		// The key goes first: with it, whoever has the machine would get new
		// certificates. The one that removes itself can revoke before alone.
		if *lost && device.Current {
			if _, err := wallet.Revoke(ctx); err != nil {
				return err
			}
		}
		if err := wallet.removeDevice(ctx, device.Device); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "Removed device %s: it speaks for the account no more.\n", shownName(device.Name))
		if !*lost || device.Current {
			return nil
		}
		count, err := wallet.Revoke(ctx)
		if err != nil {
			return fmt.Errorf("it was removed, but its certificates are not revoked (payword wallet revoke --all): %w", err)
		}
		fmt.Fprintf(c.stdout, "Revoked %d pseudonyms; sites refuse them within minutes.\n", count)
		return nil
	})
}

func (c *command) join(ctx context.Context, arguments []string) error {
	encrypt := c.flags.Bool("encrypt", false, "")
	others, err := c.parseSome(arguments, 0, "INVITATION")
	if err != nil {
		return err
	}
	line := others[0]
	if line == "" {
		if line, err = c.readLine("Invitation: "); err != nil {
			return err
		}
	}
	invited, err := parseInvitation(line) // before a wallet is made for it
	if err != nil {
		return err
	}
	wallet, err := c.openOrCreate(*encrypt)
	if err != nil {
		return err
	}
	answer, err := wallet.Join(ctx, line)
	if err = errors.Join(err, wallet.Close()); err != nil {
		return err
	}
	code, err := JoinCode(answer)
	if err != nil {
		return err
	}
	p := invited.possession
	if c.asJSON {
		return json.NewEncoder(c.stdout).Encode(map[string]string{"answer": answer, "code": code, "broker": p.Broker, "account": p.Account})
	}
	fmt.Fprintf(c.stdout, "The invitation is to be a %s of account %s at %s.\nPaste this line where it came from:\n\n  %s\n\n"+
		"It shows the code %s there. Once it is taken, %s has the account.\n", p.Purpose, p.Account, p.Broker, answer, code, c.wallet)
	return nil
}

// openOrCreate opens the wallet, or makes it if there is none.
func (c *command) openOrCreate(encrypt bool) (*Wallet, error) {
	wallet, err := c.open()
	if !errors.Is(err, fs.ErrNotExist) {
		return wallet, err
	}
	passphrase, err := c.passphraseForNew(encrypt)
	if err != nil {
		return nil, err
	}
	return CreateWallet(WalletConfig{Path: c.wallet, Passphrase: passphrase})
}
