package clearing_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// wantMetrics compares lines of what a monitor is told.
func (o *backOffice) wantMetrics(lines ...string) {
	o.t.Helper()
	w := httptest.NewRecorder()
	o.server.MetricsHandler().ServeHTTP(w, httptest.NewRequestWithContext(o.t.Context(), http.MethodGet, "/metrics", nil))
	for _, line := range lines {
		if !strings.Contains(w.Body.String(), "\npayword_clearing_"+line+"\n") {
			o.t.Errorf("the metrics do not say %q:\n%s", line, w.Body)
		}
	}
}

// A batch that was refused is shown, and counted until it is taken.
func TestRefusedBatches(t *testing.T) {
	o := openCardOffice(t)
	anna := o.signedIn(annasToken)
	o.wantMetrics("card_refused_batches 0")
	execute(t, o.db, `INSERT INTO cards_refusals (mid, bno, reason, record, detail, times, first, last)
		VALUES ('`+cardSeller+`', 3, 'balance', 2, '<script> it says 9.00', 4, 1, 1), ('`+cardSeller+`', 3, 'proof', 1, 'no proof', 1, 1, 1)`)
	o.wantMetrics("card_refused_batches 1")
	page := anna.page("/clearing/cards")
	wantText(t, page, "it says 9.00", "not taken yet: its SAM takes no payments")
	if strings.Contains(page, "<script") || strings.Contains(page, "taken since") {
		t.Errorf("got %s", page)
	}
	wantText(t, anna.page("/clearing/"), "Batches of cards that were refused and not taken since: 1")
	execute(t, o.db, `UPDATE cards_merchants SET state = 'blocked' WHERE mid = '`+cardSeller+`'`)
	o.wantMetrics("card_refused_batches 0")
	execute(t, o.db, `UPDATE cards_merchants SET state = 'open', last_batch = 3 WHERE mid = '`+cardSeller+`'`)
	o.wantMetrics("card_refused_batches 0")
	wantText(t, anna.page("/clearing/cards"), "taken since")
}

// What a card paid to a gateway for no account is shown, and the money that waits
// there is counted.
func TestPaidToGatewaysForNoAccount(t *testing.T) {
	o := openCardOffice(t)
	anna := o.signedIn(annasToken)
	wantText(t, anna.page("/clearing/cards/gateways"), "None.")
	o.wantMetrics("card_gateways_micros 0")
	update(t, o.db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.CreateAccount(ctx, ledger.Account{ID: "gateway:purse:in", Currency: eur})
	})
	move(t, o.db, "broker:cards:pool", "gateway:purse:in", 5*money.Unit)
	now := o.clock.Now()
	for k, c := range []struct {
		amount money.Amount
		age    time.Duration
		also   string // what became of it
	}{
		{1_110_000, 2 * time.Hour, ""},
		{2_220_000, time.Minute, ""},
		{3_330_000, 2 * time.Hour, `INSERT INTO cards_cash (mid, tno, gateway, amount, created) VALUES ('` + cardSeller + `', 12, 'purse', 3330000, 1)`},
		{4_440_000, 2 * time.Hour, `INSERT INTO broker_fundings (source, id, payment, named, account, debit, amount, currency, reversed, version, created)
			VALUES ('gateway:purse', '` + cardSeller + `-13', '', '', 'someaccount', 'gateway:purse:in', 4440000, 'eur-micro', 0, 1, 1)`},
		{5_550_000, 2 * time.Hour, `INSERT INTO cards_cancellations (mid, tno, paid_tno, bno, cid, sno, amount, fee, is_void, state, made, proof, macz, created)
			SELECT mid, 15, tno, 1, cid, 35, amount, 0, 0, 'done', 1, proof, macz, 1 FROM cards_payments WHERE tno = 14`},
	} {
		update(t, o.db, func(ctx context.Context, tx *ledger.Tx) error {
			none := []byte{}
			_, err := tx.ExecContext(ctx, `INSERT INTO cards_payments (mid, tno, cid, sno, lno, amount, balance, fee, fee_rule, made, proof, macz, source, repeated, state, gateway, created)
				VALUES (?, ?, ?, ?, 1, ?, 0, 0, '', 1, ?, ?, 'batch', 0, 'paid', 'purse', ?)`,
				cardSeller, 10+k, whiteCard, 20+k, int64(c.amount), none, none, now.Add(-c.age).UnixMicro())
			return err
		})
		if c.also != "" {
			execute(t, o.db, c.also)
		}
	}
	page := anna.page("/clearing/cards/gateways")
	wantText(t, page, cardSeller+"-10", "1.11", "with a batch", "purse")
	for _, other := range []string{"2.22", "3.33", "4.44", "5.55"} {
		if strings.Contains(page, other) {
			t.Errorf("the page has the payment of %s: %s", other, page)
		}
	}
	wantText(t, anna.page("/clearing/cards"), "Paid to gateways, on no account yet", "5.00")
	o.wantMetrics("card_gateways_micros 5000000")
}
