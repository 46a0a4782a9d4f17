package samgateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/money"
)

const adminToken = "0123456789abcdef-admin"

// house is a broker and clearing on one database, a merchant's gateway that both
// know, and a machine with two readers and the merchant's SAM.
type house struct {
	*machine
	t        testing.TB
	db       *ledger.DB
	location string // of the database
	broker   *broker.Broker
	clearing *cards.Clearing
	customer *slot
	sam      *purse.SAM
	config   string // the file of the gateway's settings
	folder   string
	settings map[string]any

	brokerDoor, clearingDoor *door
}

// door is where a server is reached. It can be shut, and can lose answers after
// the work is done.
type door struct {
	*httptest.Server
	isShut atomic.Bool
	mutex  sync.Mutex
	loses  string // the path whose next answer is lost
	kills  func() // at loses, before the answer is lost; nil: nobody is
	isSeen bool   // the kill comes before the work
}

func (d *door) guard(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mutex.Lock()
		isLost := d.loses != "" && strings.HasPrefix(r.URL.Path, d.loses)
		kills, isSeen := d.kills, d.isSeen
		if isLost {
			d.loses, d.kills = "", nil
		}
		d.mutex.Unlock()
		if d.isShut.Load() {
			panic(http.ErrAbortHandler)
		}
		if isLost {
			if kills == nil || !isSeen {
				handler.ServeHTTP(httptest.NewRecorder(), r)
			}
			if kills != nil {
				kills()
			}
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	})
}

// lose loses the next answer to a path.
func (d *door) lose(path string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.loses = path
}

// kill ends a process when it asks for a path, before or after the work is done.
func (d *door) kill(path string, isSeen bool, kills func()) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.loses, d.isSeen, d.kills = path, isSeen, kills
}

// newDoor opens a door whose address is known before there is anybody behind it.
func newDoor(t testing.TB, open func(origin string) http.Handler) *door {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{}
	d.Server = &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: d.guard(open("http://" + listener.Addr().String())), ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}}
	d.Start()
	t.Cleanup(d.Close)
	return d
}

// usedFile returns the file of a database that broker and clearing have made: each
// test works on a copy.
var usedFile = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "payword-gateway")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "books.db")
	b, err := newBroker(context.Background(), path, firstOrigin)
	if err != nil {
		return nil, err
	}
	db, err := ledger.Open(context.Background(), path, ledger.Options{})
	if err == nil {
		_, err = newClearing(context.Background(), db)
		err = errors.Join(err, db.Close())
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

const firstOrigin = "http://127.0.0.1:1"

func newBroker(ctx context.Context, location, origin string) (*broker.Broker, error) {
	return broker.New(ctx, broker.Config{
		Issuer: origin, Currency: "usd-micro", Database: location, Signer: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{0x42}, 32)),
		AdminToken: adminToken, WhiteCeiling: money.MaxAmount,
	})
}

