package broker

import (
	"context"

	"github.com/paywordhq/payword/internal/ledger"
)

// Check compares everything in the books with everything else: the ledger with
// its transfers, the balance of every account with what the broker's tables say
// came to it and left it, what is reserved or waits with what is set aside for
// it, and the daily sums with the transfers that are in them. It returns a
// sentence for each thing that cannot be right, none if all agree. It stops
// nobody.
func (b *Broker) Check(ctx context.Context) ([]string, error) { return b.store.check(ctx) }

func (s *store) check(ctx context.Context) (wrong []string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		wrong = nil
		report, err := tx.Check(ctx)
		if err != nil {
			return err
		}
		for _, disagreement := range report.Disagreements {
			wrong = append(wrong, disagreement.Subject+": "+disagreement.What)
		}
		if !report.Clean() && len(wrong) == 0 {
			wrong = append(wrong, "the ledger does not agree with itself")
		}
		for _, compare := range comparisons {
			found, err := compare.disagreements(ctx, tx)
			if err != nil {
				return err
			}
			wrong = append(wrong, found...)
		}
		for _, look := range impossible {
			subjects, err := tx.Texts(ctx, look.query, ledger.MaxDisagreements)
			if err != nil {
				return err
			}
			for _, subject := range subjects {
				wrong = append(wrong, subject+": "+look.what)
			}
		}
		return nil
	})
	return wrong, err
}
