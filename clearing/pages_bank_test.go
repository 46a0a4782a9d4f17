package clearing_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

// upload makes the request that a browser sends for a file.
func (b *browser) upload(token string, content io.Reader) *http.Request {
	b.t.Helper()
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	if err := form.WriteField("token", token); err != nil {
		b.t.Fatal(err)
	}
	if _, err := form.CreateFormFile("file", `<script>.xml`); err != nil {
		b.t.Fatal(err)
	}
	body := io.MultiReader(&head, content, strings.NewReader("\r\n--"+form.Boundary()+"--\r\n"))
	request, err := http.NewRequestWithContext(b.t.Context(), "POST", b.url+"/clearing/bank/files", body)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", form.FormDataContentType())
	request.Header.Set("Origin", b.url)
	return request
}

func (b *browser) token() string { return hidden(b.page("/clearing/health")).Get("token") }

// endToEndOf returns the order of a party.
func (o *backOffice) endToEndOf(party string) (id string) {
	o.t.Helper()
	scan(o.t, o.db, `SELECT end_to_end FROM clearing_instructions WHERE party = '`+party+`'`, &id)
	return id
}

func TestBankFilesAtThePages(t *testing.T) {
	o := openOffice(t)
	o.settle()
	anna := o.signedIn(annasToken)
	rejected := o.endToEndOf(vendorA)
	file := document(bankfile.KindStatus, "MESSAGE-1",
		said{order: order{endToEnd: rejected}, says: bankfile.Rejected, code: "AC04"},
		said{order: order{endToEnd: strings.Repeat("0", 32)}, says: bankfile.Rejected, code: "AC04"})
	read := func(notice string) string {
		t.Helper()
		got := anna.send(anna.upload(anna.token(), bytes.NewReader(file)))
		if got.status != http.StatusSeeOther {
			t.Fatalf("got status %d: %s", got.status, got.body)
		}
		page := anna.page(got.header.Get("Location"))
		wantText(t, page, notice, "1 matched", "1 unmatched", "MESSAGE-1")
		return page
	}
	read("The file was read.")
	read("This file was read before.")
	wantText(t, anna.page("/clearing/instructions/"+rejected), "rejected", "AC04", "settle/"+rejected)
	sent := map[string]money.Amount{}
	for account, pending := range vendorsSent {
		sent[account] = pending
	}
	sent[payable(vendorA)] = 0
	wantPending(t, o.db, sent)

	wantText(t, anna.page("/clearing/bank"), "Resolve it", "MESSAGE-1")
	var seq string
	scan(t, o.db, `SELECT CAST(seq AS TEXT) FROM clearing_bank_entries WHERE state = 'unmatched'`, &seq)
	anna.mustAct("/clearing/bank/entries/"+seq+"/resolve", map[string]string{"note": "it was a test of the bank’s"})
	if page := anna.page("/clearing/bank?done=resolve"); strings.Contains(page, "Resolve it") || !strings.Contains(page, "The entry is resolved.") {
		t.Errorf("the entry is still there: %s", page)
	}
	if got := anna.get("/clearing/bank/entries/" + seq + "/resolve"); got.status != http.StatusConflict {
		t.Errorf("resolving it again: got status %d", got.status)
	}
}

func TestAnswersByHandAtThePages(t *testing.T) {
	o := openOffice(t)
	run := o.settle()
	anna := o.signedIn(annasToken)
	path := "/clearing/instructions/" + o.endToEndOf(vendorA)
	anna.mustAct(path+"/rejected", map[string]string{"note": "the bank called", "code": "AC04"})
	if got := anna.get(path + "/booked"); got.status != http.StatusConflict {
		t.Errorf("booking what was rejected: got status %d", got.status)
	}
	anna.mustAct("/clearing/runs/"+run.RunID+"/booked", map[string]string{"note": "it is on the statement"})
	if count, sum := openOrders(t, o); count != 0 {
		t.Errorf("%d orders of %s are still open", count, sum)
	}
	anna.mustAct("/clearing/instructions/"+o.endToEndOf(vendorC)+"/returned", map[string]string{"note": "it came back"})
	wantText(t, anna.page("/clearing/bank"), "returned", "AC04")
	wantSound(t, o.db)
}

// openOrders counts the orders that the bank has not answered.
func openOrders(t testing.TB, o *backOffice) (count int64, sum money.Amount) {
	t.Helper()
	scan(t, o.db, `SELECT COUNT(*), CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM clearing_instructions WHERE state = 'sent'`, &count, (*int64)(&sum))
	return count, sum
}

func TestBankFilesAreRefused(t *testing.T) {
	o := openOffice(t)
	anna, carl := o.signedIn(annasToken), o.signedIn(carlsToken)
	file := string(document(bankfile.KindStatus, "MESSAGE-1", said{order: order{endToEnd: strings.Repeat("0", 32)}, says: bankfile.Rejected}))
	cases := []struct {
		name    string
		by      *browser
		token   string
		content io.Reader
		change  func(*http.Request)
		status  int
	}{
		{"signed out", o.newBrowser(), anna.token(), strings.NewReader(file), nil, http.StatusSeeOther},
		{"a reader", carl, carl.token(), strings.NewReader(file), nil, http.StatusForbidden},
		{"another's form", anna, carl.token(), strings.NewReader(file), nil, http.StatusForbidden},
		{"a foreign site", anna, anna.token(), strings.NewReader(file), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
		{"no form", anna, anna.token(), strings.NewReader(file), func(r *http.Request) { r.Header.Set("Content-Type", "multipart/form-data; boundary=x") }, http.StatusBadRequest},
		{"another form", anna, anna.token(), strings.NewReader(file), func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, http.StatusBadRequest},
		{"no XML", anna, anna.token(), strings.NewReader("hello"), nil, http.StatusUnprocessableEntity},
		{"no file of a bank", anna, anna.token(), strings.NewReader("<script>alert(1)</script>"), nil, http.StatusUnprocessableEntity},
		{"too large", anna, anna.token(), io.LimitReader(zeros{}, bankfile.MaxFileBytes+100_000), nil, http.StatusBadRequest},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			request := c.by.upload(c.token, c.content)
			if c.change != nil {
				c.change(request)
			}
			got := c.by.send(request)
			if got.status != c.status || strings.Contains(got.body, "<script") {
				t.Errorf("got status %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
	var documents int
	scan(t, o.db, `SELECT COUNT(*) FROM clearing_bank_documents`, &documents)
	if documents != 0 {
		t.Errorf("%d files were read", documents)
	}
	if _, err := clearing.Import(t.Context(), o.db, []byte(file)); err != nil {
		t.Errorf("the file was no good: %v", err) // or the cases say nothing
	}
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
