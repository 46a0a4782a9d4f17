package relay_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever an end does, and however a line ends, nothing of it goes on.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
