//go:build pcsc && (cgo || windows)

// Package pcsc reaches card readers by PC/SC.
package pcsc

import (
	"context"

	"github.com/ebfe/scard"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Readers are those of this machine.
type Readers struct{}

// List returns the readers that are there now.
func (Readers) List(context.Context) ([]smartcard.Reader, error) {
	service, err := scard.EstablishContext()
	if err != nil {
		return nil, smartcard.ErrNoService
	}
	return nil, service.Release()
}
