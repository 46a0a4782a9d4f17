package broker_test

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/paywordhq/payword"
)

// outcome is what became of a request: payword.Accepted, or why not.
func (m *model) outcome(what string, send func(b *bank) answer) payword.Reason {
	m.t.Helper()
	var a answer
	m.ask(func(b *bank) bool {
		a = send(b)
		return a.status != http.StatusServiceUnavailable
	})
	got := payword.Accepted
	if a.status != http.StatusOK {
		var err error
		if got, err = payword.ParseReason(a.reason()); err != nil {
			m.t.Fatalf("%s: got %d %s", what, a.status, a.body)
		}
	}
	m.counts[what+" "+got.String()]++
	return got
}

// blockAccount blocks an account, or opens it again.
func (m *model) blockAccount() {
	m.setBlocked(m.users[m.random.IntN(len(m.users))], m.random.IntN(3) == 0)
}

func (m *model) setBlocked(u *modelUser, isBlocked bool) {
	m.ask(func(b *bank) bool {
		do := b.UnblockAccount
		if isBlocked {
			do = b.BlockAccount
		}
		_, refusal, err := do(m.t.Context(), u.account, "the model says so")
		if refusal.Refused() {
			m.t.Errorf("blocking %t: %v", isBlocked, refusal)
		}
		return err == nil
	})
	u.isBlocked = isBlocked
	m.counts[fmt.Sprintf("account blocked %t", isBlocked)]++
}

// transfer moves money between an account and a sub-account of it.
func (m *model) transfer() {
	sub := m.users[len(m.users)/2+m.random.IntN(len(m.users)/2)]
	from, to, isBack := sub.parent, sub, m.random.IntN(3) == 0
	if isBack {
		from, to = to, from
	}
	amount, id := m.cents(40), fmt.Sprint("t", m.counts["transfers"])
	m.counts["transfers"]++
	wanted := payword.Accepted
	switch {
	case sub.parent.isBlocked, !isBack && sub.isBlocked:
		wanted = payword.Blocked
	case from.available < amount:
		wanted = payword.InsufficientFunds
	default:
		from.available -= amount
		to.available += amount
	}
	got := m.outcome("transfer", func(b *bank) answer { return sub.parent.at(b).transfer(id, sub.user, amount, isBack) })
	if got != wanted {
		m.t.Errorf("transfer %s of %s, back %t: got %s, want %s", id, amount.Decimal(), isBack, got, wanted)
	}
}

// limit sets what an account and its sub-accounts may spend in a day, and have
// reserved at once, or neither.
func (m *model) limit() {
	u := m.pickMain()
	u.limits = payword.Limits{}
	if m.random.IntN(3) > 0 {
		u.limits.Day = micros(m.cents(150))
	}
	if m.random.IntN(3) > 0 {
		u.limits.Reserved = micros(m.cents(60))
	}
	if got := m.outcome("limit", func(b *bank) answer { return u.at(b).setLimits(u.limits) }); got != payword.Accepted {
		m.t.Errorf("setting limits: got %s", got)
	}
}

// payout asks for money to be paid out.
func (m *model) payout() {
	const most = 8
	u, amount := m.pickMain(), m.cents(20)
	id := fmt.Sprint("p", m.counts["payouts"])
	m.counts["payouts"]++
	wanted := payword.Accepted
	switch {
	case u.isBlocked:
		wanted = payword.Blocked
	case len(u.waiting) == most:
		wanted = payword.RateLimited
	case u.available < amount:
		wanted = payword.InsufficientFunds
	default:
		u.available -= amount
		u.waiting = append(u.waiting, modelPayout{id, amount})
	}
	if got := m.outcome("payout", func(b *bank) answer { return u.at(b).payout(id, amount) }); got != wanted {
		m.t.Errorf("payout of %s: got %s, want %s", amount.Decimal(), got, wanted)
	}
}

// endPayout says what became of one.
func (m *model) endPayout() {
	u := m.pickMain()
	if len(u.waiting) == 0 {
		return
	}
	k, how := m.random.IntN(len(u.waiting)), "paid"
	p := u.waiting[k]
	u.waiting = slices.Delete(u.waiting, k, k+1)
	if m.random.IntN(2) == 0 {
		how = "refused"
		u.available += p.amount
	} else {
		u.paidOut += p.amount
	}
	for range 2 { // once, however often it is said
		if got := m.outcome("payout "+how, func(b *bank) answer { return b.endPayout(u.user, p.id, how) }); got != payword.Accepted {
			m.t.Errorf("payout %s: got %s", how, got)
		}
	}
}

// sumUp adds to the daily sums, which a check compares with the journal.
func (m *model) sumUp() {
	m.ask(func(b *bank) bool { return b.SumUp(m.t.Context()) == nil })
}
