package audit

// SetEntriesPerPass makes an audit read the journal in so many more parts, and
// returns what undoes it.
func SetEntriesPerPass(entries int64) (undo func()) {
	before := entriesPerPass
	entriesPerPass = entries
	return func() { entriesPerPass = before }
}
