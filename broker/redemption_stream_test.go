package broker_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// lines writes redemptions as a stream.
func lines(t *testing.T, claims ...payword.Redemption) string {
	t.Helper()
	var text strings.Builder
	for _, claim := range claims {
		line, err := json.Marshal(claim)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	return text.String()
}

// streamPath is where a vendor sends its streams.
func (s *shop) streamPath() string {
	return payword.PathRedemptions + "?vendor=" + url.QueryEscape(s.origin)
}

// streamRequest makes a signed request for a stream.
func (s *shop) streamRequest(body string) *http.Request {
	request := s.signed(s.key, "POST", s.streamPath(), body)
	request.Header.Set("Content-Type", "application/x-ndjson")
	return request
}

// streamed is what came of a stream.
type streamed struct {
	results []payword.RedemptionResult
	problem *streamProblem // that ended it
}

type streamProblem struct {
	Status         int
	Reason, Detail string
}

// readStream reads an answer line by line.
func readStream(t *testing.T, body io.Reader) (got streamed) {
	t.Helper()
	scanner := bufio.NewScanner(body)
	for scanner.Scan() {
		if got.problem != nil {
			t.Errorf("a line follows the problem: %s", scanner.Bytes())
		}
		var line struct {
			payword.RedemptionResult
			Problem *streamProblem
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("line %s: %v", scanner.Bytes(), err)
		}
		if got.problem = line.Problem; got.problem == nil {
			got.results = append(got.results, line.RedemptionResult)
		}
	}
	if err := scanner.Err(); err != nil {
		t.Error(err)
	}
	return got
}

// stream sends claims as a stream, which must end well.
func (s *shop) stream(claims ...payword.Redemption) []payword.RedemptionResult {
	s.t.Helper()
	a := s.do(s.streamRequest(lines(s.t, claims...)))
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/x-ndjson" {
		s.t.Fatalf("got %d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	got := readStream(s.t, bytes.NewReader(a.body))
	if got.problem != nil || len(got.results) != len(claims) {
		s.t.Fatalf("got %d results for %d claims, and %+v", len(got.results), len(claims), got.problem)
	}
	return got.results
}

// A stream is answered line by line in its order, over many transactions; the
// same again is answered with what was paid, and a bad line spoils nothing.
func TestStream(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	b.SetRedemptionsPerTransaction(4)
	u, s := b.newUser(1000*cent), b.newShop()
	certificate, key := u.certificate()
	var claims []payword.Redemption
	for k := range 30 {
		p := u.commitWith(certificate, key, s.origin, 10*cent)
		if k%3 == 0 {
			p.mustReserve(2 * cent)
		}
		claims = append(claims, s.claim(p, 1, cent))
	}
	body := strings.Split(lines(t, claims...), "\n")
	bad := map[int]string{
		3: "", 5: "{}", 6: "null", 9: "[" + body[0] + "]", 10: body[0] + body[0], 11: `{"commitment":"a","claim":"b","more":"c"}`,
		12: strings.Repeat("x", 6<<10+1), 13: strings.Repeat("x", 200<<10), 17: `{"commitment":"` + flip(claims[0].Commitment) + `","claim":"b"}`,
		29: "\xff\x00",
	}
	var sent []string
	for k := range 30 {
		if line, isBad := bad[k]; isBad {
			sent = append(sent, line)
		} else {
			sent = append(sent, body[k])
		}
	}
	for round := range 2 {
		a := b.do(s.streamRequest(strings.Join(sent, "\n"))) // the last line without its end
		got := readStream(t, bytes.NewReader(a.body))
		if got.problem != nil || len(got.results) != len(sent) {
			t.Fatalf("got %d results for %d lines, and %+v", len(got.results), len(sent), got.problem)
		}
		for k, result := range got.results {
			_, isBad := bad[k]
			due := cent
			if round > 0 || isBad {
				due = 0
			}
			if (result.Reason != payword.Accepted) != isBad || result.Due != due {
				t.Errorf("round %d, line %d: got %+v, want %s due", round, k, result, due)
			}
			if id := payword.NewCommitmentID(claims[k].Commitment); !isBad && result.Commitment != id {
				t.Errorf("line %d: got the result of commitment %s, want that of %s", k, result.Commitment, id)
			}
		}
	}
	s.wantPayable(money.Amount(30-len(bad)) * cent)
	b.wantSound()
}

// The other form and the stream agree, whatever is claimed, and spaces and
// escapes make no difference.
func TestStreamAgreesWithBatch(t *testing.T) {
	b := newBank(t)
	u, s, other := b.newUser(1000*cent), b.newShop(), b.newShop()
	p, q := u.commit(s.origin, 50*cent), u.commit(other.origin, 50*cent)
	p.mustReserve(40 * cent)
	s.wantResult(s.claim(p, 20, 20*cent), payword.Accepted, 20*cent, 20*cent)
	claims := []payword.Redemption{
		s.claim(p, 10, 10*cent), s.claim(p, 41, 41*cent), s.claim(p, 20, 20*cent), s.claim(q, 1, cent),
		s.claim(u.commit(s.origin, 5*cent), 6, 6*cent), s.claim(p, 25, 25*cent, func(c *payword.Claim) { c.Tails[0].Payword[0] ^= 1 }),
	}
	batch, stream := s.send(claims...), s.stream(claims...)
	for k := range claims {
		if batch[k] != stream[k] {
			t.Errorf("claim %d: the stream gives %+v, the batch %+v", k, stream[k], batch[k])
		}
	}
	spaced, err := json.MarshalIndent(s.claim(p, 30, 30*cent), " ", "")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Replace(strings.ReplaceAll(string(spaced), "\n", " "), "commitment", `\u0063ommitment`, 1)
	a := b.do(s.streamRequest(line))
	if got := readStream(t, bytes.NewReader(a.body)); len(got.results) != 1 || got.results[0].Due != 10*cent {
		t.Errorf("got %+v, want 0.10 due", got)
	}
}

// What a stream must be is refused before a line is read.
func TestStreamRefusals(t *testing.T) {
	b := newBank(t)
	u, s, other := b.newUser(100*cent), b.newShop(), b.newShop()
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	body := lines(t, s.claim(p, 5, 5*cent))
	send := func(key *shop, path string) answer {
		request := key.signed(key.key, "POST", path, body)
		request.Header.Set("Content-Type", "application/x-ndjson; charset=utf-8")
		return b.do(request)
	}
	want(t, send(other, s.streamPath()), http.StatusNotFound, payword.UnknownVendor)
	want(t, send(&shop{bank: b, key: newKey()}, s.streamPath()), http.StatusNotFound, payword.UnknownVendor)
	for _, query := range []string{"", "?vendor=", "?vendor=https://nobody.example", "?vendor=" + s.origin + "&more=1", "?vendor=" + s.origin + "&vendor=" + s.origin} {
		if a := send(s, payword.PathRedemptions+query); a.status != http.StatusUnprocessableEntity && a.status != http.StatusNotFound {
			t.Errorf("query %q: got %d %s", query, a.status, a.body)
		}
	}
	unsigned, _ := b.request("POST", s.streamPath(), body)
	unsigned.Header.Set("Content-Type", "application/x-ndjson")
	want(t, b.do(unsigned), http.StatusUnauthorized, payword.BadSignature)
	s.wantPayable(0)
}

// A head is good for one stream, and says nothing of what was paid to whoever
// puts another body under it.
func TestStreamIsNotReplayed(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	s.wantResult(s.claim(p, 3, 3*cent), payword.Accepted, 3*cent, 3*cent)

	// Somebody takes the head of a request and comes first, with claims that
	// only the vendor could have signed, and one that it did not sign.
	honest := s.streamRequest(lines(t, s.claim(p, 5, 5*cent)))
	stolen := honest.Clone(t.Context())
	impostor := *s
	impostor.key = newKey()
	body := lines(t, impostor.claim(p, 9, 9*cent), s.claim(p, 4, 4*cent))
	stolen.Body, stolen.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	got := readStream(t, bytes.NewReader(b.do(stolen).body))
	if got.problem == nil || got.problem.Reason != payword.BadSignature.String() || got.problem.Status != http.StatusUnauthorized {
		t.Errorf("got %+v, want it to end with bad-signature", got.problem)
	}
	if len(got.results) != 2 || got.results[0].Reason != payword.BadClaim || got.results[0].Paid != 0 || got.results[1].Due != cent {
		t.Errorf("got %+v, want a refusal that tells nothing, and 0.01 due", got.results)
	}
	if log := b.journal.String(); !strings.Contains(log, "bad-signature") || !strings.Contains(log, "complete=false") {
		t.Errorf("the wrong digest is not in the log:\n%s", log)
	}
	want(t, b.do(honest), http.StatusUnauthorized, payword.BadSignature)
	if results := s.stream(s.claim(p, 5, 5*cent)); results[0].Due != cent {
		t.Errorf("signed anew: got %+v", results)
	}
	b.wantSound()
}

// A stream that breaks off is paid as far as it came, and says that it broke
// off; the whole again pays the rest.
func TestStreamBreaksOff(t *testing.T) {
	b := newBank(t)
	b.SetRedemptionsPerTransaction(2)
	u, s := b.newUser(100*cent), b.newShop()
	certificate, key := u.certificate()
	var claims []payword.Redemption
	for range 5 {
		claims = append(claims, s.claim(u.commitWith(certificate, key, s.origin, 10*cent), 1, cent))
	}
	body := lines(t, claims...)
	request := s.streamRequest(body)
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var whole bytes.Buffer
	if err := request.Write(&whole); err != nil {
		t.Fatal(err)
	}
	lastTwo := strings.Join(strings.SplitAfter(body, "\n")[3:], "")
	if _, err := conn.Write(whole.Bytes()[:whole.Len()-len(lastTwo)+100]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		content, err := io.ReadAll(response.Body)
		t.Fatalf("got %d %s, %v", response.StatusCode, content, err)
	}
	got := readStream(t, response.Body)
	if len(got.results) != 3 || got.problem == nil || got.problem.Status != http.StatusBadRequest {
		t.Errorf("got %d results and %+v, want 3 and that it broke off", len(got.results), got.problem)
	}
	for k, result := range s.stream(claims...) {
		due := cent
		if k < 3 {
			due = 0
		}
		if result.Reason != payword.Accepted || result.Due != due {
			t.Errorf("claim %d: got %+v, want %s due", k, result, due)
		}
	}
	b.wantSound()
}

// A part is answered before the next one has come.
func TestStreamAnswersAtOnce(t *testing.T) {
	b := newBank(t)
	b.SetRedemptionsPerTransaction(1)
	u, s := b.newUser(100*cent), b.newShop()
	var claims []payword.Redemption
	for range 3 {
		claims = append(claims, s.claim(u.commit(s.origin, 10*cent), 1, cent))
	}
	body := lines(t, claims...)
	request := s.streamRequest(body)
	reader, writer := io.Pipe()
	request.Body = reader
	request.ContentLength = int64(len(body))
	begun := make(chan *http.Response)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
		}
		begun <- response
	}()
	parts := strings.SplitAfter(body, "\n")
	if _, err := io.WriteString(writer, parts[0]); err != nil {
		t.Fatal(err)
	}
	response := <-begun
	defer response.Body.Close()
	answers := bufio.NewScanner(response.Body)
	for k := range claims {
		if !answers.Scan() || !strings.Contains(answers.Text(), payword.NewCommitmentID(claims[k].Commitment).String()) {
			t.Fatalf("got %q, %v; want the result of line %d", answers.Text(), answers.Err(), k)
		}
		if _, err := io.WriteString(writer, parts[k+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if answers.Scan() {
		t.Errorf("got another line: %s", answers.Text())
	}
	s.wantPayable(3 * cent)
}

// A key of the broker that is withdrawn while a stream runs counts in the rest
// of it no more, though nobody else asks for anything meanwhile.
func TestKeyIsWithdrawnDuringStream(t *testing.T) {
	b := newBank(t)
	b.SetRedemptionsPerTransaction(1)
	u, s := b.newUser(100*cent), b.newShop()
	body := lines(t, s.claim(u.commit(s.origin, 10*cent), 1, cent), s.claim(u.commit(s.origin, 10*cent), 1, cent))
	first, rest, _ := strings.Cut(body, "\n")
	request := s.streamRequest(body)
	request.ContentLength = int64(len(body))
	request.Body = io.NopCloser(io.MultiReader(strings.NewReader(first+"\n"), &delayed{reader: strings.NewReader(rest), before: func() {
		for deadline := time.Now().Add(30 * time.Second); s.payable() < cent && time.Now().Before(deadline); {
			<-time.After(time.Millisecond) // until the first line is paid
		}
		id := payword.Thumbprint(publicKey(b.config.Signer))
		if found, err := b.WithdrawKey(t.Context(), id); err != nil || !found {
			t.Errorf("withdrawing: %v %v", found, err)
		}
		b.clock.advance(10)
	}}))
	a := b.do(request)
	got := readStream(t, bytes.NewReader(a.body))
	if len(got.results) != 2 || got.results[0].Reason != payword.Accepted || got.results[1].Reason != payword.UnknownBroker {
		t.Errorf("got %+v", got.results)
	}
	s.wantPayable(cent)
}

// delayed is a reader that does something before it is read.
type delayed struct {
	reader io.Reader
	before func()
}

func (d *delayed) Read(part []byte) (int, error) {
	if d.before != nil {
		d.before()
		d.before = nil
	}
	return d.reader.Read(part)
}

// The same stream sent many times at once, beside the other form, is paid once.
func TestConcurrentStreams(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	b.SetRedemptionsPerTransaction(3)
	u, s := b.newUser(1000*cent), b.newShop()
	second := *s
	second.key = newKey()
	s.listed = append(s.listed, payword.NewPublicKey(publicKey(second.key)))
	want(t, second.register(), http.StatusOK, payword.Accepted)
	var claims []payword.Redemption
	for k := range 10 {
		p := u.commit(s.origin, 10*cent)
		if k%2 == 0 {
			p.mustReserve(10 * cent)
		}
		claims = append(claims, s.claim(p, 10, 3*cent), s.claim(p, 10, 5*cent))
	}
	var due atomic.Int64
	together(6, func(k int) {
		send := []func(...payword.Redemption) []payword.RedemptionResult{s.stream, s.send, second.stream}[k%3]
		for _, result := range send(claims...) {
			if result.Reason != payword.Accepted || result.Paid < 3*cent {
				t.Errorf("got %+v", result)
			}
			due.Add(int64(result.Due))
		}
	})
	if got := money.Amount(due.Load()); got != 50*cent {
		t.Errorf("%s were paid in all, want 0.50", got.Decimal())
	}
	s.wantPayable(50 * cent)
	b.wantSound()
}

// Many claims on one commitment in one request are paid one on top of the
// other, however they stand.
func TestManyClaimsOnOneCommitment(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p, q := u.commit(s.origin, 60*cent), u.commit(s.origin, 60*cent)
	p.mustReserve(60 * cent)
	var claims []payword.Redemption
	for k := range uint32(40) {
		claims = append(claims, s.claim(p, k+1, money.Amount(k+1)*cent))
	}
	claims = append(claims, s.claim(p, 60, 61*cent), s.claim(p, 40, 40*cent), s.claim(p, 50, 50*cent, final), s.claim(p, 55, 55*cent))
	for k, result := range s.send(claims...) {
		reason, paid, due := payword.Accepted, money.Amount(k+1)*cent, cent
		switch k {
		case 40:
			reason, paid, due = payword.ClaimOverTails, 40*cent, 0
		case 41:
			paid, due = 40*cent, 0
		case 42:
			paid, due = 50*cent, 10*cent
		case 43:
			reason, paid, due = payword.ClaimOverLimit, 50*cent, 0
		}
		if result.Reason != reason || result.Paid != paid || result.Due != due {
			t.Errorf("claim %d: got %+v, want %s, %s, %s", k, result, reason, paid.Decimal(), due.Decimal())
		}
	}
	u.wantBalance(50*cent, 0)
	// What was not reserved is paid as far as the balance goes, and a smaller
	// claim after a larger one still fits.
	results := s.send(s.claim(q, 30, 30*cent), s.claim(q, 60, 60*cent), s.claim(q, 50, 50*cent), s.claim(q, 55, 55*cent))
	for k, wanted := range []struct {
		reason    payword.Reason
		paid, due money.Amount
	}{{payword.Accepted, 30 * cent, 30 * cent}, {payword.InsufficientFunds, 30 * cent, 0}, {payword.Accepted, 50 * cent, 20 * cent}, {payword.InsufficientFunds, 50 * cent, 0}} {
		if got := results[k]; got.Reason != wanted.reason || got.Paid != wanted.paid || got.Due != wanted.due {
			t.Errorf("claim %d: got %+v, want %+v", k, got, wanted)
		}
	}
	s.wantPayable(100 * cent)
	b.wantSound()
}

// A stream of more lines than one may have is paid that far.
func TestStreamOfTooManyLines(t *testing.T) {
	b := newBank(t)
	s := b.newShop()
	a := b.do(s.streamRequest(strings.Repeat("\n", broker.MaxStreamLines+1)))
	got := readStream(t, bytes.NewReader(a.body))
	if len(got.results) != broker.MaxStreamLines || got.problem == nil || got.problem.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d results and %+v, want %d and that there are too many", len(got.results), got.problem, broker.MaxStreamLines)
	}
}

// FuzzParseLine compares the quick way of reading a line with the other one.
func FuzzParseLine(f *testing.F) {
	for _, line := range []string{
		`{"commitment":"a.b.c","claim":"d"}`, `{"claim":"d","reservation":"e","commitment":"a"}`, `{"commitment":"a","commitment":"b","claim":"c"}`,
		`{}`, `{"commitment":"a"}`, `{ "commitment" : "a" , "claim" : "b" }`, `{"commitment":"\u0061","claim":"b"}`, `{"commitment":"a","claim":"b"}}`, ``,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		quick, isPlain := broker.ParsePlainLine(line)
		slow, err := broker.ParseLine(line)
		if !isPlain {
			return
		}
		var decoded payword.Redemption
		if err != nil || json.Unmarshal([]byte(line), &decoded) != nil || quick != decoded || slow != quick {
			t.Errorf("%q: got %+v quickly, %+v (%v) otherwise", line, quick, decoded, err)
		}
		if again := fmt.Sprintf(`{"commitment":%q,"claim":%q}`, quick.Commitment, quick.Claim); quick.Reservation == "" {
			if got, isPlain := broker.ParsePlainLine(again); !isPlain || got != quick {
				t.Errorf("%s: got %+v, %t", again, got, isPlain)
			}
		}
	})
}
