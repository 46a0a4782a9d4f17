package cards_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
)

const (
	eur   = money.Currency("eur-micro")
	cent  = money.Unit / 100
	start = 1_790_000_000
)

var cents = purse.Unit{Currency: 0x0978, Exponent: -2}

// office is a broker, clearing of cards on its database, and the keys of both.
type office struct {
	*cards.Clearing
	t        testing.TB
	db       *ledger.DB
	broker   *broker.Broker
	keys     *purse.Keys
	now      atomic.Int64 // seconds since 1970
	location string
	// isUnsound says that a test has changed the books behind the ledger's back.
	isUnsound bool
	audit     []string // the lines of the audit log, those of attempts that were undone too
}

// usedFile returns the SQLite file of a broker that did nothing yet: each test
// works on a copy.
var usedFile = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "payword-cards")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "books.db")
	if err := prepare(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// newDatabase returns the location of a database that a broker has used.
func newDatabase(t testing.TB) string {
	t.Helper()
	location := dbtest.New(t)
	if dbtest.IsPostgreSQL() {
		return location // made by TestMain
	}
	content, err := usedFile()
	if err == nil {
		err = os.WriteFile(location, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return location
}

func newOffice(t testing.TB, change ...func(*cards.Config)) *office {
	t.Helper()
	return newOfficeWith(t, true, change...)
}

// newOfficeWith is newOffice; where isTwice is set, what may run again does.
func newOfficeWith(t testing.TB, isTwice bool, change ...func(*cards.Config)) *office {
	t.Helper()
	o := &office{t: t, keys: pursetest.Keys(t)}
	o.now.Store(start)
	clock := func() time.Time { return time.Unix(o.now.Load(), 0) }
	location := newDatabase(t)
	o.location = location
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o.broker, err = broker.New(t.Context(), broker.Config{
		Issuer: "https://broker.example", Currency: eur, Database: location, Signer: key, WhiteCeiling: money.MaxAmount, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.db, err = ledger.Open(t.Context(), location, ledger.Options{Now: clock, RunTwice: func() bool { return isTwice }})
	if err != nil {
		t.Fatal(err)
	}
	config := cards.Config{Keys: o.keys, Currency: eur, Audit: func(_ context.Context, _ *ledger.Tx, action, subject, detail string) error {
		o.audit = append(o.audit, action+" "+subject+" "+detail)
		return nil
	}}
	for _, apply := range change {
		apply(&config)
	}
	o.Clearing, err = cards.New(t.Context(), o.db, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		o.wantAudited()
		if err := o.db.Close(); err != nil {
			t.Error(err)
		}
		if err := o.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// account opens an account at the broker with something on it.
func (o *office) account(number int, amount money.Amount) string {
	o.t.Helper()
	id := "accountaaaaaaa" + string([]byte{'a' + byte(number/26), 'a' + byte(number%26)})
	key := make([]byte, 32)
	key[0], key[1] = byte(number), byte(number>>8)
	err := o.db.Update(o.t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(o.t.Context(), `INSERT INTO broker_accounts (id, key_id, key, parent, name, created) VALUES (?, ?, ?, '', '', ?)`,
			id, id, key, tx.Now().UnixMicro())
		for _, part := range []string{":available", ":reserved"} {
			if err == nil {
				err = tx.CreateAccount(o.t.Context(), ledger.Account{ID: "user:" + id + part, Currency: eur})
			}
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	if amount > 0 {
		if _, refusal, err := o.broker.Fund(o.t.Context(), "funding-"+id, id, amount); err != nil || refusal.Refused() {
			o.t.Fatalf("%v (%v)", refusal, err)
		}
	}
	return id
}

// setState changes the state of an account of the broker.
func (o *office) setState(account, state string) {
	o.t.Helper()
	_, err := o.db.ExecOne(o.t.Context(), `UPDATE broker_accounts SET state = ? WHERE id = ?`, state, account)
	if err != nil {
		o.t.Fatal(err)
	}
}

// balance returns what is on an account of the ledger, less what is pending.
func (o *office) balance(account string) money.Amount {
	o.t.Helper()
	var found ledger.Account
	err := o.db.View(o.t.Context(), func(tx *ledger.Tx) (err error) {
		found, err = tx.Account(o.t.Context(), account)
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return found.Balance - found.Pending
}

func (o *office) wantBalance(account string, want money.Amount) {
	o.t.Helper()
	if got := o.balance(account); got != want {
		o.t.Errorf("%s: got %s micros, want %s", account, got, want)
	}
}

// wantSound fails if anything in the books disagrees with anything else.
func (o *office) wantSound() {
	o.t.Helper()
	found, err := o.Check(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, d := range found {
		o.t.Errorf("%s: %s", d.Subject, d.What)
	}
	wrong, err := o.broker.Check(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, sentence := range wrong {
		o.t.Errorf("the broker's check: %s", sentence)
	}
}

func cardID(number int) purse.ID     { return purse.ID{0xC1, 6: byte(number >> 8), 7: byte(number)} }
func merchantID(number int) purse.ID { return purse.ID{0x4D, 6: byte(number >> 8), 7: byte(number)} }

// expiry is when the cards expire that are issued here.
func (o *office) expiry() time.Time { return time.Unix(start+10*365*dayLong, 0) }

// card issues a card, of an account or white, and returns it.
func (o *office) card(number int, account string) *purse.SoftCard {
	o.t.Helper()
	id, holder := cardID(number), purse.ID{}
	if account != "" {
		holder = purse.ID{0xA0, 6: byte(number >> 8), 7: byte(number)}
	}
	err := o.IssueCard(o.t.Context(), cards.Card{ID: id, KeyVersion: 1, Holder: holder, Account: account, Exponent: -2, Expires: time.Unix(start+365*86400, 0)})
	if err != nil {
		o.t.Fatal(err)
	}
	return o.softCard(id, holder)
}

func (o *office) softCard(id, holder purse.ID) *purse.SoftCard {
	o.t.Helper()
	card, err := purse.NewSoftCard(o.keys, 1, id, holder, cents)
	if err != nil {
		o.t.Fatal(err)
	}
	return card
}

// sam registers a merchant and returns its SAM.
func (o *office) sam(number int) *purse.SoftSAM {
	o.t.Helper()
	id := merchantID(number)
	err := o.RegisterMerchant(o.t.Context(), cards.Merchant{ID: id, KeyVersion: 1, Name: fmt.Sprintf("Merchant %d", number), Destination: "ref:" + id.String()})
	if err != nil {
		o.t.Fatal(err)
	}
	sam, err := purse.NewSoftSAM(o.keys, 1, id)
	if err != nil {
		o.t.Fatal(err)
	}
	return sam
}

// ask makes the request for a load and the card's answer to it.
func ask(card *purse.SoftCard, amount uint32) (request, answer []byte) {
	var random purse.Random
	rand.Read(random[:])
	r := purse.LoadRequest{Amount: amount, Unit: card.Unit, Time: start}
	return r.Append(nil), card.InitLoad(r, random).Append(nil)
}

// authorise asks for a load that must be granted.
func (o *office) authorise(card *purse.SoftCard, amount uint32) cards.Authorisation {
	o.t.Helper()
	request, answer := ask(card, amount)
	a, refusal, err := o.AuthoriseLoad(o.t.Context(), request, answer)
	if err != nil || refusal != nil {
		o.t.Fatalf("%v (%v)", refusal, err)
	}
	return a
}

// load puts money on a card.
func (o *office) load(card *purse.SoftCard, amount uint32) {
	o.t.Helper()
	a := o.authorise(card, amount)
	receipt, err := card.Credit(a.Credit)
	if err != nil {
		o.t.Fatal(err)
	}
	if refusal, err := o.ConfirmLoad(o.t.Context(), a.Reference, receipt.Append(nil)); err != nil || refusal != nil {
		o.t.Fatalf("%v (%v)", refusal, err)
	}
}

// pay lets a card pay and returns the record, and the MACM before it.
func (o *office) pay(sam *purse.SoftSAM, card *purse.SoftCard, amount uint32) (record []byte, previous purse.MAC) {
	o.t.Helper()
	record, previous, err := sam.Pay(card, amount, uint32(o.now.Load()))
	if err != nil {
		o.t.Fatal(err)
	}
	return record, previous
}

func closed(sam *purse.SoftSAM) []byte {
	total, records := sam.Close()
	return append(append([]byte(nil), total...), records...)
}

// submit hands in the SAM's batch, which must be taken.
func (o *office) submit(sam *purse.SoftSAM) cards.BatchReceipt {
	o.t.Helper()
	receipt, refusals, err := o.SubmitBatch(o.t.Context(), closed(sam))
	if err != nil || len(refusals) > 0 {
		o.t.Fatalf("%v (%v)", refusals, err)
	}
	if err := sam.Acknowledge(receipt.Ack); err != nil {
		o.t.Fatal(err)
	}
	return receipt
}

// wantRefusal fails unless there is a refusal for that reason.
func wantRefusal(t testing.TB, refusal *purse.Refusal, err error, want purse.Reason) {
	t.Helper()
	if err != nil || refusal == nil || refusal.Reason != want {
		t.Errorf("got %v (%v), want a refusal for %s", refusal, err, want)
	}
}

// alarms returns the kinds of the open alarms.
func (o *office) alarms() (kinds []cards.AlarmKind) {
	o.t.Helper()
	all, err := o.Alarms(o.t.Context(), true, 0, 1000)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, a := range all {
		kinds = append(kinds, a.Kind)
	}
	return kinds
}