func newClearing(ctx context.Context, db *ledger.DB) (*cards.Clearing, error) {
	keys, err := pursetest.Masters()
	if err != nil {
		return nil, err
	}
	return cards.New(ctx, db, cards.Config{Keys: keys, Currency: "usd-micro",
		Audit: func(context.Context, *ledger.Tx, string, string, string) error { return nil }})
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{machine: newMachine("Customer 00", "Merchant 01"), t: t, folder: t.TempDir()}
	h.customer = h.slots[0]
	location := dbtest.New(t)
	h.location = location
	content, err := usedFile()
	if err == nil {
		err = os.WriteFile(location, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if h.db, err = ledger.Open(t.Context(), location, ledger.Options{}); err != nil {
		t.Fatal(err)
	}
	h.brokerDoor = newDoor(t, func(origin string) http.Handler {
		if _, err := h.db.ExecOne(t.Context(), `UPDATE broker_settings SET issuer = ? WHERE one = 1`, origin); err != nil {
			t.Fatal(err)
		}
		if h.broker, err = newBroker(t.Context(), location, origin); err != nil {
			t.Fatal(err)
		}
		return h.broker.Handler()
	})
	if h.clearing, err = newClearing(t.Context(), h.db); err != nil {
		t.Fatal(err)
	}
	h.clearingDoor = newDoor(t, func(origin string) http.Handler {
		return h.clearing.Handler(cards.HandlerConfig{Origin: origin, Log: slog.New(slog.DiscardHandler)})
	})
	t.Cleanup(func() {
		if err := errors.Join(h.db.Close(), h.broker.Close()); err != nil {
			t.Error(err)
		}
	})
	h.register()
	h.sam = newSAM(t, 1000_00)
	h.slots[1].put(h.sam)
	return h
}

// register makes the gateway's key and makes gateway and merchant known.
func (h *house) register() {
	h.t.Helper()
	key := filepath.Join(h.folder, "gateway.key")
	made := h.call(h.t, "key", "--out", key, "--json")
	var printed struct {
		Key payword.PublicKey `json:"key"`
	}
	if err := json.Unmarshal([]byte(made.stdout), &printed); err != nil {
		h.t.Fatalf("%+v: %v", made, err)
	}
	body, err := json.Marshal(map[string]any{"key": printed.Key, "dayLimit": "1000000000", "backed": true})
	if err != nil {
		h.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, h.brokerDoor.URL+"/v1/admin/gateways/purse", bytes.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		h.t.Fatalf("registering the gateway: %d %s (%v)", answer.StatusCode, text, err)
	}
	err = h.clearing.RegisterMerchant(h.t.Context(), cards.Merchant{ID: merchantID, KeyVersion: 1, Name: "Gateway", Destination: "gateway:purse"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.config = filepath.Join(h.folder, "gateway.json")
	h.configure(map[string]any{
		"cardReader": "customer", "samReader": "merchant", "journal": filepath.Join(h.folder, "gateway.journal"), "currency": "USD",
		"clearing": h.clearingDoor.URL, "broker": h.brokerDoor.URL, "key": key, "loadTerminal": "4C00000000000001",
	})
	if err := os.WriteFile(h.pinFile(), []byte(testPIN+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// configure changes settings of the gateway.
func (h *house) configure(settings map[string]any) {
	h.t.Helper()
	if h.settings == nil {
		h.settings = make(map[string]any)
	}
	maps.Copy(h.settings, settings)
	content, err := json.Marshal(h.settings)
	if err == nil {
		err = os.WriteFile(h.config, content, 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) pinFile() string { return filepath.Join(h.folder, "pin") }

// say is a command of the gateway, with its settings.
func (h *house) say(arguments ...string) said {
	h.t.Helper()
	return h.call(h.t, append(arguments, "--config", h.config)...)
}

// want is say, and the command must end well and print that.
func (h *house) want(printed string, arguments ...string) {
	h.t.Helper()
	got := h.say(arguments...)
	if got.code != 0 || !strings.Contains(got.stdout, printed) {
		h.t.Errorf("samgateway %s: got %+v, want %q", strings.Join(arguments, " "), got, printed)
	}
}

// wantNo is say, and the command must end with the code and say that.
func (h *house) wantNo(code int, sentence string, arguments ...string) {
	h.t.Helper()
	got := h.say(arguments...)
	if got.code != code || !strings.Contains(got.stderr, sentence) {
		h.t.Errorf("samgateway %s: got %+v, want exit code %d and %q", strings.Join(arguments, " "), got, code, sentence)
	}
}

// account opens an account at the broker with something on it.
func (h *house) account(number byte, amount money.Amount) string {
	h.t.Helper()
	id := "accountaaaaaaaa" + string([]byte{'a' + number})
	key := bytes.Repeat([]byte{number + 1}, 32)
	err := h.db.Update(h.t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(h.t.Context(), `INSERT INTO broker_accounts (id, key_id, key, parent, name, created) VALUES (?, ?, ?, '', '', ?)`,
			id, id, key, tx.Now().UnixMicro())
		for _, part := range []string{":available", ":reserved"} {
			if err == nil {
				err = tx.CreateAccount(h.t.Context(), ledger.Account{ID: "user:" + id + part, Currency: "usd-micro"})
			}
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if amount > 0 {
		if _, refusal, err := h.broker.Fund(h.t.Context(), "funding-"+id, id, amount); err != nil || refusal.Refused() {
			h.t.Fatalf("%v (%v)", refusal, err)
		}
	}
	return id
}

// issue makes a card and puts it into the customer's reader; account "" is a white
// card's.
func (h *house) issue(number byte, account string) *purse.Card {
	h.t.Helper()
	known := cards.Card{ID: cardID(number), KeyVersion: 1, Account: account, Exponent: testUnit.Exponent, Expires: time.Now().AddDate(2, 0, 0)}
	if account != "" {
		known.Holder = purse.ID{0xA0, 7: number}
	}
	if err := h.clearing.IssueCard(h.t.Context(), known); err != nil {
		h.t.Fatal(err)
	}
	card := newCard(h.t, number, account == "")
	h.customer.put(card)
	return card
}

// wantAccount compares what is on an account of the broker.
func (h *house) wantAccount(account string, want money.Amount) {
	h.t.Helper()
	var found ledger.Account
	err := h.db.View(h.t.Context(), func(tx *ledger.Tx) (err error) {
		found, err = tx.Account(h.t.Context(), "user:"+account+":available")
		return err
	})
	if got := found.Balance - found.Pending; err != nil || got != want {
		h.t.Errorf("account %s has %s (%v), want %s", account, got.Decimal(), err, want.Decimal())
	}
}

// wantSound fails if anything in the books disagrees with anything else.
func (h *house) wantSound() {
	h.t.Helper()
	found, err := h.clearing.Check(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, d := range found {
		h.t.Errorf("%s: %s", d.Subject, d.What)
	}
	wrong, err := h.broker.Check(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, sentence := range wrong {
		h.t.Errorf("the broker's check: %s", sentence)
	}
}
