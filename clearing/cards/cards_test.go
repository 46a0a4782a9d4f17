package cards_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func TestLoadPayAndClear(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card, sam := o.card(1, account), o.sam(1)
	a := o.authorise(card, 50_00)
	o.wantBalance("user:"+account+":available", 50*money.Unit)
	o.wantBalance("broker:cards:pool", 0)
	o.wantSound() // what is pending is explained
	receipt, err := card.Credit(a.Credit)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the answer may be lost
		if refusal, err := o.ConfirmLoad(t.Context(), a.Reference, receipt.Append(nil)); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
	}
	o.wantBalance("broker:cards:pool", 50*money.Unit)
	o.wantBalance("card:"+card.ID.String()+":shadow", 50*money.Unit)

	o.pay(sam, card, 12_34)
	o.pay(sam, card, 1)
	batch := closed(sam)
	first, refusals, err := o.SubmitBatch(t.Context(), batch)
	if err != nil || len(refusals) > 0 {
		t.Fatalf("%v (%v)", refusals, err)
	}
	// 0.3 percent of 12.34 is 4 cents; of a cent the fee takes all.
	if first.Gross != 12_35*cent || first.Booked != first.Gross || first.Fee != 5*cent || first.Payments != 2 || first.Repeated {
		t.Errorf("got %+v", first)
	}
	again, refusals, err := o.SubmitBatch(t.Context(), batch)
	first.Repeated = true
	if err != nil || len(refusals) > 0 || again != first {
		t.Errorf("submitted again: %+v, %v (%v)", again, refusals, err)
	}
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 12_30*cent)
	o.wantBalance("broker:fees", 5*cent)
	o.wantBalance("card:"+card.ID.String()+":shadow", 37_65*cent)
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

func TestOnlinePayments(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 20_00)
	o.wantBalance("broker:cards:cash", -20*money.Unit)
	record, previous := o.pay(sam, card, 5_00)
	for k := range 2 {
		receipt, refusal, err := o.PayOnline(t.Context(), record, previous)
		if err != nil || refusal != nil || receipt.Amount != 5*money.Unit || receipt.Fee != 2*cent || receipt.Repeated != (k == 1) {
			t.Fatalf("%+v %v (%v)", receipt, refusal, err)
		}
	}
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 4_98*cent)
	second, chained := o.pay(sam, card, 1_00)
	_, refusal, err := o.PayOnline(t.Context(), second, previous)
	wantRefusal(t, refusal, err, purse.BrokenChain)
	forged := slices.Clone(second)
	forged[9]++
	_, refusal, err = o.PayOnline(t.Context(), forged, chained)
	wantRefusal(t, refusal, err, purse.BrokenChain)
	receipt := o.submit(sam)
	if receipt.Gross != 6*money.Unit || receipt.Booked != 1*money.Unit || receipt.Fee != 1*cent {
		t.Errorf("got %+v", receipt)
	}
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 5_97*cent)
	o.wantBalance("card:"+card.ID.String()+":shadow", 14*money.Unit)
	o.wantSound()
}

// refusedLoads are requests that nobody may grant, each made from a card with
// 10 euros on it and an account with 500.
var refusedLoads = []struct {
	name   string
	want   purse.Reason
	alarms int
	load   func(o *office, card *purse.SoftCard, account string) (request, answer []byte)
}{
	{"not a request", purse.Malformed, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) { return nil, nil }},
	{"nobody issued it", cards.UnknownCard, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		return ask(o.softCard(cardID(99), purse.ID{}), 100)
	}},
	{"a forged amount", cards.WrongLoadMAC, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		request, answer := ask(card, 100)
		request[3]++
		return request, answer
	}},
	{"another holder", cards.WrongHolder, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		card.Holder[0]++
		return ask(card, 100)
	}},
	{"another unit", purse.OtherUnit, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		card.Unit.Exponent = -3
		return ask(card, 100)
	}},
	{"more than a card may hold", cards.OverLimit, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		return ask(card, 190_01)
	}},
	{"a load that it did before", cards.LoadNumber, 1, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		card.LNo--
		return ask(card, 100)
	}},
	{"after a load that nobody knows", cards.LoadNumber, 1, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		card.LNo++
		return ask(card, 100)
	}},
	{"more on it than there can be", cards.WrongBalance, 1, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		card.Balance++
		return ask(card, 100)
	}},
	{"a blocked account", cards.AccountState, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		o.setState(account, "blocked")
		return ask(card, 100)
	}},
	{"a lost card", cards.CardState, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		if err := o.ReportCard(o.t.Context(), card.ID, false, ""); err != nil {
			o.t.Fatal(err)
		}
		return ask(card, 100)
	}},
	{"an open load", cards.LoadOpen, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		o.authorise(card, 100)
		return ask(card, 100)
	}},
	{"an expired card", cards.CardState, 0, func(o *office, card *purse.SoftCard, account string) ([]byte, []byte) {
		o.now.Add(366 * 86400)
		return ask(card, 100)
	}},
}

