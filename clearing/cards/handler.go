package cards

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

const (
	// failuresPerMinute is how many requests of one address may be refused in a
	// minute before the rest of them are not looked at. SAMs are right nearly
	// always, and what is refused costs little: the first MAC.
	failuresPerMinute = 30
	// maxAddresses bounds what is remembered of addresses.
	maxAddresses = 10_000
	// bodyTimeout is how long a body may take to arrive: a day's batch of 900 KB
	// over a mobile line.
	bodyTimeout = time.Minute
	// maxForwarded is how many proxies are looked at in X-Forwarded-For.
	maxForwarded = 8
	// onlineLength is that of a payment's record and the MACM before it.
	onlineLength = purse.PaymentLength + 16
)

// HandlerConfig is what Handler needs.
type HandlerConfig struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log takes what could not be told. It must be set.
	Log *slog.Logger
	// Origin is where gateways reach the handler, such as
	// https://cards.broker.example: what they sign begins with it. Without it
	// nothing that wants a signature is taken.
	Origin string
	// Proxies are the networks whose X-Forwarded-For says where requests come from.
	Proxies []netip.Prefix
}

// Handler answers to SAM gateways. Batches, payments, loads and claims are proven
// by their MACs, and the hot list is for everybody; what is not, a gateway of the
// broker signs with its key (RFC 9421, as requests to the broker). Asking again
// changes nothing anywhere, so that nonces need not be kept.
//
//	POST /v1/batches                   total and records, as bytes
//	POST /v1/payments                  one payment's record and the MACM before it
//	POST /v1/loads                     data of INIT LOAD and the card's answer; signed for a white card
//	POST /v1/loads/{load}/receipt      the card's answer to CREDIT
//	POST /v1/loads/{load}/challenge    for LOAD STATUS
//	POST /v1/loads/{load}/status       the card's answer to LOAD STATUS
//	POST /v1/claims                    a proof, or what a card says of a cancellation, and MACZ
//	GET  /v1/hotlist                   the cards that are not to be taken, sorted, in pages
//	GET  /v1/cards/{card}/account      the account that a card is loaded from; signed
//	GET  /v1/cards/{card}/scripts      what the issuer wants of a card; signed
//	POST /v1/cards/{card}/scripts      the card's answer to a script; signed
//	POST /v1/payments/{merchant}/{transaction}/cash   it was paid out in cash; signed
//
// What is refused is answered with 422, 401 without the signature that it wants,
// 404 where nothing has the name, or 409 where something else stands under it,
// and a problem document (RFC 9457) with reason and record. What comes from this
// machine itself, which is a proxy that is not among Proxies, is not counted
// against guessing: nobody shall keep everybody else out. Nor is what a gateway has
// signed: whoever brings it cards that are none would keep out its customers.
func (c *Clearing) Handler(config HandlerConfig) http.Handler {
	if config.Now == nil {
		config.Now = time.Now
	}
	h := &handler{clearing: c, now: config.Now, log: config.Log, origin: config.Origin, proxies: config.Proxies, failures: make(map[netip.Addr]failures)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/batches", h.limited(h.batches))
	mux.HandleFunc("POST /v1/payments", h.limited(h.payments))
	mux.HandleFunc("POST /v1/loads", h.limited(h.loads))
	mux.HandleFunc("POST /v1/loads/{load}/receipt", h.limited(h.loadReceipt))
	mux.HandleFunc("POST /v1/loads/{load}/challenge", h.limited(h.loadChallenge))
	mux.HandleFunc("POST /v1/loads/{load}/status", h.limited(h.loadStatus))
	mux.HandleFunc("POST /v1/claims", h.limited(h.claims))
	mux.HandleFunc("GET /v1/cards/{card}/account", h.limited(h.signed(0, h.cardAccount)))
	mux.HandleFunc("GET /v1/cards/{card}/scripts", h.limited(h.signed(0, h.scripts)))
	mux.HandleFunc("POST /v1/cards/{card}/scripts", h.limited(h.signed(purse.ScriptAnswerLength, h.scriptDone)))
	mux.HandleFunc("POST /v1/payments/{merchant}/{transaction}/cash", h.limited(h.signed(0, h.cash)))
	mux.HandleFunc("GET /v1/hotlist", h.hotList)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What nobody reads has to arrive in time, too: the server drains it before
		// it takes the next request. A writer without deadlines, as in tests, has
		// none to set.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		mux.ServeHTTP(w, r)
	})
}

