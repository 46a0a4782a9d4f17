package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// boxOf stands for the box in these tests.
var boxOf = teaserInsert{box: []byte("[box]"), style: ".x {}", cssSelector: ".payword-paid"}

const headOf = "<style>\n.x {}</style>\n" + `<script type="application/ld+json">{"@context":"https://schema.org","@type":"WebPage","hasPart":{"@type":"WebPageElement","cssSelector":".payword-paid","isAccessibleForFree":false},"isAccessibleForFree":false}</script>` + "\n"

func TestCutPage(t *testing.T) {
	const page = "<!doctype html><html><head><title>T</title></head><body>"
	const shown = "<!doctype html><html><head><title>T</title>" + headOf + "</head><body>"
	cases := []struct{ name, selector, page, want string }{
		{"between comments", "", page + "<p>free<!-- payword:paid -->SECRET<!-- payword:end --><footer>end</footer>", shown + "<p>free\n[box]<footer>end</footer>"},
		{"no end", "", page + "<p>free<!--payword:paid-->SECRET</body></html>", shown + "<p>free\n[box]"},
		{"twice", "", page + "a<!-- payword:paid -->SECRET<!-- payword:end -->b<!-- payword:paid -->SECRET<!-- payword:end -->c", shown + "a\n[box]bc"},
		{"one inside another", "", page + "a<!-- payword:paid -->S<!-- payword:paid -->S<!-- payword:end -->SECRET<!-- payword:end -->c", shown + "a\n[box]c"},
		{"an end alone", "", page + "a<!-- payword:end -->b<!-- payword:paid -->SECRET", shown + "ab\n[box]"},
		{"other comments", "", page + "<!-- SECRET draft -->a<!-- payword:paid -->SECRET", shown + "a\n[box]"},
		{"a comment that begins in another", "", page + "<!-- x <!-- payword:paid -->SECRET", shown + "\n[box]"},
		{"scripts", "", page + `a<script>var all = "SECRET"</script><script src="/a.js"></script>b<!-- payword:paid -->SECRET<!-- payword:end --><script type="application/json">{"all":"SECRET"}</script>c`, shown + "ab\n[box]c"},
		{"scripts that never end", "", page + "a<!-- payword:paid -->SECRET<!-- payword:end -->b<script>SECRET</p>", shown + "a\n[box]b"},
		{"what is read in another way", "", page + "<noscript>SECRET</noscript><iframe>SECRET</iframe>a<!-- payword:paid -->SECRET", shown + "a\n[box]"},
		{"no head", "", "a<!-- payword:paid -->SECRET", "a\n[box]" + headOf},
		{"a body without a head", "", "<body>a<!-- payword:paid -->SECRET", headOf + "<body>a\n[box]"},
		{"tags as they were written", "", page + "<P Class=\"A\">x &amp; y<!-- payword:paid -->SECRET", shown + "<P Class=\"A\">x &amp; y\n[box]"},

		{"a class", ".paid", page + `<p>a<div class="more paid x"><p>SECRET<div>SECRET</div>SECRET</div>b`, shown + "<p>a\n[box]b"},
		{"an id", "#paid", page + `<p>a<section id="paid">SECRET</section>b`, shown + "<p>a\n[box]b"},
		{"a class in another letter case", ".paid", page + `a<p class="Paid">SECRET</p>b`, shown + "a\n[box]b"},
		{"an id in another letter case", "#Paid", page + `a<p id="paid">SECRET</p>b`, shown + "a\n[box]b"},
		{"a class of another name", ".paid", page + `<i class="unpaid paid-not">a</i><div class=paid>SECRET</div>b`, shown + `<i class="unpaid paid-not">a</i>` + "\n[box]b"},
		{"end tags that are missing", ".paid", page + `a<div class="paid"><div>SECRET<p>SECRET</div>SECRET</body>`, shown + "a\n[box]"},
		{"end tags of others", ".paid", page + `a<div class="paid">SECRET</p></span></section>SECRET</div>b`, shown + "a\n[box]b"},
		{"an end tag in a script", ".paid", page + `a<div class="paid"><script>"</div>"</script>SECRET</div>b`, shown + "a\n[box]b"},
		{"an end tag in a comment", ".paid", page + `a<div class="paid"><!-- </div> -->SECRET</div>b`, shown + "a\n[box]b"},
		{"an element without an end", ".paid", page + `a<img class="paid" src="SECRET">b`, shown + "a\n[box]b"},
		{"an element that seems closed", ".paid", page + `a<div class="paid"/>SECRET</div>b`, shown + "a\n[box]b"},
		{"several elements", ".paid", page + `a<p class="paid">SECRET</p>b<p class="paid">SECRET</p>c`, shown + "a\n[box]bc"},
		{"two classes", ".paid", page + `a<p class="paid" class="free">SECRET</p>b`, shown + "a\n[box]b"},
		{"an end tag that a table keeps in", ".paid", page + `a<div class="paid"><table><tr><td></div>SECRET</td></tr></table>SECRET</div>b`, shown + "a\n[box]b"},
		{"end tags of cells that are missing", ".paid", page + `a<div class="paid"><table><tr><td><div>SECRET<td></div>SECRET</table>SECRET</div>b`, shown + "a\n[box]b"},
		{"an end tag that a template keeps in", ".paid", page + `a<div class="paid"><table><tr><td><template></table></div></template>SECRET</table>SECRET</div>b`, shown + "a\n[box]b"},
		{"an end tag that a list keeps in", ".paid", page + `<ul><li class="paid">SECRET<ul></li>SECRET</ul></li><li>b</ul>`, shown + "<ul>\n[box]<li>b</ul>"},
		{"a table", ".paid", page + `a<table class="paid"><tr><td><table></table>SECRET</table>b`, shown + "a\n[box]b"},
		{"a cell", ".paid", page + `<table><tr><td class="paid">SECRET<table><td>x</table>SECRET</td><td>b</table>`, shown + "<table><tr>\n[box]<td>b</table>"},
		{"a hidden one", ".paid", page + `a<script class="paid">SECRET</script>b`, shown + "a\n[box]b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := cutPage([]byte(c.page), c.selector, boxOf)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if strings.Contains(string(got), "SECRET") {
				t.Error("what is paid for is shown")
			}
		})
	}
}

