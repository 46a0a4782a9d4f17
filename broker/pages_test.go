package broker_test

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
)

// office is somebody at the administration pages, with a browser that keeps
// cookies and follows nothing.
type office struct {
	*bank
	client *http.Client
}

func (b *bank) newOffice() *office {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return &office{b, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn is a new office with the token.
func (b *bank) signedIn(token string) *office {
	b.t.Helper()
	o := b.newOffice()
	if got := o.post("/admin/sign-in", url.Values{"secret": {token}}); got.status != http.StatusSeeOther {
		b.t.Fatalf("signing in: got status %d: %s", got.status, got.body)
	}
	return o
}

func (o *office) send(request *http.Request) answer {
	o.t.Helper()
	response, err := o.client.Do(request)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, content}
}

func (o *office) get(path string) answer {
	o.t.Helper()
	request, _ := o.request("GET", path, nil)
	return o.send(request)
}

// form makes the request that a browser sends for a form.
func (o *office) form(path string, values url.Values) *http.Request {
	request, _ := o.request("POST", path, values.Encode())
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", o.url)
	return request
}

func (o *office) post(path string, values url.Values) answer {
	o.t.Helper()
	return o.send(o.form(path, values))
}

// page gets a page that must be there.
func (o *office) page(path string) string {
	o.t.Helper()
	got := o.get(path)
	if got.status != http.StatusOK {
		o.t.Fatalf("%s: got status %d: %s", path, got.status, got.body)
	}
	return string(got.body)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)

// hidden returns the hidden fields of the last form of a page.
func hidden(page string) url.Values {
	values := url.Values{}
	for _, match := range hiddenField.FindAllStringSubmatch(page[strings.LastIndex(page, "<form"):], -1) {
		values.Set(match[1], html.UnescapeString(match[2]))
	}
	return values
}

// fill gets the form at a path and sends it with the values.
func (o *office) fill(path string, typed map[string]string) answer {
	o.t.Helper()
	values := hidden(o.page(path))
	for name, value := range typed {
		values.Set(name, value)
	}
	return o.post(path, values)
}

// act fills in a form and confirms it.
func (o *office) act(path string, typed map[string]string) answer {
	o.t.Helper()
	asked := o.fill(path, typed)
	if asked.status != http.StatusOK {
		o.t.Fatalf("%s: got status %d: %s", path, asked.status, asked.body)
	}
	return o.post(path, hidden(string(asked.body)))
}

func wantText(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not have %q:\n%s", text, page)
		}
	}
}

// busy is a broker with something of everything in its books.
type busy struct {
	*bank
	user  *user
	shop  *shop
	purse *purse
}

func newBusy(t *testing.T, change ...func(*broker.Config)) *busy {
	t.Helper()
	b := newOfficeBank(t, change...)
	busy := &busy{bank: b, user: b.newUser(50_000_000), shop: b.newShop()}
	busy.purse = busy.user.commit(busy.shop.origin, 5_000_000)
	busy.purse.mustReserve(3_000_000)
	busy.shop.wantResult(busy.shop.claim(busy.purse, 42, 42*cent), 0, 42*cent, 42*cent)
	return busy
}

func TestPagesShowTheBooks(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	commitment := b.purse.m.ID.String()
	vendor := url.QueryEscape(b.shop.origin)
	cases := []struct {
		path  string
		texts []string
	}{
		{"/admin/", []string{"47.00", "2.58", "0.42", "50.00", "They were not checked yet", "Reserved by day", "2023-11-14"}},
		{"/admin/?days=7", []string{"7 days to today"}},
		{"/admin/accounts", []string{b.user.account, "47.00"}},
		{"/admin/accounts/" + b.user.account, []string{"47.00", "2.58", commitment, "first-" + b.user.account, "fund", "valid"}},
		{"/admin/vendors", []string{b.shop.origin, "0.42"}},
		{"/admin/vendor?vendor=" + vendor, []string{"0.42", "Redeemed by day", "at most 0.42 a day"}},
		{"/admin/commitments", []string{commitment, "3.00"}},
		{"/admin/commitments?account=" + b.user.account, []string{commitment}},
		{"/admin/commitments/" + commitment, []string{
			"claimed 0.42", "together they prove 0.42 USD", "The transfers to the vendor sum to what was paid",
			"reserve/" + commitment + "/1", "redeem/" + commitment + "/420000", "Claimed steps",
		}},
		{"/admin/frauds", []string{"None."}},
		{"/admin/audit", []string{"admin:anna", "sign-in", "fund"}},
		{"/admin/health", []string{"answers", "0001_broker.sql", "0008_pages.sql", issuer}},
	}
	for _, c := range cases {
		t.Run(c.path, func(t *testing.T) {
			page := o.page(c.path)
			wantText(t, page, c.texts...)
			if strings.Contains(page, "Wrong:") {
				t.Error("a finding is wrong")
			}
		})
	}
}

func TestFundingOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(10_000_000)
	o := b.signedIn(annasToken)
	path := "/admin/accounts/" + u.account + "/fund"

	asked := o.fill(path, map[string]string{"amount": "12.5", "payment": "bank-77"})
	wantText(t, string(asked.body), "Nothing is done yet", "10.00 USD", "22.50 USD", "bank-77")
	u.wantBalance(10_000_000, 0)
	for range 3 { // a double click, and a reload
		got := o.post(path, hidden(string(asked.body)))
		if got.status != http.StatusSeeOther || got.header.Get("Location") != "/admin/accounts/"+u.account+"?done=fund" {
			t.Fatalf("got status %d to %q: %s", got.status, got.header.Get("Location"), got.body)
		}
	}
	u.wantBalance(22_500_000, 0)
	wantText(t, o.page("/admin/accounts/"+u.account+"?done=fund"), "The payment is booked.", "22.50", "bank-77", "admin:anna")
	if entries := strings.Count(o.page("/admin/audit?action=fund&subject=account:"+u.account), "bank-77"); entries != 1 {
		t.Errorf("the audit log has it %d times", entries)
	}

	// Without a reference the form has an id of its own.
	asked = o.fill(path, map[string]string{"amount": "1"})
	for range 2 {
		o.post(path, hidden(string(asked.body)))
	}
	u.wantBalance(23_500_000, 0)
	// Another form is another payment.
	if got := o.act(path, map[string]string{"amount": "1"}); got.status != http.StatusSeeOther {
		t.Errorf("got status %d", got.status)
	}
	u.wantBalance(24_500_000, 0)
	b.wantSound()
}

func TestFundingOnThePagesRefuses(t *testing.T) {
	b := newOfficeBank(t)
	u, other := b.newUser(0), b.newUser(0)
	other.fund("taken", 1_000_000)
	o := b.signedIn(annasToken)
	path := "/admin/accounts/" + u.account + "/fund"
	cases := []struct{ name, amount, payment, want string }{
		{"nothing", "", "", "Fill this in."},
		{"zero", "0", "", "Want more than 0."},
		{"a minus", "-5", "", "Want a number"},
		{"a comma", "1,250", "", "no commas"},
		{"a word", "ten", "", "Want a number"},
		{"seven digits", "0.0000001", "", "at most six digits"},
		{"a reference with a space", "5", "a b", "without spaces"},
		{"a long reference", "5", strings.Repeat("a", 101), "1 to 100"},
		{"markup", `"><script>alert(1)</script>`, "<b>", "Want a number"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := o.fill(path, map[string]string{"amount": c.amount, "payment": c.payment})
			if got.status != http.StatusUnprocessableEntity {
				t.Errorf("got status %d", got.status)
			}
			page := string(got.body)
			wantText(t, page, c.want, "There is a problem", `aria-invalid="true"`, `value="`+html.EscapeString(c.amount)+`"`, `value="`+html.EscapeString(c.payment)+`"`)
			if strings.Contains(page, "<script") {
				t.Error("markup came back as it was")
			}
		})
	}
	t.Run("a reference of another account", func(t *testing.T) {
		got := o.act(path, map[string]string{"amount": "5", "payment": "taken"})
		if got.status != http.StatusConflict {
			t.Errorf("got status %d: %s", got.status, got.body)
		}
		wantText(t, string(got.body), "booked before", `value="taken"`)
	})
	t.Run("changing it", func(t *testing.T) {
		values := hidden(string(o.fill(path, map[string]string{"amount": "5"}).body))
		values.Set("back", "yes")
		wantText(t, string(o.post(path, values).body), `value="5"`, "Continue")
	})
	for _, nobody := range []string{"aaaaaaaaaaaaaaaa", "a%2Fb", "%3Cb%3E"} {
		if got := o.get("/admin/accounts/" + nobody + "/fund"); got.status != http.StatusNotFound {
			t.Errorf("account %s: got status %d", nobody, got.status)
		}
	}
	u.wantBalance(0, 0)
}

