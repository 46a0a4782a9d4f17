package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// maxRefreshWait is how long a refresher sleeps at the most. A list that is
// asked for while the configuration is replaced waits no longer.
const maxRefreshWait = time.Minute

// refreshBroker fetches the keys and the hot lists of one broker until ctx ends.
// Each broker has its own, so that a slow one delays itself alone.
func (a *App) refreshBroker(ctx context.Context, broker Broker) {
	keys := keysRefresher{broker: broker, keys: a.gate.keys}
	wake := a.gate.hotLists.wake(broker.Issuer)
	keysDue := time.Time{}
	for {
		if now := time.Now(); !now.Before(keysDue) {
			if err := keys.refresh(ctx); err != nil && ctx.Err() == nil {
				a.logger.Warn("fetching a broker's keys; the last known ones stay in use",
					zap.String("broker", broker.Issuer), zap.Error(err))
			}
			keysDue = time.Now().Add(keys.wait())
		}
		listsWait := a.gate.hotLists.refreshDue(ctx, broker.Issuer, a.now())
		timer := time.NewTimer(max(0, min(time.Until(keysDue), listsWait, maxRefreshWait)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-wake:
			timer.Stop()
		}
	}
}

// refreshed is what came of asking one broker for its keys and hot lists.
type refreshed struct {
	Broker string `json:"broker"`
	Keys   int    `json:"keys"`            // known now
	Lists  int    `json:"lists"`           // hot lists that were fetched or still hold
	Error  string `json:"error,omitempty"` // what could not be had; the last known stays in use
}

// refreshNow asks all brokers at once.
func (a *App) refreshNow(ctx context.Context) []refreshed {
	all := make([]refreshed, len(a.Brokers))
	done := make(chan struct{})
	for k, broker := range a.Brokers {
		go func() {
			defer func() { done <- struct{}{} }()
			keys := keysRefresher{broker: broker, keys: a.gate.keys}
			err := keys.refresh(ctx)
			lists, listsError := a.gate.hotLists.refreshAll(ctx, broker.Issuer, a.now())
			all[k] = refreshed{Broker: broker.Issuer, Keys: len(a.gate.keys.of(broker.Issuer)), Lists: lists}
			if err = errors.Join(err, listsError); err != nil {
				all[k].Error = err.Error()
			}
		}()
	}
	for range all {
		<-done
	}
	return all
}

// refresh serves POST /payword/refresh.
func (a *adminAPI) refresh(w http.ResponseWriter, r *http.Request, app *App) error {
	return writeJSON(w, app.refreshNow(r.Context()))
}
