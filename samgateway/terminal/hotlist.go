package terminal

import (
	"context"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

const (
	// hotListAge is how old the hot list may become before Resolve asks for it
	// again: a finder of a card has so long.
	hotListAge = 10 * time.Minute
	// maxHotList bounds the cards on it: 8 MB of them.
	maxHotList = 1_000_000
)

// hotList is the cards that are not to be taken, for any number of goroutines.
type hotList struct {
	mutex sync.RWMutex
	cards map[purse.ID]struct{} // guarded by mutex
	asked time.Time             // guarded by mutex; when clearing last told it
}

func (h *hotList) has(card purse.ID) bool {
	h.mutex.RLock()
	defer h.mutex.RUnlock()
	_, found := h.cards[card]
	return found
}

func (h *hotList) set(cards []purse.ID, asked time.Time) {
	set := make(map[purse.ID]struct{}, len(cards))
	for _, card := range cards {
		set[card] = struct{}{}
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.cards, h.asked = set, asked
}

func (h *hotList) isOlder(than time.Time) bool {
	h.mutex.RLock()
	defer h.mutex.RUnlock()
	return h.asked.Before(than)
}

// refreshHotList asks clearing for the hot list. The journal keeps it, so that a
// terminal that begins while clearing is away knows the last one.
func (t *Terminal) refreshHotList(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	cards, err := t.config.Host.HotList(asked)
	if err != nil {
		return err
	}
	if len(cards) > maxHotList {
		t.log.Error("the hot list is too long: some of its cards are taken", "cards", len(cards), "most", maxHotList)
		cards = cards[:maxHotList]
	}
	if err := t.journal.keepHotList(cards); err != nil {
		return err
	}
	t.hot.set(cards, t.now())
	return nil
}