func TestOtherActionsOnAccounts(t *testing.T) {
	b := newBusy(t)
	b.user.tie("customer 1")
	o := b.signedIn(annasToken)
	account := "/admin/accounts/" + b.user.account
	cases := []struct {
		word  string
		typed map[string]string
		page  string // what the account's page says then
		bad   map[string]string
		audit string
	}{
		{"credit", map[string]string{"credit": "20"}, "20.00", map[string]string{"credit": "x"}, "set-credit"},
		{"age", map[string]string{"age": "18"}, "at least 18 years", map[string]string{"age": "151"}, "set-age"},
		{"holder", map[string]string{"holder": "customer 7 <b>"}, "customer 7 &lt;b&gt;", map[string]string{"holder": strings.Repeat("a", 201)}, "set-holder"},
		{"limits", map[string]string{"day": "7.5"}, "7.50", map[string]string{"vendor_day": "x"}, "set-limits"},
		{"block", map[string]string{"reason": "stolen \"phone\""}, `<strong class="fault">blocked</strong>`, map[string]string{}, "block-account"},
		{"unblock", map[string]string{"reason": "found"}, "<dd>open</dd>", map[string]string{"reason": strings.Repeat("a", 201)}, "unblock-account"},
		{"revoke", map[string]string{}, "revoked", map[string]string{"subject": "<b>"}, "revoke"},
	}
	for _, c := range cases {
		t.Run(c.word, func(t *testing.T) {
			if got := o.fill(account+"/"+c.word, c.bad); got.status != http.StatusUnprocessableEntity {
				t.Errorf("%v: got status %d", c.bad, got.status)
			}
			for range 2 {
				if got := o.act(account+"/"+c.word, c.typed); got.status != http.StatusSeeOther {
					t.Fatalf("got status %d: %s", got.status, got.body)
				}
			}
			wantText(t, o.page(account), c.page)
			if entries := strings.Count(o.page("/admin/audit?actor=admin:anna"), ">"+c.audit); entries != 1 {
				t.Errorf("the audit log has it %d times, want once", entries)
			}
		})
	}
	wantText(t, string(o.fill(account+"/credit", map[string]string{"credit": "5"}).body), "67.00 USD", "52.00 USD")
	drawn := o.act(account+"/credit", map[string]string{"credit": "0"})
	if drawn.status != http.StatusSeeOther {
		t.Errorf("got status %d: %s", drawn.status, drawn.body)
	}
}

func TestFindOnThePages(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	vendorPage := "/admin/vendor?vendor=" + url.QueryEscape(b.shop.origin)
	cases := map[string]string{
		b.user.account:                            "/admin/accounts/" + b.user.account,
		" " + b.user.account + " ":                "/admin/accounts/" + b.user.account,
		payword.Thumbprint(publicKey(b.user.key)): "/admin/accounts/" + b.user.account,
		b.shop.origin:                             vendorPage,
		payword.Thumbprint(publicKey(b.shop.key)): vendorPage,
		b.purse.m.ID.String():                     "/admin/commitments/" + b.purse.m.ID.String(),
		"":                                        "",
		"aaaaaaaaaaaaaaaa":                        "",
		"https://nobody.example":                  "",
		strings.Repeat("A", 22):                   "",
		strings.Repeat("A", 43):                   "",
		"<script>alert(1)</script>":               "",
	}
	for typed, want := range cases {
		got := o.get("/admin/find?q=" + url.QueryEscape(typed))
		if got.header.Get("Location") != want || want == "" && got.status != http.StatusNotFound {
			t.Errorf("%q: got status %d to %q, want %q", typed, got.status, got.header.Get("Location"), want)
		}
		if strings.Contains(string(got.body), "<script") {
			t.Error("markup came back as it was")
		}
	}
}

