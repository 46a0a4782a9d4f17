package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
)

// cardsServing is what "serve" is told of purse cards.
type cardsServing struct {
	listen, origin, keysFile, feeFile string
	proxies                           []netip.Prefix
}

func (s *cardsServing) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.listen, "cards", "", "`ADDRESS` and port where SAM gateways hand in batches, for a TLS proxy in front (default: none is taken)")
	flags.StringVar(&s.origin, "cards-origin", "", "with --cards: the `ORIGIN` where gateways reach it, such as https://cards.broker.example, which they sign; without it, nothing that they have to sign is taken")
	flags.StringVar(&s.keysFile, "card-keys", "", "with --cards: the `FILE` of the masters MKL and KZD, which only its owner may read")
	flags.StringVar(&s.feeFile, "card-fee", "", "with --cards: the `FILE` of the fee rule in JSON (default: 0.3 percent of each payment, at least 0.01)")
	flags.Func("trusted-proxy", "with --cards: `NETWORK` of a proxy whose X-Forwarded-For says where batches come from, such as 127.0.0.1/32 (repeatable)", func(text string) error {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("want a network such as 127.0.0.1/32 or 2001:db8::/64")
		}
		s.proxies = append(s.proxies, network.Masked())
		return nil
	})
}

func (s *cardsServing) check(isBehindTLS bool) error {
	switch {
	case s.listen == "" && (s.origin+s.keysFile+s.feeFile != "" || len(s.proxies) > 0):
		return errors.New("--cards-origin, --card-keys, --card-fee and --trusted-proxy go with --cards: say where batches are handed in")
	case s.listen == "":
		return nil
	case s.origin != "" && payword.CheckOrigin(s.origin) != nil:
		return fmt.Errorf("--cards-origin: %w", payword.CheckOrigin(s.origin))
	case s.keysFile == "":
		return errors.New("--card-keys is missing: name the file of the masters MKL and KZD")
	case !isBehindTLS && !isLoopbackAddress(s.listen):
		return fmt.Errorf("--cards %q: who pays whom is nobody's business: listen on 127.0.0.1 behind a proxy, or say with --behind-tls that one is in front", s.listen)
	}
	return nil
}

// open returns what clears the cards that the server is told of; nil: none.
func (s *cardsServing) open(ctx context.Context, db *ledger.DB) (*cards.Clearing, error) {
	if s.listen == "" {
		return nil, nil
	}
	return openCards(ctx, db, s.keysFile, s.feeFile)
}

// serveCards takes batches and payments of purse cards, if it is told to, and
// does what is due.
func (c *command) serveCards(ctx context.Context, group *errgroup.Group, clearing *cards.Clearing, log *slog.Logger) error {
	if clearing == nil {
		return nil
	}
	group.Go(func() error { return keepCardsDue(ctx, clearing, log) })
	return c.listen(ctx, group, c.serving.cards.listen, " for cards", clearing.Handler(cards.HandlerConfig{Log: log, Origin: c.serving.cards.origin, Proxies: c.serving.cards.proxies}), log)
}

// dueInterval is how often it is looked for what is due of cards: days are
// counted, so an hour is often.
const dueInterval = time.Hour

// keepCardsDue pays back lost cards, and decides claims, whose days are over,
// until ctx is done.
func keepCardsDue(ctx context.Context, clearing *cards.Clearing, log *slog.Logger) error {
	ticker := time.NewTicker(dueInterval)
	defer ticker.Stop()
	for {
		_, waiting, err := clearing.PayBackDue(ctx, ledger.MaxPage)
		if err == nil {
			_, err = clearing.DecideDue(ctx, ledger.MaxPage)
		}
		if err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "what is due of cards was not done", "error", err.Error())
		}
		if len(waiting) > 0 {
			log.WarnContext(ctx, "cards wait to be paid back: their accounts are closed, and no reference is named", "cards", len(waiting))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
