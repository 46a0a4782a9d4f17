package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// The comments that enclose what is paid for.
const (
	markerPaid = "payword:paid"
	markerEnd  = "payword:end"
)

var (
	errNoMarker    = errors.New("nothing in the page is marked as paid for")
	errWrongMarker = errors.New("the mark of what is paid for stands where it is no comment, such as in an attribute")
	errCharset     = errors.New("the page is in a character set that shifts, such as ISO-2022-JP, so that its tags cannot be told")
)

// teaserInsert is what a teaser holds that the page did not.
type teaserInsert struct {
	box         []byte // in place of what is paid for
	style       string // of the box
	cssSelector string // of the box
}

// hiddenElements are left out of a teaser with all that is in them. Scripts, and
// the data they bring along, often hold the whole text once more, and the others
// are not read as HTML here, so that a marker in them would not be seen.
var hiddenElements = []string{"script", "noscript", "noembed", "noframes", "iframe", "xmp", "plaintext"}

// escape begins another character set in the middle of a page. After it, what
// looks like a tag may be text, and swallow the tag behind it.
const escape = 0x1B

// voidElements have no content and no end (HTML, section 13.1.2).
var voidElements = []string{
	"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
}

// cutPage returns a page without what is paid for: the elements that selector
// names, or what stands between the comments if it is empty. The first place is
// taken by the box. Whatever is in doubt is left out, and a page in which
// nothing is marked is an error.
func cutPage(page []byte, selector string, insert teaserInsert) ([]byte, error) {
	if bytes.IndexByte(page, escape) >= 0 {
		return nil, errCharset
	}
	c := pageCutter{
		tokens: html.NewTokenizer(bytes.NewReader(page)), selector: selector, insert: insert,
	}
	for {
		kind := c.tokens.Next()
		if kind == html.ErrorToken {
			break
		}
		c.take(kind)
	}
	if err := c.tokens.Err(); err != io.EOF {
		return nil, err
	}
	switch {
	case c.failed != nil:
		return nil, c.failed
	case !c.found:
		return nil, errNoMarker
	}
	c.writeHead() // if there was none
	return c.out.Bytes(), nil
}

// pageCutter reads a page token by token and writes what may be shown.
type pageCutter struct {
	tokens   *html.Tokenizer
	selector string
	insert   teaserInsert
	out      bytes.Buffer

	failed  error   // the page cannot be cut
	found   bool    // something was paid for
	paid    int     // how many of the comments that begin what is paid for are open
	left    leftOut // the element that is being left out
	data    bool    // what is left out is JSON-LD
	marked  bool    // the page's own JSON-LD says that it is paid for
	hasHead bool    // what belongs into the head was written
}

// take looks at one token.
func (c *pageCutter) take(kind html.TokenType) {
	if kind == html.CommentToken {
		c.comment(strings.TrimSpace(string(c.tokens.Text())))
		return
	}
	if c.paid > 0 {
		return
	}
	raw := slices.Clone(c.tokens.Raw()) // reading attributes changes it
	switch kind {
	case html.StartTagToken, html.SelfClosingTagToken:
		c.start(raw)
	case html.EndTagToken:
		c.end(raw)
	default:
		if !c.left.isOpen() {
			c.keepText(raw)
		} else if c.data {
			c.structuredData(raw)
		}
	}
}

// comment begins and ends what is paid for. No other comment is shown.
func (c *pageCutter) comment(text string) {
	if c.selector != "" || c.left.isOpen() {
		return
	}
	switch {
	case strings.Contains(text, markerPaid): // rather too much than too little
		c.paid++
		c.placeBox()
	case text == markerEnd && c.paid > 0:
		c.paid--
	}
}

// keep shows a part of the page.
func (c *pageCutter) keep(raw []byte) {
	if c.selector == "" && bytes.Contains(raw, []byte(markerPaid)) {
		c.failed = errWrongMarker
	}
	c.out.Write(raw)
}

