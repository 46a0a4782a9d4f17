package audit

// SetEntriesPerPass makes an audit read the journal in so many more parts, and
// returns what undoes it.
func SetEntriesPerPass(entries int64) (undo func()) {
	before := entriesPerPass
	entriesPerPass = entries
	return func() { entriesPerPass = before }
}

// Told makes a report of a finding and a note.
func Told(kind Kind, subject, evidence, books string) Report {
	c := new(collector)
	c.find(kind, subject, evidence, books)
	c.note("about %s", subject)
	return c.finish()
}
