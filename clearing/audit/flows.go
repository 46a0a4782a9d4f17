package audit

import "strings"

// classOf returns what an account is for, such as user:available, without whose
// it is. It is read off the id alone.
func classOf(id string) string {
	parts := strings.Split(id, ":")
	last := parts[len(parts)-1]
	switch {
	case parts[0] == "user" && len(parts) == 3:
		return "user:" + last
	case (parts[0] == "vendor" || parts[0] == "merchant") && last == "payable":
		return parts[0] + ":payable"
	case parts[0] == "card" && len(parts) == 3 && last == "shadow":
		return "card:shadow"
	case parts[0] == "gateway" && len(parts) >= 3 && (last == "in" || parts[len(parts)-2] == "in"):
		return "source"
	case strings.HasPrefix(id, "broker:cards:cash:") && len(parts) == 4:
		return "broker:cards:cash" // at a gateway
	case parts[0] != "broker" || len(parts) < 2:
		return ""
	case parts[1] == "unassigned" && len(parts) <= 3:
		return "broker:unassigned" // in other currencies, too
	case parts[1] != "vouchers" && len(parts) >= 3 && parts[2] == "in" && len(parts) <= 4:
		return "source"
	case len(parts) == 2, len(parts) == 3 && (parts[1] == "cards" || parts[1] == "vouchers" || parts[1] == "reserve"), id == "broker:bank:out":
		return id
	}
	return ""
}

// ownerOf returns whose an account is: user:ID, or its whole id.
func ownerOf(id string) string {
	if last := strings.LastIndexByte(id, ':'); strings.HasPrefix(id, "user:") && last > len("user") {
		return id[:last]
	}
	return id
}

// flow says between which accounts a kind of transfer moves money.
type flow struct {
	kind, debits, credits string // classes, with spaces between
	isOfOne               bool   // both accounts are of the same user
}

// flows is everything that moves money. What is not here is not explained.
var flows = []flow{
	{"fund", "source", "user:available broker:unassigned", false},
	{"assign", "broker:unassigned", "user:available", false},
	{"reverse", "user:available user:owed broker:unassigned", "source", false},
	{"restore", "source", "user:available broker:unassigned", false},
	{"collect", "user:available", "user:owed", true},
	{"reserve", "user:available", "user:reserved", true},
	{"release", "user:reserved", "user:available", true},
	{"redeem", "user:available user:reserved", "vendor:payable", false},
	{"sub-account", "user:available", "user:available", false},
	{"voucher", "broker:vouchers:in", "broker:vouchers:open", false},
	{"voucher", "broker:vouchers:open", "broker:vouchers:in broker:vouchers:expired user:available", false},
	{"payout", "user:available", "broker:bank:out", false},
	{"payout-return", "broker:bank:out", "user:available", false},
	{"vendor-payout", "vendor:payable", "broker:bank:out", false},
	{"vendor-fee", "vendor:payable", "broker:fees", false},
	{"settlement-payout", "vendor:payable merchant:payable", "broker:bank:out", false},
	{"settlement-return", "broker:bank:out", "vendor:payable merchant:payable", false},
	{"settlement-fee", "vendor:payable merchant:payable", "broker:fees", false},
	{"settlement-fee-return", "broker:fees", "vendor:payable merchant:payable", false},
	{"card-load", "user:available broker:cards:cash", "broker:cards:pool", false},
	{"card-shadow", "broker:cards:memo", "card:shadow", false},
	{"card-shadow", "card:shadow", "broker:cards:memo", false},
	{"card-payment", "broker:cards:pool broker:cards:disputes", "merchant:payable", false},
	{"card-fee", "merchant:payable", "broker:fees", false},
	{"card-cancel", "merchant:payable broker:cards:disputes", "broker:cards:pool", false},
	{"card-cancel", "broker:fees", "merchant:payable", false},
	{"card-forward", "merchant:payable", "source", false},
	{"card-forward", "source", "merchant:payable", false},
	{"card-cash", "source", "broker:cards:cash", false},
	{"card-refund", "broker:cards:pool broker:cards:disputes", "user:available broker:cards:cash", false},
	{"card-dispute", "broker:cards:pool merchant:payable broker:fees", "broker:cards:disputes", false},
	{"refund-reserve", "broker:provisions", "broker:reserve:refunds", false},
	{"refund-reserve", "broker:reserve:refunds", "broker:provisions broker:reserve:used", false},
}

// isKnownFlow reports whether a transfer is of a kind that moves money between
// such accounts.
func isKnownFlow(t *transferRow) bool {
	debit, credit := classOf(t.debit), classOf(t.credit)
	for _, f := range flows {
		if f.kind == t.kind && hasWord(f.debits, debit) && hasWord(f.credits, credit) && (!f.isOfOne || ownerOf(t.debit) == ownerOf(t.credit)) {
			return true
		}
	}
	return false
}

func hasWord(words, word string) bool {
	return word != "" && strings.Contains(" "+words+" ", " "+word+" ")
}
