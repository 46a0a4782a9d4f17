//go:build !pcsc || !(cgo || windows)

package pcsc_test

import (
	"errors"
	"testing"

	"github.com/paywordhq/payword/samgateway/pcsc"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

func TestWithoutTheTag(t *testing.T) {
	if readers, err := (pcsc.Readers{}).List(t.Context()); !errors.Is(err, smartcard.ErrNotBuilt) {
		t.Errorf("got %v, %v; want ErrNotBuilt", readers, err)
	}
}
