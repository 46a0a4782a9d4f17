package terminal_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/host"
	"github.com/paywordhq/payword/samgateway/terminal"
)

const (
	eur            = money.Currency("eur-micro")
	brokerOrigin   = "http://127.0.0.1:1"
	clearingOrigin = "http://127.0.0.1:2"
)

// books are a real broker and a real clearing on one database, asked as a gateway
// asks them, and with the faults of an office.
type books struct {
	t        *testing.T
	office   *office // whose faults they have
	db       *ledger.DB
	broker   *broker.Broker
	clearing *cards.Clearing
	location string
	handlers map[string]http.Handler // by origin
	host     *host.Clearing
	*host.Broker
}

func newBooks(t *testing.T, w *world) *books {
	t.Helper()
	b := &books{t: t, office: w.office, location: dbtest.New(t)}
	now := func() time.Time { return w.clock.now }
	var err error
	b.broker, err = broker.New(t.Context(), broker.Config{Issuer: brokerOrigin, Currency: eur, Database: b.location,
		Signer: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x42}, 32)), AdminToken: "0123456789abcdef-admin", WhiteCeiling: money.MaxAmount, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if b.db, err = ledger.Open(t.Context(), b.location, ledger.Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	b.clearing, err = cards.New(t.Context(), b.db, cards.Config{Keys: w.office.keys, Currency: eur,
		Audit: func(context.Context, *ledger.Tx, string, string, string) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.db.Close(), b.broker.Close()); err != nil {
			t.Error(err)
		}
	})
	b.handlers = map[string]http.Handler{
		brokerOrigin:   b.broker.Handler(),
		clearingOrigin: b.clearing.Handler(cards.HandlerConfig{Origin: clearingOrigin, Now: now, Log: slog.New(slog.DiscardHandler)}),
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x17}, 32))
	b.register(w, key)
	client := &http.Client{Transport: b}
	b.host, err = host.NewClearing(host.Config{Origin: clearingOrigin, Key: key, Now: now, Client: client})
	if err == nil {
		b.Broker, err = host.NewBroker(host.Config{Origin: brokerOrigin, Key: key, Now: now, Client: client}, eur)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// register makes gateway, merchants, accounts and cards known.
func (b *books) register(w *world, key ed25519.PrivateKey) {
	b.t.Helper()
	public := payword.NewPublicKey(key.Public().(ed25519.PublicKey))
	text, err := json.Marshal(public)
	if err != nil {
		b.t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(b.t.Context(), http.MethodPut, "/v1/admin/gateways/purse",
		strings.NewReader(`{"key":`+string(text)+`,"dayLimit":"1000000000000","backed":true}`))
	request.Header.Set("Authorization", "Bearer 0123456789abcdef-admin")
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	b.handlers[brokerOrigin].ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		b.t.Fatalf("registering the gateway: %d %s", answer.Code, answer.Body)
	}
	for number := 1; number <= 2; number++ {
		merchant := cards.Merchant{ID: merchantID(number), KeyVersion: 1, Name: "Kiosk", Destination: "gateway:purse"}
		if err := b.clearing.RegisterMerchant(b.t.Context(), merchant); err != nil {
			b.t.Fatal(err)
		}
	}
	for number := range len(w.cards) {
		known := cards.Card{ID: cardID(number + 1), KeyVersion: 1, Exponent: cents.Exponent, Expires: w.clock.now.AddDate(2, 0, 0)}
		if holder := w.cards[number].data(b.t).Holder; holder != (purse.ID{}) {
			known.Holder, known.Account = holder, b.account(byte(10+number), 1_000_000*money.Unit)
		}
		if err := b.clearing.IssueCard(b.t.Context(), known); err != nil {
			b.t.Fatal(err)
		}
	}
	for number := range byte(3) {
		b.account(number+1, 0)
	}
}

func accountNamed(number byte) string { return "accountaaaaaaaa" + string([]byte{'a' + number}) }

func (b *books) account(number byte, amount money.Amount) string {
	b.t.Helper()
	id := accountNamed(number)
	err := b.db.Update(b.t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(b.t.Context(), `INSERT INTO broker_accounts (id, key_id, key, parent, name, created) VALUES (?, ?, ?, '', '', ?)`,
			id, id, bytes.Repeat([]byte{number + 1}, 32), tx.Now().UnixMicro())
		for _, part := range []string{":available", ":reserved"} {
			if err == nil {
				err = tx.CreateAccount(b.t.Context(), ledger.Account{ID: "user:" + id + part, Currency: eur})
			}
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if amount > 0 {
		if _, refusal, err := b.broker.Fund(b.t.Context(), "funding-"+id, id, amount); err != nil || refusal.Refused() {
			b.t.Fatalf("%v (%v)", refusal, err)
		}
	}
	return id
}

// RoundTrip has the server answer in this process, with the faults of the office.
func (b *books) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	err := b.office.ask(request.Context(), request.URL.Path, func() error {
		served := request.Clone(request.Context())
		served.RemoteAddr, served.RequestURI = "127.0.0.1:1", request.URL.RequestURI()
		if served.Body == nil {
			served.Body = http.NoBody
		}
		b.handlers[request.URL.Scheme+"://"+request.URL.Host].ServeHTTP(answer, served)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return answer.Result(), nil
}

// Check implements terminal.Accounts, for accounts as the tests name them.
func (b *books) Check(ctx context.Context, account string, amount money.Amount) error {
	return b.Broker.Check(ctx, accountNamed(account[len(account)-1]-'0'), amount)
}

// Fund implements terminal.Accounts.
func (b *books) Fund(ctx context.Context, account, id string, amount money.Amount) error {
	return b.Broker.Fund(ctx, accountNamed(account[len(account)-1]-'0'), id, amount)
}

var _ terminal.Accounts = (*books)(nil)

func (b *books) balance(account string) money.Amount {
	b.t.Helper()
	var found ledger.Account
	err := b.db.View(b.t.Context(), func(tx *ledger.Tx) (err error) {
		found, err = tx.Account(b.t.Context(), account)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return found.Balance
}

// wantSound fails if anything in the books disagrees with anything else, or with
// what is on the cards.
func (b *books) wantSound(w *world) {
	b.t.Helper()
	for _, card := range w.cards {
		data := card.data(b.t)
		if got := b.balance("card:" + data.Card.String() + ":shadow"); got != cents.Amount(data.Balance) {
			b.t.Errorf("card %s has %d cents on it, and clearing knows of %s micros", data.Card, data.Balance, got)
		}
	}
	for number := range byte(3) {
		if got, want := b.balance("user:"+accountNamed(number+1)+":available"), b.funded(number+1); got != want {
			b.t.Errorf("account %d: got %s micros, want %s", number+1, got, want)
		}
	}
	found, err := b.clearing.Check(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, d := range found {
		b.t.Errorf("%s: %s", d.Subject, d.What)
	}
	wrong, err := b.broker.Check(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, sentence := range wrong {
		b.t.Errorf("the broker's check: %s", sentence)
	}
	if alarms, err := b.clearing.Alarms(b.t.Context(), true, 0, 100); err != nil || len(alarms) > 0 {
		b.t.Errorf("alarms about honest cards: %+v (%v)", alarms, err)
	}
	report, err := audit.Run(b.t.Context(), audit.Options{Database: b.location, CardKeys: b.office.keys})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range report.Findings {
		b.t.Errorf("the auditor: %+v", f)
	}
}

// funded returns what the payments for an account come to that nobody took back.
func (b *books) funded(number byte) (sum money.Amount) {
	b.t.Helper()
	err := b.db.View(b.t.Context(), func(tx *ledger.Tx) error {
		rows, err := tx.QueryContext(b.t.Context(), `SELECT p.amount FROM cards_payments p WHERE p.state = 'paid'
			AND NOT EXISTS (SELECT 1 FROM cards_cancellations c WHERE c.mid = p.mid AND c.paid_tno = p.tno)`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var amount money.Amount
			if err := rows.Scan((*int64)(&amount)); err != nil {
				return err
			}
			if count, err := cents.Count(amount); err != nil || count%8 == uint32(number) {
				sum += amount
			}
		}
		return rows.Err()
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return sum
}

// What torn cards, killed processes and lost answers leave at a real clearing and
// a real broker is sound by every check that there is.
func TestBooksAfterTears(t *testing.T) {
	seed := seedOf(t, 0)
	w := newWorld(t, numbersOf(seed))
	b := newBooks(t, w)
	w.open(b.host, b)
	for range *bookRounds {
		w.round()
	}
	w.turnedIn()
	b.wantSound(w)
	t.Logf("%d processes killed, %d answers lost", w.killed, w.lost)
}
