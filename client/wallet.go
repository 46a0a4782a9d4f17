package client

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// WalletConfig says where a wallet is and how it works.
type WalletConfig struct {
	Path       string           // of the file; path.lock and path.new are used beside it
	Passphrase []byte           // encrypts the seed; empty: the seed is in clear, in a file that only its owner can read
	HTTPClient *http.Client     // for the broker; nil: one that gives up after 30 seconds. Redirects are not followed
	Now        func() time.Time // nil: time.Now

	workFactor int // of scrypt; 0: defaultWorkFactor
}

// brokerTimeout bounds one question to the broker.
const brokerTimeout = 30 * time.Second

// exportTimeout bounds an export of the account instead, which a broker writes
// for as long as ten minutes.
const exportTimeout = 11 * time.Minute

// Wallet is an open wallet file. One process at a time has it. It is safe for
// concurrent use.
//
// Its secret is one seed. The account's key, the key of every certificate and
// every chain are derived from it, so the seed, or a copy of an old file,
// together with the commitments that the broker gives back to their owner,
// restores what the wallet owned (RestoreWallet).
type Wallet struct {
	path   string
	lock   io.Closer
	broker http.Client
	now    func() time.Time
	seed   payword.Seed

	writing sync.Mutex // one writes the file at a time; taken before mu

	mu        sync.Mutex
	doc       document            // guarded by mu
	unsaved   bool                // doc is not what the file holds; guarded by mu
	closed    bool                // guarded by mu
	gathering *batch              // of changes that the next write saves; guarded by mu
	openings  map[string]*opening // under way, by vendor; guarded by mu
	tending   chan struct{}       // closed when the spares are renewed; nil: nobody does; guarded by mu
}

// batch is those who wait for one write of the file.
type batch struct {
	done chan struct{}
	err  error // set before done is closed
}

// CreateWallet makes a new wallet with a fresh seed. It refuses to replace a
// file. Among the errors are ErrLocked and fs.ErrExist.
func CreateWallet(config WalletConfig) (*Wallet, error) {
	lock, err := acquire(config.Path)
	if err != nil {
		return nil, err
	}
	w, err := createLocked(config)
	if err != nil {
		lock.Close()
		return nil, err
	}
	w.lock = lock
	return w, nil
}

func createLocked(config WalletConfig) (*Wallet, error) {
	var seed payword.Seed
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("creating wallet %s: %w", config.Path, err)
	}
	doc, err := newDocument(config, seed)
	if err != nil {
		return nil, err
	}
	w := newWallet(config, seed, doc)
	return w, w.save()
}

// newDocument returns what a new wallet's file holds. It refuses to replace a
// file.
func newDocument(config WalletConfig, seed payword.Seed) (document, error) {
	if _, err := os.Lstat(config.Path); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = os.ErrExist
		}
		return document{}, fmt.Errorf("creating wallet %s: %w", config.Path, err)
	}
	if config.workFactor == 0 {
		config.workFactor = defaultWorkFactor
	}
	kept, err := newSecret(seed, config.Passphrase, config.workFactor)
	if err != nil {
		return document{}, fmt.Errorf("creating wallet %s: %w", config.Path, err)
	}
	return document{Secret: kept, Vendors: make(map[string]*vendor)}, nil
}

// OpenWallet opens the wallet at config.Path. Among the errors are ErrLocked,
// ErrPassphrase, ErrCorrupt, ErrVersion and fs.ErrNotExist.
func OpenWallet(config WalletConfig) (*Wallet, error) {
	// Asked first, so that a wrong path leaves no lock file behind.
	if _, err := os.Stat(config.Path); err != nil {
		return nil, fmt.Errorf("opening the wallet: %w", err)
	}
	lock, err := acquire(config.Path)
	if err != nil {
		return nil, err
	}
	w, err := openLocked(config)
	if err != nil {
		lock.Close()
		return nil, err
	}
	w.lock = lock
	return w, nil
}

func openLocked(config WalletConfig) (*Wallet, error) {
	file, err := readFile(config.Path)
	if err != nil {
		return nil, err
	}
	doc, err := decodeDocument(file)
	if err != nil {
		return nil, fmt.Errorf("wallet %s: %w", config.Path, err)
	}
	seed, err := doc.Secret.open(config.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("wallet %s: %w", config.Path, err)
	}
	return newWallet(config, seed, doc), nil
}

func newWallet(config WalletConfig, seed payword.Seed, doc document) *Wallet {
	w := &Wallet{
		path: config.Path, now: config.Now, seed: seed, doc: doc,
		broker: http.Client{Timeout: brokerTimeout}, openings: make(map[string]*opening),
	}
	if w.now == nil {
		w.now = time.Now
	}
	if config.HTTPClient != nil {
		w.broker = *config.HTTPClient
	}
	// A signature is for one target; following a redirect would void it.
	w.broker.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return w
}

