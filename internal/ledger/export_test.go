package ledger

// RequireSQLite is the check of SQLite's version that Open makes.
func RequireSQLite(version string) error { return requireSQLite(version) }
