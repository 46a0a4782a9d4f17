package caddymodule

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// The files, beside challengeSecretName, of the secrets that challenges are bound
// with, in the store's directory.
const (
	nextSecretName     = "challenge-secret-next"     // is recognised already, for gates that rotate together
	previousSecretName = "challenge-secret-previous" // is recognised still, until the last quote under it has ended

	// previousSecretSeconds is how long: the longest quote_life.
	previousSecretSeconds = payword.RefundSeconds
)

// challengeSecrets are the secrets that a gate makes and recognises its
// challenges with.
type challengeSecrets struct {
	directory string
	rotating  sync.Mutex // one rotation, or one reading of the files, at a time
	known     atomic.Pointer[secretSet]
}

// secretSet is what the files held when they were read. It is never changed.
type secretSet struct {
	stamps         [3]fileStamp // of the files, in the order of secretNames
	making         []byte
	next, previous []byte // nil: there is none
	previousEnds   int64  // seconds since 1970: until then it is recognised
}

var secretNames = [3]string{challengeSecretName, nextSecretName, previousSecretName}

func (c *challengeSecrets) path(name string) string { return filepath.Join(c.directory, name) }

func (c *challengeSecrets) stamps() (stamps [3]fileStamp) {
	for k, name := range secretNames {
		stamps[k] = stampOf(c.path(name))
	}
	return stamps
}

// openChallengeSecrets reads the secrets, and makes the first one if there is
// none.
func openChallengeSecrets(directory string) (*challengeSecrets, error) {
	c := &challengeSecrets{directory: directory}
	return c, c.read()
}

// read reads the files. If one is wrong, what was read before stays in use.
func (c *challengeSecrets) read() error {
	set := &secretSet{}
	var err error
	if set.making, err = loadOrCreate(c.path(challengeSecretName)); err != nil {
		return err
	}
	if set.next, err = loadIfThere(c.path(nextSecretName)); err != nil {
		return err
	}
	if set.previous, err = loadIfThere(c.path(previousSecretName)); err != nil {
		return err
	}
	set.stamps = c.stamps()
	// It was replaced when the file of its successor was written.
	set.previousEnds = set.stamps[0].modified.Unix() + previousSecretSeconds
	c.known.Store(set)
	return nil
}

// loadIfThere returns the 32 bytes of a file, or nil if it is not there.
func loadIfThere(path string) ([]byte, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return loadOrCreate(path)
}

// readIfChanged reads the files if somebody changed one.
func (c *challengeSecrets) readIfChanged() (changed bool, err error) {
	c.rotating.Lock()
	defer c.rotating.Unlock()
	if c.stamps() == c.known.Load().stamps {
		return false, nil
	}
	return true, c.read()
}

// making returns the secret that challenges are made with.
func (c *challengeSecrets) making() []byte { return c.known.Load().making }

// recognised returns the secrets that a challenge may have been made with, at a
// time in seconds since 1970.
func (c *challengeSecrets) recognised(now int64) [][]byte {
	set := c.known.Load()
	all := [][]byte{set.making}
	if set.next != nil {
		all = append(all, set.next)
	}
	if set.previous != nil && now < set.previousEnds {
		all = append(all, set.previous)
	}
	return all
}

// errRotatedLately means that a rotation would end quotes that still hold.
var errRotatedLately = errors.New("the secret was rotated less than 15 minutes ago, and quotes under the one before still hold: wait, or drop them with ?previous=drop")

// rotate takes the next secret into use, a random one if none was put there.
// The one before is recognised as long as a quote under it can hold; with
// dropPrevious, after a theft, not at all.
func (c *challengeSecrets) rotate(now int64, dropPrevious bool) error {
	c.rotating.Lock()
	defer c.rotating.Unlock()
	set := c.known.Load()
	if !dropPrevious && set.previous != nil && now < set.previousEnds {
		return errRotatedLately
	}
	next := set.next
	if next == nil {
		next = make([]byte, ed25519.SeedSize)
		rand.Read(next)
	}
	var err error
	if dropPrevious {
		err = removeIfThere(c.path(previousSecretName))
	} else {
		err = writeWhole(c.path(previousSecretName), set.making)
	}
	if err == nil {
		err = writeWhole(c.path(challengeSecretName), next)
	}
	if err == nil {
		err = removeIfThere(c.path(nextSecretName))
	}
	return errors.Join(err, c.read())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// checkSecrets reads the challenge secrets if their files were changed.
func (a *App) checkSecrets() {
	switch changed, err := a.gate.challenges.readIfChanged(); {
	case err != nil:
		a.logger.Error("reading the challenge secrets; those before stay in use", zap.Error(err))
	case changed:
		a.logger.Info("read the challenge secrets", zap.Int("recognised", len(a.gate.challenges.recognised(a.now().Unix()))))
	}
}

// errNoNextSecret means that gates which share a store would rotate apart.
var errNoNextSecret = errors.New("gates that share a Redis rotate to the same secret: put it as " + nextSecretName + " into the store's directory of each first")

// rotatedSecret is the answer to a rotation.
type rotatedSecret struct {
	// PreviousUntil is until when quotes under the secret before are honoured;
	// empty: not at all.
	PreviousUntil string `json:"previousUntil,omitempty"`
}

// rotateSecret serves POST /payword/rotate-secret.
func (a *adminAPI) rotateSecret(w http.ResponseWriter, r *http.Request, app *App) error {
	drop := r.URL.Query().Get("previous") == "drop"
	if app.Redis != nil && app.gate.challenges.known.Load().next == nil {
		return adminError(http.StatusConflict, errNoNextSecret)
	}
	err := app.gate.challenges.rotate(app.now().Unix(), drop)
	switch {
	case errors.Is(err, errRotatedLately):
		return adminError(http.StatusConflict, err)
	case err != nil:
		return adminError(http.StatusInternalServerError, err)
	}
	answer := rotatedSecret{}
	if set := app.gate.challenges.known.Load(); set.previous != nil {
		answer.PreviousUntil = time.Unix(set.previousEnds, 0).UTC().Format(time.RFC3339)
	}
	return writeJSON(w, answer)
}
