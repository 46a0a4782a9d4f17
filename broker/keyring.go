package broker

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// keyReadInterval is after how many seconds the table of keys is read
	// again: how soon a broker knows what another one, or a command, did.
	keyReadInterval = 10

	// maxBrokerKeys is how many keys fit into the broker's key set, which is
	// what payword.ParseJWKS takes.
	maxBrokerKeys = 64

	// signTimeout is how long one signature may take, by a machine elsewhere
	// too: less than requestTimeout, so that whoever waits is told.
	signTimeout = 10 * time.Second

	// maxSigning is how many signatures by a signer that is not in memory are
	// made at once, and so how many goroutines one that hangs can hold.
	maxSigning = 64
)

// errNoSigner means that every key there is to sign with was withdrawn.
var errNoSigner = errors.New("every signing key was withdrawn: add one that was not")

// keyring is the broker's own keys: what it signs with, and what it publishes.
type keyring struct {
	loading sync.Mutex // one loads at a time; guards what follows
	signers []*signingKey
	others  []ed25519.PublicKey // published, too

	current atomic.Pointer[keySet]
	signing chan struct{} // a slot for each signature under way
	timeout time.Duration // of a signature; tests lower it
}

// signingKey is a key that the broker can sign with.
type signingKey struct {
	crypto.Signer
	public ed25519.PublicKey
	id     string       // thumbprint
	noted  atomic.Int64 // the table says that what it signed lasts that long, seconds since 1970
}

// keySet is the keys at one moment. It is never changed.
type keySet struct {
	signer    *signingKey // nil: every one was withdrawn
	published []ed25519.PublicKey
	trusted   payword.Brokers // the same, for checking what this broker signed
	loaded    int64           // seconds since 1970
}

// brokerKey is a row of the table of keys.
type brokerKey struct {
	id          string
	key         ed25519.PublicKey
	created     int64 // microseconds since 1970
	signedUntil int64 // seconds since 1970; 0: it signed nothing
	withdrawn   bool
}

// isNeeded reports whether something that the key signed is still valid.
func (k brokerKey) isNeeded(now int64) bool { return !k.withdrawn && now < k.signedUntil }

// SetKeys replaces what the broker signs with and what it publishes beside, from
// the next request on; no restart is needed. All are published at once. Of the
// signers that one signs which was published last, at least Config.KeyLead ago,
// and the first as long as there is none. Keys that are not named any more stay
// published until all that they signed has expired. It refuses keys that are not
// Ed25519, and more than 64 in all.
func (b *Broker) SetKeys(ctx context.Context, signers []crypto.Signer, published []ed25519.PublicKey) error {
	r := &b.keyring
	r.loading.Lock()
	defer r.loading.Unlock()
	next, err := r.adopt(signers)
	if err != nil {
		return err
	}
	all := slices.Clone(published)
	for _, signer := range next {
		all = append(all, signer.public)
	}
	for _, key := range all {
		if err := payword.CheckPublicKey(key); err != nil {
			return fmt.Errorf("keys: %w", err)
		}
	}
	if err := b.store.registerKeys(ctx, all); err != nil {
		return err
	}
	set, err := b.loadKeys(ctx, next, published)
	if err != nil {
		return err
	}
	b.warnOfKeys(ctx, all)
	r.signers, r.others = next, slices.Clone(published)
	r.current.Store(set)
	return nil
}

// warnOfKeys says which keys are published though nobody names them, and until
// when.
func (b *Broker) warnOfKeys(ctx context.Context, named []ed25519.PublicKey) {
	known, err := b.store.brokerKeys(ctx)
	if err != nil {
		b.log.ErrorContext(ctx, "reading the keys failed", "error", err)
	}
	for _, key := range known {
		if key.isNeeded(b.now()) && !containsKey(named, key.key) {
			b.log.WarnContext(ctx, "a key that is not named any more stays published, because what it signed is still valid",
				"key", key.id, "until", time.Unix(key.signedUntil, 0).UTC())
		}
	}
}

