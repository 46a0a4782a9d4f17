package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/paywordhq/payword"
)

// mediaTypeLines is newline-delimited JSON (https://github.com/ndjson/ndjson-spec).
const mediaTypeLines = "application/x-ndjson"

const (
	// maxStreamLines is how many redemptions one stream holds: a day of a large
	// vendor, and at ten thousand a second or less still a matter of seconds.
	maxStreamLines = 100_000

	// maxLineBytes bounds one line: a commitment of 3072 bytes, a reservation of
	// 640, a claim of 2048, and their names.
	maxLineBytes = 6 << 10

	// maxStreamBytes is as many lines of that size.
	maxStreamBytes = maxStreamLines * maxLineBytes

	// maxPartBytes is how much of a stream is worked on at a time, as much as a
	// body in the other form. A stream holds three such parts: one that is read
	// or judged, one that is paid, and what both are read into.
	maxPartBytes = 3 << 20

	// streamTimeout is how long a stream may take in all: as long as its lines
	// take at a fifth of the usual speed.
	streamTimeout = 10 * time.Minute

	// writeTimeout is how long the answers of one part may take to be taken off
	// the broker's hands. Whoever sends a stream reads while it writes.
	writeTimeout = 30 * time.Second

	// stepsPerLine is how many hashes each line of a stream adds to what a
	// request may cost, so that a hundred thousand commitments of common length
	// fit and a vendor pays for its share of the processors in lines.
	stepsPerLine = 10_000

	// maxStreams is how many streams are worked on at once, in all about 100 MB.
	// More would not be faster: each uses all processors.
	maxStreams = 8
)

// isStream reports whether a request for redemptions is a stream.
func isStream(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == mediaTypeLines && r.Method == http.MethodPost && r.URL.Path == payword.PathRedemptions
}

// serveStream answers redemptions line by line. The digest that the request's
// signature covers is known at the end only, and nothing waits for it: every
// claim is signed by the vendor, so that a body that somebody else put under the
// signature of a request gets nothing but what the vendor claimed itself.
func (g *guard) serveStream(w http.ResponseWriter, r *http.Request, pattern string, from sender) {
	b := g.broker
	// A body that breaks off ends the request's own context at once; what was
	// read before is paid and answered first. A client that has gone away shows
	// when it is read from or written to.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), streamTimeout)
	defer cancel()
	ctx = context.WithValue(ctx, callerKey{}, from.caller)
	ctx = withActor(ctx, from.actor(vendorSigned))
	leave, refusal := b.enterStream(ctx, from.keyID)
	if p := b.problemOf(ctx, pattern, refusal, nil); p != nil {
		writeProblem(w, p)
		return
	}
	defer leave()
	current, p := b.openStream(ctx, pattern, from, r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	s := newStream(w, r)
	p = b.runStream(ctx, pattern, current, s)
	if p == nil && from.request.Digest != s.digest() {
		p = b.problemOf(ctx, pattern, refuse(payword.BadSignature,
			"Content-Digest is not the SHA-256 of the body: what was answered before was done all the same"), nil)
	}
	b.log.InfoContext(ctx, "redemptions streamed", "lines", s.lines, "complete", p == nil)
	s.end(p)
	if !errors.Is(s.ended, io.EOF) {
		s.discard()
	}
}

// enterStream waits for a place among the streams: one for each key, and
// maxStreams in all. It refuses with RateLimited.
func (b *Broker) enterStream(ctx context.Context, keyID string) (leave func(), refusal payword.Refusal) {
	ctx, cancel := context.WithTimeout(ctx, b.turnTimeout)
	defer cancel()
	end, err := b.streamsByKey.take(ctx, keyID)
	if err != nil {
		return nil, refuse(payword.RateLimited, "another stream of this key is worked on: send one after the other")
	}
	select {
	case b.streams <- struct{}{}:
		return func() {
			<-b.streams
			end()
		}, payword.Refusal{}
	case <-ctx.Done():
		end()
		return nil, refuse(payword.RateLimited, "too many streams at once; wait a minute")
	}
}

// openStream finds out whose the stream is, and takes the nonce, before a line
// is read: the same head never opens two streams.
func (b *Broker) openStream(ctx context.Context, pattern string, from sender, r *http.Request) (*batch, *problem) {
	query := r.URL.Query()
	vendor := query.Get("vendor")
	if len(query) != 1 || len(query["vendor"]) != 1 {
		return nil, newProblem(http.StatusUnprocessableEntity, "A stream names its vendor in the query, and nothing else: ?vendor=https://…")
	}
	current, refusal, err := b.newBatch(ctx, from.caller, vendor)
	if err == nil && !refusal.Refused() {
		var isNew bool
		isNew, err = b.store.takeNonce(ctx, from.keyID, from.request)
		if err == nil && !isNew {
			refusal = refuse(payword.BadSignature, "the nonce was used before: sign every request anew")
		}
	}
	if p := b.problemOf(ctx, pattern, refusal, err); p != nil {
		return nil, p
	}
	current.isUnproved = true
	return current, nil
}

// runStream pays the lines and writes their results, and returns what ends the
// stream before its time.
func (b *Broker) runStream(ctx context.Context, pattern string, current *batch, s *stream) *problem {
	next := func(ctx context.Context) ([]*redemption, error) {
		part, err := s.next(ctx, b.redemptionsPerTransaction)
		current.mutex.Lock()
		current.steps += stepsPerLine * len(part)
		current.mutex.Unlock()
		return part, err
	}
	refusal, err := b.redeemParts(ctx, current, next, s.answer)
	p := (*problem)(nil)
	if errors.As(err, &p) {
		return p
	}
	return b.problemOf(ctx, pattern, refusal, err)
}

// stream is a body of lines and its answers.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	lines      int
	sum        hash.Hash
	source     io.Reader // what body reads from
	body       *bufio.Reader
	ended      error // why no more lines come; io.EOF at their end
	isAnswered bool  // the head of the answer is written
}