func TestPagesOfNothing(t *testing.T) {
	b := newOfficeBank(t)
	o := b.signedIn(annasToken)
	for _, path := range []string{
		"/admin/accounts/aaaaaaaaaaaaaaaa", "/admin/accounts/x", "/admin/vendor", "/admin/vendor?vendor=https://nobody.example",
		"/admin/commitments/x", "/admin/commitments/" + strings.Repeat("A", 22), "/admin/x", "/admin/accounts/aaaaaaaaaaaaaaaa/steal",
	} {
		if got := o.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
	wantText(t, o.page("/admin/"), "0.00", "Nothing in 30 days.")
	wantText(t, o.page("/admin/accounts"), "Nobody has an account yet.")
	wantText(t, o.page("/admin/vendors"), "No vendor has registered yet.")
	wantText(t, o.page("/admin/commitments"), "None yet.")
}

func TestAuditLogPage(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	account := "/admin/accounts/" + b.user.account
	o.act(account+"/age", map[string]string{"age": "18"})
	b.clock.advance(24 * 60 * 60)
	o = b.signedIn(annasToken)
	o.act(account+"/age", map[string]string{"age": "21"})
	cases := []struct {
		query   string
		has     []string
		hasNone []string
	}{
		{"", []string{"18 years", "21 years", "sign-in"}, nil},
		{"?actor=admin:anna", []string{"18 years"}, []string{">broker</a>"}},
		{"?action=set-age", []string{"18 years", "21 years"}, []string{"?action=sign-in"}},
		{"?subject=account:" + b.user.account, []string{"18 years"}, []string{"?action=sign-in"}},
		{"?day=2023-11-14", []string{"18 years"}, []string{"21 years"}},
		{"?day=2023-11-15&action=set-age", []string{"21 years"}, []string{"18 years"}},
		{"?day=2023-11-16", []string{"No entries"}, []string{"years"}},
		{"?actor=%3Cb%3E", []string{"No entries", "&lt;b&gt;"}, []string{"<b>"}},
		{"?before=1", []string{"No entries"}, nil},
	}
	for _, c := range cases {
		t.Run(c.query, func(t *testing.T) {
			page := o.page("/admin/audit" + c.query)
			wantText(t, page, c.has...)
			for _, text := range c.hasNone {
				if strings.Contains(page, text) {
					t.Errorf("the page has %q", text)
				}
			}
		})
	}
	if got := o.get("/admin/audit?day=yesterday"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("got status %d for a day that is none", got.status)
	}
}

// More than a page: each entry is on one of them, in order.
func TestPagesFollowOneAnother(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(0)
	for i := range 120 {
		u.fund(fmt.Sprintf("payment-%03d", i), 1_000_000)
	}
	for range 60 {
		b.newUser(0)
	}
	o := b.signedIn(annasToken)
	cases := []struct {
		first string
		item  *regexp.Regexp
		want  int
	}{
		{"/admin/audit?action=fund", regexp.MustCompile(`payment-\d{3}`), 120},
		{"/admin/accounts", regexp.MustCompile(`<th scope="row" class="id"><a href="/admin/accounts/[a-z2-7]{16}"`), 61},
		{"/admin/accounts/" + u.account, regexp.MustCompile(`<td class="id">fund/payment-\d{3}`), 120},
	}
	next := regexp.MustCompile(`<a href="([^"]+)" rel="next">`)
	for _, c := range cases {
		t.Run(c.first, func(t *testing.T) {
			seen := make(map[string]bool)
			for path, pages := c.first, 0; path != ""; pages++ {
				page := o.page(path)
				for _, item := range c.item.FindAllString(page, -1) {
					if seen[item] {
						t.Errorf("%s stands twice", item)
					}
					seen[item] = true
				}
				path = ""
				if match := next.FindStringSubmatch(page); match != nil {
					path, _, _ = strings.Cut(html.UnescapeString(match[1]), "#")
				}
				if pages > 5 {
					t.Fatal("the pages do not end")
				}
			}
			if len(seen) != c.want {
				t.Errorf("got %d items, want %d", len(seen), c.want)
			}
		})
	}
}

// The page of the overview says the same before and after the journal is summed.
func TestSummedFiguresAreTheSame(t *testing.T) {
	b := newHistory(t)
	pages := func() string {
		o := b.signedIn(annasToken)
		vendor := o.page("/admin/vendor?vendor=" + url.QueryEscape(b.shop.origin))
		_, flows, _ := strings.Cut(vendor, "Redemptions by day")
		flows, _, _ = strings.Cut(flows, "Ledger entries")
		_, sums, _ := strings.Cut(o.page("/admin/?days=90"), "Sums over all accounts")
		_, drawn, _ := strings.Cut(sums, "Money flows by day")
		sums, _, _ = strings.Cut(sums, "Do the books agree?")
		return sums + drawn + flows
	}
	before := pages()
	wantText(t, before, "367.00")
	for range 2 { // summing twice counts nothing twice
		b.clock.advance(10 * 60)
		if err := b.SumUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := pages(); after != before {
			t.Fatalf("the figures differ. Before:\n%s\nAfter:\n%s", before, after)
		}
	}
	wantText(t, b.signedIn(annasToken).page("/admin/health"), "Journal summed up to</dt><dd><time")
}

// Several brokers may sum at once: everything is counted once.
func TestSummingAtOnce(t *testing.T) {
	b := newHistory(t)
	b.clock.advance(10 * 60)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := b.SumUp(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	wantText(t, b.signedIn(annasToken).page("/admin/"), "367.00", "274.95", "87.01", "5.04")
}

func TestCheckOfTheBooks(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	// The first check comes by itself, the second because somebody asks.
	if got := o.post("/admin/check", url.Values{"token": {o.token()}}); got.status != http.StatusSeeOther {
		t.Fatalf("got status %d", got.status)
	}
	for !strings.Contains(o.page("/admin/"), "<strong>Yes.</strong>") {
		if t.Context().Err() != nil {
			t.Fatal("the books were not checked")
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	dbtest.Tamper(t, b.config.Database, `UPDATE broker_commitments SET paid = paid + 1, held = held - 1`)
	if err := b.CheckBooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := o.page("/admin/")
	wantText(t, page, "things disagree", "420001 micros paid on it")
	wantText(t, o.page("/admin/commitments/"+b.purse.m.ID.String()), "Wrong:")
}

// Whatever vendors and users say of themselves is text on the pages.
func TestPagesEscapeWhatOthersWrote(t *testing.T) {
	b := newBusy(t)
	const markup = `<script>alert(1)</script><img src=x onerror=alert(2)>`
	dbtest.Tamper(t, b.config.Database, `INSERT INTO broker_audit (created, actor, action, subject, detail)
		VALUES (1, '`+markup+`', '`+markup+`', 'vendor:`+markup+`', '`+markup+`')`)
	dbtest.Tamper(t, b.config.Database, `UPDATE broker_certificates SET key_id = '`+markup+`'`)
	dbtest.Tamper(t, b.config.Database, `UPDATE broker_vendor_keys SET key_id = '`+markup+`'`)
	dbtest.Tamper(t, b.config.Database, `UPDATE broker_accounts SET key_id = '`+markup+`'`)
	dbtest.Tamper(t, b.config.Database, `INSERT INTO broker_vendors (vendor, created) VALUES ('javascript:`+markup+`', 1)`)
	dbtest.Tamper(t, b.config.Database, `INSERT INTO accounts (id, currency, floor, created) VALUES ('vendor:javascript:`+markup+`:payable', 'usd-micro', 0, 1)`)
	o := b.signedIn(annasToken)
	escaped := 0
	for _, path := range []string{
		"/admin/audit", "/admin/accounts/" + b.user.account, "/admin/vendors", "/admin/vendor?vendor=" + url.QueryEscape("javascript:"+markup),
		"/admin/vendor?vendor=" + url.QueryEscape(b.shop.origin), "/admin/find?q=" + url.QueryEscape(markup),
		"/admin/audit?actor=" + url.QueryEscape(markup), "/admin/accounts?after=" + url.QueryEscape(markup),
		"/admin/commitments?account=" + url.QueryEscape(markup), "/admin/?done=" + url.QueryEscape(markup),
	} {
		page := string(o.get(path).body)
		if strings.Contains(page, "<script") || strings.Contains(page, "<img src=x") || strings.Contains(page, `href="javascript:`) {
			t.Errorf("%s has markup of others:\n%s", path, page)
		}
		escaped += strings.Count(page, "&lt;script&gt;")
	}
	if escaped < 8 {
		t.Errorf("the markup was shown as text %d times; it was not where it should be", escaped)
	}
}

func TestBlockingAVendorOnThePages(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	query := "?vendor=" + url.QueryEscape(b.shop.origin)
	if got := o.fill("/admin/vendor/block"+query, nil); got.status != http.StatusUnprocessableEntity {
		t.Errorf("without a reason: got status %d", got.status)
	}
	const reason = `"sold" <nothing> & more`
	asked := o.fill("/admin/vendor/block"+query, map[string]string{"reason": reason})
	wantText(t, string(asked.body), "Nothing is done yet", "blocked", "is still paid into its balance")
	for range 2 {
		got := o.post("/admin/vendor/block"+query, hidden(string(asked.body)))
		if got.status != http.StatusSeeOther || got.header.Get("Location") != "/admin/vendor"+query+"&done=block" {
			t.Fatalf("got status %d to %q: %s", got.status, got.header.Get("Location"), got.body)
		}
	}
	page := o.page("/admin/vendor" + query + "&done=block")
	wantText(t, page, "The vendor is blocked.", `<strong class="fault">blocked</strong>`, "&lt;nothing&gt;", "Open the vendor again")
	if strings.Count(page, ">block-vendor") != 1 {
		t.Error("the audit log has it not once")
	}
	if got := b.user.commit(b.shop.origin, 100*cent).reserve(100 * cent); got.reason() != payword.VendorBlocked.String() {
		t.Errorf("reserving for it: got %s", got.body)
	}
	if got := o.act("/admin/vendor/unblock"+query, map[string]string{"reason": "sorry"}); got.status != http.StatusSeeOther {
		t.Errorf("got status %d: %s", got.status, got.body)
	}
	b.user.commit(b.shop.origin, 100*cent).mustReserve(100 * cent)
}

func TestPayingOutOnThePages(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	query := "?vendor=" + url.QueryEscape(b.shop.origin)
	path := "/admin/vendor/pay-out" + query
	typed := map[string]string{"amount": "0.30", "fee": "0.02", "payment": "bank-9"}
	if got := o.act(path, typed); got.status != http.StatusConflict || !strings.Contains(string(got.body), "no payout destination") {
		t.Errorf("without a destination: got status %d: %s", got.status, got.body)
	}
	b.shop.mustAsk(iban)
	b.clock.advance(destinationDelay)
	b.shop.settle()
	o = b.signedIn(annasToken)
	asked := o.fill(path, typed)
	wantText(t, string(asked.body), "0.42 USD", "0.10 USD", iban, "bank-9")
	b.shop.wantPayable(42 * cent)
	for range 2 {
		if got := o.post(path, hidden(string(asked.body))); got.status != http.StatusSeeOther {
			t.Fatalf("got status %d: %s", got.status, got.body)
		}
	}
	b.shop.wantPayable(10 * cent)
	wantText(t, o.page("/admin/vendor"+query+"&done=pay-out"), "The payout is booked.", "vendor-payout", "admin:anna")
	wantText(t, o.page("/admin/"), "0.30", "0.02")
	wantText(t, string(o.fill(path, typed).body), "was booked already")
	for _, wrong := range []map[string]string{{"amount": "0"}, {"amount": "1", "fee": "x"}, {"amount": "1", "payment": "a b"}} {
		if got := o.fill(path, wrong); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%v: got status %d", wrong, got.status)
		}
	}
	if got := o.act(path, map[string]string{"amount": "5"}); got.status != http.StatusConflict {
		t.Errorf("more than is owed: got status %d", got.status)
	}
	if got := o.act(path, map[string]string{"amount": "0.31", "fee": "0.02", "payment": "bank-9"}); got.status < 400 {
		t.Errorf("another payout under the same reference: got status %d", got.status)
	}
	b.shop.wantPayable(10 * cent)
	b.wantSound()
}

// What was taken back and never came in is on the page of payments, and what an
// account owes on its own.
func TestReversalsOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	u, s := b.newUser(0), b.newShop()
	b.stripe(refunded("stray", 250, "usd"))
	b.stripe(paidSession("1", u.account, 100, "usd"))
	u.commit(s.origin, 100*cent).mustReserve(80 * cent)
	o := b.signedIn(annasToken)
	if page := o.page("/admin/accounts/" + u.account); strings.Contains(page, "<dt>Owed</dt>") {
		t.Error("an account that owes nothing is said to")
	}
	b.stripe(refunded("1", 70, "usd"))
	wantText(t, o.page("/admin/accounts/"+u.account), "<dt>Owed</dt><dd><strong class=\"fault\">0.50</strong>")
	page := o.page("/admin/fundings?unmatched=1")
	wantText(t, page, "ch_stray", "pi_stray", "refund", "2.50 USD")
	if strings.Contains(page, "ch_1") {
		t.Error("a refund of a payment that came in is among those without")
	}
	wantText(t, o.page("/admin/fundings?unmatched=1&before=1"), "None more.", `href="/admin/fundings?unmatched=1"`)
}

func TestPaymentsOfNobodyOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(3_000_000)
	b.stripe(paidSession("lost_1", "aaaaaaaaaaaaaaaa", 200, "usd"))
	o := b.signedIn(annasToken)
	page := o.page("/admin/fundings?unassigned=1")
	wantText(t, page, "lost_1", "nobody’s", "2.00")
	if strings.Contains(page, "first-"+u.account) {
		t.Error("a payment that somebody has is in the list of those that nobody has")
	}
	wantText(t, o.page("/admin/fundings"), "lost_1", "first-"+u.account)
	path := regexp.MustCompile(`/admin/fundings/\d+/assign`).FindString(page)
	for _, wrong := range []string{"", "x", "<b>"} {
		if got := o.fill(path, map[string]string{"account": wrong}); got.status != http.StatusUnprocessableEntity {
			t.Errorf("account %q: got status %d", wrong, got.status)
		}
	}
	if got := o.fill(path, map[string]string{"account": "aaaaaaaaaaaaaaaa"}); got.status != http.StatusNotFound || !strings.Contains(string(got.body), `value="aaaaaaaaaaaaaaaa"`) {
		t.Errorf("nobody: got status %d: %s", got.status, got.body)
	}
	asked := o.fill(path, map[string]string{"account": u.account})
	wantText(t, string(asked.body), "3.00 USD", "5.00 USD", "lost_1")
	for range 2 {
		if got := o.post(path, hidden(string(asked.body))); got.header.Get("Location") != "/admin/fundings?done=assign" {
			t.Fatalf("got status %d: %s", got.status, got.body)
		}
	}
	u.wantBalance(5_000_000, 0)
	wantText(t, o.page("/admin/fundings?unassigned=1&done=assign"), "The payment is on the account.", "None.")
	for _, path := range []string{"/admin/fundings/999/assign", "/admin/fundings/x/assign"} {
		if got := o.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
	b.wantSound()
}

func TestAuditCommand(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	for years := range 60 {
		if _, err := b.SetAge(t.Context(), b.user.account, years); err != nil {
			t.Fatal(err)
		}
	}
	o.act("/admin/accounts/"+b.user.account+"/age", map[string]string{"age": "77"})
	dbtest.Tamper(t, b.config.Database, `INSERT INTO broker_audit (created, actor, action, subject, detail) VALUES (1700000000000000, 'x', 'y', 'z', '`+"a\x1b[2Jb"+`')`)
	list := func(flags ...string) []string {
		t.Helper()
		code, stdout, stderr := run(t, append([]string{"audit", "--db", b.config.Database}, flags...)...)
		if code != 0 {
			t.Fatalf("got exit %d: %s", code, stderr)
		}
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		if !strings.HasPrefix(lines[0], "TIME ") {
			t.Fatalf("got the heading %q", lines[0])
		}
		return lines[1:]
	}
	cases := []struct {
		flags []string
		count int
		first string
	}{
		{[]string{"--action", "set-age"}, 61, "77 years"},
		{[]string{"--action", "set-age", "--limit", "55"}, 55, "admin:anna"},
		{[]string{"--actor", "admin:anna", "--action", "set-age"}, 1, "account:" + b.user.account},
		{[]string{"--subject", "account:" + b.user.account, "--actor", "broker"}, 61, "59 years"}, // and the funding
		{[]string{"--day", "2023-11-14", "--actor", "x"}, 1, `"a\x1b[2Jb"`},
		{[]string{"--actor", "nobody"}, 0, ""},
	}
	for _, c := range cases {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			lines := list(c.flags...)
			if len(lines) != c.count || c.count > 0 && !strings.Contains(lines[0], c.first) {
				t.Errorf("got %d lines, want %d, the first with %q:\n%s", len(lines), c.count, c.first, strings.Join(lines, "\n"))
			}
		})
	}
}
