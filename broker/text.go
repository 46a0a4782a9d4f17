package broker

import (
	"bytes"
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
