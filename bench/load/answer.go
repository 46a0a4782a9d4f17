package load

import (
	"bytes"
	"fmt"
	"strconv"
)

// answer is what is read of an answer on a connection that stays open.
type answer struct {
	status int
	size   int // of head and body, in bytes
}

var (
	headEnd     = []byte("\r\n\r\n")
	lengthField = []byte("\r\nContent-Length: ")
)

// readAnswer reads the answer at the beginning of text, as Go's servers write
// them. It says false while more is to come. An answer without Content-Length is
// an error: nothing here asks for one.
func readAnswer(text []byte) (a answer, isWhole bool, err error) {
	head := bytes.Index(text, headEnd)
	if head < 0 {
		return a, false, nil
	}
	const version = "HTTP/1.1 "
	if head < len(version)+3 || string(text[:len(version)]) != version {
		return a, false, fmt.Errorf("the answer begins with %.40q: want HTTP/1.1 and a status", text)
	}
	if a.status, err = strconv.Atoi(string(text[len(version) : len(version)+3])); err != nil {
		return a, false, fmt.Errorf("the answer begins with %.40q: want HTTP/1.1 and a status", text)
	}
	_, length, found := bytes.Cut(text[:head+2], lengthField)
	if !found {
		return a, false, fmt.Errorf("an answer without Content-Length:\n%s", text[:head])
	}
	length, _, _ = bytes.Cut(length, headEnd[:2])
	body, err := strconv.Atoi(string(length))
	if err != nil {
		return a, false, fmt.Errorf("Content-Length: %w", err)
	}
	a.size = head + len(headEnd) + body
	return a, len(text) >= a.size, nil
}