func newStream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{w: w, controller: http.NewResponseController(w), sum: sha256.New(), source: r.Body}
	// HTTP/1.1 wants to be told that answers begin before the body has ended. A
	// writer that cannot be told, as in tests, needs it not.
	_ = s.controller.EnableFullDuplex()
	body := http.MaxBytesReader(w, r.Body, maxStreamBytes)
	s.body = bufio.NewReaderSize(io.TeeReader(body, s.sum), 64<<10)
	return s
}

// digest returns the Content-Digest of what was read.
func (s *stream) digest() string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(s.sum.Sum(nil)) + ":"
}

// next reads at most count lines. It fails with io.EOF at the end and with a
// problem before it; the lines before that come first.
func (s *stream) next(ctx context.Context, count int) (part []*redemption, err error) {
	if s.ended != nil {
		return nil, s.ended
	}
	_ = s.controller.SetReadDeadline(time.Now().Add(bodyTimeout))
	isDone := context.AfterFunc(ctx, func() { _ = s.controller.SetReadDeadline(time.Now()) })
	defer isDone()
	for size := 0; len(part) < count && size < maxPartBytes; {
		var line string
		if line, s.ended = s.line(); s.ended != nil {
			break
		}
		size += len(line)
		part = append(part, lineRedemption(line, s.lines))
	}
	if errors.Is(s.ended, io.EOF) {
		// Left in place it would end the request's context later.
		_ = s.controller.SetReadDeadline(time.Time{})
	}
	if len(part) == 0 {
		return nil, s.ended
	}
	return part, nil
}

// line reads one line, without its end. One that is too long comes as as much
// of it as is too long.
func (s *stream) line() (string, error) {
	read, err := s.body.ReadSlice('\n')
	line := string(bytes.TrimSuffix(read, []byte("\n")))
	for errors.Is(err, bufio.ErrBufferFull) {
		read, err = s.body.ReadSlice('\n')
		line += string(read[:min(len(read), 1)])
		line = line[:min(len(line), maxLineBytes+2)]
	}
	if errors.Is(err, io.EOF) && line != "" {
		err = nil // the last line needs no end
	}
	if err != nil {
		return "", bodyProblem(err)
	}
	if s.lines++; s.lines > maxStreamLines {
		return "", newProblem(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("The stream is too long: at most %d lines. Send the rest in another one.", maxStreamLines))
	}
	return line, nil
}

