package broker

import (
	"context"
	"flag"
	"fmt"
	"text/tabwriter"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

// vendorFlags are the flags of "payword broker vendor".
type vendorFlags struct{ vendor, state, reason string }

func (c *command) vendorFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.vendors.vendor, "vendor", "", "the `ORIGIN` of one vendor; without it all are listed")
	flags.StringVar(&c.vendors.state, "state", "", "block the vendor or open it again: `blocked or open`")
	flags.StringVar(&c.vendors.reason, "reason", "", "why, as a `SENTENCE` for the audit log")
}

func (c *command) vendor(ctx context.Context) error {
	f := c.vendors
	if f.state == "" {
		return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listVendors(ctx, s) })
	}
	if f.state != vendorOpen && f.state != vendorBlocked {
		return usage("--state %q: want open or blocked", f.state)
	}
	if err := c.require("vendor", "reason"); err != nil {
		return err
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		refusal, err := s.setVendorState(ctx, f.vendor, f.state, f.reason)
		if err != nil || refusal.Refused() {
			return c.report(payword.Account{}, refusal, err)
		}
		return c.listVendors(ctx, s)
	})
}

// listVendors prints the vendors, or the one that was named.
func (c *command) listVendors(ctx context.Context, s *store) error {
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VENDOR\tSTATE\tPAYABLE\tCURRENCY\tDESTINATION\tCLAIMS")
	for after := ""; ; {
		page, err := s.vendors(ctx, c.vendors.vendor, after)
		if err != nil {
			return err
		}
		for _, v := range page {
			claims := "sent"
			if v.Pull {
				claims = "fetched"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", v.Vendor.Vendor, v.State, v.Payable.Decimal(), v.Currency.Code(), orNone(v.Destination), claims)
			after = v.Vendor.Vendor
		}
		if len(page) < perRound {
			return table.Flush()
		}
	}
}

// vendors returns the vendors after one, in the order of their origins, at most
// perRound; or the one that is named, if it is registered.
func (s *store) vendors(ctx context.Context, named, after string) (page []vendorDetails, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		page = nil
		names, err := vendorNames(ctx, tx, named, after)
		if err != nil {
			return err
		}
		for _, name := range names {
			details, err := s.vendorDetailsIn(ctx, tx, name)
			if err != nil {
				return err
			}
			page = append(page, details)
		}
		return nil
	})
	return page, err
}

func vendorNames(ctx context.Context, tx *ledger.Tx, named, after string) (names []string, err error) {
	return tx.Texts(ctx, `SELECT vendor FROM broker_vendors WHERE vendor > ? AND (? = '' OR vendor = ?) ORDER BY vendor LIMIT ?`,
		after, named, named, perRound)
}
