package relay

import "encoding/json"

// Reparse reads a message and writes it again.
func Reparse(text []byte) ([]byte, error) {
	m, err := parseMessage(text)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}