// bodyProblem says why no more of a body comes. The end is no problem.
func bodyProblem(err error) error {
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.As(err, &tooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "The stream is too long: at most "+formatBytes(maxStreamBytes)+".")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, "The body comes too slowly.")
	}
	return newProblem(http.StatusBadRequest, "The body broke off.")
}

// lineRedemption reads a line. One that cannot be read has its result already.
func lineRedemption(line string, number int) *redemption {
	request, err := parseLine(line)
	if err == nil {
		return &redemption{request: request}
	}
	refusal := refuse(payword.MalformedClaim, "line %d: %v", number, err)
	return &redemption{isSettled: true, result: payword.RedemptionResult{Reason: refusal.Reason, Detail: refusal.Detail}}
}

// parseLine reads a redemption.
func parseLine(line string) (payword.Redemption, error) {
	if len(line) > maxLineBytes {
		return payword.Redemption{}, fmt.Errorf("more than %d bytes", maxLineBytes)
	}
	if request, isPlain := parsePlainLine(line); isPlain {
		return request, nil
	}
	var request payword.Redemption
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&request) != nil || decoder.Decode(&struct{}{}) != io.EOF || request.Commitment == "" || request.Claim == "" {
		return payword.Redemption{}, errors.New("want a JSON object of commitment, claim and, where there is one, reservation")
	}
	return request, nil
}

// parsePlainLine reads a redemption as nearly everybody writes it, without
// spaces and escapes, ten times as fast as a JSON decoder. It reports whether it
// could.
func parsePlainLine(line string) (request payword.Redemption, isPlain bool) {
	rest, isPlain := strings.CutPrefix(line, "{")
	for isPlain {
		name, after, hasName := strings.Cut(rest, `":"`)
		value, end, hasValue := strings.Cut(after, `"`)
		target := (*string)(nil)
		switch name {
		case `"commitment`:
			target = &request.Commitment
		case `"reservation`:
			target = &request.Reservation
		case `"claim`:
			target = &request.Claim
		}
		if !hasName || !hasValue || target == nil || *target != "" || value == "" || !isToken(value) {
			return payword.Redemption{}, false
		}
		*target = value
		if end == "}" {
			return request, request.Commitment != "" && request.Claim != ""
		}
		rest, isPlain = strings.CutPrefix(end, ",")
	}
	return payword.Redemption{}, false
}

// isToken reports whether text has the characters of a JWS only.
func isToken(text string) bool {
	for k := range len(text) {
		if !tokenCharacters[text[k]] {
			return false
		}
	}
	return true
}

// tokenCharacters are those of base64url, and the dot.
var tokenCharacters = func() (found [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") {
		found[c] = true
	}
	return found
}()

// answer writes the results of a part, a line for each.
func (s *stream) answer(part []*redemption) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, r := range part {
		if err := encoder.Encode(r.result); err != nil {
			return err
		}
	}
	return s.write(lines.Bytes())
}

func (s *stream) write(lines []byte) error {
	_ = s.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	s.begin()
	if _, err := s.w.Write(lines); err != nil {
		return newProblem(http.StatusRequestTimeout, "The answers were not read.")
	}
	// A writer that cannot flush, as in tests, keeps nothing back.
	_ = s.controller.Flush()
	return nil
}

// discard drops what has arrived of a body that is not read to its end. The
// server would find its end only after it has begun to wait for the next request
// on the connection, and reads in both places at once then.
func (s *stream) discard() {
	_ = s.controller.SetReadDeadline(time.Now())
	_, _ = io.CopyN(io.Discard, s.source, maxPartBytes)
}

func (s *stream) begin() {
	if !s.isAnswered {
		s.w.Header().Set("Content-Type", mediaTypeLines)
		s.w.WriteHeader(http.StatusOK)
		s.isAnswered = true
	}
}

// end ends the answer: with a line that says why it is incomplete, or with that
// as the whole answer where nothing was answered yet.
func (s *stream) end(p *problem) {
	_ = s.controller.SetWriteDeadline(time.Now().Add(writeTimeout))
	switch {
	case p == nil:
		s.begin() // a stream without lines has none in its answer
	case !s.isAnswered:
		writeProblem(s.w, p)
	default:
		line, err := json.Marshal(map[string]*problem{"problem": p})
		if err == nil {
			_ = s.write(append(line, '\n')) // a client that has gone away needs no answer
		}
	}
}
