package broker

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// The paths of vendors and of those who administer them.
const (
	pathContact     = "/v1/vendor/contact"
	pathDestination = "/v1/vendor/payout-destination"
	pathStatement   = "/v1/vendor/statement"
	pathStatementTo = "/v1/vendor/statement.csv"
	pathEvidence    = "/v1/vendor/commitments/{commitment}"
	pathWebhooks    = "/v1/vendor/webhooks"
	pathWebhook     = "/v1/vendor/webhooks/{webhook}"
	pathDeliveries  = "/v1/vendor/deliveries"
	pathRetry       = "/v1/vendor/deliveries/{delivery}/retry"
	pathAddVendor   = "/v1/admin/vendors"
	pathVendorState = "/v1/admin/vendors/state"
	pathPayouts     = "/v1/admin/payouts"
)

type contactInput struct {
	Body struct {
		Vendor  string `json:"vendor" maxLength:"270"`
		Contact string `json:"contact" maxLength:"200" pattern:"^[^\\x00-\\x1f\\x7f]*$" doc:"for people, such as a mail address"`
	}
}

type destinationInput struct {
	Body struct {
		Vendor      string `json:"vendor" maxLength:"270"`
		Destination string `json:"destination" maxLength:"100" doc:"iban: with an IBAN; ach: with ROUTING/ACCOUNT/checking or ROUTING/ACCOUNT/savings; or ref: with a reference that the payer knows"`
	}
}

// Resolve checks the destination and brings it into its form, for huma.
func (i *destinationInput) Resolve(huma.Context) []error {
	destination, err := parseDestination(i.Body.Destination)
	if err != nil {
		return []error{&huma.ErrorDetail{Message: err.Error(), Location: "body.destination"}}
	}
	i.Body.Destination = destination
	return nil
}

type webhookInput struct {
	Body struct {
		Vendor string   `json:"vendor" maxLength:"270"`
		URL    string   `json:"url" maxLength:"512" doc:"https; messages are sent there with POST"`
		Events []string `json:"events" maxItems:"16" doc:"what to be told of, beside what every webhook is told"`
	}
}

// Resolve checks the URL and the events, for huma.
func (i *webhookInput) Resolve(huma.Context) []error {
	if err := checkWebhookURL(i.Body.URL); err != nil {
		return []error{&huma.ErrorDetail{Message: err.Error(), Location: "body.url"}}
	}
	for _, event := range i.Body.Events {
		if !slices.Contains(chosenEvents, event) {
			return []error{&huma.ErrorDetail{
				Message:  "want some of redemption.paid, fraud.root-reused and payout.paid; other events go to every webhook",
				Location: "body.events",
			}}
		}
	}
	return nil
}

type webhookPathInput struct {
	Vendor  string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
	Webhook string `path:"webhook" maxLength:"16"`
}

// vendorListInput is the input of a route that lists something of a vendor's.
type vendorListInput struct {
	Listing
	Vendor string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
}

type deliveryPathInput struct {
	Vendor   string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
	Delivery string `path:"delivery" maxLength:"40"`
}

// done is the body of an answer that says only that it worked.
type done struct {
	Body struct {
		Status string `json:"status" enum:"ok"`
	}
}

func newDone() *done {
	answer := &done{}
	answer.Body.Status = "ok"
	return answer
}

