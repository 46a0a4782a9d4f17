package caddymodule

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed redisstore_swap.lua
var swapSource string

var swapScript = redis.NewScript(swapSource)

const (
	// lineWorkers is how many pipelines are under way at once. While they are,
	// the calls of other commitments gather for the next ones. 1, 2 and 4 carry
	// the same, 34,000 to 47,000 charges a second of 64 callers on two processors;
	// with 4, one that waits for a slow server does not hold up all others.
	// Without sharing pipelines it is 19,000 to 31,000.
	lineWorkers = 4

	// maxPipelineCalls bounds what shares a pipeline, and so what waits for the
	// slowest of them.
	maxPipelineCalls = 128
)

// swapCall is one call of the script.
type swapCall struct {
	key       string
	arguments []any
	whole     bool // send the script itself: the server has forgotten it

	ended  chan struct{}
	fields []any // what stands there, if it is not what was expected; empty: nothing
	isDone bool  // it was what was expected
	err    error
}

// redisLine sends calls to Redis. Those that wait at the same time share a
// pipeline.
type redisLine struct {
	client  redis.UniversalClient
	timeout time.Duration // of one pipeline
	calls   chan *swapCall
	closing chan struct{}
	workers sync.WaitGroup
}

func startRedisLine(client redis.UniversalClient, timeout time.Duration) *redisLine {
	line := &redisLine{client: client, timeout: timeout, calls: make(chan *swapCall), closing: make(chan struct{})}
	for range lineWorkers {
		line.workers.Go(line.work)
	}
	return line
}

// close ends the workers. Calls that were not taken fail.
func (l *redisLine) close() {
	close(l.closing)
	l.workers.Wait()
}

// do makes a call and waits for its answer. An error of the kind redis.Error is
// the server's word that nothing was done; after any other nobody knows.
func (l *redisLine) do(ctx context.Context, call *swapCall) error {
	call.ended = make(chan struct{})
	call.fields, call.isDone, call.err = nil, false, nil
	select {
	case l.calls <- call:
	case <-l.closing:
		return errRedisClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for a connection to Redis: %w", ctx.Err())
	}
	<-call.ended
	return call.err
}

func (l *redisLine) work() {
	batch := make([]*swapCall, 0, maxPipelineCalls)
	for {
		select {
		case call := <-l.calls:
			batch = append(batch[:0], call)
		case <-l.closing:
			return
		}
		for len(batch) < maxPipelineCalls {
			select {
			case call := <-l.calls:
				batch = append(batch, call)
				continue
			default:
			}
			break
		}
		l.send(batch)
	}
}

// send makes the calls of a batch in one pipeline.
func (l *redisLine) send(batch []*swapCall) {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	commands := make([]*redis.Cmd, len(batch))
	if len(batch) == 1 {
		commands[0] = batch[0].command(ctx, l.client)
	} else {
		pipe := l.client.Pipeline()
		for k, call := range batch {
			commands[k] = call.command(ctx, pipe)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	for k, call := range batch {
		call.conclude(commands[k])
	}
}

func (c *swapCall) command(ctx context.Context, to redis.Scripter) *redis.Cmd {
	if c.whole {
		return swapScript.Eval(ctx, to, []string{c.key}, c.arguments...)
	}
	return swapScript.EvalSha(ctx, to, []string{c.key}, c.arguments...)
}

func (c *swapCall) conclude(command *redis.Cmd) {
	defer close(c.ended)
	answer, err := command.Result()
	if err != nil {
		c.err = err
		return
	}
	switch answer := answer.(type) {
	case int64:
		c.isDone = true
	case []any:
		c.fields = answer
	default:
		c.err = fmt.Errorf("redis answered a script with a %T", answer)
	}
}
