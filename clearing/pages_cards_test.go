package clearing_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

const (
	whiteCard  = "C100000000000001"
	cardSeller = "A200000000000002"
)

// openCardOffice serves the pages of a clearing with one card: see addCard.
func openCardOffice(t testing.TB) *backOffice {
	t.Helper()
	location := newDatabase(t)
	db, c := openAt(t, location)
	oweVendors(t, db)
	clearer := addCard(t, db)
	return serveOffice(t, db, c, func(config *clearing.ServerConfig) { config.Cards, config.Database = clearer, location })
}

// addCard makes a white card, on which there are 17.00, with an open alarm and an
// open dispute of 3.00 more.
func addCard(t testing.TB, db *ledger.DB) *cards.Clearing {
	t.Helper()
	keys := &purse.Keys{}
	for k, master := range []string{purse.LoadMaster, purse.ClearingMaster} {
		if err := keys.Add(master, 1, bytes.Repeat([]byte{byte(k + 1)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	clearer, err := cards.New(t.Context(), db, cards.Config{Keys: keys, Currency: eur,
		Audit: func(context.Context, *ledger.Tx, string, string, string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	card, err := purse.ParseID(whiteCard)
	if err != nil {
		t.Fatal(err)
	}
	if err := clearer.IssueCard(t.Context(), cards.Card{ID: card, KeyVersion: 1, Exponent: -2, Expires: epoch.AddDate(1, 0, 0)}); err != nil {
		t.Fatal(err)
	}
	seller, err := purse.ParseID(cardSeller)
	if err != nil {
		t.Fatal(err)
	}
	err = clearer.RegisterMerchant(t.Context(), cards.Merchant{ID: seller, KeyVersion: 1, Name: "Kiosk <script>", Destination: "ref:kiosk"})
	if err != nil {
		t.Fatal(err)
	}
	move(t, db, "broker:cards:cash", "broker:cards:pool", 20*money.Unit)
	move(t, db, "broker:cards:memo", "card:"+whiteCard+":shadow", 20*money.Unit)
	move(t, db, "broker:cards:pool", "broker:cards:disputes", 3*money.Unit)
	move(t, db, "card:"+whiteCard+":shadow", "broker:cards:memo", 3*money.Unit)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		none := []byte{}
		_, err := tx.ExecContext(ctx, `INSERT INTO cards_alarms (kind, cid, mid, tno, number, detail, evidence, created)
			VALUES ('balance', ?, '', 0, 7, '<script>alert(1)</script> it says 5.00', ?, 1)`, whiteCard, none)
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO cards_payments (mid, tno, cid, sno, lno, amount, balance, fee, fee_rule, made, proof, macz, source, repeated, state, created)
				VALUES (?, 4, ?, 7, 1, 3000000, 17000000, 0, '', 1, ?, ?, 'claim', 0, 'disputed', 1)`, cardSeller, whiteCard, none, none)
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO cards_disputes (mid, tno, cid, amount, reason, note, state, due, created)
				VALUES (?, 4, ?, 3000000, 'objection', '<script>never bought it', 'open', 0, 1)`, cardSeller, whiteCard)
		}
		return err
	})
	return clearer
}

func TestCardsAtThePages(t *testing.T) {
	o := openCardOffice(t)
	anna, carl := o.signedIn(annasToken), o.signedIn(carlsToken)
	for _, path := range []string{"/clearing/cards", "/clearing/cards/card/" + whiteCard} {
		page := anna.page(path)
		wantText(t, page, "it says 5.00", "never bought it", "17.00", "Acknowledge it")
		if strings.Contains(page, "<script") {
			t.Errorf("%s lets markup through: %s", path, page)
		}
		if page := carl.page(path); strings.Contains(page, "Acknowledge it") || strings.Contains(page, `class="button"`) {
			t.Errorf("%s offers a reader something: %s", path, page)
		}
	}
	wantText(t, anna.page("/clearing/"), "Alarms about cards: 1", "Disputes about cards: 1")
	wantText(t, anna.page("/clearing/cards/all"), whiteCard, "17.00 EUR")
	if got := anna.get("/clearing/cards/find?card=c1000000+00000001"); got.header.Get("Location") != "/clearing/cards/card/"+whiteCard {
		t.Errorf("finding a card led to %q", got.header.Get("Location"))
	}
	if got := anna.get("/clearing/cards/card/C199999999999999"); got.status != http.StatusNotFound {
		t.Errorf("a card that nobody knows: got status %d", got.status)
	}

	anna.mustAct("/clearing/cards/alarms/1/acknowledge", map[string]string{"note": "the card is broken"})
	if got := anna.act("/clearing/cards/card/"+whiteCard+"/lost", nil); got.status != http.StatusUnprocessableEntity {
		t.Errorf("reporting a white card without a reference: got status %d", got.status)
	}
	anna.mustAct("/clearing/cards/card/"+whiteCard+"/lost", map[string]string{"note": "receipt 17"})
	wantText(t, anna.page("/clearing/cards/card/"+whiteCard+"?done=lost"), "The card is on the hot list.", "receipt 17", "Take the report back", "acknowledged by anna")
	anna.mustAct("/clearing/cards/card/"+whiteCard+"/found", nil)
	wantText(t, anna.page("/clearing/cards/card/"+whiteCard), "Scripts of the issuer", "unblock", "waiting", "the report")
	update(t, o.db, func(ctx context.Context, tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO cards_cancellations (mid, tno, paid_tno, bno, cid, sno, amount, fee, is_void, state, made, proof, macz, created)
			VALUES (?, 5, 4, 1, ?, 8, 3000000, 0, 1, 'denied', 1, ?, ?, 1)`, cardSeller, whiteCard, []byte{}, []byte{})
		return err
	})
	wantText(t, anna.page("/clearing/cards/card/"+whiteCard), "Payments taken back", "taken back as transaction 5")
	anna.mustAct("/clearing/cards/disputes/"+cardSeller+"/4/holder", nil)
	wantText(t, anna.page("/clearing/cards/card/"+whiteCard), "for the holder, by anna")
	if got := anna.get("/clearing/cards/disputes/" + cardSeller + "/4/merchant"); got.status != http.StatusConflict {
		t.Errorf("deciding it again: got status %d", got.status)
	}
	wantSound(t, o.db)
}

func TestAuditAtThePages(t *testing.T) {
	o := openCardOffice(t)
	anna := o.signedIn(annasToken)
	if got := anna.post("/clearing/recompute", hidden(anna.page("/clearing/"))); got.status != http.StatusSeeOther {
		t.Fatalf("got status %d", got.status)
	}
	// Transfers of a test have no evidence.
	page := anna.wait("/clearing/", "What the audit says")
	wantText(t, page, "that the evidence does not bear out", "WRONG transfer-unexplained")
}
