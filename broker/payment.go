package broker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// pathPayments is where the payment services post what happened; the name of
// the service follows.
const pathPayments = "/v1/payments/"

// paymentEventBody is the largest event, in bytes: those of Stripe that are read
// here take about five kilobytes, and their metadata up to 27 more.
const paymentEventBody = largeBody

// PaymentService reads the webhooks of one payment service. NewStripe makes the
// one that there is.
type PaymentService interface {
	// Name is what the service is called in paths and in the books: 1 to 16 of
	// a-z.
	Name() string
	// Read checks who sent an event and says what it means. It looks at the
	// body before anything has parsed it. now is the broker's clock. It refuses
	// with payword.BadSignature what the service did not sign; an error is what
	// the service signed and we cannot read.
	Read(header http.Header, body []byte, now time.Time) (PaymentEvent, payword.Refusal, error)
}

// PaymentKind says what an event is about.
type PaymentKind uint8

const (
	// PaymentIgnored is an event that moves no money of ours.
	PaymentIgnored PaymentKind = iota
	// PaymentReceived means that somebody paid.
	PaymentReceived
	// PaymentRefunded means that the broker's owner sent money back.
	PaymentRefunded
	// PaymentDisputed means that the payer's bank took money back.
	PaymentDisputed
	// PaymentDisputeWon means that a dispute ended in the broker's favour and
	// what was taken came back.
	PaymentDisputeWon
)

// PaymentEvent is what happened at a payment service. Events come twice, late
// and in any order; the broker sorts that out by the names in them.
type PaymentEvent struct {
	Kind PaymentKind
	// ID is the service's name of what was paid, refunded or disputed: 1 to 100
	// letters, digits and ". _ : -". It stays the same over repetitions.
	ID string
	// Payment is what refunds and disputes name the payment by, of the same
	// form, or "".
	Payment string
	// Account is whom a payment received is for, as the payer or the shop wrote
	// it: it may name nobody.
	Account string
	// Amount is in micros, 1 or more. For a refund it is what was sent back of
	// the payment so far, in all.
	Amount money.Amount
	// Currency is that of Amount, which need not be the broker's.
	Currency money.Currency
}

// receivePayment books what an event of a payment service says.
func (b *Broker) receivePayment(ctx context.Context, service string, event PaymentEvent) (payword.Refusal, error) {
	if event.Kind == PaymentIgnored {
		return payword.Refusal{}, nil
	}
	isNamed := isFundingID(event.ID) && (event.Payment == "" && event.Kind == PaymentReceived || isFundingID(event.Payment))
	if !isNamed || event.Amount < 1 && event.Kind != PaymentDisputeWon || event.Amount > money.MaxAmount {
		return payword.Refusal{}, newProblem(http.StatusUnprocessableEntity, "The event names no payment, or an amount that cannot be.")
	}
	return b.store.update(ctx, "receive payment", func(tx *ledger.Tx) error {
		if event.Kind != PaymentReceived {
			return b.store.reverse(ctx, tx, reversalOf(service, event))
		}
		f, err := b.store.book(ctx, tx, fundingRecord{
			source: service, id: event.ID, payment: event.Payment, named: visibleText(event.Account, maxNamedBytes),
			amount: event.Amount, currency: event.Currency,
		})
		if err == nil && f.account == "" {
			b.log.WarnContext(ctx, "payment of nobody", "source", service, "funding", f.seq)
		}
		return err
	})
}

func reversalOf(service string, event PaymentEvent) reversal {
	cause := causeDispute
	if event.Kind == PaymentRefunded {
		cause = causeRefund
	}
	return reversal{
		source: service, id: event.ID, payment: event.Payment, cause: cause, amount: event.Amount, currency: event.Currency,
		isEnded: event.Kind == PaymentDisputeWon,
	}
}

type paymentInput struct {
	header  http.Header
	RawBody []byte `contentType:"application/json"`
}

// Resolve keeps the fields of the request, which the signature stands in.
func (i *paymentInput) Resolve(ctx huma.Context) []error {
	i.header = make(http.Header)
	ctx.EachHeader(func(name, value string) { i.header.Add(name, value) })
	return nil
}

// received is the answer to an event, whatever came of it.
type received struct {
	Received bool `json:"received" example:"true"`
}

func registerPayments(a *api) {
	b := a.broker
	for _, service := range b.config.PaymentServices {
		name := service.Name()
		register(a, route{method: http.MethodPost, path: pathPayments + name, id: "receivePaymentOf_" + name,
			summary: "Take an event of the payment service " + name, maxBody: paymentEventBody, hasRawBody: true,
			description: "For the service, which signs every event. The same event again changes nothing. What came in for an account " +
				"that there is not, or in another currency, is kept and can be assigned by the administration."},
			func(ctx context.Context, input *paymentInput) (*body[received], payword.Refusal, error) {
				event, refusal, err := service.Read(input.header, input.RawBody, b.config.Now())
				if refusal.Refused() {
					return nil, refusal, nil
				}
				if err != nil {
					return nil, refusal, newProblem(http.StatusUnprocessableEntity, err.Error())
				}
				refusal, err = b.receivePayment(withActor(ctx, name), name, event)
				return &body[received]{received{true}}, refusal, err
			})
	}
}

// checkPaymentServices reports names that are not of the form, or stand twice:
// they become part of accounts in the ledger.
func checkPaymentServices(services []PaymentService) error {
	seen := map[string]bool{sourceBank: true}
	for _, service := range services {
		name := service.Name()
		if !isServiceName(name) || seen[name] {
			return fmt.Errorf("payment service %.20q: want names of 1 to %d of a-z, each once, and not bank", name, maxServiceNameBytes)
		}
		seen[name] = true
	}
	return nil
}

// maxServiceNameBytes bounds the names of payment services and gateways, which
// become part of the ids of transfers.
const maxServiceNameBytes = 16

func isServiceName(name string) bool {
	for _, c := range []byte(name) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return name != "" && len(name) <= maxServiceNameBytes
}
