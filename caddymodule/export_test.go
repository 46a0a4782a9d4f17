package caddymodule

// BreakStore makes every step of the store in a directory fail from now on, as
// a disk does that went away.
func BreakStore(directory string) error {
	var err error
	gates.Range(func(key, value any) bool {
		if key == directory {
			err = value.(*gate).closer()
		}
		return true
	})
	return err
}
