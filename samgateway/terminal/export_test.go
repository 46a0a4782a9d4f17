package terminal

// ForTest returns the configuration with a hook that is called before and after
// every write of the journal, and without waiting for the disk.
func (c Config) ForTest(hook func()) Config {
	c.hook, c.noSync = hook, true
	return c
}
