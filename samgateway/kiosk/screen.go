package kiosk

import (
	"crypto/rand"
	"slices"
)

// What a screen can be answered with. The page asks for them by these words.
const (
	actBack     = "back"     // to the screen before
	actEnd      = "end"      // take the card out
	actGo       = "go"       // yes, do it
	actPIN      = "pin"      // body: the digits
	actText     = "text"     // body: what was typed
	actChoose   = "choose"   // body: an amount in units
	actLoad     = "load"     // the lines of the menu
	actFund     = "fund"     //
	actUnload   = "unload"   //
	actPayments = "payments" //
)

// screen is what the page shows.
type screen struct {
	name    string // of its template
	view    view
	actions []string // what it can be answered with
}

// view is what the templates are given. Each uses some of it.
type view struct {
	Purse    Purse
	Kind     Kind
	Amount   uint32
	Choices  []uint32
	Most     uint32
	Account  string
	Notice   string // key of a text that says what is wrong
	Reason   Reason
	Typed    string // what was typed and is wrong
	Payments []Payment
	Outcomes []Outcome
	IsOpen   bool // something is still not known
	IsLate   bool // the account gets it later
	Seconds  int  // until the session ends by itself
	Needs    bool // the PIN
}

// The screens of a reader without a card, and those that need no more than that
// the card is taken out.
var (
	startScreen      = screen{name: "start"}
	outOfOrderScreen = screen{name: "out-of-order"}
	takeScreen       = screen{name: "take"}
	foreignScreen    = screen{name: "foreign"}
	muteScreen       = screen{name: "mute"}
	readingScreen    = screen{name: "reading"}
	checkingScreen   = screen{name: "checking"}
)

// shown is the screen that is shown now. A request must name session and number.
type shown struct {
	screen
	session    string // of one card, or of the time between two; not to be guessed
	number     uint64 // of screens, rising
	isAnswered bool
}

// answer is what somebody did at a screen.
type answer struct {
	action string
	body   []byte
}

// wipe overwrites what was typed: it may be a PIN.
func (a *answer) wipe() {
	clear(a.body)
	a.body = nil
}

// show puts a screen on the page. Answers to the one before come too late.
func (k *Kiosk) show(s screen) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(s)
}

func (k *Kiosk) put(s screen) {
	select {
	case late := <-k.answers:
		late.wipe()
	default:
	}
	k.now.screen = s
	k.now.number++
	k.now.isAnswered = false
	k.tell()
}

// tell lets every page look. A page that has not looked since the last time will
// see the newest only.
func (k *Kiosk) tell() {
	for page := range k.pages {
		select {
		case page <- struct{}{}:
		default:
		}
	}
}

// newSession shows a screen to whoever is there next: under a new name, so that
// no request of before counts.
func (k *Kiosk) newSession(s screen) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.session = rand.Text()
	k.put(s)
}

// leave is newSession where the card is gone. Where nobody can have chosen a
// language any more it is the one that the kiosk speaks by itself.
func (k *Kiosk) leave(s screen) {
	k.newSession(s)
	if s.name != startScreen.name && s.name != outOfOrderScreen.name {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.language = k.unattended
	k.tell()
}

// offer gives an answer to the screen that is shown, if it is to that screen and
// the first one. The body is the screen's from now on, or overwritten.
func (k *Kiosk) offer(session string, number uint64, a answer) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if session != k.now.session || number != k.now.number || k.now.isAnswered || !slices.Contains(k.now.actions, a.action) {
		a.wipe()
		return false
	}
	k.now.isAnswered = true
	k.answers <- a // show has emptied it
	return true
}

// touch notes that somebody is at the screen.
func (k *Kiosk) touch(session string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if session != k.now.session {
		return false
	}
	select {
	case k.touched <- struct{}{}:
	default:
	}
	return true
}

// speak changes the language of the screen that is shown.
func (k *Kiosk) speak(session, tag string) bool {
	chosen, err := findLanguage(tag)
	if err != nil || !k.touch(session) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.language = chosen
	k.tell()
	return true
}

// look returns what is shown now, and in which language.
func (k *Kiosk) look() (shown, *phrases) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now, k.language
}

// watch returns a channel that is told of changes, until unwatch. It is nil if
// there are as many pages already as there may be.
func (k *Kiosk) watch() chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pages) >= maxPages {
		return nil
	}
	page := make(chan struct{}, 1)
	page <- struct{}{}
	k.pages[page] = struct{}{}
	return page
}

func (k *Kiosk) unwatch(page chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.pages, page)
}
