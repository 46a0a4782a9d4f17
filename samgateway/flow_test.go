package samgateway_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

const dollar = money.Unit

// Everything that a till does in a day, command by command.
func TestADay(t *testing.T) {
	h := newHouse(t)
	anna, ben := h.account(1, 100*dollar), h.account(2, 0)
	h.issue(1, anna)
	h.want("Loaded 20.00 USD. On the card now: 20.00 USD", "load", "20.00", "--pin-file", h.pinFile())
	h.wantAccount(anna, 80*dollar)

	h.clearingDoor.isShut.Store(true) // paying needs no network
	h.brokerDoor.isShut.Store(true)
	h.want("Paid 5.00 USD by transaction 1.\nOn the card now: 15.00 USD", "pay", "5.00")
	h.want("Paid 2.50 USD by transaction 2", "pay", "2.50")
	h.want("Cancelled transaction 2 by transaction 3: 2.50 USD went back to card C100000000000001.\nOn the card now: 15.00 USD", "cancel")
	h.wantNo(1, "cannot be cancelled", "cancel")
	h.wantNo(1, "there is too little on the card", "pay", "15.01")
	h.clearingDoor.isShut.Store(false)
	h.brokerDoor.isShut.Store(false)

	h.want("nothing is undecided", "status")
	h.want("Turned in batch 1", "turnin")
	h.want("there is nothing to turn in", "turnin")
	h.want("account "+ben+" has it", "fund", ben, "6.00")
	h.wantAccount(ben, 6*dollar)
	h.wantNo(1, "cannot be cancelled", "cancel")
	h.wantNo(1, "", "fund", "accountthatisnone", "1.00")
	h.want("account "+anna+" has it", "unload")
	h.wantNo(1, "there is nothing on the card", "unload")
	h.wantAccount(anna, 89*dollar)
	h.want("Turned in batch 2", "turnin")
	h.wantSound()
}

// A white card is loaded and paid out for cash.
func TestWhiteCard(t *testing.T) {
	h := newHouse(t)
	h.issue(1, "")
	got := h.say("load", "10.00")
	if got.code != 0 || got.stdout == "" {
		t.Fatalf("got %+v", got)
	}
	h.want("Paid 3.00 USD", "pay", "3.00")
	h.want("Paid 7.00 USD by transaction 2: hand it out in cash.\nOn the card now: 0.00 USD", "unload")
	h.want("Turned in batch 1", "turnin")
	h.wantSound()
}

// A card that is pulled out at DEBIT has paid or not, and either is found out.
func TestPulledCards(t *testing.T) {
	cases := []struct {
		name    string
		tear    tear
		balance uint32
	}{
		{"before it paid", tear{purse.Debit, 1, false}, 20_00},
		{"after it paid", tear{purse.Debit, 1, true}, 15_00},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.issue(1, h.account(1, 100*dollar))
			h.want("Loaded", "load", "20.00", "--pin-file", h.pinFile())
			h.customer.tearAt(c.tear)
			h.wantNo(1, "the card was pulled out, and it is known now", "pay", "5.00")
			h.want("nothing is undecided", "status")
			if got := h.balance(); got != c.balance {
				t.Errorf("there are %d cents on the card, want %d", got, c.balance)
			}
			h.wantSound()
		})
	}
}