// adopt returns the signers as signing keys; those that are known keep what is
// known of them. loading is held.
func (r *keyring) adopt(signers []crypto.Signer) ([]*signingKey, error) {
	if len(signers) == 0 {
		return nil, errors.New("signer: missing")
	}
	var next []*signingKey
	for _, signer := range signers {
		public, isEd25519 := signer.Public().(ed25519.PublicKey)
		if !isEd25519 {
			return nil, fmt.Errorf("signer: want an Ed25519 key, not %T", signer.Public())
		}
		key := &signingKey{Signer: signer, public: public, id: payword.Thumbprint(public)}
		for _, known := range r.signers {
			if known.id == key.id {
				key.noted.Store(known.noted.Load())
			}
		}
		next = append(next, key)
	}
	return next, nil
}

// loadKeys reads the table and says what is signed with and published now.
// loading is held.
func (b *Broker) loadKeys(ctx context.Context, signers []*signingKey, others []ed25519.PublicKey) (*keySet, error) {
	known, err := b.store.brokerKeys(ctx)
	if err != nil {
		return nil, err
	}
	now := b.now()
	set := &keySet{loaded: now, signer: chooseSigner(signers, known, now, int64(b.config.KeyLead/time.Second))}
	var wanted []ed25519.PublicKey
	if set.signer != nil {
		wanted = append(wanted, set.signer.public)
	}
	for _, signer := range signers {
		wanted = append(wanted, signer.public)
	}
	wanted = append(wanted, others...)
	for _, key := range known {
		if key.isNeeded(now) {
			wanted = append(wanted, key.key)
		}
	}
	trusted := make(map[string]ed25519.PublicKey)
	for _, key := range wanted {
		id := payword.Thumbprint(key)
		if trusted[id] == nil && !known[id].withdrawn {
			trusted[id] = key
			set.published = append(set.published, key)
		}
	}
	if len(set.published) > maxBrokerKeys {
		return nil, fmt.Errorf("published keys: %d, want at most %d", len(set.published), maxBrokerKeys)
	}
	set.trusted = payword.Brokers{b.config.Issuer: trusted}
	return set, nil
}

// chooseSigner returns the signer that was published last, at least lead seconds
// ago; as long as there is none, the first. Those that were withdrawn do not
// count.
func chooseSigner(signers []*signingKey, known map[string]brokerKey, now, lead int64) *signingKey {
	signers = slices.DeleteFunc(slices.Clone(signers), func(key *signingKey) bool { return known[key.id].withdrawn })
	slices.SortStableFunc(signers, func(a, b *signingKey) int { return cmp.Compare(known[a.id].created, known[b.id].created) })
	for _, key := range slices.Backward(signers) {
		if known[key.id].created/1_000_000+lead <= now {
			return key
		}
	}
	if len(signers) == 0 {
		return nil
	}
	return signers[0]
}

// keys returns the keys of now. If the table cannot be read, those known last
// stay in use.
func (b *Broker) keys(ctx context.Context) *keySet {
	r := &b.keyring
	set := r.current.Load()
	if now := b.now(); now < set.loaded+keyReadInterval && now >= set.loaded || !r.loading.TryLock() {
		return set
	}
	defer r.loading.Unlock()
	next, err := b.loadKeys(ctx, r.signers, r.others)
	if err != nil {
		b.log.ErrorContext(ctx, "reading the keys failed; the last known ones stay in use", "error", err)
		return set
	}
	if next.signer != nil && (set.signer == nil || next.signer.id != set.signer.id) {
		b.log.InfoContext(ctx, "another key signs from now on", "key", next.signer.id)
	}
	r.current.Store(next)
	return next
}

// trustedKeys returns the keys for checking what this broker signed, as they
// were when keys was called last.
func (b *Broker) trustedKeys() payword.Brokers { return b.keyring.current.Load().trusted }

// signer returns what to sign with what lasts until a time, in seconds since
// 1970. Before anything is signed the table says that the key is needed until
// then; in whole days, so that it is one write a day and not one a signature.
func (b *Broker) signer(ctx context.Context, until int64) (requestSigner, error) {
	key := b.keys(ctx).signer
	if key == nil {
		return requestSigner{}, errNoSigner
	}
	until = (until/secondsPerDay + 1) * secondsPerDay
	if key.noted.Load() < until {
		if err := b.store.noteSigned(ctx, key.id, until); err != nil {
			return requestSigner{}, err
		}
		for noted := key.noted.Load(); noted < until && !key.noted.CompareAndSwap(noted, until); noted = key.noted.Load() {
		}
	}
	return requestSigner{ctx: ctx, key: key, slots: b.keyring.signing, timeout: b.keyring.timeout}, nil
}

