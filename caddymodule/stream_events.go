package caddymodule

import "bytes"

const typeEventStream = "text/event-stream"

// eventEnd returns the length of the first event of an event stream with the
// empty line that ends it, or 0 if it has not ended. Lines end with CR, LF or
// both. A CR at the very end may be half of a line end, so it waits for more.
func eventEnd(content []byte) int {
	atLineStart := false
	for k := 0; k < len(content); {
		width := lineEnd(content[k:])
		switch {
		case width < 0:
			return 0
		case width == 0:
			atLineStart = false
			k++
			continue
		case atLineStart:
			return k + width
		}
		atLineStart = true
		k += width
	}
	return 0
}

// lineEnd returns the width of the line end that content begins with: 0 if it
// does not, -1 if that cannot be told yet.
func lineEnd(content []byte) int {
	switch {
	case content[0] == '\n':
		return 1
	case content[0] != '\r':
		return 0
	case len(content) == 1:
		return -1
	case content[1] == '\n':
		return 2
	}
	return 1
}

// eventData returns the data of an event: its data lines, joined by line feeds.
// It is nil for what a client does not see as an event, such as a comment.
func eventData(event []byte) []byte {
	var data []byte
	for len(event) > 0 {
		end := bytes.IndexAny(event, "\r\n")
		line := event
		if end < 0 {
			event = nil
		} else {
			line, event = event[:end], event[end+1:]
		}
		value, found := bytes.CutPrefix(line, []byte("data"))
		if !found || len(value) > 0 && value[0] != ':' {
			continue
		}
		value = bytes.TrimPrefix(bytes.TrimPrefix(value, []byte(":")), []byte(" "))
		if data == nil {
			data = []byte{} // an empty line of data is data
		} else {
			data = append(data, '\n')
		}
		data = append(data, value...)
	}
	return data
}

// formatEvent returns an event of a type with data that has no line end.
func formatEvent(kind string, data []byte) []byte {
	return append(append(append([]byte("event: "+kind+"\ndata: "), data...), '\n'), '\n')
}