type handler struct {
	clearing *Clearing
	now      func() time.Time
	log      *slog.Logger
	origin   string
	proxies  []netip.Prefix

	mutex    sync.Mutex
	failures map[netip.Addr]failures // guarded by mutex
}

// failures are those of an address in one minute.
type failures struct {
	minute int64
	count  int
}

// answer is what a request is answered with; refusal is nil if it was taken.
type answer struct {
	body    any
	refusal *purse.Refusal
}

// limited answers by work, unless too much of the address was refused.
func (h *handler) limited(work func(w http.ResponseWriter, r *http.Request) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		address := h.addressOf(r)
		if !h.mayTry(address) {
			w.Header().Set("Retry-After", "60")
			writeProblem(w, http.StatusTooManyRequests, problem{Title: "Too much was refused: try again in a minute."})
			return
		}
		said := keepBody(r)
		a, err := work(w, r)
		switch {
		case err != nil && r.Context().Err() != nil:
		case err != nil:
			h.log.ErrorContext(r.Context(), "a request about cards failed", "path", r.URL.Path, "error", err.Error())
			writeProblem(w, http.StatusInternalServerError, problem{Title: "It could not be told whether it was taken: send the same again."})
		case a.refusal != nil:
			if !h.isOfGateway(r, said) {
				h.failed(address)
			}
			writeProblem(w, statusOf(a.refusal.Reason), problem{Title: "It was refused.", Refusal: a.refusal})
		default:
			writeJSON(w, http.StatusOK, "application/json", a.body)
		}
	}
}

// addressOf returns where a request comes from; of IPv6 the network of 64 bits,
// which is one customer's; of this machine itself none. Only what a known proxy
// says of others counts.
func (h *handler) addressOf(r *http.Request) netip.Addr {
	port, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := port.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for hop := len(hops) - 1; hop >= max(0, len(hops)-maxForwarded) && h.isProxy(address); hop-- {
		before, err := netip.ParseAddr(strings.TrimSpace(hops[hop]))
		if err != nil {
			break
		}
		address = before.Unmap().WithZone("")
	}
	if address.IsLoopback() {
		return netip.Addr{}
	}
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return address
}

func (h *handler) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(h.proxies, func(network netip.Prefix) bool { return network.Contains(address) })
}

func (h *handler) mayTry(address netip.Addr) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	f := h.failures[address]
	return f.minute != h.now().Unix()/60 || f.count < failuresPerMinute
}

func (h *handler) failed(address netip.Addr) {
	if !address.IsValid() {
		return
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if len(h.failures) >= maxAddresses {
		clear(h.failures)
	}
	f := h.failures[address]
	if minute := h.now().Unix() / 60; f.minute != minute {
		f = failures{minute: minute}
	}
	f.count++
	h.failures[address] = f
}

func statusOf(reason purse.Reason) int {
	switch reason {
	case purse.Differs, purse.Contradicts, purse.WrongBatch, LoadOpen, LoadEnded, AlreadyPaid, AlreadyDisputed:
		return http.StatusConflict
	case UnknownCard, UnknownLoad, UnknownPayment, UnknownScript:
		return http.StatusNotFound
	case Unsigned:
		return http.StatusUnauthorized
	case tooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// tooLarge means that a request has more bytes than anything that is taken.
const tooLarge purse.Reason = "too-large"

// read returns the body, of at most limit bytes.
func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *purse.Refusal) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	// Left in place the deadline would end the request later.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, unread(err, limit)
}

// unread says why a body of at most limit bytes was not read; nil: it was.
func unread(err error, limit int64) *purse.Refusal {
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return refuse(tooLarge, "want at most %d bytes", limit)
	}
	if err != nil { // the client broke off
		return refuse(purse.Malformed, "the request is not whole")
	}
	return nil
}

