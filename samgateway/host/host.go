// Package host asks clearing and the broker by HTTP, as a terminal does: it
// implements terminal.Host and terminal.Accounts.
//
// What clearing or the broker refuses for good is a *purse.Refusal or a
// *terminal.Refused. Any other error means that it is unknown whether it was
// done: the same is to be asked again. That is so where nothing answers, where
// the answer is too late or cannot be read, where the server failed, where it
// wants to be asked later, and where it does not know this gateway or this
// gateway's clock: that is for an operator to mend, and no reason to let go of
// what a card has paid.
package host

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/foreign"
)

const (
	// timeout is how long a question may take: a day's batch of 900 KB over a
	// mobile line takes most of it.
	timeout = 90 * time.Second
	// maxAnswerBytes bounds an answer: a page of the hot list, the longest, takes
	// 20 KB.
	maxAnswerBytes = 1 << 20
	// maxDetailBytes bounds what is shown of a sentence of the other side's.
	maxDetailBytes = 300
)

// Config is what both need. All but Client must be set.
type Config struct {
	// Origin is where to ask, such as https://broker.example: see
	// payword.CheckOrigin. What is signed names it. "" is nowhere: nothing else is
	// needed then, and every answer is that it is not configured.
	Origin string
	// Key is the gateway's, an Ed25519 key that the broker knows.
	Key crypto.Signer
	// Now is the clock: a signature is good for five minutes.
	Now func() time.Time
	// Client sends the requests; nil: one that gives up after 90 seconds.
	// Redirects are not followed, whoever sends them.
	Client *http.Client
}

// client asks one server.
type client struct {
	name string // for people: clearing, the broker
	flag string // that says where it is
	Config
}

func newClient(name, flag string, config Config) (*client, error) {
	if config.Origin == "" {
		return &client{name: name, flag: flag}, nil
	}
	if err := payword.CheckOrigin(config.Origin); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if config.Key == nil || config.Now == nil {
		return nil, fmt.Errorf("%s: want a key and a clock", name)
	}
	var own http.Client
	if config.Client != nil {
		own = *config.Client
	} else {
		own.Timeout = timeout
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	config.Client = &own
	return &client{name, flag, config}, nil
}

// UnknownError means that it is unknown whether the other side did what it was
// asked to: the same has to be asked again.
type UnknownError struct {
	// Status is the HTTP status of the answer; 0: there was none that could be
	// read.
	Status int
	// Sentence is for people.
	Sentence string
	// Err is the cause, and may be nil.
	Err error
}

// Error returns the sentence.
func (e *UnknownError) Error() string { return e.Sentence }

// Unwrap returns the cause.
func (e *UnknownError) Unwrap() error { return e.Err }

// refusal is what the other side said no with.
type refusal struct {
	Reason string `json:"reason"`
	Record int    `json:"record"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Load   string `json:"load"`
}

// sentence is for people.
func (r *refusal) sentence() string {
	if r.Detail == "" {
		return foreignText(r.Title)
	}
	return foreignText(r.Detail)
}

// ask sends a signed request and reads the answer into target. An answer that says
// no for good comes back as a refusal, and everything else as an *UnknownError.
func (c *client) ask(ctx context.Context, method, path, media string, body []byte, target any) (*refusal, error) {
	if c.Origin == "" {
		return nil, c.unknown(0, "nobody said where %s is: name it with --%s", nil, c.name, c.flag)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.Origin+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		request.Header.Set("Content-Type", media)
	}
	var nonce payword.Nonce
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	if err := payword.SignRequest(request, body, c.Key, nonce, c.Now().Unix()); err != nil {
		return nil, err
	}
	answer, err := c.Client.Do(request)
	if err != nil {
		return nil, c.unknown(0, "%s cannot be reached (%s)", err, c.name, cause(err))
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, c.unknown(answer.StatusCode, "the answer of %s broke off", err, c.name)
	case len(content) > maxAnswerBytes:
		return nil, c.unknown(answer.StatusCode, "the answer of %s has more than %d bytes", nil, c.name, maxAnswerBytes)
	case answer.StatusCode/100 != 2:
		return c.refused(answer, content)
	}
	if err := json.Unmarshal(content, target); err != nil {
		return nil, c.unknown(answer.StatusCode, "the answer of %s is not what was asked for: is %s its address?", err, c.name, c.Origin)
	}
	return nil, nil
}

// refused makes of an answer that is no success what it means.
func (c *client) refused(answer *http.Response, content []byte) (*refusal, error) {
	status := answer.StatusCode
	var r refusal
	if json.Unmarshal(content, &r) != nil {
		r = refusal{} // no problem document: its status says enough
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return nil, c.unknown(status, "%s wants to be asked %s%s", nil, c.name, whenOf(answer.Header.Get("Retry-After")), r.after())
	case status == http.StatusUnauthorized, status == http.StatusForbidden, r.Reason == payword.BadSignature.String():
		return nil, c.unknown(status, "%s does not take this gateway's signature%s: its key must be registered there, and the clock be right", nil, c.name, r.after())
	case status >= 500, status == http.StatusRequestTimeout:
		return nil, c.unknown(status, "%s failed with status %d%s", nil, c.name, status, r.after())
	case status/100 == 4 && r.Reason != "" && isProblem(answer):
		return &r, nil
	}
	return nil, c.unknown(status, "%s answered with status %d%s: is %s its address?", nil, c.name, status, r.after(), c.Origin)
}

// after is what the other side said, in a bracket, or "".
func (r *refusal) after() string {
	if sentence := strings.TrimRight(r.sentence(), "."); sentence != "" {
		return " (" + sentence + ")"
	}
	return ""
}

func isProblem(answer *http.Response) bool {
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	return kind == "application/problem+json"
}

func (c *client) unknown(status int, format string, err error, arguments ...any) *UnknownError {
	return &UnknownError{Status: status, Sentence: fmt.Sprintf(format, arguments...), Err: err}
}

// whenOf reads a Retry-After field in seconds, the form that clearing and broker
// write, for people. Whoever asks again does so less and less often by himself.
func whenOf(field string) string {
	seconds, err := strconv.ParseUint(field, 10, 16)
	if err != nil {
		return "later"
	}
	return "again in " + (time.Duration(seconds) * time.Second).String()
}

// cause is the innermost of what went wrong: what is around it names the address
// and the request once more.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return foreignText(err.Error())
}

// foreignText is what another program wrote, such that it can stand in a line
// for people.
func foreignText(text string) string { return foreign.Text(text, maxDetailBytes) }