// requestSigner is the signer for one request: it gives up when the request
// does, and lets nothing out that is not a signature.
type requestSigner struct {
	ctx     context.Context
	key     *signingKey
	slots   chan struct{}
	timeout time.Duration
}

// Public returns the Ed25519 key.
func (s requestSigner) Public() crypto.PublicKey { return s.key.public }

// Sign signs the message, or fails within signTimeout.
func (s requestSigner) Sign(random io.Reader, message []byte, options crypto.SignerOpts) ([]byte, error) {
	if inMemory, isPrivate := s.key.Signer.(ed25519.PrivateKey); isPrivate {
		return inMemory.Sign(random, message, options)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the signer: %w", ctx.Err())
	}
	type outcome struct {
		signature []byte
		err       error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-s.slots }()
		signature, err := s.key.Sign(random, message, options)
		done <- outcome{signature, err}
	}()
	select {
	case made := <-done:
		if made.err == nil && !ed25519.Verify(s.key.public, message, made.signature) {
			made.err = errors.New("the signer gave what is not its key's signature")
		}
		return made.signature, made.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the signer: %w", ctx.Err())
	}
}

// registerKeys remembers that keys were published.
func (s *store) registerKeys(ctx context.Context, keys []ed25519.PublicKey) error {
	_, err := s.update(ctx, "register keys", func(tx *ledger.Tx) error {
		for _, key := range keys {
			id := payword.Thumbprint(key)
			isNew, err := tx.ExecOne(ctx, `INSERT INTO broker_keys (key_id, key, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
				id, []byte(key), tx.Now().UnixMicro())
			if err == nil && isNew {
				err = audit(ctx, tx, auditEntry{"publish-key", "key:" + id, ""})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// brokerKeys returns the keys of the table by their ids.
func (s *store) brokerKeys(ctx context.Context) (known map[string]brokerKey, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		known = make(map[string]brokerKey)
		rows, err := tx.QueryContext(ctx, `SELECT key_id, key, created, signed_until, withdrawn FROM broker_keys`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key brokerKey
			var raw []byte
			if err := rows.Scan(&key.id, &raw, &key.created, &key.signedUntil, &key.withdrawn); err != nil {
				return err
			}
			key.key = raw
			known[key.id] = key
		}
		return rows.Err()
	})
	return known, err
}

// noteSigned remembers that a key is needed until a time, in seconds since 1970.
func (s *store) noteSigned(ctx context.Context, keyID string, until int64) error {
	_, err := s.update(ctx, "note signed", func(tx *ledger.Tx) error {
		found, err := tx.ExecOne(ctx, `UPDATE broker_keys
			SET signed_until = CASE WHEN signed_until < ? THEN ? ELSE signed_until END
			WHERE key_id = ? AND withdrawn = 0`, until, until, keyID)
		if err == nil && !found {
			return fmt.Errorf("key %s was withdrawn: nothing is signed with it", keyID)
		}
		return err
	})
	return err
}

// WithdrawKey takes a key out of what is published, whatever it signed, because
// it was stolen: nobody is to trust it any more. All brokers on the database
// know within 10 seconds; the key signs nothing any more. It reports whether the
// key, named by its RFC 7638 thumbprint, was known.
func (b *Broker) WithdrawKey(ctx context.Context, keyID string) (bool, error) {
	return b.store.withdrawKey(ctx, keyID)
}

// withdrawKey takes a key out of what is published, whatever it signed: what a
// thief signs with it must not count. It reports whether the key was known.
func (s *store) withdrawKey(ctx context.Context, keyID string) (found bool, err error) {
	_, err = s.update(ctx, "withdraw key", func(tx *ledger.Tx) error {
		found, err = tx.ExecOne(ctx, `UPDATE broker_keys SET withdrawn = 1 WHERE key_id = ?`, keyID)
		if err != nil || !found {
			return err
		}
		return audit(ctx, tx, auditEntry{"withdraw-key", "key:" + keyID, ""})
	})
	return found, err
}
