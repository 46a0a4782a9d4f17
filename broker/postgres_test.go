package broker_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

// Everything holds on PostgreSQL, too, but for what only a file can be.
// Browsers see no difference, and neither do a few long tests of keys and sizes.
func TestOnPostgreSQL(t *testing.T) {
	dbtest.OnPostgreSQL(t, "^(TestNoSecretsInDatabase|TestPagesInABrowser|TestVoucherCodesAreNotKept)$"+
		"|^(FuzzCertificateBodies|TestKeyCommands|TestServeFromADirectoryOfKeys|TestStatusListSize|TestStreamOfTooManyLines|TestStripeUnits)$")
}