func registerVendorDetails(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPut, path: pathContact, id: "setContact", access: vendorSigned,
		summary: "Say how people reach the vendor", maxBody: smallBody},
		func(ctx context.Context, input *contactInput) (*body[vendorDetails], payword.Refusal, error) {
			details, refusal, err := b.setContact(ctx, callerOf(ctx), input.Body.Vendor, input.Body.Contact)
			return &body[vendorDetails]{details}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathDestination, id: "setPayoutDestination", access: vendorSigned,
		summary: "Ask for payouts to go somewhere else", maxBody: smallBody,
		description: "The change counts after a time to wait, of which all webhooks are told. It falls if the key that asked for it " +
			"is removed meanwhile. The destination that counts now, asked for again, withdraws a change that waits."},
		func(ctx context.Context, input *destinationInput) (*body[vendorDetails], payword.Refusal, error) {
			details, refusal, err := b.setDestination(ctx, callerOf(ctx), input.Body.Vendor, input.Body.Destination)
			return &body[vendorDetails]{details}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathEvidence, id: "getEvidence", access: vendorSigned,
		summary: "What was signed for a commitment to the vendor"},
		func(ctx context.Context, input *evidenceInput) (*body[evidence], payword.Refusal, error) {
			found, refusal, err := b.evidence(ctx, callerOf(ctx), input.Vendor, input.id)
			return &body[evidence]{found}, refusal, err
		})
}

func registerWebhooks(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: pathWebhooks, id: "addWebhook", access: vendorSigned,
		summary: "Register a URL for webhook messages", maxBody: smallBody,
		description: "A URL that is registered already gets the new events and is enabled. Messages follow Standard Webhooks, " +
			"signed with the broker's key (v1a)."},
		func(ctx context.Context, input *webhookInput) (*body[webhook], payword.Refusal, error) {
			added, refusal, err := b.addWebhook(ctx, callerOf(ctx), input.Body.Vendor, input.Body.URL, input.Body.Events)
			return &body[webhook]{added}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathWebhooks, id: "listWebhooks", access: vendorSigned,
		summary: "The webhooks of a vendor"},
		func(ctx context.Context, input *vendorListInput) (*body[webhookList], payword.Refusal, error) {
			list, refusal, err := b.webhooks(ctx, callerOf(ctx), input.Vendor, input.Listing)
			return &body[webhookList]{list}, refusal, err
		})
	register(a, route{method: http.MethodDelete, path: pathWebhook, id: "removeWebhook", access: vendorSigned,
		summary: "Remove a webhook, after a last message to it"},
		func(ctx context.Context, input *webhookPathInput) (*done, payword.Refusal, error) {
			refusal, err := b.removeWebhook(ctx, callerOf(ctx), input.Vendor, input.Webhook)
			return newDone(), refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathDeliveries, id: "listDeliveries", access: vendorSigned,
		summary: "The webhook messages to a vendor, the newest first", description: "They are kept for 30 days."},
		func(ctx context.Context, input *vendorListInput) (*body[deliveryList], payword.Refusal, error) {
			list, refusal, err := b.deliveries(ctx, callerOf(ctx), input.Vendor, input.Listing)
			return &body[deliveryList]{list}, refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathRetry, id: "retryDelivery", access: vendorSigned,
		summary: "Send a message again that was delivered or failed", maxBody: smallBody},
		func(ctx context.Context, input *deliveryPathInput) (*done, payword.Refusal, error) {
			refusal, err := b.retryDelivery(ctx, callerOf(ctx), input.Vendor, input.Delivery)
			return newDone(), refusal, err
		})
}

type evidenceInput struct {
	Vendor     string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
	Commitment string `path:"commitment" maxLength:"22"`

	id payword.CommitmentID
}

// Resolve reads the id, for huma.
func (i *evidenceInput) Resolve(huma.Context) []error {
	if err := i.id.UnmarshalText([]byte(i.Commitment)); err != nil {
		return []error{&huma.ErrorDetail{Message: err.Error(), Location: "path.commitment"}}
	}
	return nil
}

// StatementInput names a vendor and a period. It is exported as Listing is.
type StatementInput struct {
	Vendor string `query:"vendor" required:"true" maxLength:"270" doc:"the vendor's origin"`
	From   string `query:"from" required:"true" maxLength:"10" doc:"the first day, UTC, such as 2026-01-31"`
	To     string `query:"to" maxLength:"10" doc:"the last day, UTC; the first one unless it is given"`

	period period
}

