package agent_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/agent"
	"github.com/paywordhq/payword/samgateway/relay"
)

// cutter is a line between agent and gateway that is cut at one message of
// either end.
type cutter struct {
	address string // where the agent calls

	mutex    sync.Mutex // guards what follows
	at       int        // the message, from 1; 0: none
	isAfter  bool       // it still arrives
	messages int
	wasCut   bool
}

func newCutter(t *testing.T, gateway string) *cutter {
	t.Helper()
	c := &cutter{}
	client := &http.Client{Transport: &http.Transport{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		near, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		far, _, err := websocket.Dial(t.Context(), gateway, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			near.CloseNow()
			return
		}
		var both sync.WaitGroup
		both.Go(func() { c.pump(t, near, far) })
		both.Go(func() { c.pump(t, far, near) })
		both.Wait()
	}))
	t.Cleanup(server.Close)
	c.address = "ws" + strings.TrimPrefix(server.URL, "http") + "/relay"
	return c
}

// pump hands messages on until the line is cut, and then ends both halves of it.
func (c *cutter) pump(t *testing.T, from, to *websocket.Conn) {
	defer to.CloseNow()
	defer from.CloseNow()
	for {
		kind, text, err := from.Read(t.Context())
		if err != nil {
			return
		}
		isCut, isAfter := c.count()
		if isCut && !isAfter {
			return
		}
		if to.Write(t.Context(), kind, text) != nil || isCut {
			return
		}
	}
}

func (c *cutter) count() (isCut, isAfter bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.messages++
	isCut = c.messages == c.at
	c.wasCut = c.wasCut || isCut
	return isCut, c.isAfter
}

func (c *cutter) set(at int, isAfter bool) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.at, c.isAfter, c.messages, c.wasCut = at, isAfter, 0, false
}

func (c *cutter) isCut() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.wasCut
}

var openPattern = regexp.MustCompile(`action="find-out"><input type="hidden" name="request" value="([^"]+)"`)

// findOut has the gateway ask the card about everything that is open, and
// returns how the page tells it. The gateway may still be busy with the session
// that was cut, and then says so: the holder asks once more.
func (h *home) findOut() string {
	h.t.Helper()
	text := h.look()
	for range 10 {
		found := openPattern.FindStringSubmatch(text)
		if found == nil {
			h.t.Fatalf("nothing is open:\n%s", text)
		}
		h.press("find-out", url.Values{"request": {found[1]}})
		h.yes("")
		if text = h.calm(); !openPattern.MatchString(text) {
			return text
		}
	}
	h.t.Fatalf("it is not decided:\n%s", text)
	return ""
}

// again runs a new agent on what the last one wrote down.
func (h *home) again() *home {
	h.t.Helper()
	h.stop()
	next := newHome(h.t, h.card, h.state, nil)
	next.token = h.token
	return next
}

// The line is cut at every message in both directions, before it arrives and
// after. What the holder is told is what the card did, and what the gateway has
// is what the card gave.
func TestLineCutAtEveryMessage(t *testing.T) {
	for _, intent := range []relay.Intent{relay.Pay, relay.Load} {
		t.Run(string(intent), func(t *testing.T) {
			p := newPlace(t)
			card := newCard(t, p.office.keys, cardID, 90_00)
			line := newCutter(t, p.address)
			h := newHome(t, card, "", nil)
			h.pair()
			body, pin := payment(line.address), ""
			if intent == relay.Load {
				body.Intent, pin = relay.Load, testPIN
			}
			seen, moved := make(map[agent.Phase]int), uint32(0)
			busy := 0
			for at, isAfter := 1, false; ; isAfter = !isAfter {
				before := card.data(t).Balance
				line.set(at, isAfter)
				got := h.pay(body, pin)
				wasCut := line.isCut()
				line.set(0, false)
				seen[got.Phase]++
				text := ""
				if got.Phase == agent.Undecided {
					h = h.again()
					wantPhase(t, h, got.Request, agent.Undecided)
					text = h.findOut()
					wantPhase(t, h, got.Request, agent.Resolved)
				}
				change := before - card.data(t).Balance
				if intent == relay.Load {
					change = -change
				}
				moved += change
				wantTold(t, got, change, text)
				if !wasCut && got.Phase == agent.Failed && busy < 10 {
					busy++ // with the session that was cut before: the holder asks once more
					continue
				}
				if !wasCut {
					break
				}
				if isAfter {
					at++
				}
			}
			for _, phase := range []agent.Phase{agent.Done, agent.Failed, agent.Undecided} {
				if seen[phase] == 0 {
					t.Errorf("no session was %s: %v", phase, seen)
				}
			}
			p.wantAccounted(t, intent, moved)
		})
	}
}