func TestCutPageShowsNothingInDoubt(t *testing.T) {
	cases := []struct {
		name, selector, page string
		want                 error
	}{
		{"no marker", "", "<p>SECRET</p>", errNoMarker},
		{"no element", ".paid", "<p class=unpaid>SECRET</p>", errNoMarker},
		{"comments where a class is named", ".paid", "a<!-- payword:paid -->SECRET", errNoMarker},
		{"another letter case", "", "a<!-- PAYWORD:PAID -->SECRET", errNoMarker},
		{"in a script", "", "a<script><!-- payword:paid -->SECRET</script>", errNoMarker},
		{"in a text field", "", "<!-- payword:paid --><!-- payword:end --><textarea><!-- payword:paid -->SECRET</textarea>", errWrongMarker},
		{"in an attribute", "", "<!-- payword:paid --><!-- payword:end --><p title=<!-- payword:paid -->SECRET", errWrongMarker},
		{"after an empty title of an image", ".paid", "<div class=paid></div><svg><title/></svg><div class=paid>SECRET</div><title></title>", errWrongMarker},
		{"after an empty style of an image", "#paid", "<div id=paid></div><svg><style/></svg><div id=paid>SECRET", errWrongMarker},
		{"in a charset that shifts", ".paid", "<div class=paid></div>\x1b$B<a\x1b(B<div class=paid>SECRET</div>", errCharset},
		{"in two bytes a letter", "", "a\x00<\x00!\x00-\x00-\x00 \x00p\x00", errNoMarker},
		{"an empty page", "", "", errNoMarker},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := cutPage([]byte(c.page), c.selector, boxOf); !errors.Is(err, c.want) || got != nil {
				t.Errorf("%q, %v, want %v", got, err, c.want)
			}
		})
	}
}

