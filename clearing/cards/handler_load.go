package cards

import (
	"encoding/hex"
	"net/http"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// claimNote is what stands at a claim that a terminal brought.
const claimNote = "brought by a terminal"

// readExactly returns a body that must have so many bytes, which are what is said.
func readExactly(w http.ResponseWriter, r *http.Request, length int, what string) ([]byte, *purse.Refusal) {
	body, refusal := read(w, r, int64(length))
	if refusal == nil && len(body) != length {
		refusal = refuse(purse.Malformed, "%d bytes: want the %d of %s", len(body), length, what)
	}
	return body, refusal
}

// loadAnswer is an Authorisation in JSON.
type loadAnswer struct {
	Load   string `json:"load"`
	Credit string `json:"credit"` // data of CREDIT, hexadecimal digits
}

func (h *handler) loads(w http.ResponseWriter, r *http.Request) (answer, error) {
	body, refusal := readExactly(w, r, purse.LoadRequestLength+purse.LoadAnswerLength, "data of INIT LOAD and the card's answer")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	gateway := ""
	if h.origin != "" && isSigned(r) {
		var err error
		if gateway, refusal, err = h.gatewayOf(r, body); err != nil || refusal != nil {
			return answer{refusal: refusal}, err
		}
	}
	a, refusal, err := h.clearing.AuthoriseLoadAt(r.Context(), gateway, body[:purse.LoadRequestLength], body[purse.LoadRequestLength:])
	return answer{loadAnswer{a.Reference.String(), hex.EncodeToString(a.Credit)}, refusal}, err
}

// loadEnd says what became of a load.
type loadEnd struct {
	Load string `json:"load"`
	// IsTaken says that the card has the value; false: it never will.
	IsTaken bool `json:"isTaken"`
}

func (h *handler) loadReceipt(w http.ResponseWriter, r *http.Request) (answer, error) {
	body, refusal := readExactly(w, r, purse.ReceiptLength, "a card's answer to CREDIT")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	load, refusal := pathID(r, "load")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	refusal, err := h.clearing.ConfirmLoad(r.Context(), load, body)
	return answer{loadEnd{load.String(), true}, refusal}, err
}

// challengeAnswer is what LOAD STATUS is to be asked with.
type challengeAnswer struct {
	Load      string `json:"load"`
	Challenge string `json:"challenge"` // 16 bytes, hexadecimal digits
}

func (h *handler) loadChallenge(w http.ResponseWriter, r *http.Request) (answer, error) {
	if _, refusal := readExactly(w, r, 0, "nothing"); refusal != nil {
		return answer{refusal: refusal}, nil
	}
	load, refusal := pathID(r, "load")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	challenge, refusal, err := h.clearing.ChallengeLoad(r.Context(), load)
	return answer{challengeAnswer{load.String(), hex.EncodeToString(challenge[:])}, refusal}, err
}

func (h *handler) loadStatus(w http.ResponseWriter, r *http.Request) (answer, error) {
	body, refusal := readExactly(w, r, purse.StatusLength, "a card's answer to LOAD STATUS")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	load, refusal := pathID(r, "load")
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	taken, refusal, err := h.clearing.ResolveLoad(r.Context(), load, body)
	return answer{loadEnd{load.String(), taken}, refusal}, err
}

// claimAnswer is a Dispute in JSON, as far as its card's holder is told.
type claimAnswer struct {
	Merchant     string       `json:"merchant"`
	TNo          uint32       `json:"transaction"`
	AmountMicros money.Amount `json:"amountMicros"`
	State        string       `json:"state"`      // open, or who has the money: holder or merchant
	Reason       string       `json:"reason"`     // why it is open, or was
	DueSeconds   int64        `json:"dueSeconds"` // decided by itself then, seconds since 1970; 0: somebody decides, or it is decided
}

func (h *handler) claims(w http.ResponseWriter, r *http.Request) (answer, error) {
	const ofProof, ofCancellation = purse.ProofLength + len(purse.MAC{}), purse.CancellationLength + len(purse.MAC{})
	body, refusal := read(w, r, int64(ofCancellation))
	if refusal == nil && len(body) != ofProof && len(body) != ofCancellation {
		refusal = refuse(purse.Malformed, "%d bytes: want the %d of a proof and its MACZ, or the %d of a cancellation and its own", len(body), ofProof, ofCancellation)
	}
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	var d Dispute
	var err error
	if len(body) == ofCancellation {
		d, refusal, err = h.clearing.ClaimCancellation(r.Context(), body[:purse.CancellationLength], purse.MAC(body[purse.CancellationLength:]))
	} else {
		d, refusal, err = h.clearing.Claim(r.Context(), body[:purse.ProofLength], purse.MAC(body[purse.ProofLength:]), claimNote)
	}
	return answer{claimAnswer{d.Merchant.String(), d.TNo, d.Amount, d.State, d.Reason, d.Due}, refusal}, err
}
