package broker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Nothing here needs a NUL, and PostgreSQL takes none in a text, nor what is not
// UTF-8: a statement with one fails, and the answer would be that the broker
// cannot tell. encoding/json makes UTF-8 of every string that it reads, but it
// takes a NUL.

// checkTarget returns what is wrong with the text of a request's path and query,
// or nil.
func checkTarget(target *url.URL) *problem {
	query, err := url.QueryUnescape(target.RawQuery)
	if text := target.Path + query; err != nil || strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text) {
		return newProblem(http.StatusBadRequest, "The path or the query is no text in UTF-8, or has a NUL in it.")
	}
	return nil
}

// checkNUL returns what is wrong with a JSON body that holds a NUL in a string,
// or nil.
func checkNUL(body []byte) *problem {
	if bytes.Contains(body, []byte(`\u0000`)) {
		return newProblem(http.StatusBadRequest, `The body has a NUL (\u0000) in it.`)
	}
	return nil
}

// checkMembers returns what is wrong with a JSON body in which a member of an
// object stands twice, or nil; what is no JSON is for others to refuse. The
// check against the schema looks at one of the two and the decoder, which does
// not tell capitals either, takes the other one or a part of each: whatever
// nobody has checked would get in so.
func checkMembers(body []byte) *problem {
	type object struct {
		names map[string]bool // nil: a list
		atKey bool
	}
	var open []object
	for decoder := json.NewDecoder(bytes.NewReader(body)); ; {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		if len(open) > 0 {
			inside := &open[len(open)-1]
			if name, isText := token.(string); isText && inside.names != nil && inside.atKey {
				name = foldMember(name)
				if inside.names[name] {
					return newProblem(http.StatusBadRequest, "A member of the body stands twice: say everything once.")
				}
				inside.names[name], inside.atKey = true, false
				continue
			}
			inside.atKey = true // after this value comes a name, or the end
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{names: make(map[string]bool), atKey: true})
		case json.Delim('['):
			open = append(open, object{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

// foldMember returns the same text for all names that a decoder takes for one
// member: letters that differ in their case, and the two beyond ASCII that are
// folded to some in it (the long s and the sign for kelvin).
func foldMember(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// visibleText returns text as at most limit visible ASCII characters, for what
// others wrote and people are to see: each byte that is none becomes a "?".
func visibleText(text string, limit int) string {
	visible := []byte(text[:min(len(text), limit)])
	for k, c := range visible {
		if c <= ' ' || c >= 0x7f {
			visible[k] = '?'
		}
	}
	return string(visible)
}
