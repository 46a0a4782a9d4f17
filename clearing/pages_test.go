package clearing_test

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The tokens of operators.
const (
	annasToken = "annas-token-of-many-letters"
	bertsToken = "berts-token-of-many-letters"
	carlsToken = "carls-token-of-many-letters"
)

var operators = []clearing.Operator{
	{Name: "anna", Token: annasToken}, {Name: "bert", Token: bertsToken}, {Name: "carl", Token: carlsToken, ReadOnly: true},
}

// backOffice is a server of the pages.
type backOffice struct {
	t         testing.TB
	db        *ledger.DB
	clock     *clock
	server    *clearing.Server
	directory string
	url       string
}

// openOffice serves a broker's database that owes something to vendors. Plans
// need approval.
func openOffice(t testing.TB) *backOffice {
	t.Helper()
	db, c := openWithVendors(t)
	return serveOffice(t, db, c)
}

func serveOffice(t testing.TB, db *ledger.DB, c *clock, change ...func(*clearing.ServerConfig)) *backOffice {
	t.Helper()
	o := &backOffice{t: t, db: db, clock: c, directory: t.TempDir()}
	policy, above := clearing.DefaultPolicy(), money.Amount(0)
	policy.ApprovalAbove = &above
	var err error
	config := clearing.ServerConfig{
		DB: db, Config: clearing.Config{Policy: &policy, Directory: o.directory}, Operators: operators, Clock: c.Now,
	}
	for _, apply := range change {
		apply(&config)
	}
	o.server, err = clearing.NewServer(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.server.Close(); err != nil {
			t.Error(err)
		}
	})
	web := httptest.NewServer(o.server.Handler())
	t.Cleanup(web.Close)
	o.url = web.URL
	return o
}

// browser is somebody at the pages, with cookies, who follows nothing.
type browser struct {
	*backOffice
	client *http.Client
}

