package broker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"text/tabwriter"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// gatewayFlagValues are the flags of "payword broker gateway".
type gatewayFlagValues struct {
	name, keyFile, dayLimit string
	isBacked                bool
}

// gatewayNames are those that the route of gateways takes.
var gatewayNames = regexp.MustCompile(`^[a-z]{1,16}$`)

func (c *command) gatewayFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.gateways.name, "name", "", "register this `GATEWAY`, 1 to 16 lower-case letters, or change it; without it all are listed")
	flags.StringVar(&c.gateways.keyFile, "key", "", "the `FILE` of its public key: what \"samgateway key --json\" prints, or a key in PEM")
	flags.StringVar(&c.gateways.dayLimit, "day-limit", "", "the most that it may put on accounts in a day (UTC), as `AMOUNT`; 0 stops it")
	flags.BoolVar(&c.gateways.isBacked, "backed", false, "it puts on accounts only what clearing has booked to it; --backed=false undoes that (default: as it was)")
}

// gateway registers a gateway, or changes one, or lists them.
func (c *command) gateway(ctx context.Context) error {
	f := c.gateways
	if !c.isSet["name"] {
		if c.isSet["key"] || c.isSet["day-limit"] || c.isSet["backed"] {
			return usage("--name is missing: say which gateway is to be registered or changed")
		}
		return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listGateways(ctx, s) })
	}
	if !gatewayNames.MatchString(f.name) {
		return usage("--name %.40q: want 1 to 16 lower-case letters, such as purse", f.name)
	}
	if err := c.require("key", "day-limit"); err != nil {
		return err
	}
	terms := gatewayTerms{}
	var err error
	if terms.key, err = readGatewayKey(f.keyFile); err != nil {
		return usage("--key %s: %v", f.keyFile, err)
	}
	if terms.dayLimit, err = money.ParseDecimal(f.dayLimit); err != nil || terms.dayLimit < 0 {
		return usage("--day-limit %.40q: want an amount such as 100.00", f.dayLimit)
	}
	if c.isSet["backed"] {
		terms.backed = &f.isBacked
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		_, refusal, err := s.setGateway(ctx, f.name, terms)
		if err != nil || refusal.Refused() {
			return c.report(payword.Account{}, refusal, err)
		}
		return c.listGateways(ctx, s)
	})
}

// readGatewayKey reads a public key: JSON with the member key, a JWK alone, or PEM.
func readGatewayKey(path string) (ed25519.PublicKey, error) {
	content, _, err := keyfile.ReadSmall(path)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")) {
		return keyfile.LoadPublic(path, nil)
	}
	var printed struct{ Key payword.PublicKey }
	if err := json.Unmarshal(content, &printed); err != nil {
		return nil, err
	}
	if printed.Key == (payword.PublicKey{}) {
		if err := json.Unmarshal(content, &printed.Key); err != nil {
			return nil, err
		}
	}
	return printed.Key.Key()
}

func (c *command) listGateways(ctx context.Context, s *store) error {
	list, err := s.gateways(ctx, firstListed)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GATEWAY\tA DAY\tTODAY\tBACKED\tKEY")
	for _, g := range list.Gateways {
		backed := "no"
		if g.Backed {
			backed = "yes"
		}
		keyID := ""
		if key, err := g.Key.Key(); err == nil {
			keyID = payword.Thumbprint(key)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", g.Gateway, g.DayLimit.Decimal(), g.Today.Decimal(), backed, keyID)
	}
	return table.Flush()
}
