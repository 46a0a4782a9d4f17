package audit

import (
	"context"
	"fmt"
	"strings"
)

// explain adds up, for every account of this part, what the evidence says should
// be on it. Claims count with what the vendor has signed, and not with what the
// table says was paid.
func (a *auditor) explain(ctx context.Context) error {
	if len(a.snapshot.missing([]string{"broker_commitments", "broker_fundings", "broker_vouchers", "broker_payouts"})) > 0 {
		return nil
	}
	for _, step := range []func(context.Context) error{a.explainCommitments, a.explainFundings, a.explainVouchers, a.explainPayouts, a.explainByJournal, a.explainInstructions, a.explainReserves, a.explainCards} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// explained adds an amount to what the evidence says of an account.
func (a *auditor) explained(account string, amount int64) {
	if f, isIn := a.journal.accountPrint(account); isIn {
		facts := a.factsOf(f)
		facts.explained = facts.explained.plus(amount)
	}
}

// explainedPending does so for what is promised.
func (a *auditor) explainedPending(account string, amount int64) {
	if f, isIn := a.journal.accountPrint(account); isIn {
		facts := a.factsOf(f)
		facts.explainedPending = facts.explainedPending.plus(amount)
	}
}

// all is the account under which everything of a user is summed: available,
// reserved and owed. There is no such account in the ledger.
func all(account string) string { return "user:" + account }

func (a *auditor) explainCommitments(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var account, vendor, token string
		var held int64
		if err := scan(&account, &vendor, &held, &token); err != nil {
			return err
		}
		a.explained("user:"+account+":reserved", held)
		claim, err := readClaimText(token)
		if err == nil { // one that cannot be read is found with its commitment
			a.explained("vendor:"+vendor+":payable", claim.Amount)
			a.explained(all(account), -claim.Amount)
		}
		return nil
	}, `SELECT account, vendor, held, claim FROM broker_commitments`)
}

func (a *auditor) explainFundings(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var account, debit, currency string
		var amount, reversed int64
		if err := scan(&account, &debit, &currency, &amount, &reversed); err != nil {
			return err
		}
		a.explained(debit, reversed-amount)
		switch {
		case account != "":
			a.explained(all(account), amount-reversed)
		case currency == a.currency:
			a.explained("broker:unassigned", amount-reversed)
		default:
			a.explained("broker:unassigned:"+strings.ToLower(strings.TrimSuffix(currency, "-micro")), amount-reversed)
		}
		return nil
	}, `SELECT account, debit, currency, amount, reversed FROM broker_fundings`)
}

func (a *auditor) explainVouchers(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var state, account string
		var amount int64
		if err := scan(&state, &account, &amount); err != nil {
			return err
		}
		if state != "cancelled" {
			a.explained("broker:vouchers:in", -amount)
		}
		switch state {
		case "open", "expired":
			a.explained("broker:vouchers:"+state, amount)
		case "redeemed":
			a.explained(all(account), amount)
		}
		return nil
	}, `SELECT state, account, amount FROM broker_vouchers`)
}

func (a *auditor) explainPayouts(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var account, state string
		var amount int64
		if err := scan(&account, &state, &amount); err != nil {
			return err
		}
		switch state {
		case "pending":
			a.explainedPending("user:"+account+":available", amount)
		case "paid":
			a.explained(all(account), -amount)
			a.explained("broker:bank:out", amount)
		}
		return nil
	}, `SELECT account, state, amount FROM broker_payouts`)
}

// explainByJournal adds what the journal alone has the amount of: what accounts
// give to their sub-accounts, what an operator paid out to vendors by hand, and
// payouts that came back. What these are for is checked with the transfers.
func (a *auditor) explainByJournal(ctx context.Context) error {
	return a.snapshot.each(ctx, func(scan scanner) error {
		var kind, debit, credit string
		var amount int64
		if err := scan(&kind, &debit, &credit, &amount); err != nil {
			return err
		}
		a.explained(ownerOf(debit), -amount)
		a.explained(ownerOf(credit), amount)
		return nil
	}, `SELECT kind, debit, credit, amount FROM transfers WHERE kind IN ('sub-account', 'vendor-payout', 'vendor-fee', 'payout-return') AND phase = 'single'`)
}

