package broker_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

// onFilesAlone are the tests of what only a file can be. Browsers see no
// difference, and neither do a few long tests of keys and sizes, and of requests
// that are refused before the database is asked.
const onFilesAlone = "^(TestNoSecretsInDatabase|TestPagesInABrowser|TestVoucherCodesAreNotKept|TestHostileRequestsChangeNothing)$" +
	"|^(FuzzCertificateBodies|TestKeyCommands|TestServeFromADirectoryOfKeys|TestStatusListSize|TestStreamOfTooManyLines|TestStripeUnits)$"

// Everything holds on PostgreSQL, too.
func TestOnPostgreSQL(t *testing.T) { dbtest.OnPostgreSQL(t) }
