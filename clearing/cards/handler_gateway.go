package cards

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
)

// signedWork is what is done for a gateway, named, that has signed the request
// with this body.
type signedWork func(r *http.Request, gateway string, body []byte) (answer, error)

// signed reads a body of at most limit bytes and does work if a gateway has signed
// the request.
func (h *handler) signed(limit int64, work signedWork) func(w http.ResponseWriter, r *http.Request) (answer, error) {
	return func(w http.ResponseWriter, r *http.Request) (answer, error) {
		body, refusal := read(w, r, limit)
		if refusal != nil {
			return answer{refusal: refusal}, nil
		}
		gateway, refusal, err := h.gatewayOf(r, body)
		if err != nil || refusal != nil {
			return answer{refusal: refusal}, err
		}
		return work(r, gateway, body)
	}
}

// isSigned reports whether somebody has tried to sign a request.
func isSigned(r *http.Request) bool {
	return r.Header.Get(payword.HeaderSignature) != "" || r.Header.Get(payword.HeaderSignatureInput) != ""
}

// keptBody is the body of a request as it is read, if it is short.
type keptBody struct {
	text   []byte
	isLong bool
}

// keepBody has the body of a request kept while it is read.
func keepBody(r *http.Request) *keptBody {
	kept := &keptBody{}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r.Body, kept), r.Body}
	return kept
}

// Write keeps what is read, up to the longest that is about one card.
func (k *keptBody) Write(text []byte) (int, error) {
	if k.isLong = k.isLong || len(k.text)+len(text) > onlineLength; !k.isLong {
		k.text = append(k.text, text...)
	}
	return len(text), nil
}

// isOfGateway reports whether a gateway of the broker has signed a request that
// was refused. It does not guess: it asks about whatever card somebody puts into
// its reader, or says to have in his own.
func (h *handler) isOfGateway(r *http.Request, body *keptBody) bool {
	if h.origin == "" || body.isLong || !isSigned(r) {
		return false
	}
	_, refusal, err := h.gatewayOf(r, body.text)
	return err == nil && refusal == nil
}

// gatewayOf returns the name of the gateway that has signed a request with this
// body, for this origin, at about now. It refuses with Unsigned.
func (h *handler) gatewayOf(r *http.Request, body []byte) (name string, refusal *purse.Refusal, err error) {
	if h.origin == "" {
		return "", refuse(Unsigned, "signed requests are not taken here: whoever runs this has not said where it is reached"), nil
	}
	for _, field := range []string{payword.HeaderSignatureInput, payword.HeaderSignature, payword.HeaderContentDigest} {
		if len(r.Header.Values(field)) != 1 {
			return "", refuse(Unsigned, "want one field %s: a gateway of the broker signs this", field), nil
		}
	}
	request, wrong := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if wrong.Refused() {
		return "", refuse(Unsigned, "%s", wrong.Detail), nil
	}
	request.Method, request.TargetURI = r.Method, h.origin+r.RequestURI
	// Of the body that is here, whatever the field says: the signature covers both.
	request.Digest = payword.ContentDigest(body)
	g, found, err := h.clearing.gatewayOfKey(r.Context(), request.KeyID)
	if err != nil || !found {
		return "", refuse(Unsigned, "no gateway of the broker is registered with that key"), err
	}
	if wrong := request.Verify(g.key, r.Header.Get(payword.HeaderSignature), h.now().Unix()); wrong.Refused() {
		return "", refuse(Unsigned, "%s", wrong.Detail), nil
	}
	return g.name, nil, nil
}

// gatewayOfKey returns the gateway of the broker that has the key of a thumbprint.
func (c *Clearing) gatewayOfKey(ctx context.Context, keyID string) (g gatewayRow, found bool, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) (err error) {
		g, found, err = loadGateway(ctx, tx, "key_id", keyID)
		return err
	})
	return g, found, err
}

// cardAccountAnswer says where a card's money comes from.
type cardAccountAnswer struct {
	Card string `json:"card"`
	// Account is the broker's; empty: a white card.
	Account string `json:"account"`
}

func (h *handler) cardAccount(r *http.Request, gateway string, _ []byte) (answer, error) {
	card, refusal := pathID(r, "card")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	if refusal, err := h.clearing.checkStopped(r.Context(), gateway); err != nil || refusal != nil {
		return answer{refusal: refusal}, err
	}
	account, refusal, err := h.clearing.CardAccount(r.Context(), card)
	return answer{cardAccountAnswer{card.String(), account}, refusal}, err
}

// scriptsAnswer are the scripts that wait for a card, in their order.
type scriptsAnswer struct {
	Card    string   `json:"card"`
	Scripts []string `json:"scripts"` // commands, whole, in hexadecimal digits
}

func (h *handler) scripts(r *http.Request, _ string, _ []byte) (answer, error) {
	card, refusal := pathID(r, "card")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	commands, refusal, err := h.clearing.Scripts(r.Context(), card)
	waiting := scriptsAnswer{card.String(), make([]string, 0, len(commands))}
	for _, command := range commands {
		waiting.Scripts = append(waiting.Scripts, hex.EncodeToString(command))
	}
	return answer{waiting, refusal}, err
}

// scriptAnswer says that a card did what its issuer wanted.
type scriptAnswer struct {
	Card   string `json:"card"`
	Count  uint32 `json:"count"`
	IsDone bool   `json:"isDone"`
}

func (h *handler) scriptDone(r *http.Request, _ string, body []byte) (answer, error) {
	card, refusal := pathID(r, "card")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	script, refusal, err := h.clearing.ScriptDone(r.Context(), card, body)
	return answer{scriptAnswer{card.String(), script.Count, true}, refusal}, err
}

// cashAnswer says that a payment is paid out.
type cashAnswer struct {
	Merchant string `json:"merchant"`
	TNo      uint32 `json:"transaction"`
	IsPaid   bool   `json:"isPaid"`
}

func (h *handler) cash(r *http.Request, gateway string, _ []byte) (answer, error) {
	merchant, refusal := pathID(r, "merchant")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	tno, err := strconv.ParseUint(r.PathValue("transaction"), 10, 32)
	if err != nil {
		return answer{refusal: refuse(purse.Malformed, "transaction: want a number")}, nil
	}
	refusal, err = h.clearing.CashOut(r.Context(), gateway, merchant, uint32(tno))
	return answer{cashAnswer{merchant.String(), uint32(tno), true}, refusal}, err
}

// pathID returns an id that stands in the path.
func pathID(r *http.Request, name string) (purse.ID, *purse.Refusal) {
	id, err := purse.ParseID(r.PathValue(name))
	if err != nil {
		return id, refuse(purse.Malformed, "%s: %v", name, err)
	}
	return id, nil
}
