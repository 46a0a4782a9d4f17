package broker

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paywordhq/payword/internal/keyfile"
)

// keyFileInterval is how often the key files are looked at. Looking takes no
// signal, which Windows does not have, and sees the links that container
// platforms swap.
const keyFileInterval = 2 * time.Second

// The names of key files in a directory end so. Whatever else is in it is passed
// over.
const (
	privateKeySuffix = ".key"
	publicKeySuffix  = ".pub"
)

// keyFiles is where the broker's keys are.
type keyFiles struct {
	path       string   // of the signing key, or of a directory of keys
	others     []string // of further keys to publish
	passphrase []byte

	seen []keyStamp // what was loaded last
}

// keyStamp is what tells that a key file was changed.
type keyStamp struct {
	path     string
	size     int64
	modified time.Time
}

// keySource is the keys that the files hold.
type keySource struct {
	signers   []crypto.Signer // in the order of their names
	published []ed25519.PublicKey
}

// list returns the private and the public key files that there are now.
func (f *keyFiles) list() (private, public []string, err error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the keys: %w", err)
	}
	public = slices.Clone(f.others)
	if !info.IsDir() {
		return []string{f.path}, public, nil
	}
	entries, err := os.ReadDir(f.path) // in the order of the names
	if err != nil {
		return nil, nil, fmt.Errorf("reading the keys: %w", err)
	}
	for _, entry := range entries {
		switch filepath.Ext(entry.Name()) {
		case privateKeySuffix:
			private = append(private, filepath.Join(f.path, entry.Name()))
		case publicKeySuffix:
			public = append(public, filepath.Join(f.path, entry.Name()))
		}
	}
	switch {
	case len(private) == 0:
		return nil, nil, fmt.Errorf("%s holds no key: make one with \"payword broker key --out %s\"", f.path, filepath.Join(f.path, "1"+privateKeySuffix))
	case len(private)+len(public) > maxBrokerKeys:
		return nil, nil, fmt.Errorf("%s holds more than %d keys", f.path, maxBrokerKeys)
	}
	return private, public, nil
}

// stamps returns what the files look like from outside.
func (f *keyFiles) stamps() ([]keyStamp, error) {
	private, public, err := f.list()
	if err != nil {
		return nil, err
	}
	var stamps []keyStamp
	for _, path := range append(private, public...) {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, fmt.Errorf("reading the keys: %w", err)
		}
		stamps = append(stamps, keyStamp{path, info.Size(), info.ModTime()})
	}
	return stamps, nil
}

// load reads the files.
func (f *keyFiles) load() (keys keySource, err error) {
	if f.seen, err = f.stamps(); err != nil {
		return keySource{}, err
	}
	private, public, err := f.list()
	if err != nil {
		return keySource{}, err
	}
	for _, path := range private {
		signer, err := LoadSealedKey(path, f.passphrase)
		if err != nil {
			return keySource{}, err
		}
		keys.signers = append(keys.signers, signer)
	}
	for _, path := range public {
		key, err := keyfile.LoadPublic(path, f.passphrase)
		if err != nil {
			return keySource{}, err
		}
		keys.published = append(keys.published, key)
	}
	return keys, nil
}

// watch gives the broker the keys anew whenever the files have changed, until ctx
// is done. Files that are no keys leave those in use that it has.
func (f *keyFiles) watch(ctx context.Context, b *Broker) {
	ticker := time.NewTicker(keyFileInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		f.takeUp(ctx, b)
	}
}

// takeUp gives the broker the keys anew if the files have changed.
func (f *keyFiles) takeUp(ctx context.Context, b *Broker) {
	stamps, err := f.stamps()
	if err == nil && slices.Equal(stamps, f.seen) {
		return
	}
	var keys keySource
	if err == nil {
		keys, err = f.load()
	}
	if err == nil {
		if err = b.SetKeys(ctx, keys.signers, keys.published); err != nil {
			// The files are right: they count as soon as the database answers,
			// though nobody touches them again. One that is gone may be stolen.
			f.seen = nil
		}
	}
	if err != nil && ctx.Err() == nil {
		b.log.ErrorContext(ctx, "reading the key files failed; the keys read last stay in use", "error", err)
		return
	}
	b.log.InfoContext(ctx, "the key files were read", "signers", len(keys.signers), "others", len(keys.published))
}
