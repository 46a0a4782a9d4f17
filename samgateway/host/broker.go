package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// maxAccountBytes bounds an account's id, as the broker does.
const maxAccountBytes = 64

// OverLimit is the reason of a refusal where an account cannot be given so much
// now. The others are the broker's, of payword.Reason.
const OverLimit = "over-limit"

// Broker asks the broker. What is refused is a *terminal.Refused.
type Broker struct {
	client   *client
	currency money.Currency
}

var _ terminal.Accounts = (*Broker)(nil)

// NewBroker makes a client for accounts in a currency. An error says what is
// wrong with the configuration.
func NewBroker(config Config, currency money.Currency) (*Broker, error) {
	c, err := newClient("the broker", "broker", config)
	if err == nil && currency == "" {
		err = errors.New("the broker: want a currency")
	}
	if err != nil {
		return nil, err
	}
	return &Broker{c, currency}, nil
}

func (b *Broker) ask(ctx context.Context, method, path string, body []byte, target any) error {
	r, err := b.client.ask(ctx, method, path, "application/json", body, target)
	if err == nil && r != nil {
		return &terminal.Refused{Reason: foreignText(r.Reason), Sentence: "the broker refuses: " + r.sentence()}
	}
	return err
}

// Check implements terminal.Accounts.
func (b *Broker) Check(ctx context.Context, account string, amount money.Amount) error {
	var answer struct {
		Account  string         `json:"account"`
		Fundable money.Amount   `json:"fundable"`
		Currency money.Currency `json:"currency"`
	}
	if account == "" || len(account) > maxAccountBytes {
		return &terminal.Refused{Reason: payword.UnknownAccount.String(), Sentence: fmt.Sprintf("account %.70q: want the id of an account of the broker", account)}
	}
	if err := b.ask(ctx, http.MethodGet, "/v1/gateway/accounts/"+url.PathEscape(account), nil, &answer); err != nil {
		return err
	}
	if answer.Account != account {
		return b.strange()
	}
	if answer.Currency != b.currency {
		return &terminal.Refused{Reason: payword.WrongCurrency.String(), Sentence: fmt.Sprintf("account %s is in %s, and the card in %s", account, answer.Currency.Code(), b.currency.Code())}
	}
	if amount > answer.Fundable {
		return &terminal.Refused{Reason: OverLimit, Sentence: fmt.Sprintf("account %s can be given at most %s %s now", account, answer.Fundable.Decimal(), b.currency.Code())}
	}
	return nil
}

// Fund implements terminal.Accounts.
func (b *Broker) Fund(ctx context.Context, account, id string, amount money.Amount) error {
	body, err := json.Marshal(struct {
		ID       string         `json:"id"`
		Account  string         `json:"account"`
		Amount   money.Amount   `json:"amount"`
		Currency money.Currency `json:"currency"`
	}{id, account, amount, b.currency})
	if err != nil {
		return err
	}
	var answer struct {
		ID     string       `json:"id"`
		Amount money.Amount `json:"amount"`
	}
	err = b.ask(ctx, http.MethodPost, "/v1/gateway/fundings", body, &answer)
	var refused *terminal.Refused
	if errors.As(err, &refused) && refused.Reason == payword.InsufficientFunds.String() {
		// Clearing has not booked the payment yet. It is there, so this is no end.
		return b.client.unknown(http.StatusPaymentRequired, "%s", err, refused.Sentence)
	}
	if err == nil && (answer.ID != id || answer.Amount != amount) {
		err = b.strange()
	}
	return err
}

// strange means that the answer is somebody else's, such as a proxy's that answers
// 200 to whatever it does not know: it is unknown what the broker did.
func (b *Broker) strange() error {
	return b.client.unknown(http.StatusOK, "the answer of the broker is about something else than was asked: is %s its address?", nil, b.client.Origin)
}
