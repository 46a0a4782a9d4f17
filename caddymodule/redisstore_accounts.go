package caddymodule

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
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
	answers := make([]*redis.MapStringStringCmd, len(keys))
	_, _ = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for k, key := range keys {
			answers[k] = pipe.HGetAll(ctx, key)
		}
		return nil
	})
	for k, key := range keys {
		all, err := answers[k].Result()
		if err != nil {
			return false, fmt.Errorf("redis: %w", err)
		}
		fields := make([]any, 0, 2*len(all))
		for field, value := range all {
			fields = append(fields, field, value)
		}
		e, err := s.parseKey(key, fields)
		if errors.Is(err, errForgotten) {
			continue
		}
		if err != nil {
			s.logger.Error("listing the commitments", zap.Error(err))
			continue
		}
		if found, known := e.account(); known && !yield(found) {
			return false, nil
		}
	}
	return true, ctx.Err()
}
