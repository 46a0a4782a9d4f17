//go:build !pcsc || !(cgo || windows)

// Package pcsc reaches card readers by PC/SC. Without the build tag pcsc it says
// what is missing, and needs neither cgo nor libpcsclite.
package pcsc

import (
	"context"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Readers are those of this machine.
type Readers struct{}

// List returns smartcard.ErrNotBuilt.
func (Readers) List(context.Context) ([]smartcard.Reader, error) {
	return nil, smartcard.ErrNotBuilt
}
