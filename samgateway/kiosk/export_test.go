package kiosk

// The parts that tests look at by themselves.
var (
	ReadAmount = readAmount
	Choices    = choices
	IsOwnHost  = isOwnHost
)

// Languages returns what each language says, by its tag.
func Languages() map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, spoken := range languages {
		all[spoken.Tag()] = spoken.texts
	}
	return all
}