// readBatch returns a batch whose total its SAM has signed. What somebody else
// sends is not kept: whoever has no SAM shall not fill the memory, or wait where
// batches are booked.
func (h *handler) readBatch(w http.ResponseWriter, r *http.Request) ([]byte, *purse.Refusal, error) {
	r.Body = http.MaxBytesReader(w, r.Body, purse.MaxBatchLength)
	head := make([]byte, purse.TotalLength)
	count, err := io.ReadFull(r.Body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, unread(err, purse.MaxBatchLength), nil
	}
	if count < len(head) {
		return head[:count], nil, nil // SubmitBatch says what is wrong
	}
	refusal, err := h.clearing.checkSigned(r.Context(), head)
	if err != nil {
		return nil, nil, err
	}
	if refusal != nil {
		_, err := io.Copy(io.Discard, r.Body) // so that the client comes to read the answer
		if broken := unread(err, purse.MaxBatchLength); broken != nil {
			return nil, broken, nil
		}
		return nil, refusal, nil
	}
	records, refusal := read(w, r, purse.MaxBatchLength)
	return append(head, records...), refusal, nil
}

func (h *handler) batches(w http.ResponseWriter, r *http.Request) (answer, error) {
	body, refusal, err := h.readBatch(w, r)
	if err != nil || refusal != nil {
		return answer{refusal: refusal}, err
	}
	b, refusals, err := h.clearing.SubmitBatch(r.Context(), body)
	if err != nil || len(refusals) > 0 {
		if len(refusals) > 0 {
			refusal = &refusals[0]
		}
		return answer{refusal: refusal}, err
	}
	return answer{body: b}, nil
}

// paymentAnswer is a Receipt in JSON.
type paymentAnswer struct {
	Merchant     string       `json:"merchant"`
	TNo          uint32       `json:"transaction"`
	AmountMicros money.Amount `json:"amountMicros"`
	FeeMicros    money.Amount `json:"feeMicros"`
	Repeated     bool         `json:"repeated"`
}

func (h *handler) payments(w http.ResponseWriter, r *http.Request) (answer, error) {
	body, refusal := read(w, r, onlineLength)
	if refusal != nil {
		return answer{refusal: refusal}, nil
	}
	if len(body) != onlineLength {
		return answer{refusal: refuse(purse.Malformed, "%d bytes: want the %d of a payment's record, and the 16 of MACM before it", len(body), purse.PaymentLength)}, nil
	}
	receipt, refusal, err := h.clearing.PayOnline(r.Context(), body[:purse.PaymentLength], purse.MAC(body[purse.PaymentLength:]))
	if err != nil || refusal != nil {
		return answer{refusal: refusal}, err
	}
	return answer{body: paymentAnswer{receipt.Merchant.String(), receipt.TNo, receipt.Amount, receipt.Fee, receipt.Repeated}}, nil
}

// hotListPage is a page of the hot list.
type hotListPage struct {
	// Cards are sorted.
	Cards []string `json:"cards"`
	// After asks for the next page: /v1/hotlist?after=; absent on the last one.
	After string `json:"after,omitempty"`
}

func (h *handler) hotList(w http.ResponseWriter, r *http.Request) {
	var after purse.ID
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = purse.ParseID(text); err != nil {
			writeProblem(w, http.StatusBadRequest, problem{Title: "after: " + err.Error()})
			return
		}
	}
	found, err := h.clearing.HotList(r.Context(), after, ledger.MaxPage)
	if err != nil {
		h.log.ErrorContext(r.Context(), "reading the hot list failed", "error", err.Error())
		writeProblem(w, http.StatusInternalServerError, problem{Title: "The hot list cannot be read now."})
		return
	}
	page := hotListPage{Cards: make([]string, 0, len(found))}
	for _, card := range found {
		page.Cards = append(page.Cards, card.String())
	}
	if len(found) == ledger.MaxPage {
		page.After = page.Cards[len(found)-1]
	}
	writeJSON(w, http.StatusOK, "application/json", page)
}

// problem is RFC 9457, with what was refused, and why.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	*purse.Refusal
}

func writeProblem(w http.ResponseWriter, status int, p problem) {
	p.Status = status
	writeJSON(w, status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, kind string, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // what is written here has no cycles, functions or channels
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // a client that went away is no matter
}
