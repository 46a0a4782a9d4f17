package caddymodule

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"pgregory.net/rapid"
)

// A plain path is one that Caddy's own cleaning leaves as it is, and whose
// segments and characters all mean the same to everybody.
func TestPlainPath(t *testing.T) {
	isPlain := func(path string) bool {
		for segment := range strings.SplitSeq(path, "/") {
			if strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ") {
				return false
			}
		}
		return strings.HasPrefix(path, "/") && caddyhttp.CleanPath(path, true) == path && utf8.ValidString(path) &&
			!strings.ContainsAny(path, "\\;%\x7f"+wideSeparators) && !strings.ContainsFunc(path, func(c rune) bool { return c < ' ' })
	}
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"/", "a", ".", "..", " ", "é", "\uff0f", "\uff0e", "\xc0\xaf", "\\", ";", "%", "\x00", "\x7f", "\x1f"}), 0, 9).Draw(t, "parts")
		path := rapid.SampledFrom([]string{"", "/"}).Draw(t, "root") + strings.Join(parts, "")
		if got, want := isPlainPath(&http.Request{URL: &url.URL{Path: path}}), isPlain(path); got != want {
			t.Errorf("%q is plain: %t, want %t", path, got, want)
		}
		if isPlainPath(&http.Request{URL: &url.URL{Path: path, RawPath: path}}) {
			t.Errorf("%q is plain with another spelling beside it", path)
		}
	})
}