// Close saves what is not saved yet and gives the file free. Requests that are
// still under way get ErrClosed.
func (w *Wallet) Close() error {
	w.awaitTending()
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	unsaved, closed := w.unsaved, w.closed
	w.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if unsaved {
		err = w.write()
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return errors.Join(err, w.lock.Close())
}

// save returns when every change that was made before it was called is durable.
// All who call it while a write is under way share the next one, so thirty
// payments at once cost one or two. mu must not be held.
func (w *Wallet) save() error {
	w.mu.Lock()
	current := w.gathering
	if current != nil {
		w.mu.Unlock()
		<-current.done
		return current.err
	}
	current = &batch{done: make(chan struct{})}
	w.gathering = current
	w.mu.Unlock()

	w.writing.Lock()
	defer w.writing.Unlock()
	current.err = w.write()
	close(current.done)
	return current.err
}

// write makes the document durable. writing is held.
func (w *Wallet) write() error {
	w.mu.Lock()
	w.gathering = nil // who comes now may have changed what is encoded below
	if w.closed {
		w.mu.Unlock()
		return ErrClosed // the file may be another process's by now
	}
	content, err := w.doc.encode()
	w.unsaved = false
	w.mu.Unlock()
	if err == nil {
		err = replaceFile(w.path, content)
	}
	if err != nil {
		w.mu.Lock()
		w.unsaved = true
		w.mu.Unlock()
	}
	return err
}

// derive returns the Ed25519 key that the seed gives for a purpose and a number.
func (w *Wallet) derive(purpose string, number uint32) (ed25519.PrivateKey, error) {
	info := binary.BigEndian.AppendUint32([]byte(purpose), number)
	key, err := hkdf.Key(sha256.New, w.seed[:], nil, string(info), ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return ed25519.NewKeyFromSeed(key), nil
}

func (w *Wallet) accountKey() (ed25519.PrivateKey, error) {
	return w.derive("payword-account-key-1", 0)
}

func (w *Wallet) certificateKey(number uint32) (ed25519.PrivateKey, error) {
	return w.derive("payword-certificate-key-1", number)
}

// Summary is what a wallet tells of itself. It holds nothing secret.
type Summary struct {
	Path      string         `json:"path"`
	Encrypted bool           `json:"encrypted"`
	Broker    string         `json:"broker,omitempty"`  // origin; empty without an account
	Account   string         `json:"account,omitempty"` // id at the broker
	Currency  money.Currency `json:"currency,omitempty"`
	Spares    int            `json:"spares"`        // certificates for vendors that are new
	Released  money.Amount   `json:"released"`      // ever, in micros; what counts against a budget
	Spent     money.Amount   `json:"spent"`         // ever, in micros
	Today     money.Amount   `json:"releasedToday"` // on this day (UTC), in micros
	Sites     []Site         `json:"sites"`         // in the order of their origins
	History   []Receipt      `json:"history"`       // the last 1000, oldest first
}

// Site is what a wallet paid to one vendor.
type Site struct {
	Vendor   string       `json:"vendor"`            // origin
	Released money.Amount `json:"released"`          // ever, in micros
	Spent    money.Amount `json:"spent"`             // ever, in micros
	Limit    money.Amount `json:"limit"`             // of the open commitment, in micros; 0: none is open
	Left     money.Amount `json:"left"`              // not released of it, in micros
	Expires  int64        `json:"expires,omitempty"` // of the open commitment, seconds since 1970
}

// Summary returns what the wallet holds and what it paid.
func (w *Wallet) Summary() Summary {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Summary{
		Path: w.path, Encrypted: w.doc.Secret.Sealed != "", Broker: w.doc.Broker, Account: w.doc.Account,
		Currency: w.doc.Currency, Spares: len(w.doc.Spares), Released: w.doc.Total.Released, Spent: w.doc.Total.Spent,
		Sites: []Site{}, History: append([]Receipt{}, w.doc.History...),
	}
	if w.doc.Day.Day == dayOf(w.now()) {
		s.Today = w.doc.Day.Released
	}
	for _, origin := range w.doc.origins() {
		v := w.doc.Vendors[origin]
		site := Site{Vendor: origin, Released: v.Released, Spent: v.Spent}
		if v.Open != nil {
			site.Limit, site.Left, site.Expires = v.Open.Cap, v.Open.Cap-v.Open.value(), v.Open.terms.Expires
		}
		s.Sites = append(s.Sites, site)
	}
	return s
}

// dayOf returns the days since 1970, UTC.
func dayOf(now time.Time) int64 { return now.Unix() / (24 * 60 * 60) }