func TestLoadsThatAreRefused(t *testing.T) {
	o := newOffice(t)
	for i, c := range refusedLoads {
		t.Run(c.name, func(t *testing.T) {
			o.t = t
			account := o.account(i, 510*money.Unit)
			card := o.card(i, account)
			o.load(card, 10_00)
			request, answer := c.load(o, card, account)
			alarms := len(o.alarms()) + c.alarms
			before := o.balance("user:" + account + ":available")
			_, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
			wantRefusal(t, refusal, err, c.want)
			o.wantBalance("user:"+account+":available", before)
			if got := o.alarms(); len(got) != alarms {
				t.Errorf("alarms %v, want %d", got, alarms)
			}
		})
	}
}

func TestLoadsNeedMoney(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, o.account(1, 10*money.Unit))
	request, answer := ask(card, 10_01)
	_, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	wantRefusal(t, refusal, err, cards.Insufficient)
	o.load(card, 10_00)
	o.wantSound()
}

func TestTheSameRequestIsAuthorisedOnce(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card := o.card(1, account)
	request, answer := ask(card, 10_00)
	first, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	if err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	second, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	if err != nil || refusal != nil || second.Reference != first.Reference || !slices.Equal(first.Credit, second.Credit) {
		t.Errorf("%+v and %+v, %v (%v)", first, second, refusal, err)
	}
	o.wantBalance("user:"+account+":available", 90*money.Unit)
	receipt, err := card.Credit(first.Credit)
	if err != nil {
		t.Fatal(err)
	}
	if refusal, err := o.ConfirmLoad(t.Context(), first.Reference, receipt.Append(nil)); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	_, refusal, err = o.AuthoriseLoad(t.Context(), request, answer)
	wantRefusal(t, refusal, err, cards.LoadEnded)
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v for a request that came again", kinds)
	}
}

// resolve asks a card for its LOAD STATUS and hands in the answer.
func (o *office) resolve(card *purse.SoftCard, reference purse.ID) (taken bool, refusal *purse.Refusal, err error) {
	o.t.Helper()
	challenge, refusal, err := o.ChallengeLoad(o.t.Context(), reference)
	if err != nil || refusal != nil {
		return false, refusal, err
	}
	return o.ResolveLoad(o.t.Context(), reference, card.LoadStatus(challenge).Append(nil))
}

func TestTornLoads(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card := o.card(1, account)

	// CREDIT never came to the card.
	lost := o.authorise(card, 10_00)
	o.now.Add(60)
	open, err := o.OpenLoads(t.Context(), 10)
	if err != nil || len(open) != 1 || open[0].Reference != lost.Reference || open[0].Amount != 10*money.Unit || open[0].Created.Unix() != start {
		t.Errorf("open loads %+v (%v)", open, err)
	}
	if taken, refusal, err := o.resolve(card, lost.Reference); taken || refusal != nil || err != nil {
		t.Errorf("taken %t, %v (%v)", taken, refusal, err)
	}
	o.wantBalance("user:"+account+":available", 100*money.Unit)
	if _, err := card.Credit(lost.Credit); err == nil {
		t.Error("the card takes the load after it said that it did not")
	}

	// The answer to CREDIT was lost.
	torn := o.authorise(card, 20_00)
	if _, err := card.Credit(torn.Credit); err != nil {
		t.Fatal(err)
	}
	if taken, refusal, err := o.resolve(card, torn.Reference); !taken || refusal != nil || err != nil {
		t.Errorf("taken %t, %v (%v)", taken, refusal, err)
	}
	o.wantBalance("broker:cards:pool", 20*money.Unit)

	// The next load shows it.
	torn = o.authorise(card, 5_00)
	if _, err := card.Credit(torn.Credit); err != nil {
		t.Fatal(err)
	}
	o.load(card, 1_00)
	o.wantBalance("card:"+card.ID.String()+":shadow", 26*money.Unit)

	// A payment shows it.
	torn = o.authorise(card, 4_00)
	if _, err := card.Credit(torn.Credit); err != nil {
		t.Fatal(err)
	}
	sam := o.sam(1)
	o.pay(sam, card, 30_00)
	o.submit(sam)
	o.wantBalance("card:"+card.ID.String()+":shadow", 0)
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// Who takes the value and shows an older answer of the card gets nothing.
func TestLoadStatusIsFresh(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, o.account(1, 100*money.Unit))
	a := o.authorise(card, 10_00)
	challenge, refusal, err := o.ChallengeLoad(t.Context(), a.Reference)
	if err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	old := *card
	answer := old.LoadStatus(challenge).Append(nil) // another card of the same keys: a status from before
	if _, refusal, err := o.ChallengeLoad(t.Context(), a.Reference); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	_, refusal, err = o.ResolveLoad(t.Context(), a.Reference, answer)
	wantRefusal(t, refusal, err, cards.WrongLoadMAC)
	_, refusal, err = o.ResolveLoad(t.Context(), purse.ID{1}, answer)
	wantRefusal(t, refusal, err, cards.UnknownLoad)
	_, refusal, err = o.ResolveLoad(t.Context(), a.Reference, answer[1:])
	wantRefusal(t, refusal, err, purse.Malformed)

	// A card that says no, and then shows a receipt, is not believed twice.
	if taken, refusal, err := o.resolve(&old, a.Reference); taken || refusal != nil || err != nil {
		t.Fatalf("taken %t, %v (%v)", taken, refusal, err)
	}
	receipt, err := card.Credit(a.Credit)
	if err != nil {
		t.Fatal(err)
	}
	refusal, err = o.ConfirmLoad(t.Context(), a.Reference, receipt.Append(nil))
	wantRefusal(t, refusal, err, cards.LoadEnded)
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.Contradiction}) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantBalance("broker:cards:pool", 0)
	o.wantSound()
}