// FuzzCutPage puts what is paid for between any two texts. It is never shown.
func FuzzCutPage(f *testing.F) {
	for _, seed := range []string{
		"", "<p>", "<p title=", `<p title="`, "<!--", "<!-- payword:paid", "</", "<!DOCTYPE", "<?", "<script>", "<textarea>", "<title>",
		"<![CDATA[", "<!-- payword:paid --><!-- payword:end --><xmp>", "<!-- payword:end -->", "<svg><style><!--", "<plaintext>", "--!>",
	} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, "SECRET") {
			return
		}
		page := before + "<!-- payword:paid -->SECRET<!-- payword:end -->" + after
		got, err := cutPage([]byte(page), "", boxOf)
		if err == nil && bytes.Contains(got, []byte("SECRET")) {
			t.Errorf("%q is shown as %q", page, got)
		}
	})
}

var dataOf = regexp.MustCompile(`(?s)<script type="application/ld\+json">(.*?)</script>`)

func TestStructuredDataOfATeaser(t *testing.T) {
	const paid = `"hasPart":{"@type":"WebPageElement","cssSelector":".payword-paid","isAccessibleForFree":false},"isAccessibleForFree":false`
	cases := []struct {
		name, data string
		want       []string
	}{
		{"full names", `{"@type":"schema:Article","schema:articleBody":"SECRET","http://schema.org/Text":"SECRET","name":"N"}`, []string{`{"@type":"schema:Article",` + paid + `,"name":"N"}`}},
		{"an article", `{"@type":"NewsArticle","headline":"H","articleBody":"SECRET","isAccessibleForFree":true}`,
			[]string{`{"@type":"NewsArticle","hasPart":{"@type":"WebPageElement","cssSelector":".payword-paid","isAccessibleForFree":false},"headline":"H","isAccessibleForFree":false}`}},
		{"in a graph", `{"@graph":[{"@type":"WebSite","name":"N"},{"@type":["Thing","BlogPosting"],"text":"SECRET"}]}`,
			[]string{`{"@graph":[{"@type":"WebSite","name":"N"},{"@type":["Thing","BlogPosting"],` + paid + `}]}`}},
		{"another thing", `{"@type":"Organization","name":"Ü</script"}`,
			[]string{`{"@type":"Organization","name":"\u00dc\u003c/script"}`, `{"@context":"https://schema.org","@type":"WebPage",` + paid + `}`}},
		{"broken", `{"@type":"Article","articleBody":"SECRET"`, []string{`{"@context":"https://schema.org","@type":"WebPage",` + paid + `}`}},
		{"two documents", `{"@type":"Article"}{"articleBody":"SECRET"}`, []string{`{"@context":"https://schema.org","@type":"WebPage",` + paid + `}`}},
		{"another charset", "{\"@type\":\"Article\",\"name\":\"\xfc\"}", []string{`{"@context":"https://schema.org","@type":"WebPage",` + paid + `}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			page := `<head><script type="Application/LD+JSON">` + c.data + `</script></head>a<!-- payword:paid -->SECRET`
			got, err := cutPage([]byte(page), "", boxOf)
			if err != nil {
				t.Fatal(err)
			}
			var documents []string
			for _, match := range dataOf.FindAllSubmatch(got, -1) {
				if !json.Valid(match[1]) {
					t.Errorf("not JSON: %s", match[1])
				}
				documents = append(documents, string(match[1]))
			}
			if strings.Join(documents, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(documents, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// What is not ASCII is written so that it reads the same in any charset.
func TestASCII(t *testing.T) {
	const text = "höchstens 0,50\u00a0€ 𝄞"
	if got := asciiHTML(text); html.UnescapeString(got) != text || strings.ContainsFunc(got, func(r rune) bool { return r > 126 }) {
		t.Errorf("as HTML: %q", got)
	}
	var back string
	if err := json.Unmarshal([]byte(asciiJSON(`"`+text+`"`)), &back); err != nil || back != text {
		t.Errorf("as JSON: %q, %v", back, err)
	}
}
