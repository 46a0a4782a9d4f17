package caddymodule

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// Broker is a broker whose certificates are taken.
type Broker struct {
	// The broker's origin, exactly as its certificates name it. Required.
	Issuer string `json:"issuer,omitempty"`

	// The broker's public keys, a JSON Web Key Set: a file, or an https URL
	// that is fetched in the background. The last set fetched is kept in the
	// store's directory, so that the broker may be away for days. Default: the
	// broker's own /.well-known/jwks.json.
	Keys string `json:"keys,omitempty"`
}

func (b Broker) validate() error {
	if err := payword.CheckOrigin(b.Issuer); err != nil {
		return err
	}
	if strings.HasPrefix(b.Keys, "http://") && !strings.HasPrefix(b.Issuer, "http://") {
		return fmt.Errorf("keys %s: want https or a file", b.Keys)
	}
	return nil
}

// keysLocation returns the file or URL of the broker's keys.
func (b Broker) keysLocation() string {
	if b.Keys == "" {
		return b.Issuer + payword.PathBrokerKeys
	}
	return b.Keys
}

const (
	keysRefreshInterval = 10 * time.Minute // a new key is published well before it signs
	keysRetryInterval   = 5 * time.Second  // while a broker's keys are not known at all
	maxKeysBytes        = 64 << 10         // 64 keys of 200 bytes, with room
)

// keysMediaTypes are what a key set may be served as.
var keysMediaTypes = []string{"application/jwk-set+json", "application/json"}

// errKeysNotLoaded means that a broker's keys could not be had yet, so nobody
// can tell whether its certificates are good.
var errKeysNotLoaded = errors.New("the broker's keys are not loaded yet")

// brokerKeys holds the keys of every broker that was configured, by issuer. Who
// is trusted is for each configuration to say.
type brokerKeys struct {
	cache  string // directory for the sets that were fetched
	logger *zap.Logger

	mu   sync.RWMutex
	keys payword.Brokers      // replaced whole, never changed
	at   map[string]time.Time // when each set was last read or confirmed
}

func newBrokerKeys(directory string, logger *zap.Logger) *brokerKeys {
	return &brokerKeys{cache: directory, logger: logger, keys: payword.Brokers{}, at: make(map[string]time.Time)}
}

// load reads what can be had without the network.
func (k *brokerKeys) load(brokers []Broker) {
	for _, broker := range brokers {
		location := broker.keysLocation()
		if isURL(location) {
			location = k.cachePath(broker.Issuer)
		}
		document, err := readBounded(location, maxKeysBytes)
		if err == nil {
			err = k.install(broker.Issuer, document)
		}
		if err != nil && !isURL(broker.keysLocation()) {
			k.logger.Error("reading a broker's keys", zap.String("broker", broker.Issuer), zap.Error(err))
		}
	}
}

// of returns the keys of an issuer, or nil.
func (k *brokerKeys) of(issuer string) map[string]ed25519.PublicKey {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.keys[issuer]
}

// trusted returns the keys to check what an issuer signed with: none if this
// configuration does not trust it, and an error if it does and has no keys yet.
func (a *App) trusted(issuer string) (payword.Brokers, error) {
	for _, broker := range a.Brokers {
		if broker.Issuer != issuer {
			continue
		}
		keys := a.gate.keys.of(issuer)
		if keys == nil {
			return nil, errKeysNotLoaded
		}
		return payword.Brokers{issuer: keys}, nil
	}
	return payword.Brokers{}, nil
}

// issuers returns the names of the brokers, in their order.
func (a *App) issuers() []string {
	names := make([]string, len(a.Brokers))
	for i, broker := range a.Brokers {
		names[i] = broker.Issuer
	}
	return names
}

// keysRefresher fetches the keys of one broker again and again.
type keysRefresher struct {
	broker Broker
	keys   *brokerKeys
	etag   string    // of the set that was fetched last
	stamp  fileStamp // of the file that was read last
}

// refresh fetches the keys once. What is not a good set leaves the last one in
// use.
func (r *keysRefresher) refresh(ctx context.Context) error {
	location := r.broker.keysLocation()
	if !isURL(location) {
		return r.read(location)
	}
	fetched, err := published{url: location, mediaTypes: keysMediaTypes, maxBytes: maxKeysBytes, etag: r.etag}.get(ctx)
	if err != nil {
		return err
	}
	if fetched.unchanged {
		r.keys.confirm(r.broker.Issuer)
		return nil
	}
	if err := r.keys.install(r.broker.Issuer, fetched.body); err != nil {
		return err
	}
	r.etag = fetched.etag
	return writeWhole(r.keys.cachePath(r.broker.Issuer), fetched.body)
}

// read reads the keys from a file, if it was changed.
func (r *keysRefresher) read(path string) error {
	stamp := stampOf(path)
	if stamp == r.stamp && stamp != (fileStamp{}) {
		r.keys.confirm(r.broker.Issuer)
		return nil
	}
	set, err := readBounded(path, maxKeysBytes)
	if err != nil {
		return err
	}
	r.stamp = stamp
	return r.keys.install(r.broker.Issuer, set)
}

// wait returns how long to wait for the next refresh.
func (r *keysRefresher) wait() time.Duration {
	switch {
	case !isURL(r.broker.keysLocation()):
		return fileCheckInterval
	case r.keys.of(r.broker.Issuer) == nil:
		return jittered(keysRetryInterval)
	}
	return jittered(keysRefreshInterval)
}

// install replaces the keys of one broker.
func (k *brokerKeys) install(issuer string, document []byte) error {
	keys, err := payword.ParseJWKS(document)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errors.New("the key set holds no Ed25519 key")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	next := maps.Clone(k.keys)
	next[issuer] = keys
	k.keys = next
	k.at[issuer] = time.Now()
	return nil
}

// confirm notes that the keys which are known still hold.
func (k *brokerKeys) confirm(issuer string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys[issuer] != nil {
		k.at[issuer] = time.Now()
	}
}

// installedAt returns when each broker's keys were last read or fetched.
func (k *brokerKeys) installedAt() map[string]time.Time {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return maps.Clone(k.at)
}

// cachePath returns where the keys of a broker are kept. An origin holds no
// character that a file name cannot, but slashes and colons.
func (k *brokerKeys) cachePath(issuer string) string {
	name := strings.NewReplacer("://", "_", ":", "_", "[", "", "]", "").Replace(issuer)
	return filepath.Join(k.cache, "keys_"+name+".json")
}

func isURL(location string) bool {
	return strings.HasPrefix(location, "https://") || strings.HasPrefix(location, "http://")
}
