package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/paywordhq/payword"
)

const (
	// pairingLife is how long a code is good: to read it here and type it there.
	pairingLife = 2 * time.Minute
	// pairingTries is how often a code may be typed wrong, by all sites together. A
	// site that guesses finds one of 10^8 with 3 tries.
	pairingTries = 3
	codeDigits   = 8
)

// pairing is a code that waits for a site.
type pairing struct {
	code    string
	expires time.Time
	wrong   int
}

func newCode() string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(codeDigits), nil)
	number, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // the source of randomness never fails
	}
	return fmt.Sprintf("%0*d", codeDigits, number)
}

// openPairing makes a new code; an older one is good for nothing.
func (a *Agent) openPairing() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.pairing = &pairing{code: newCode(), expires: a.config.Now().Add(pairingLife)}
}

// waitingPairing returns the code that is good now, or nil.
func (a *Agent) waitingPairing() *pairing {
	if a.pairing != nil && (a.pairing.wrong >= pairingTries || !a.config.Now().Before(a.pairing.expires)) {
		a.pairing = nil
	}
	return a.pairing
}

var (
	errNoPairing = errors.New("the code is wrong, was used, or is too old: have the agent show a new one")
	errWrongCode = errors.New("the code is wrong")
)

// pair exchanges a code for a token that only this origin can use.
func (a *Agent) pair(origin, code string) (token string, err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	waiting := a.waitingPairing()
	if waiting == nil {
		return "", errNoPairing
	}
	if !equal(waiting.code, code) {
		waiting.wrong++
		if waiting.wrong >= pairingTries {
			a.pairing = nil
			a.notice = fmt.Sprintf("A wrong code was typed %d times, the last time at %s. The code is good for nothing any more.", pairingTries, origin)
			return "", errNoPairing
		}
		return "", errWrongCode
	}
	token = secret()
	if err := a.store.pair(site{Origin: origin, Token: hashOf(token), Paired: a.config.Now().UTC()}); err != nil {
		return "", err
	}
	a.pairing = nil
	a.notice = origin + " is paired now. If you do not know it, remove it."
	return token, nil
}

// isPairing reports whether a code waits for a site.
func (a *Agent) isPairing() bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.waitingPairing() != nil
}

func (a *Agent) isPaired(origin string) bool {
	return slices.ContainsFunc(a.store.sites(), func(one site) bool { return one.Origin == origin })
}

// isSite reports whether a token is the one that the origin was given.
func (a *Agent) isSite(origin, token string) bool {
	hash := hashOf(token)
	return slices.ContainsFunc(a.store.sites(), func(one site) bool { return one.Origin == origin && equal(one.Token, hash) })
}

// siteOf returns the site whose token it is.
func (a *Agent) siteOf(token string) (origin string, isKnown bool) {
	hash := hashOf(token)
	for _, one := range a.store.sites() {
		if equal(one.Token, hash) {
			return one.Origin, true
		}
	}
	return "", false
}

// extensionOrigin is what the pages of a browser's extension come from, in
// Chromium and in Firefox. Only the browser can say so: no site has such an
// origin. It counts for the extension as a whole, and in Firefox for one profile.
var extensionOrigin = regexp.MustCompile(`^(chrome-extension://[a-p]{32}|moz-extension://[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// originOf returns the site, or the extension, that a request comes from.
// Browsers always say it where one site asks another; what they say of files and
// frames without a home is null, which is nobody.
func originOf(r *http.Request) (string, error) {
	values := r.Header.Values("Origin")
	if len(values) != 1 || payword.CheckOrigin(values[0]) != nil && !extensionOrigin.MatchString(values[0]) {
		return "", errors.New("want a request of a page at an https:// origin, or of a browser's extension")
	}
	return values[0], nil
}