func (o *backOffice) newBrowser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		o.t.Fatal(err)
	}
	return &browser{o, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (o *backOffice) signedIn(token string) *browser {
	o.t.Helper()
	b := o.newBrowser()
	if got := b.post("/clearing/sign-in", url.Values{"secret": {token}}); got.status != http.StatusSeeOther {
		o.t.Fatalf("signing in: got status %d: %s", got.status, got.body)
	}
	return b
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (b *browser) send(request *http.Request) reply {
	b.t.Helper()
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(content)}
}

func (b *browser) request(method, path, body string) *http.Request {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return request
}

func (b *browser) get(path string) reply { return b.send(b.request("GET", path, "")) }

// form makes the request that a browser sends for a form.
func (b *browser) form(path string, values url.Values) *http.Request {
	request := b.request("POST", path, values.Encode())
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", b.url)
	return request
}

func (b *browser) post(path string, values url.Values) reply { return b.send(b.form(path, values)) }

// page gets a page that must be there.
func (b *browser) page(path string) string {
	b.t.Helper()
	got := b.get(path)
	if got.status != http.StatusOK {
		b.t.Fatalf("%s: got status %d: %s", path, got.status, got.body)
	}
	return got.body
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

// act fills in a form and confirms it, and returns the first answer that is not
// the next step.
func (b *browser) act(path string, typed map[string]string) reply {
	b.t.Helper()
	empty := b.get(path)
	if empty.status != http.StatusOK {
		return empty
	}
	values := hidden(empty.body)
	for name, value := range typed {
		values.Set(name, value)
	}
	asked := b.post(path, values)
	if asked.status != http.StatusOK {
		return asked
	}
	return b.post(path, hidden(asked.body))
}

// mustAct is act that must lead on.
func (b *browser) mustAct(path string, typed map[string]string) {
	b.t.Helper()
	if got := b.act(path, typed); got.status != http.StatusSeeOther {
		b.t.Fatalf("%s: got status %d: %s", path, got.status, got.body)
	}
}

// plan plans a run at the pages and returns it.
func (b *browser) plan() clearing.Settlement {
	b.t.Helper()
	b.mustAct("/clearing/runs/propose", nil)
	run, err := clearing.LoadRun(b.t.Context(), b.db, "")
	if err != nil {
		b.t.Fatal(err)
	}
	return run
}

// typed is what confirms an action on a run.
func typed(run clearing.Settlement) map[string]string {
	return map[string]string{"hash": run.PlanHash[:8]}
}

// wait loads a page until it says something.
func (b *browser) wait(path, text string) string {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		page := b.page(path)
		if strings.Contains(page, text) {
			return page
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s never said %q: %s", path, text, page)
		}
		select {
		case <-b.t.Context().Done():
			b.t.Fatal("the test is over")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settle plans, approves and carries out a run at the pages.
func (o *backOffice) settle() clearing.Settlement {
	o.t.Helper()
	anna, bert := o.signedIn(annasToken), o.signedIn(bertsToken)
	run := anna.plan()
	bert.mustAct("/clearing/runs/"+run.RunID+"/approve", typed(run))
	anna.mustAct("/clearing/runs/"+run.RunID+"/run", typed(run))
	anna.wait("/clearing/runs/"+run.RunID+"/progress", "The run is done.")
	return run
}

func wantText(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

func TestRunAtThePages(t *testing.T) {
	o := openOffice(t)
	anna, bert := o.signedIn(annasToken), o.signedIn(bertsToken)
	run := anna.plan()
	path := "/clearing/runs/" + run.RunID
	if run.PlannedBy != "operator:anna" || !run.NeedsApproval {
		t.Fatalf("got %+v", run)
	}
	wantText(t, anna.page(path), run.PlanHash[8:], "1 more must approve it", "no destination", "1,230,876.49")
	wantText(t, anna.page("/clearing/"), "A plan waits for approval")
	wantText(t, anna.page(path+"/lines"), vendorF, "customer-19", "IBAN DE89370400440532013000")
	wantText(t, anna.page(path+"/lines?reason=blocked"), vendorE)
	if page := anna.page(path + "/lines?reason=blocked"); strings.Contains(page, vendorF) {
		t.Error("the lines that are blocked show one that is not")
	}

	if got := anna.act(path+"/run", typed(run)); got.status != http.StatusConflict {
		t.Errorf("running without approval: got status %d", got.status)
	}
	if got := anna.get(path + "/approve"); got.status != http.StatusConflict {
		t.Errorf("approving one's own plan: got status %d", got.status)
	}
	if got := bert.act(path+"/approve", map[string]string{"hash": "00000000"}); got.status != http.StatusConflict {
		t.Errorf("approving another hash: got status %d", got.status)
	}
	bert.mustAct(path+"/approve", typed(run))
	wantText(t, anna.page(path), "by bert")
	anna.mustAct(path+"/run", typed(run))
	page := anna.wait(path+"/progress", "The run is done.")
	wantText(t, page, "6 of 6 lines")
	wantText(t, anna.page("/clearing/runs"), `id="settled-title"`, run.RunID)
	wantText(t, anna.page(path), "statement-"+run.RunID+".txt", "sent, payments")
	wantText(t, anna.page("/clearing/balance?run="+run.RunID), "vendor:*:payable")
	wantText(t, anna.page("/clearing/balance"), "vendor:*:payable", "broker:bank:out")
	wantText(t, anna.page("/clearing/bank"), "less than 2 days ago", vendorF)
	wantText(t, anna.page("/clearing/audit"), "operator:bert", "approve", "operator:anna")
	wantPending(t, o.db, vendorsSent)
}

// What is sent twice is done once.
func TestPagesDoThingsOnce(t *testing.T) {
	o := openOffice(t)
	anna, bert := o.signedIn(annasToken), o.signedIn(bertsToken)
	twice := func(b *browser, path string, typed map[string]string) {
		t.Helper()
		values := hidden(b.page(path))
		for name, value := range typed {
			values.Set(name, value)
		}
		confirmed := hidden(b.post(path, values).body)
		for range 2 {
			if got := b.post(path, confirmed); got.status != http.StatusSeeOther {
				t.Errorf("%s: got status %d: %s", path, got.status, got.body)
			}
		}
	}
	twice(anna, "/clearing/runs/propose", nil)
	runs, err := clearing.Runs(t.Context(), o.db, time.Time{}, 10)
	if err != nil || len(runs) != 1 {
		t.Fatalf("got %d runs, %v; want one", len(runs), err)
	}
	path := "/clearing/runs/" + runs[0].RunID
	twice(bert, path+"/approve", typed(runs[0]))
	twice(bert, path+"/run", typed(runs[0]))
	anna.wait(path+"/progress", "The run is done.")
	wantPending(t, o.db, vendorsSent)
}

func TestFilesAtThePages(t *testing.T) {
	db, c := openWithVendors(t)
	o := serveOffice(t, db, c, func(config *clearing.ServerConfig) {
		policy, above := bankPolicy(t), money.Amount(0)
		policy.ApprovalAbove = &above
		config.Config.Policy = policy
	})
	run := o.settle()
	carl := o.signedIn(carlsToken)
	files, page := readFiles(t, o.directory), carl.page("/clearing/runs/"+run.RunID)
	if len(files) < 4 {
		t.Errorf("the run wrote %d files, want one for a bank among them", len(files))
	}
	for name, content := range files {
		wantText(t, page, "/files/"+name)
		got := carl.get("/clearing/runs/" + run.RunID + "/files/" + name)
		if got.status != http.StatusOK || got.body != content || !strings.Contains(got.header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: got status %d, %v and %d bytes, want %d", name, got.status, got.header, len(got.body), len(content))
		}
	}
	if err := os.WriteFile(filepath.Join(o.directory, "secret.txt"), []byte("SECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/clearing/runs/" + run.RunID + "/files/secret.txt", "/clearing/runs/" + run.RunID + "/files/..%2F..%2Fetc%2Fpasswd",
		"/clearing/runs/nothing/files/secret.txt", "/clearing/runs/" + run.RunID + "0/files/statement-" + run.RunID + ".txt",
	} {
		if got := carl.get(path); got.status != http.StatusNotFound || strings.Contains(got.body, "SECRET") {
			t.Errorf("%s: got status %d: %s", path, got.status, got.body)
		}
	}
}

func TestRunsThatWereBrokenOffAreGoneOnWith(t *testing.T) {
	o := openOffice(t)
	anna, bert := o.signedIn(annasToken), o.signedIn(bertsToken)
	run := anna.plan()
	bert.mustAct("/clearing/runs/"+run.RunID+"/approve", typed(run))
	// As a run leaves it that crashed after it had started.
	execute(t, o.db, `UPDATE clearing_runs SET state = 'running', started = 1 WHERE id = '`+run.RunID+`'`)
	wantText(t, anna.page("/clearing/"), "A run was broken off")
	wantText(t, anna.page("/clearing/runs/"+run.RunID), "Go on with it")
	if got := anna.get("/clearing/runs/propose"); got.status != http.StatusConflict {
		t.Errorf("planning meanwhile: got status %d", got.status)
	}
	anna.mustAct("/clearing/runs/"+run.RunID+"/run", typed(run))
	anna.wait("/clearing/runs/"+run.RunID+"/progress", "The run is done.")
	wantPending(t, o.db, vendorsSent)
}

// What others wrote stays text.
func TestPagesEscape(t *testing.T) {
	db, c := open(t)
	const hostile = `https://<script>alert(1)</script>"'&.example`
	register(t, db, hostile, `ref:"><img src=x onerror=alert(2)>`)
	owe(t, db, hostile, 5*money.Unit)
	o := serveOffice(t, db, c)
	run := o.settle()
	anna := o.signedIn(annasToken)
	execute(t, db, `INSERT INTO clearing_bank_documents (id, kind, message_id, operator, entries, created) VALUES ('d', 'manual', '<script>alert(3)</script>', '<i>anna', 1, 1)`,
		`INSERT INTO clearing_bank_entries (document, number, end_to_end, says, direction, amount, currency, day, code, bank_ref, state, note, created)
		VALUES ('d', 1, '<b>x', 'other', '', 0, '', '', '<u>', '<script>alert(4)</script>', 'unmatched', '<script>alert(5)</script>', 1)`)
	var order string
	scan(t, db, `SELECT end_to_end FROM clearing_instructions`, &order)
	for _, path := range []string{
		"/clearing/", "/clearing/runs/" + run.RunID, "/clearing/runs/" + run.RunID + "/lines", "/clearing/bank", "/clearing/instructions",
		"/clearing/instructions/" + order, "/clearing/find?q=%3Cscript%3Ealert(6)", "/clearing/audit?actor=%22%3E%3Cscript%3E",
		"/clearing/runs/" + run.RunID + "/lines?reason=%3Cscript%3E", "/clearing/balance?run=%3Cscript%3E",
	} {
		page := anna.get(path).body
		for _, bad := range []string{"<script", "<img src=x", "<b>x", "<u>", "<i>anna"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %s in it: %s", path, bad, page)
			}
		}
	}
	wantText(t, anna.page("/clearing/runs/"+run.RunID+"/lines"), "&lt;script&gt;alert(1)")
}

// A vendor's statement is the same at the pages as it was published.
func TestStatementsAtThePages(t *testing.T) {
	d := newDay(t)
	d.trade()
	settle(t, d.db, clearing.Config{RunID: "november", Signer: newKey()})
	carl := serveOffice(t, d.db, new(clock)).signedIn(carlsToken)
	vendor := d.sellers[0].origin
	statements, err := clearing.OpenStatements(t.Context(), d.db, "november")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	if err := statements.Write(t.Context(), &want, statement.Vendor, vendor); err != nil {
		t.Fatal(err)
	}
	got := carl.get("/clearing/runs/november/statement?vendor=" + url.QueryEscape(vendor))
	if got.status != http.StatusOK || got.body != want.String() || !strings.Contains(got.header.Get("Content-Disposition"), "statement-november-") {
		t.Errorf("got status %d, %v and %d bytes, want %d", got.status, got.header, len(got.body), want.Len())
	}
	for _, path := range []string{"november/statement", "november/statement?vendor=https%3A%2F%2Fnobody.example", "december/statement?vendor=x"} {
		if got := carl.get("/clearing/runs/" + path); got.status != http.StatusNotFound {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
	wantText(t, carl.page("/clearing/runs/november"), "Statement of a vendor")
}
