package statement_test

import (
	"path/filepath"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/browsertest"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 130

// TestPageInABrowser has Chromium check the vectors with the page's own code, and
// use the page as people do.
func TestPageInABrowser(t *testing.T) {
	folder, err := filepath.Abs(vectorDirectory)
	if err != nil {
		t.Fatal(err)
	}
	page, err := filepath.Abs("verify.html")
	if err != nil {
		t.Fatal(err)
	}
	walked := payword.Payword{}.Walk(1 << 16)
	browsertest.Run(t, "browser/verify.mjs", leastBrowserChecks, map[string]string{
		"page": page, "vectors": folder, "walk": encode(walked[:]),
	})
}
