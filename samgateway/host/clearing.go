package host

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/terminal"
)

const (
	bytesMedia = "application/octet-stream"
	// maxHotListPages bounds the hot list: a million cards.
	maxHotListPages = 1000
	// maxCommandBytes is the longest command of short form.
	maxCommandBytes = 4 + 1 + purse.MaxCommandData + 1
)

// Clearing asks clearing ("payword clearing serve --cards").
type Clearing struct{ client *client }

var _ terminal.Host = (*Clearing)(nil)

// NewClearing makes a client. An error says what is wrong with the configuration.
func NewClearing(config Config) (*Clearing, error) {
	c, err := newClient("clearing", "clearing", config)
	if err != nil {
		return nil, err
	}
	return &Clearing{c}, nil
}

// ask is client.ask, and a no is a *purse.Refusal.
func (c *Clearing) ask(ctx context.Context, method, path string, body []byte, target any) error {
	r, err := c.client.ask(ctx, method, path, bytesMedia, body, target)
	if err == nil && r != nil {
		return &purse.Refusal{Reason: purse.Reason(foreignText(r.Reason)), Record: r.Record, Detail: r.sentence(), Load: foreignText(r.Load)}
	}
	return err
}

func (c *Clearing) post(ctx context.Context, path string, body []byte, target any) error {
	return c.ask(ctx, http.MethodPost, path, body, target)
}

// strange means that clearing's answer makes no sense: it is unknown what it did.
func (c *Clearing) strange(what string, err error) error {
	return c.client.unknown(http.StatusOK, "the answer of clearing has no %s that makes sense", err, what)
}

// echo is what clearing says again of what it was asked. An answer without it is
// somebody else's, such as a proxy's that answers 200 to whatever it does not know:
// it is unknown what clearing did.
type echo struct {
	Load     string `json:"load"`
	Card     string `json:"card"`
	Merchant string `json:"merchant"`
	TNo      uint32 `json:"transaction"`
}

// same compares an echo with what was asked.
func (c *Clearing) same(got, want echo) error {
	if got != want {
		return c.strange("name of what was asked for", fmt.Errorf("got %+v, want %+v", got, want))
	}
	return nil
}

// bytesOf reads hexadecimal digits, of exactly length bytes.
func (c *Clearing) bytesOf(what, text string, length int) ([]byte, error) {
	decoded, err := hex.DecodeString(text)
	if err == nil && len(decoded) != length {
		err = fmt.Errorf("%d bytes, want %d", len(decoded), length)
	}
	if err != nil {
		return nil, c.strange(what, err)
	}
	return decoded, nil
}

// AuthoriseLoad implements terminal.Host.
func (c *Clearing) AuthoriseLoad(ctx context.Context, request, answer []byte) (reference purse.ID, credit []byte, err error) {
	var authorised struct {
		Load   string `json:"load"`
		Credit string `json:"credit"`
	}
	if err := c.post(ctx, "/v1/loads", slices.Concat(request, answer), &authorised); err != nil {
		return purse.ID{}, nil, err
	}
	if reference, err = purse.ParseID(authorised.Load); err != nil {
		return purse.ID{}, nil, c.strange("load", err)
	}
	credit, err = c.bytesOf("credit", authorised.Credit, purse.CreditLength)
	return reference, credit, err
}

// ConfirmLoad implements terminal.Host.
func (c *Clearing) ConfirmLoad(ctx context.Context, reference purse.ID, receipt []byte) error {
	taken, err := c.endLoad(ctx, reference, "/receipt", receipt)
	if err == nil && !taken {
		err = c.strange("isTaken", nil)
	}
	return err
}

// ChallengeLoad implements terminal.Host.
func (c *Clearing) ChallengeLoad(ctx context.Context, reference purse.ID) (purse.Random, error) {
	var answer struct {
		echo
		Challenge string `json:"challenge"`
	}
	var random purse.Random
	if err := c.post(ctx, "/v1/loads/"+reference.String()+"/challenge", nil, &answer); err != nil {
		return random, err
	}
	if err := c.same(answer.echo, echo{Load: reference.String()}); err != nil {
		return random, err
	}
	decoded, err := c.bytesOf("challenge", answer.Challenge, len(random))
	copy(random[:], decoded)
	return random, err
}

// ResolveLoad implements terminal.Host.
func (c *Clearing) ResolveLoad(ctx context.Context, reference purse.ID, status []byte) (taken bool, err error) {
	return c.endLoad(ctx, reference, "/status", status)
}

// endLoad brings what the card said of a load, and returns whether it took it.
func (c *Clearing) endLoad(ctx context.Context, reference purse.ID, path string, said []byte) (taken bool, err error) {
	var answer struct {
		echo
		IsTaken *bool `json:"isTaken"`
	}
	if err := c.post(ctx, "/v1/loads/"+reference.String()+path, said, &answer); err != nil {
		return false, err
	}
	if answer.IsTaken == nil {
		return false, c.strange("isTaken", nil)
	}
	return *answer.IsTaken, c.same(answer.echo, echo{Load: reference.String()})
}

