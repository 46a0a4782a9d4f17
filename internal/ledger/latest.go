package ledger

import (
	"cmp"
	"context"
	"slices"
)

// LatestEntries returns the transfers that name one of the accounts on either
// side, the newest first, made before the one with the Seq given (0: of all), at
// most limit of them (1 to MaxPage). A transfer between two of the accounts is
// there once. It reads at most limit rows for each account and side.
func (tx *Tx) LatestEntries(ctx context.Context, accounts []string, before int64, limit int) ([]Transfer, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	if before <= 0 {
		before = 1<<63 - 1
	}
	found := make(map[int64]Transfer)
	for _, account := range accounts {
		for _, side := range []string{"debit", "credit"} {
			rows, err := tx.QueryContext(ctx, transferColumns+`WHERE `+side+` = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, account, before, limit)
			if err != nil {
				return nil, err
			}
			page, err := collect(rows, scanTransfer)
			if err != nil {
				return nil, err
			}
			for _, t := range page {
				found[t.Seq] = t
			}
		}
	}
	latest := make([]Transfer, 0, len(found))
	for _, t := range found {
		latest = append(latest, t)
	}
	slices.SortFunc(latest, func(a, b Transfer) int { return cmp.Compare(b.Seq, a.Seq) })
	return latest[:min(len(latest), limit)], nil
}

// Below returns the transfers whose ids are folder, a slash and something more,
// such as "redeem/x" and its "redeem/x/100", in the order they were made. If
// there are more than limit (1 to MaxPage), it returns the first ones by id.
func (tx *Tx) Below(ctx context.Context, folder string, limit int) ([]Transfer, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	// "0" is the byte after the slash and ends the range. So the index of the
	// ids serves, whatever a database does with LIKE.
	rows, err := tx.QueryContext(ctx, transferColumns+`WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`, folder+"/", folder+"0", limit)
	if err != nil {
		return nil, err
	}
	found, err := collect(rows, scanTransfer)
	slices.SortFunc(found, func(a, b Transfer) int { return cmp.Compare(a.Seq, b.Seq) })
	return found, err
}