// What a card says of a load that clearing knows otherwise settles nothing.
func TestLoadStatusOfAnotherLoad(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, o.account(1, 100*money.Unit))
	a := o.authorise(card, 10_00)
	card.LNo = 7
	taken, refusal, err := o.resolve(card, a.Reference)
	wantRefusal(t, refusal, err, cards.LoadEnded)
	open, err := o.OpenLoads(t.Context(), 10)
	if err != nil || taken || len(open) != 1 {
		t.Errorf("taken %t, open loads %v (%v)", taken, open, err)
	}
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.Contradiction}) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// A card that counts in tenths of a cent pays less than the least fee, which is
// then all of it.
func TestFeesAreNeverMoreThanThePayment(t *testing.T) {
	o := newOffice(t)
	id := cardID(1)
	err := o.IssueCard(t.Context(), cards.Card{ID: id, KeyVersion: 1, Exponent: -3, Expires: o.expiry()})
	if err != nil {
		t.Fatal(err)
	}
	card, sam := o.softCard(id, purse.ID{}), o.sam(1)
	card.Unit.Exponent = -3
	o.load(card, 100)
	o.pay(sam, card, 3)
	if receipt := o.submit(sam); receipt.Fee != 3000 || receipt.Gross != 3000 {
		t.Errorf("got %+v", receipt)
	}
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 0)
	o.wantSound()
}

func TestRegistersAreKept(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 0)
	card := cards.Card{ID: cardID(1), KeyVersion: 1, Holder: purse.ID{1}, Account: account, Exponent: -2, Expires: time.Unix(start, 0)}
	for range 2 {
		if err := o.IssueCard(t.Context(), card); err != nil {
			t.Fatal(err)
		}
	}
	other := card
	other.Exponent = -3
	if err := o.IssueCard(t.Context(), other); !errors.Is(err, cards.ErrDiffers) {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(*cards.Card){
		"no id": func(c *cards.Card) { c.ID = purse.ID{} }, "white with a holder": func(c *cards.Card) { c.Account = "" },
		"an account without a holder": func(c *cards.Card) { c.Holder = purse.ID{} }, "no unit": func(c *cards.Card) { c.Exponent = 1 },
		"no expiry": func(c *cards.Card) { c.Expires = time.Time{} }, "no key": func(c *cards.Card) { c.KeyVersion = 2 },
		"no account": func(c *cards.Card) { c.ID, c.Account = cardID(2), "accountzzzzzzzzz" },
	} {
		wrong := card
		change(&wrong)
		if err := o.IssueCard(t.Context(), wrong); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	merchant := cards.Merchant{ID: merchantID(1), KeyVersion: 1, Name: "Kiosk", Destination: "ref:1"}
	for range 2 {
		if err := o.RegisterMerchant(t.Context(), merchant); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(*cards.Merchant){
		"no name": func(m *cards.Merchant) { m.Name = "" }, "no key": func(m *cards.Merchant) { m.KeyVersion = 2 }, "no id": func(m *cards.Merchant) { m.ID = purse.ID{} },
	} {
		wrong := merchant
		change(&wrong)
		if err := o.RegisterMerchant(t.Context(), wrong); err == nil {
			t.Errorf("%s: it is registered", name)
		}
	}
	if err := o.SetMerchantBlocked(t.Context(), merchant.ID, true); err != nil {
		t.Error(err)
	}
	if err := o.SetMerchantBlocked(t.Context(), merchantID(2), true); !errors.Is(err, cards.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestAFeeRuleIsKeptUnderItsVersion(t *testing.T) {
	o := newOffice(t)
	rule := fee.Purse()
	rule.Minimum = 2 * cent
	config := cards.Config{Keys: o.keys, Currency: eur, Fee: rule, Audit: func(context.Context, *ledger.Tx, string, string, string) error { return nil }}
	if _, err := cards.New(t.Context(), o.db, config); err == nil {
		t.Error("another rule is taken under a version that was used")
	}
	config.Fee.Version = "purse/2"
	if _, err := cards.New(t.Context(), o.db, config); err != nil {
		t.Error(err)
	}
	config.Fee = fee.Standard()
	if _, err := cards.New(t.Context(), o.db, config); err == nil {
		t.Error("a rule per vendor and run is taken")
	}
	config.Keys = &purse.Keys{}
	if _, err := cards.New(t.Context(), o.db, config); err == nil {
		t.Error("it works without keys")
	}
}