// keepText shows a text. What stands in some elements is text here and may be
// elements to a browser, as after <title/> in an SVG image: one that is paid for
// is in doubt.
func (c *pageCutter) keepText(raw []byte) {
	if c.selector != "" && bytes.IndexByte(raw, '<') >= 0 {
		inner := pageCutter{tokens: html.NewTokenizer(bytes.NewReader(raw)), selector: c.selector}
		for kind := inner.tokens.Next(); kind != html.ErrorToken; kind = inner.tokens.Next() {
			if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
				continue
			}
			if _, hasAttributes := inner.tokens.TagName(); inner.isPaid(inner.attributes(hasAttributes)) {
				c.failed = errWrongMarker
			}
			inner.tokens.NextIsNotRawText()
		}
	}
	c.keep(raw)
}

// start looks at a start tag.
func (c *pageCutter) start(raw []byte) {
	name, hasAttributes := c.tokens.TagName()
	element := string(name)
	if c.left.isOpen() {
		c.left.start(element)
		return
	}
	attributes := c.attributes(hasAttributes)
	if c.isPaid(attributes) {
		c.placeBox()
		if !slices.Contains(voidElements, element) {
			c.left.begin(element)
		}
		return
	}
	if slices.Contains(hiddenElements, element) {
		c.left.begin(element)
		c.data = element == "script" && strings.EqualFold(strings.TrimSpace(attributes["type"]), "application/ld+json")
		return
	}
	if element == "body" {
		c.writeHead()
	}
	c.keep(raw)
}

// end looks at an end tag.
func (c *pageCutter) end(raw []byte) {
	name, _ := c.tokens.TagName()
	if !c.left.isOpen() {
		if string(name) == "head" {
			c.writeHead()
		}
		c.keep(raw)
		return
	}
	if c.left.end(string(name)); !c.left.isOpen() {
		c.data = false
	}
}

// boundaries are the elements that an end tag of another one does not reach out
// of (HTML, section 13.2.4.2, "has an element in scope"), and those that it does
// not for some: browsers pass such an end tag over.
var boundaries = []string{
	"applet", "button", "caption", "desc", "foreignobject", "marquee", "object", "ol", "select", "table", "td", "template", "th", "ul",
}

// leftOut is an element that is left out. Only elements of its name and the
// boundaries are counted, so that a missing end tag of another one leaves out
// more and never less.
type leftOut struct {
	name   string
	scopes []leftScope // the element itself and the boundaries that are open in it; empty: nothing is left out
}

type leftScope struct {
	name  string
	depth int // of elements of the name that is left out, open in this scope
}

func (l *leftOut) isOpen() bool { return len(l.scopes) > 0 }

// begin leaves an element out.
func (l *leftOut) begin(name string) {
	l.name, l.scopes = name, append(l.scopes[:0], leftScope{name: name})
}

// start looks at a start tag in what is left out.
func (l *leftOut) start(name string) {
	switch {
	case slices.Contains(boundaries, name):
		l.scopes = append(l.scopes, leftScope{name: name})
	case name == l.name:
		l.scopes[len(l.scopes)-1].depth++
	}
}

// end looks at an end tag in what is left out.
func (l *leftOut) end(name string) {
	innermost := len(l.scopes) - 1
	if !slices.Contains(boundaries, name) {
		switch {
		case name != l.name:
		case l.scopes[innermost].depth > 0:
			l.scopes[innermost].depth--
		case innermost == 0:
			l.scopes = l.scopes[:0]
		}
		return
	}
	for k := innermost; k >= 0; k-- {
		switch scope := l.scopes[k].name; {
		case scope == name:
			l.scopes = l.scopes[:k]
			return
		case name != "template" && (scope == "table" || scope == "template"):
			return // the end tag is one of an element outside of it
		}
	}
}

// attributes returns the attributes that are looked at. The first of two with
// one name counts, as in browsers.
func (c *pageCutter) attributes(more bool) map[string]string {
	found := make(map[string]string)
	for more {
		var key, value []byte
		key, value, more = c.tokens.TagAttr()
		if _, twice := found[string(key)]; !twice {
			found[string(key)] = string(value)
		}
	}
	return found
}

