package samgateway

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

// listInterval is how often it is looked whether a reader was plugged in.
const listInterval = time.Second

// seen is what the command watch prints of each event.
type seen struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // reader, card, removed, gone, or no service
	readerResult
}

// defineWatch is the command watch, which prints what happens at the readers, until
// it is interrupted.
func defineWatch(c *command, _ *flag.FlagSet) func(context.Context) error {
	return func(ctx context.Context) error {
		w := &watch{command: c, at: make(map[string]bool)}
		defer w.watching.Wait()
		ticker := time.NewTicker(listInterval)
		defer ticker.Stop()
		for {
			if err := w.look(ctx); err != nil {
				return err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return nil // which is how it ends
			}
		}
	}
}

type watch struct {
	*command
	watching sync.WaitGroup

	mu      sync.Mutex
	at      map[string]bool // the readers that somebody watches
	said    string          // why there are no readers
	failure error           // of printing
}

// look begins to watch readers that are new.
func (w *watch) look(ctx context.Context) error {
	readers, err := w.readers.List(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.failure != nil:
		return w.failure
	case errors.Is(err, smartcard.ErrNotBuilt):
		return err
	case err != nil && ctx.Err() == nil && err.Error() != w.said:
		w.said = err.Error()
		w.print("no service", readerResult{Problem: w.said})
	case err == nil:
		w.said = ""
	}
	for _, reader := range readers {
		if !w.at[reader.Name()] {
			w.at[reader.Name()] = true
			w.print("reader", readerResult{Reader: reader.Name()})
			w.watching.Go(func() { w.follow(ctx, reader) })
		}
	}
	return nil
}

// follow prints what happens at a reader until it is gone.
func (w *watch) follow(ctx context.Context, reader smartcard.Reader) {
	for {
		err := reader.Wait(ctx, true)
		if err == nil {
			w.tellOf("card", lookInto(ctx, reader))
			if err = reader.Wait(ctx, false); err == nil {
				w.tellOf("removed", readerResult{Reader: reader.Name()})
			}
		}
		if err == nil {
			continue
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.at, reader.Name())
		if ctx.Err() == nil {
			w.print("gone", readerResult{Reader: reader.Name(), Problem: err.Error()})
		}
		return
	}
}

func (w *watch) tellOf(event string, what readerResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.print(event, what)
}

// print prints a line, of JSON where that was asked for. w.mu is held.
func (w *watch) print(event string, what readerResult) {
	now := time.Now().UTC()
	var err error
	if w.json {
		err = json.NewEncoder(w.stdout).Encode(seen{now, event, what})
	} else {
		_, err = fmt.Fprintf(w.stdout, "%s  %s\n", now.Format(time.TimeOnly), eventLine(event, what))
	}
	w.failure = errors.Join(w.failure, err)
}

func eventLine(event string, what readerResult) string {
	switch event {
	case "reader":
		return what.Reader + ": a reader"
	case "removed":
		return what.Reader + ": the card was taken out"
	case "no service":
		return what.Problem
	}
	return fmt.Sprintf("%s: %s", what.Reader, what)
}