// Resolve reads the period, for huma.
func (i *StatementInput) Resolve(huma.Context) []error {
	var err error
	if i.period, err = parsePeriod(i.From, i.To); err != nil {
		return []error{&huma.ErrorDetail{Message: err.Error(), Location: "query"}}
	}
	return nil
}

type statementPageInput struct {
	Listing
	StatementInput
}

func registerStatements(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathStatement, id: "getStatement", access: vendorSigned,
		summary: "What a vendor was owed and paid in a period, a page of it"},
		func(ctx context.Context, input *statementPageInput) (*body[statement], payword.Refusal, error) {
			after, err := input.number()
			if err != nil {
				return nil, payword.Refusal{}, err
			}
			page, refusal, err := b.statement(ctx, callerOf(ctx), input.Vendor, input.period, after, input.Limit)
			return &body[statement]{page}, refusal, err
		})
	register(a, route{method: http.MethodGet, path: pathStatementTo, id: "getStatementTable", access: vendorSigned, media: "text/csv",
		summary: "What a vendor was owed and paid in a period, all of it, as CSV (RFC 4180)"},
		func(ctx context.Context, input *StatementInput) (*huma.StreamResponse, payword.Refusal, error) {
			return b.statementTable(ctx, callerOf(ctx), input.Vendor, input.period)
		})
}

type addVendorInput struct {
	Body struct {
		Vendor string `json:"vendor" maxLength:"270" doc:"the vendor's origin"`
	}
}

type vendorStateInput struct {
	Body struct {
		Vendor string `json:"vendor" maxLength:"270"`
		State  string `json:"state" enum:"open,blocked"`
		Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"for the audit log"`
	}
}

type payoutInput struct {
	Body struct {
		ID     string       `json:"id" minLength:"1" maxLength:"100" pattern:"^[A-Za-z0-9._:-]+$" doc:"names this payout; it is booked once for ever"`
		Vendor string       `json:"vendor" maxLength:"270"`
		Amount money.Amount `json:"amount" pattern:"^[1-9][0-9]*$" doc:"what was sent, in micros"`
		Fee    money.Amount `json:"fee,omitempty" pattern:"^[0-9]+$" doc:"what the broker keeps beside it, in micros"`
	}
}

// payoutAnswer says where the money goes.
type payoutAnswer struct {
	Destination string `json:"destination"`
}

func registerVendorAdministration(a *api) {
	b := a.broker
	register(a, route{method: http.MethodPost, path: pathAddVendor, id: "addVendor", access: adminOnly,
		summary: "Register a vendor with the keys that its discovery document lists", maxBody: smallBody,
		description: "For a gate that cannot reach the broker; the others register themselves."},
		func(ctx context.Context, input *addVendorInput) (*body[vendorDetails], payword.Refusal, error) {
			details, refusal, err := b.addVendor(ctx, input.Body.Vendor)
			return &body[vendorDetails]{details}, refusal, err
		})
	register(a, route{method: http.MethodPut, path: pathVendorState, id: "setVendorState", access: adminOnly,
		summary: "Block a vendor, or open it again", maxBody: smallBody,
		description: "For a blocked vendor nothing is reserved any more and nothing is paid out. What was reserved before is still " +
			"paid into its balance."},
		func(ctx context.Context, input *vendorStateInput) (*done, payword.Refusal, error) {
			refusal, err := b.SetVendorState(ctx, input.Body.Vendor, input.Body.State, input.Body.Reason)
			return newDone(), refusal, err
		})
	register(a, route{method: http.MethodPost, path: pathPayouts, id: "payOut", access: adminOnly,
		summary: "Book a payout to a vendor", maxBody: smallBody},
		func(ctx context.Context, input *payoutInput) (*body[payoutAnswer], payword.Refusal, error) {
			destination, refusal, err := b.PayOut(ctx, Payout{
				ID: input.Body.ID, Vendor: input.Body.Vendor, Amount: input.Body.Amount, Fee: input.Body.Fee,
			})
			return &body[payoutAnswer]{payoutAnswer{destination}}, refusal, err
		})
}