// PayOnline implements terminal.Host.
func (c *Clearing) PayOnline(ctx context.Context, record []byte, previous purse.MAC) error {
	paid, err := purse.ParseRecord(record)
	if err != nil {
		return err
	}
	var answer echo
	if err := c.post(ctx, "/v1/payments", slices.Concat(record, previous[:]), &answer); err != nil {
		return err
	}
	return c.same(answer, echo{Merchant: paid.Merchant().String(), TNo: paid.TNo()})
}

// SubmitBatch implements terminal.Host.
func (c *Clearing) SubmitBatch(ctx context.Context, batch []byte) (purse.MAC, error) {
	var answer struct {
		Acknowledgement string `json:"acknowledgement"`
	}
	var mac purse.MAC
	if err := c.post(ctx, "/v1/batches", batch, &answer); err != nil {
		return mac, err
	}
	decoded, err := c.bytesOf("acknowledgement", answer.Acknowledgement, len(mac))
	copy(mac[:], decoded)
	return mac, err
}

// Claim implements terminal.Host.
func (c *Clearing) Claim(ctx context.Context, proof []byte, macz purse.MAC) error {
	want, err := claimOf(proof)
	if err != nil {
		return err
	}
	var answer echo
	if err := c.post(ctx, "/v1/claims", slices.Concat(proof, macz[:]), &answer); err != nil {
		return err
	}
	return c.same(answer, want)
}

// claimOf returns the payment that a claim is about: one that a card made, or one
// that it took back.
func claimOf(text []byte) (echo, error) {
	if len(text) == purse.CancellationLength {
		back, err := purse.ParseCancellation(text)
		return echo{Merchant: back.Merchant.String(), TNo: back.PaidTNo}, err
	}
	paid, err := purse.ParseProof(text)
	return echo{Merchant: paid.Merchant.String(), TNo: paid.TNo}, err
}

// Scripts implements terminal.Host.
func (c *Clearing) Scripts(ctx context.Context, card purse.ID) (commands [][]byte, err error) {
	var answer struct {
		echo
		Scripts []string `json:"scripts"`
	}
	if err := c.ask(ctx, http.MethodGet, "/v1/cards/"+card.String()+"/scripts", nil, &answer); err != nil {
		return nil, err
	}
	if len(answer.Scripts) > purse.MaxScripts {
		return nil, c.strange("scripts", nil)
	}
	if err := c.same(answer.echo, echo{Card: card.String()}); err != nil {
		return nil, err
	}
	for _, text := range answer.Scripts {
		command, err := hex.DecodeString(text)
		// A card takes other commands, too, and clearing is to send none of them.
		if err != nil || len(command) < 4 || len(command) > maxCommandBytes || command[1] != byte(purse.Script) {
			return nil, c.strange("scripts", errors.Join(errors.New("a command that is no script"), err))
		}
		commands = append(commands, command)
	}
	return commands, nil
}

// ScriptDone implements terminal.Host.
func (c *Clearing) ScriptDone(ctx context.Context, card purse.ID, answer []byte) error {
	var said echo
	if err := c.post(ctx, "/v1/cards/"+card.String()+"/scripts", answer, &said); err != nil {
		return err
	}
	return c.same(said, echo{Card: card.String()})
}

// HotList implements terminal.Host.
func (c *Clearing) HotList(ctx context.Context) (cards []purse.ID, err error) {
	path, last := "/v1/hotlist", ""
	for range maxHotListPages {
		var page struct {
			Cards *[]string `json:"cards"`
			After string    `json:"after"`
		}
		if err := c.ask(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		if page.Cards == nil {
			return nil, c.strange("cards", nil)
		}
		for _, text := range *page.Cards {
			card, err := purse.ParseID(text)
			if err != nil {
				return nil, c.strange("cards", err)
			}
			cards = append(cards, card)
		}
		if page.After == "" {
			return cards, nil
		}
		after, err := purse.ParseID(page.After)
		if err != nil || page.After <= last {
			return nil, c.strange("after", err)
		}
		last = page.After
		path = "/v1/hotlist?after=" + after.String()
	}
	return nil, c.strange("cards", fmt.Errorf("more than %d pages", maxHotListPages))
}

// CardAccount implements terminal.Host.
func (c *Clearing) CardAccount(ctx context.Context, card purse.ID) (account string, err error) {
	var answer struct {
		echo
		Account *string `json:"account"`
	}
	if err := c.ask(ctx, http.MethodGet, "/v1/cards/"+card.String()+"/account", nil, &answer); err != nil {
		return "", err
	}
	if answer.Account == nil || len(*answer.Account) > maxAccountBytes {
		return "", c.strange("account", nil)
	}
	return *answer.Account, c.same(answer.echo, echo{Card: card.String()})
}

// CashOut implements terminal.Host.
func (c *Clearing) CashOut(ctx context.Context, merchant purse.ID, tno uint32) error {
	var answer struct {
		echo
		IsPaid bool `json:"isPaid"`
	}
	if err := c.post(ctx, fmt.Sprintf("/v1/payments/%s/%d/cash", merchant, tno), nil, &answer); err != nil {
		return err
	}
	if !answer.IsPaid {
		return c.strange("isPaid", nil)
	}
	return c.same(answer.echo, echo{Merchant: merchant.String(), TNo: tno})
}
