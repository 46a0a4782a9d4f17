package broker_test

import (
	"github.com/paywordhq/payword/clearing/audit"
)

// wantAudited checks the books against the signed evidence, by code that shares
// nothing with the broker's.
func (b *bank) wantAudited() {
	b.t.Helper()
	report, err := audit.Run(b.t.Context(), audit.Options{Database: b.config.Database})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range report.Findings {
		b.t.Errorf("the audit found %s, %s: %s; the books say %s", f.Kind, f.Subject, f.Evidence, f.Books)
	}
}
