package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
)

// problem is every answer that is not a success, as problem details (RFC 9457).
// Reason is there when the broker refused what it understood.
type problem struct {
	Type   string         `json:"type" doc:"always about:blank: the reason says more"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty" doc:"a sentence for people"`
	Reason payword.Reason `json:"reason,omitempty" doc:"why it was refused, from the list of the protocol"`
	Errors []fault        `json:"errors,omitempty" doc:"what is wrong with the form of the request"`

	retryAfterSeconds int
}

// fault is one thing that is wrong with the form of a request.
type fault struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"such as body.amount"`
}

// Error returns the sentence for people.
func (p *problem) Error() string { return p.Detail }

// GetStatus returns the status code, for huma.
func (p *problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problem details, for huma.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns the fields that go with the problem, for huma.
func (p *problem) GetHeaders() http.Header {
	header := http.Header{}
	if p.retryAfterSeconds > 0 {
		header.Set("Retry-After", strconv.Itoa(p.retryAfterSeconds))
	}
	switch {
	case p.Reason == payword.BadSignature:
		header.Set("WWW-Authenticate", "Signature")
	case p.Status == http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	}
	return header
}

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// statuses holds the status codes of refusals that differ from 422. A broker
// never says 402: that makes people pay.
var statuses = map[payword.Reason]int{
	payword.MalformedCommitment:  http.StatusBadRequest,
	payword.MalformedCertificate: http.StatusBadRequest,
	payword.MalformedReservation: http.StatusBadRequest,
	payword.MalformedClaim:       http.StatusBadRequest,
	payword.BadSignature:         http.StatusUnauthorized,
	payword.UnknownAccount:       http.StatusNotFound,
	payword.UnknownVendor:        http.StatusNotFound,
	payword.VendorNotProved:      http.StatusForbidden,
	payword.CertificateRevoked:   http.StatusForbidden,
	payword.InsufficientFunds:    http.StatusConflict,
	payword.RootReused:           http.StatusConflict,
	payword.CommitmentClosed:     http.StatusConflict,
	payword.IdempotencyDiffers:   http.StatusConflict,
	payword.Blocked:              http.StatusForbidden,
	payword.NotPermitted:         http.StatusForbidden,
	payword.AccountClosed:        http.StatusConflict,
	payword.OverAccountLimit:     http.StatusConflict,
	payword.UnknownDevice:        http.StatusNotFound,
	payword.UnknownPayout:        http.StatusNotFound,
	payword.RateLimited:          http.StatusTooManyRequests,
	payword.VendorBlocked:        http.StatusForbidden,
}

// Seconds after which a client may ask again.
const (
	retryUnavailable = 5
	retryRateLimited = 60
)

// refusalProblem returns the problem details of a refusal.
func refusalProblem(refusal payword.Refusal) *problem {
	status := statuses[refusal.Reason]
	if status == 0 {
		status = http.StatusUnprocessableEntity
	}
	p := newProblem(status, refusal.Detail)
	p.Reason = refusal.Reason
	if refusal.Reason == payword.RateLimited {
		p.retryAfterSeconds = retryRateLimited
	}
	return p
}

// problemOf turns the outcome of a request into its problem details, or nil. An
// error that is a problem is what the client is told.
// What went wrong inside is logged and never told.
func (b *Broker) problemOf(ctx context.Context, pattern string, refusal payword.Refusal, err error) *problem {
	switch told := (*problem)(nil); {
	case errors.As(err, &told):
		return told
	case err != nil:
		b.log.ErrorContext(ctx, "request failed", "route", pattern, "error", err)
		return unavailableProblem()
	case refusal.Refused():
		b.log.InfoContext(ctx, "request refused", "route", pattern, "reason", refusal.Reason.String())
		b.metrics.refusals.WithLabelValues(refusal.Reason.String()).Inc()
		return refusalProblem(refusal)
	}
	return nil
}

// unavailableProblem is told to whom the broker could not tell.
func unavailableProblem() *problem {
	p := newProblem(http.StatusServiceUnavailable, "The broker cannot tell at the moment. Ask again; it is safe to.")
	p.retryAfterSeconds = retryUnavailable
	return p
}

// transformProblem turns huma's own errors, about the form of a request, into
// our problem details. It leaves out the values that huma quotes.
func transformProblem(_ huma.Context, _ string, value any) (any, error) {
	model, isError := value.(*huma.ErrorModel)
	if !isError {
		return value, nil
	}
	p := newProblem(model.Status, model.Detail)
	for _, detail := range model.Errors {
		if detail != nil {
			p.Errors = append(p.Errors, fault{Message: detail.Message, Location: detail.Location})
		}
	}
	return p, nil
}

// writeProblem answers with p outside of huma.
func writeProblem(w http.ResponseWriter, p *problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that has gone away needs no answer
}

// refuse makes a refusal with a formatted sentence.
func refuse(reason payword.Reason, format string, arguments ...any) payword.Refusal {
	return payword.Refusal{Reason: reason, Detail: fmt.Sprintf(format, arguments...)}
}