// explainInstructions adds what runs have paid, or have promised to pay.
func (a *auditor) explainInstructions(ctx context.Context) error {
	if len(a.runs) == 0 {
		return nil
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var account, state, bank, fees string
		var amount, fee int64
		if err := scan(&account, &state, &bank, &fees, &amount, &fee); err != nil {
			return err
		}
		switch state {
		case "sent":
			a.explainedPending(account, amount)
			a.explainedPending(account, fee)
		case "booked":
			a.explained(account, -amount)
			a.explained(account, -fee)
			a.explained(bank, amount)
			a.explained(fees, fee)
		}
		return nil
	}, `SELECT i.account, i.state, r.bank_account, r.fees_account, i.amount, i.fee
		FROM clearing_instructions i JOIN clearing_runs r ON r.id = i.run_id WHERE i.kind IN ('vendor', 'merchant')`)
}

// accountRow is an account as the ledger keeps it.
type accountRow struct {
	id, currency            string
	floor, balance, pending int64 // micros
}

// compareAccounts compares what the ledger keeps of each account with the
// journal and the evidence.
func (a *auditor) compareAccounts(ctx context.Context) error {
	sums := make(map[string]sum)
	err := a.snapshot.each(ctx, func(scan scanner) error {
		var r accountRow
		if err := scan(&r.id, &r.currency, &r.floor, &r.balance, &r.pending); err != nil {
			return err
		}
		sums[r.currency] = sums[r.currency].plus(r.balance)
		if f, isIn := a.journal.accountPrint(r.id); isIn {
			a.compareAccount(r, a.factsOf(f))
			a.addToAll(r.id, a.factsOf(f))
		}
		return nil
	}, `SELECT id, currency, floor, balance, pending FROM accounts`)
	if err != nil {
		return err
	}
	for currency, total := range sums {
		if !total.isZero() && a.journal.part.index == 0 {
			a.find(CurrencySum, currency, "balances sum to 0", "they sum to "+total.String())
		}
	}
	return a.compareGhosts(ctx)
}

func (a *auditor) compareAccount(r accountRow, facts *accountFacts) {
	if !facts.moved.is(r.balance) {
		a.find(AccountBalance, r.id, "its transfers give "+facts.moved.String()+" micros", micros(r.balance))
	}
	if !facts.promised.is(r.pending) {
		a.find(AccountPending, r.id, "its transfers promise "+facts.promised.String()+" micros", micros(r.pending))
	}
	if lowest := facts.moved.sub(facts.promised); lowest.minus(r.floor).sign() < 0 {
		a.find(AccountFloor, r.id, "its transfers leave "+lowest.String()+" micros", "it may not be below "+micros(r.floor))
	}
	if r.floor > 0 || strings.HasSuffix(r.id, ":reserved") && r.floor != 0 {
		a.find(AccountFloor, r.id, "nothing lets it have such a floor", "it may not be below "+micros(r.floor))
	}
	class := classOf(r.id)
	if class == "user:owed" && facts.moved.sign() > 0 {
		a.find(AccountState, r.id, "it holds what is owed, at most 0", facts.moved.String()+" micros")
	}
	if isExplained(class) && facts.explained != facts.moved {
		a.find(AccountEvidence, r.id, "the evidence explains "+facts.explained.String()+" micros", "its transfers give "+facts.moved.String()+" micros")
	}
	if class != "" && facts.explainedPending != facts.promised {
		a.find(AccountEvidence, r.id, "the evidence explains "+facts.explainedPending.String()+" micros that are pending",
			"its transfers promise "+facts.promised.String()+" micros")
	}
}

// isExplained reports whether the evidence explains the balance of an account of
// that class by itself. What a user has is explained as a whole.
func isExplained(class string) bool {
	switch class {
	case "user:available", "user:owed", "":
		return false
	}
	return true
}

// addToAll adds an account of a user to what the user has in all.
func (a *auditor) addToAll(id string, facts *accountFacts) {
	if !strings.HasPrefix(id, "user:") {
		return
	}
	whole := a.factsOf(fingerprintOf(ownerOf(id))) // it is in the same part
	whole.moved = whole.moved.add(facts.moved)
}

// compareGhosts looks for accounts that transfers name and that are not there.
func (a *auditor) compareGhosts(ctx context.Context) error {
	if a.journal.part.index > 0 {
		return nil
	}
	return a.snapshot.each(ctx, func(scan scanner) error {
		var transfer, debit, credit string
		err := scan(&transfer, &debit, &credit)
		a.find(TransferImpossible, transfer, fmt.Sprintf("it moves from %s to %s", debit, credit), "one of the accounts is not there")
		return err
	}, `SELECT t.id, t.debit, t.credit FROM transfers t LEFT JOIN accounts d ON d.id = t.debit LEFT JOIN accounts c ON c.id = t.credit
		WHERE d.id IS NULL OR c.id IS NULL`)
}
