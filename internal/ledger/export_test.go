package ledger

// RequireSQLite is the check of SQLite's version that Open makes.
func RequireSQLite(version string) error { return requireSQLite(version) }

// Waiting reports how many Updates wait for their turn, where they take turns.
func (db *DB) Waiting() int {
	if db.relay == nil {
		return 0
	}
	db.relay.mutex.Lock()
	defer db.relay.mutex.Unlock()
	return len(db.relay.waiting)
}

// TakesTurns reports whether Updates wait for each other.
func (db *DB) TakesTurns() bool { return db.relay != nil }
