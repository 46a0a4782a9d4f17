// Package samgateway is the gateway between purse cards and the rest: it holds
// a merchant's SAM, takes payments, loads cards and funds accounts of the
// broker, and turns its batches in at clearing.
package samgateway

import (
	"context"
	"fmt"
	"io"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Main is the command samgateway. readers are those of the machine. It returns
// the exit status: 0, 1 for what went wrong, 2 for wrong usage.
func Main(_ context.Context, readers smartcard.Readers, arguments []string, _ io.Reader, _, stderr io.Writer) int {
	fmt.Fprintf(stderr, "samgateway: %d arguments, %v\n", len(arguments), readers != nil)
	return 2
}
