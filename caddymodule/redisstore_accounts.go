package caddymodule

import (
	"context"
	"fmt"
)

var _ lister = (*redisStore)(nil)

// accounts reads every commitment from Redis. One whose key changes its place
// meanwhile may be seen twice. What does not parse is logged and left out.
func (s *redisStore) accounts(ctx context.Context, yield func(account) bool) error {
	if err := s.health.wait(ctx); err != nil {
		return err
	}
	servers, err := s.servers(ctx)
	if err != nil {
		return err
	}
	for _, server := range servers {
		for cursor := uint64(0); ; {
			keys, next, err := server.Scan(ctx, cursor, s.prefix+"{*", scanCount).Result()
			if err != nil {
				return fmt.Errorf("redis: %w", err)
			}
			if goOn, err := s.accountsOf(ctx, keys, yield); err != nil || !goOn {
				return err
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// accountsOf reads some commitments and reports whether to go on.
func (s *redisStore) accountsOf(ctx context.Context, keys []string, yield func(account) bool) (bool, error) {
	goOn := true
	err := s.readKeys(ctx, keys, func(e *entry) bool {
		found, known := e.account()
		goOn = !known || yield(found)
		return goOn
	})
	return goOn, err
}