// isPaid reports whether the selector names an element. Letter case does not
// count, as it does not to browsers in pages without a doctype.
func (c *pageCutter) isPaid(attributes map[string]string) bool {
	isNamed := func(name string) bool { return strings.EqualFold(name, c.selector[1:]) }
	switch {
	case strings.HasPrefix(c.selector, "."):
		return slices.ContainsFunc(strings.Fields(attributes["class"]), isNamed)
	case strings.HasPrefix(c.selector, "#"):
		return isNamed(attributes["id"])
	}
	return false
}

func (c *pageCutter) placeBox() {
	if !c.found {
		c.out.WriteByte('\n')
		c.out.Write(c.insert.box)
	}
	c.found = true
}

// writeHead writes what a teaser's head holds besides the page's own: the style
// of the box, and for search engines, where the page says nothing itself, that
// a part of it is paid for.
func (c *pageCutter) writeHead() {
	if c.hasHead {
		return
	}
	c.hasHead = true
	fmt.Fprintf(&c.out, "<style>\n%s</style>\n", c.insert.style)
	if !c.marked {
		node := map[string]any{"@context": "https://schema.org", "@type": "WebPage"}
		c.mark(node)
		c.writeData(node)
	}
}

func (c *pageCutter) writeData(document any) {
	encoded, err := json.Marshal(document)
	if err != nil { // what was decoded from JSON can be encoded again
		return
	}
	fmt.Fprintf(&c.out, "<script type=\"application/ld+json\">%s</script>\n", asciiJSON(string(encoded)))
}

// mark says of a node that a part of it is paid for, as search engines ask of
// such pages, so that a teaser is not taken for cloaking.
func (c *pageCutter) mark(node map[string]any) {
	node["isAccessibleForFree"] = false
	node["hasPart"] = map[string]any{
		"@type": "WebPageElement", "isAccessibleForFree": false, "cssSelector": c.insert.cssSelector,
	}
}

// structuredData keeps the page's own JSON-LD without the text of the article,
// and says in it that the page is paid for. What cannot be read is left out.
func (c *pageCutter) structuredData(raw []byte) {
	var document any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if !utf8.Valid(raw) || decoder.Decode(&document) != nil || decoder.More() {
		return
	}
	c.cleanse(document)
	c.writeData(document)
}

// wholeTexts are the members of JSON-LD that hold what is paid for.
var wholeTexts = []string{"articleBody", "text", "reviewBody", "transcript", "commentText", "step", "hasPart"}

// cleanse goes through all nodes of a JSON-LD document.
func (c *pageCutter) cleanse(document any) {
	switch value := document.(type) {
	case []any:
		for _, element := range value {
			c.cleanse(element)
		}
	case map[string]any:
		maps.DeleteFunc(value, func(member string, _ any) bool { return isWholeText(member) })
		for _, member := range value {
			c.cleanse(member)
		}
		if isSold(value["@type"]) {
			c.mark(value)
			c.marked = true
		}
	}
}

// isWholeText reports whether a member is one of wholeTexts, under its full name
// too: "schema:articleBody" or "https://schema.org/articleBody".
func isWholeText(member string) bool {
	name := member[strings.LastIndexAny(member, ":/#")+1:]
	return slices.ContainsFunc(wholeTexts, func(text string) bool { return strings.EqualFold(text, name) })
}

// isSold reports whether a JSON-LD type is one that search engines know a
// paywall of.
func isSold(kind any) bool {
	switch value := kind.(type) {
	case []any:
		return slices.ContainsFunc(value, isSold)
	case string:
		return strings.HasSuffix(value, "Article") || strings.HasSuffix(value, "Posting") ||
			slices.Contains([]string{"CreativeWork", "Blog", "Course", "HowTo", "Review", "WebPage"}, value)
	}
	return false
}

// asciiHTML writes what is not ASCII as character references.
func asciiHTML(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#x%x;", r)
		}
	}
	return b.String()
}

// asciiJSON writes what is not ASCII in a JSON document as escapes.
func asciiJSON(document string) string {
	var b strings.Builder
	for _, r := range document {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
