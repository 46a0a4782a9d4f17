package caddymodule

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// maxUnescapes is how often a path is unescaped to find out what something that
// unescapes once too often makes of it.
const maxUnescapes = 3

// otherReading returns the request with its path as something behind the gate
// may read it that is laxer than Caddy, or nil if every reading is the same.
// Such things unescape twice, take "\" and what looks like "/" for "/", drop what
// follows ";" in a segment or a NUL in the path, and dots and spaces at the end of
// a name, and read UTF-8 that is longer than it may be.
func otherReading(r *http.Request) *http.Request {
	if isPlainPath(r) {
		return nil
	}
	other := r.Clone(r.Context())
	other.URL.Path, other.URL.RawPath = laxPath(r.URL.Path), ""
	return other
}

// wideSeparators are the full-width forms of "/", "." and "\", which some file
// systems make narrow.
const wideSeparators = "\uff0f\uff0e\uff3c"

var separators = strings.NewReplacer(`\`, "/", "\uff0f", "/", "\uff3c", "/", "\uff0e", ".")

func laxPath(text string) string {
	for range maxUnescapes {
		unescaped := plainBytes(unescapeLax(text))
		if unescaped == text {
			break
		}
		text = unescaped
	}
	text, _, _ = strings.Cut(text, "\x00")
	segments := strings.Split(separators.Replace(text), "/")
	for k, segment := range segments {
		segment, _, _ = strings.Cut(segment, ";")
		if segment != "." && segment != ".." {
			segment = strings.TrimRight(segment, ". ")
		}
		segments[k] = segment
	}
	clean := path.Clean("/" + strings.Join(segments, "/"))
	if strings.HasSuffix(text, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// unescapeLax unescapes what can be, and leaves the rest as it is.
func unescapeLax(text string) string {
	if unescaped, err := url.PathUnescape(text); err == nil {
		return unescaped
	}
	var b strings.Builder
	for text != "" {
		length := 1
		if text[0] == '%' && len(text) >= 3 {
			length = 3
		}
		if unescaped, err := url.PathUnescape(text[:length]); err == nil {
			b.WriteString(unescaped)
		} else {
			length = 1
			b.WriteByte(text[0])
		}
		text = text[length:]
	}
	return b.String()
}

// plainBytes reads the characters of ASCII that stand in more bytes than UTF-8
// allows, such as C0 AF for "/".
func plainBytes(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for k := 0; k < len(text); k++ {
		rest := text[k:]
		isContinued := func(at int) bool { return at < len(rest) && rest[at]&0xc0 == 0x80 }
		switch {
		case rest[0]&0xfe == 0xc0 && isContinued(1):
			b.WriteByte(rest[0]&1<<6 | rest[1]&0x3f)
			k++
		case rest[0] == 0xe0 && isContinued(1) && isContinued(2) && rest[1] < 0x82:
			b.WriteByte(rest[1]&1<<6 | rest[2]&0x3f)
			k += 2
		default:
			b.WriteByte(rest[0])
		}
	}
	return b.String()
}
