package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// Broker is a broker whose certificates are taken.
type Broker struct {
	// The broker's origin, exactly as its certificates name it.
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
	keysFetchTimeout    = 10 * time.Second
	keysRefreshInterval = 10 * time.Minute // a new key is published well before it signs
	keysRetryInterval   = 5 * time.Second  // while a broker's keys are not known at all
	maxKeysBytes        = 64 << 10         // 64 keys of 200 bytes, with room
)

// errKeysNotLoaded means that a broker's keys could not be had yet, so nobody
// can tell whether its certificates are good.
var errKeysNotLoaded = errors.New("the broker's keys are not loaded yet")

// brokerKeys holds the keys of the brokers and keeps them fresh.
type brokerKeys struct {
	cache  string // directory for the sets that were fetched
	logger *zap.Logger
	client *http.Client

	mu      sync.RWMutex
	brokers []Broker
	keys    payword.Brokers // replaced whole, never changed
}

func newBrokerKeys(directory string, logger *zap.Logger) *brokerKeys {
	return &brokerKeys{
		cache: directory, logger: logger, keys: payword.Brokers{},
		client: &http.Client{Timeout: keysFetchTimeout, CheckRedirect: refuseRedirect},
	}
}

// refuseRedirect keeps a broker that was taken over from sending us elsewhere.
func refuseRedirect(*http.Request, []*http.Request) error {
	return errors.New("a broker must not redirect")
}

// use sets the brokers of a configuration and loads what can be loaded without
// the network.
func (k *brokerKeys) use(brokers []Broker) {
	k.mu.Lock()
	k.brokers = slices.Clone(brokers)
	kept := payword.Brokers{}
	for _, broker := range brokers {
		if keys := k.keys[broker.Issuer]; keys != nil {
			kept[broker.Issuer] = keys
		}
	}
	k.keys = kept
	k.mu.Unlock()
	for _, broker := range brokers {
		location := broker.keysLocation()
		if isURL(location) {
			location = k.cachePath(broker.Issuer)
		}
		document, err := os.ReadFile(location)
		if err == nil {
			err = k.install(broker.Issuer, document)
		}
		if err != nil && !isURL(broker.keysLocation()) {
			k.logger.Error("reading a broker's keys", zap.String("broker", broker.Issuer), zap.Error(err))
		}
	}
}

// trusted returns the keys of all brokers, and an error if those of issuer are
// configured but not known.
func (k *brokerKeys) trusted(issuer string) (payword.Brokers, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.keys[issuer] != nil {
		return k.keys, nil
	}
	for _, broker := range k.brokers {
		if broker.Issuer == issuer {
			return nil, errKeysNotLoaded
		}
	}
	return k.keys, nil
}

// issuers returns the names of the brokers, in their order.
func (k *brokerKeys) issuers() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	names := make([]string, len(k.brokers))
	for i, broker := range k.brokers {
		names[i] = broker.Issuer
	}
	return names
}

// refresh fetches the keys until ctx ends.
func (k *brokerKeys) refresh(ctx context.Context) {
	for {
		wait := keysRefreshInterval
		k.mu.RLock()
		brokers := k.brokers
		k.mu.RUnlock()
		for _, broker := range brokers {
			if err := k.fetch(ctx, broker); err != nil && ctx.Err() == nil {
				k.logger.Warn("fetching a broker's keys; the last known ones stay in use",
					zap.String("broker", broker.Issuer), zap.Error(err))
			}
			if _, err := k.trusted(broker.Issuer); err != nil {
				wait = keysRetryInterval
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (k *brokerKeys) fetch(ctx context.Context, broker Broker) error {
	location := broker.keysLocation()
	if !isURL(location) {
		document, err := os.ReadFile(location)
		if err != nil {
			return err
		}
		return k.install(broker.Issuer, document)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return err
	}
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	document, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the broker answered %s", response.Status)
	}
	if err := k.install(broker.Issuer, document); err != nil {
		return err
	}
	return os.WriteFile(k.cachePath(broker.Issuer), document, 0o600)
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
	return nil
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