func wantPhase(t *testing.T, h *home, id string, want agent.Phase) {
	t.Helper()
	if got := h.stateOf(id); got.Phase != want {
		t.Errorf("the site is told %+v, want %s", got, want)
	}
}

// wantTold compares what the holder was told with what the card did.
func wantTold(t *testing.T, got agent.Answer, change uint32, text string) {
	t.Helper()
	switch {
	case change != 0 && change != 1_23:
		t.Fatalf("%d was moved by one session", change)
	case got.Phase == agent.Done && change == 0, got.Phase == agent.Failed && change != 0:
		t.Errorf("the holder was told %+v, and the card moved %d", got, change)
	case got.Phase != agent.Undecided:
	case change != 0 && !strings.Contains(text, "The card has paid") && !strings.Contains(text, "The card was loaded"),
		change == 0 && !strings.Contains(text, "The card has not paid") && !strings.Contains(text, "The card was not loaded"):
		t.Errorf("the card moved %d, and the page says:\n%s", change, text)
	}
}

// wantAccounted compares what cards gave or took with what the gateway has.
func (p *place) wantAccounted(t *testing.T, intent relay.Intent, moved uint32) {
	t.Helper()
	if intent == relay.Load {
		p.office.mutex.Lock()
		defer p.office.mutex.Unlock()
		sum := uint32(0)
		for reference, load := range p.office.loads {
			if p.office.taken[reference] == p.office.void[reference] {
				t.Errorf("load %s is not decided", reference)
			}
			if p.office.taken[reference] {
				sum += load.Request.Amount
			}
		}
		if sum != moved {
			t.Errorf("clearing has %d of loads, and the card took %d", sum, moved)
		}
		return
	}
	open, err := p.Undecided(t.Context())
	if err != nil || len(open) > 0 {
		t.Errorf("the terminal has %v, %v undecided", open, err)
	}
	turned, err := p.TurnIn(t.Context())
	if err != nil || turned.Sum != uint64(moved) {
		t.Errorf("the batch has %+v, %v; the card paid %d", turned, err, moved)
	}
}

// The card is pulled at each command, before it has it and after it did it.
func TestCardPulledAtEveryCommand(t *testing.T) {
	p := newPlace(t)
	card := newCard(t, p.office.keys, cardID, 90_00)
	h := newHome(t, card, "", nil)
	h.pair()
	for intent, instructions := range map[relay.Intent][]purse.Instruction{
		relay.Pay:  {purse.StartPay, purse.Debit},
		relay.Load: {purse.InitLoad, purse.Credit},
	} {
		for _, instruction := range instructions {
			for _, isAfter := range []bool{false, true} {
				before := card.data(t).Balance
				card.tear = func(asked purse.Instruction) (bool, bool) {
					return asked == instruction && !isAfter, asked == instruction && isAfter
				}
				body, pin := payment(p.address), ""
				if intent == relay.Load {
					body.Intent, pin = relay.Load, testPIN
				}
				asked := h.ask(body)
				h.yes(pin)
				got := h.settle(asked.Request)
				card.tear = nil
				if !card.isOut {
					t.Fatalf("%02X was not sent", instruction)
				}
				card.put(false)
				text := ""
				if got.Phase == agent.Undecided {
					text = h.findOut()
					wantPhase(t, h, asked.Request, agent.Resolved)
				}
				change := before - card.data(t).Balance
				if intent == relay.Load {
					change = -change
				}
				wantTold(t, got, change, text)
				if isDone := isAfter && (instruction == purse.Debit || instruction == purse.Credit); (change != 0) != isDone {
					t.Errorf("%02X, after: %v: the card moved %d", instruction, isAfter, change)
				}
			}
		}
	}
	if open, err := p.Undecided(t.Context()); err != nil || len(open) > 0 {
		t.Errorf("the terminal has %v, %v undecided", open, err)
	}
}
