package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// swapBatch is calls that are sent together. It is used again for the next ones.
type swapBatch struct {
	calls    []*swapCall
	scripts  []swapScriptCall
	commands []*redis.Cmd
}

// swapScriptCall is one call of the script.
type swapScriptCall struct {
	calls     []*swapCall
	arguments []any // of the command, whose first two are its name and the script
}

// The first two arguments of a command: by its hash, or as a whole.
var (
	swapByHash  = [2]any{"evalsha", swapScript.Hash()}
	swapByWhole = [2]any{"eval", swapSource}
)

// errWaitedTooLong means that a swap was not sent.
var errWaitedTooLong = errors.New("waiting for a connection to Redis took too long")

// send makes the calls of a batch, and tells each what came of it. On a single
// server all of them share one call of the script, on a cluster those of a group.
func (l *redisLine) send(batch *swapBatch) {
	batch.arrange(l.isCluster, l.isApart)
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	l.run(ctx, batch)
	for k := range batch.scripts {
		call, command := &batch.scripts[k], batch.commands[k]
		if redis.HasErrorPrefix(command.Err(), "NOSCRIPT") {
			// The server has lost its scripts, and has done nothing.
			command = call.command(ctx, swapByWhole)
			_ = l.client.Process(ctx, command) // it has its own error
		}
		if redis.HasErrorPrefix(command.Err(), "TRYAGAIN") {
			l.apart[call.calls[0].group].Store(apartSwaps)
		}
		call.conclude(command)
	}
}

// isApart reports whether a swap of a group shares no call now.
func (l *redisLine) isApart(group int) bool {
	return l.apart[group].Load() > 0 && l.apart[group].Add(-1) >= 0
}

func (l *redisLine) run(ctx context.Context, batch *swapBatch) {
	batch.commands = batch.commands[:0]
	for k := range batch.scripts {
		batch.commands = append(batch.commands, batch.scripts[k].command(ctx, swapByHash))
	}
	switch len(batch.commands) {
	case 0:
	case 1:
		_ = l.client.Process(ctx, batch.commands[0]) // it has its own error
	default:
		pipe := l.client.Pipeline()
		for _, command := range batch.commands {
			_ = pipe.Process(ctx, command)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
}

// arrange divides the calls among calls of the script. Those that waited too long
// are left out.
func (b *swapBatch) arrange(isCluster bool, isApart func(group int) bool) {
	b.scripts = b.scripts[:0]
	slices.SortFunc(b.calls, func(one, other *swapCall) int {
		if isCluster && one.group != other.group {
			return one.group - other.group
		}
		return cmp.Compare(min(one.life, 1), min(other.life, 1))
	})
	now := time.Now()
	var last *swapCall // nil: nothing, or one that is apart
	for _, call := range b.calls {
		if now.After(call.ends) {
			call.err = errWaitedTooLong
			continue
		}
		isAlone := isApart(call.group)
		if last == nil || isAlone || isCluster && call.group != last.group {
			b.begin()
		}
		if last = call; isAlone {
			last = nil
		}
		script := &b.scripts[len(b.scripts)-1]
		script.calls = append(script.calls, call)
	}
}

// begin begins a call of the script.
func (b *swapBatch) begin() {
	if len(b.scripts) < cap(b.scripts) {
		b.scripts = b.scripts[:len(b.scripts)+1] // the memory of a former one
	} else {
		b.scripts = append(b.scripts, swapScriptCall{})
	}
	script := &b.scripts[len(b.scripts)-1]
	script.calls = script.calls[:0]
}

// command returns the command that makes the call.
func (c *swapScriptCall) command(ctx context.Context, script [2]any) *redis.Cmd {
	appended := 0
	c.arguments = append(c.arguments[:0], script[0], script[1], len(c.calls))
	for _, call := range c.calls {
		c.arguments = append(c.arguments, call.key)
		if call.life == 0 {
			appended++
		}
	}
	c.arguments = append(c.arguments, appended)
	for _, call := range c.calls {
		c.arguments = append(c.arguments, &call.expected, &call.write)
		if call.life > 0 {
			c.arguments = append(c.arguments, call.life)
		}
	}
	return redis.NewCmd(ctx, c.arguments...)
}

// conclude tells each call what became of it.
func (c *swapScriptCall) conclude(command *redis.Cmd) {
	answer, err := command.Result()
	answers, isList := answer.([]any)
	_, isDone := answer.(int64)
	switch {
	case err != nil:
	case isDone:
	case !isList || len(answers) != len(c.calls):
		err = fmt.Errorf("redis answered a script with %d answers in a %T; want %d", len(answers), answer, len(c.calls))
	}
	for k, call := range c.calls {
		if call.err = err; err != nil {
			continue
		}
		if isDone {
			call.isDone = true
			continue
		}
		switch answer := answers[k].(type) {
		case nil:
		case int64:
			call.isDone = true
		case string:
			call.stands = answer
		default:
			call.err = swapError(answer)
		}
	}
}

// refusedSwap is the server's word, in the answer for one key, that nothing was
// done with it.
type refusedSwap string

func (r refusedSwap) Error() string { return string(r) }

// RedisError makes it a redis.Error.
func (refusedSwap) RedisError() {}

// swapError returns the error that the script answered for one key.
func swapError(answer any) error {
	if list, isList := answer.([]any); isList && len(list) == 1 {
		if text, isText := list[0].(string); isText {
			return refusedSwap(text)
		}
	}
	return fmt.Errorf("redis answered a swap with a %T", answer)
}
