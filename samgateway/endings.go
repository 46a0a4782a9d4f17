package samgateway

import (
	"sync"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// maxKept bounds the cards of which it is kept how something ended while they were
// not there.
const maxKept = 256

// endings are outcomes that nobody was told yet, by card: they are for its holder
// alone. The terminal tells each once, to whoever asks first.
type endings struct {
	mutex sync.Mutex
	of    map[purse.ID][]terminal.Outcome
}

// keep keeps outcomes until their cards come.
func (e *endings) keep(outcomes []terminal.Outcome) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for _, o := range outcomes {
		_, known := e.of[o.Card]
		if o.Card == (purse.ID{}) || !known && len(e.of) >= maxKept {
			continue
		}
		if e.of == nil {
			e.of = make(map[purse.ID][]terminal.Outcome)
		}
		if len(e.of[o.Card]) < maxKept {
			e.of[o.Card] = append(e.of[o.Card], o)
		}
	}
}

// take returns what is kept for a card, once.
func (e *endings) take(card purse.ID) []terminal.Outcome {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	outcomes := e.of[card]
	delete(e.of, card)
	return outcomes
}
