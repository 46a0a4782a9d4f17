package clearing

import (
	"context"
	"errors"
)

// explained is the sentence for an error. One who has broken a command off wants
// to know what became of it, and not what a context is.
func explained(ctx context.Context, err error) string {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return "it was broken off; what is recorded stays, and the same command goes on from there"
	}
	return err.Error()
}
