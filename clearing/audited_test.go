package clearing_test

import (
	"context"

	auditor "github.com/paywordhq/payword/clearing/audit" // audit is the log of changes
)

// wantAudited checks what was settled against the signed evidence, by code that
// shares nothing with what settled it.
func (b *bank) wantAudited() {
	b.t.Helper()
	if b.t.Failed() || b.isUnsound {
		return
	}
	report, err := auditor.Run(context.WithoutCancel(b.t.Context()), auditor.Options{Database: b.location})
	if err != nil {
		b.t.Error(err)
	}
	for _, f := range report.Findings {
		b.t.Errorf("the audit found %s, %s: %s; the books say %s", f.Kind, f.Subject, f.Evidence, f.Books)
	}
}
