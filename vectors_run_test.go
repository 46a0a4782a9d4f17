package payword_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// runners do what the vectors of an area describe and return the outcome and
// the output.
var runners = map[string]func(testing.TB, json.RawMessage) (expect string, output any){
	"amounts": runAmount, "origins": runOrigin, "chains": runChain, "keys": runKey,
	"certificates": runCertificate, "commitments": runCommitment, "reservations": runReservation,
	"status-lists": runStatusList,
	"headers":      runHeader, "challenges": runChallenge, "preferences": runPreference,
	"credentials": runCredential, "receipts": runReceipt, "problems": runProblem,
	"signatures": runSignature, "claims": runClaim, "redemptions": runRedemption,
	"judge": runJudge, "state": runState,
}

type object = map[string]any

// binary is base64url without padding in the vectors.
type binary []byte

func (b *binary) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.Strict().DecodeString(string(text))
	return err
}

func (b binary) MarshalText() ([]byte, error) {
	return []byte(base64.RawURLEncoding.EncodeToString(b)), nil
}

// word returns b as a payword.
func (b binary) word(tb testing.TB) payword.Payword {
	tb.Helper()
	if len(b) != payword.PaywordBytes {
		tb.Fatalf("a payword of %d bytes", len(b))
	}
	return payword.Payword(b)
}

// outcome returns "error" or "accepted".
func outcome(err error) string {
	if err != nil {
		return "error"
	}
	return "accepted"
}

// vectorBrokers is how vectors write the keys of brokers.
type vectorBrokers map[string]map[string]binary

func (b vectorBrokers) brokers() payword.Brokers {
	brokers := payword.Brokers{}
	for issuer, keys := range b {
		brokers[issuer] = map[string]ed25519.PublicKey{}
		for kid, key := range keys {
			brokers[issuer][kid] = ed25519.PublicKey(key)
		}
	}
	return brokers
}

// commitment reads a commitment that the vector takes for granted.
func (b vectorBrokers) commitment(tb testing.TB, token string) *payword.Commitment {
	tb.Helper()
	m, refusal := payword.ParseCommitment(token, b.brokers())
	if refusal.Refused() {
		tb.Fatalf("the commitment of the vector: %s", refusal)
	}
	return &m
}

func runAmount(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct{ Operation, Text string }
	decodeStrictly(tb, input, &in)
	switch in.Operation {
	case "parse":
		amount, err := money.ParseAmount(in.Text)
		return outcome(err), object{"amount": amount}
	case "parse-decimal":
		amount, err := money.ParseDecimal(in.Text)
		return outcome(err), object{"amount": amount}
	case "format-decimal":
		amount, err := money.ParseAmount(in.Text)
		return outcome(err), object{"decimal": amount.Decimal()}
	case "parse-currency":
		currency, err := money.ParseCurrency(in.Text)
		return outcome(err), object{"code": currency.Code()}
	}
	tb.Fatalf("operation %q", in.Operation)
	return "", nil
}

func runOrigin(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct{ Origin string }
	decodeStrictly(tb, input, &in)
	return outcome(payword.CheckOrigin(in.Origin)), nil
}

func runChain(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Operation     string
		Seed, Nonce   binary
		Vendor        string
		Chain         int
		Length, Steps uint32
		Payword       binary
		Indices       []uint32
	}
	decodeStrictly(tb, input, &in)
	switch in.Operation {
	case "walk":
		w := in.Payword.word(tb).Walk(in.Steps)
		return "accepted", object{"payword": binary(w[:])}
	case "tail-hash":
		sum := in.Payword.word(tb).TailHash()
		return "accepted", object{"tailHash": binary(sum[:])}
	}
	tip, err := payword.Seed(in.Seed).Tip(in.Vendor, payword.Nonce(in.Nonce), in.Chain, in.Length)
	if err != nil {
		return "error", nil
	}
	return "accepted", object{"tip": binary(tip[:]), "paywords": samples(tb, tip, in.Length, in.Indices)}
}

// samples releases the paywords of a chain at the indices.
func samples(tb testing.TB, tip payword.Payword, length uint32, indices []uint32) []object {
	tb.Helper()
	chain, err := payword.NewChain(tip, length, indices[0])
	if err != nil {
		tb.Fatal(err)
	}
	var found []object
	for _, index := range indices {
		w, err := chain.Release(index)
		if err != nil {
			tb.Fatal(err)
		}
		found = append(found, object{"index": index, "payword": binary(w[:])})
	}
	return found
}

func runKey(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Operation string
		Key       binary
		Document  string
	}
	decodeStrictly(tb, input, &in)
	switch in.Operation {
	case "thumbprint":
		return outcome(payword.CheckPublicKey(ed25519.PublicKey(in.Key))), object{"thumbprint": payword.Thumbprint(ed25519.PublicKey(in.Key))}
	case "check":
		return outcome(payword.CheckPublicKey(ed25519.PublicKey(in.Key))), nil
	}
	keys, err := payword.ParseJWKS([]byte(in.Document))
	found := object{}
	for kid, key := range keys {
		found[kid] = binary(key)
	}
	return outcome(err), object{"keys": found}
}

func runCertificate(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Token   string
		Brokers vectorBrokers
	}
	decodeStrictly(tb, input, &in)
	c, refusal := payword.ParseCertificate(in.Token, in.Brokers.brokers())
	output := object{"issuer": c.Issuer, "subject": c.Subject, "key": binary(c.Key), "issuedAt": c.IssuedAt,
		"expires": c.Expires, "id": binary(c.ID[:]), "currency": c.Currency, "limit": c.Limit}
	if len(c.Prefixes) > 0 {
		output["prefixes"] = c.Prefixes
	}
	if c.Age > 0 {
		output["age"] = c.Age
	}
	if c.Status != nil {
		output["status"] = c.Status
	}
	return refusal.Reason.String(), output
}

func runStatusList(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Token, Issuer, URI string
		Brokers            vectorBrokers
		Indices            []uint32
	}
	decodeStrictly(tb, input, &in)
	list, err := payword.ParseStatusList(in.Token, in.Issuer, in.URI, in.Brokers.brokers())
	if err != nil {
		return outcome(err), nil
	}
	statuses := []any{}
	for _, index := range in.Indices {
		if status, found := list.Status(index); found {
			statuses = append(statuses, status)
		} else {
			statuses = append(statuses, nil)
		}
	}
	return outcome(err), object{"issuedAt": list.IssuedAt, "expires": list.Expires, "ttlSeconds": list.TTLSeconds,
		"size": list.Size(), "statuses": statuses}
}

func runCommitment(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Token   string
		Brokers vectorBrokers
		Terms   *struct {
			Vendor   string
			Currency money.Currency
			Now      int64
		}
	}
	decodeStrictly(tb, input, &in)
	m, refusal := payword.ParseCommitment(in.Token, in.Brokers.brokers())
	if !refusal.Refused() && in.Terms != nil {
		refusal = m.CheckTerms(in.Terms.Vendor, in.Terms.Currency, in.Terms.Now)
	}
	var chains []object
	for _, chain := range m.Chains {
		chains = append(chains, object{"root": binary(chain.Root[:]), "unit": chain.Unit, "length": chain.Length})
	}
	return refusal.Reason.String(), object{"id": m.ID, "vendor": m.Vendor, "subject": m.Certificate.Subject, "issuedAt": m.IssuedAt,
		"expires": m.Expires, "nonce": binary(m.Nonce[:]), "currency": m.Currency, "limit": m.Limit, "chains": chains}
}

func runReservation(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Token, Commitment string
		Brokers           vectorBrokers
	}
	decodeStrictly(tb, input, &in)
	r, refusal := payword.ParseReservation(in.Token, in.Brokers.commitment(tb, in.Commitment), in.Brokers.brokers())
	return refusal.Reason.String(), object{"issuer": r.Issuer, "commitment": r.Commitment, "amount": r.Amount, "currency": r.Currency,
		"sequence": r.Sequence, "issuedAt": r.IssuedAt, "redeemBy": r.RedeemBy}
}

// describe returns a payment as vectors write it.
func describe(p payword.Payment) object {
	return object{"commitment": p.Commitment, "chain": p.Chain, "index": p.Index, "payword": binary(p.Payword[:]),
		"number": p.Number, "max": p.Max}
}

func runHeader(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct{ Field, Value string }
	decodeStrictly(tb, input, &in)
	if in.Field == payword.HeaderPayword {
		p, refusal := payword.ParsePayment(in.Value)
		output := describe(p)
		output["canonical"] = payword.FormatPayment(p)
		return refusal.Reason.String(), output
	}
	s, refusal := payword.ParseStatus(in.Value)
	output := object{"reason": s.Reason, "price": s.Price, "number": s.Number, "known": s.Known, "canonical": payword.FormatStatus(s)}
	if s.Known {
		output["accepted"], output["spent"], output["chain"], output["index"] = s.Accepted, s.Spent, s.Chain, s.Index
		output["tailHash"] = binary(s.TailHash[:])
	}
	return refusal.Reason.String(), output
}

func runChallenge(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Operation       string
		Secret          binary
		Secrets         []binary
		Challenge       payword.Challenge
		Request         payword.PriceRequest
		Values          []string
		HTTPMethod, URL string
		Now             int64
	}
	decodeStrictly(tb, input, &in)
	switch in.Operation {
	case "bind":
		c, err := in.Challenge.Bind(in.Secret)
		return outcome(err), object{"id": c.ID}
	case "request":
		text, err := in.Request.Canonical()
		return outcome(err), object{"text": text}
	case "format":
		return "accepted", object{"value": in.Challenge.Format()}
	case "parse":
		challenges, err := payword.ParseChallenges(in.Values)
		return outcome(err), object{"challenges": append([]payword.Challenge{}, challenges...)}
	}
	var secrets [][]byte
	for _, secret := range in.Secrets {
		secrets = append(secrets, secret)
	}
	quoted, refusal := payword.CheckChallenge(in.Challenge, secrets, payword.Resource{HTTPMethod: in.HTTPMethod, URL: in.URL}, in.Now)
	return refusal.Reason.String(), object{"request": quoted}
}

func runPreference(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Fields []string
		Intent string
	}
	decodeStrictly(tb, input, &in)
	return "accepted", object{"thousandths": payword.PaymentPreference(in.Fields, in.Intent)}
}

func runCredential(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct{ Value string }
	decodeStrictly(tb, input, &in)
	c, refusal := payword.ParseCredential(in.Value)
	if refusal.Refused() {
		return refusal.Reason.String(), nil
	}
	payment, refusal := c.Payload.Payment()
	return refusal.Reason.String(), object{"challenge": c.Challenge, "action": c.Payload.Action, "payment": describe(payment)}
}

func runReceipt(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct{ Value string }
	decodeStrictly(tb, input, &in)
	receipt, err := payword.ParseReceipt(in.Value)
	return outcome(err), receipt
}

func runProblem(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Reason                 payword.Reason
		Detail                 string
		Price, Accepted, Spent money.Amount
		Number                 uint64
		Currency               money.Currency
		Known                  bool
		Chain                  uint8
		Index                  uint32
		TailHash               binary
	}
	decodeStrictly(tb, input, &in)
	status := payword.Status{Reason: in.Reason, Price: in.Price, Number: in.Number, Known: in.Known,
		Accepted: in.Accepted, Spent: in.Spent, Chain: in.Chain, Index: in.Index}
	copy(status.TailHash[:], in.TailHash)
	problem := payword.NewProblem(payword.Refusal{Reason: in.Reason, Detail: in.Detail}, status, in.Currency)
	if problem.Title == "" || problem.Status != in.Reason.HTTPStatus() {
		tb.Errorf("title %q, status %d, want a title and %d", problem.Title, problem.Status, in.Reason.HTTPStatus())
	}
	encoded, err := json.Marshal(problem)
	if err != nil {
		tb.Fatal(err)
	}
	output := plain(tb, encoded).(object)
	delete(output, "title") // words for people, which may be mended
	return problem.Reason.String(), output
}

func runSignature(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Request          struct{ Method, TargetURI, Digest string }
		Body, Key        binary
		Input, Signature string
		Now              int64
	}
	decodeStrictly(tb, input, &in)
	if got := payword.ContentDigest(in.Body); got != in.Request.Digest {
		tb.Errorf("Content-Digest: got %s, want %s", got, in.Request.Digest)
	}
	r, refusal := payword.ParseSignatureInput(in.Input)
	if refusal.Refused() {
		return refusal.Reason.String(), nil
	}
	r.Method, r.TargetURI, r.Digest = in.Request.Method, in.Request.TargetURI, in.Request.Digest
	refusal = r.Verify(ed25519.PublicKey(in.Key), in.Signature, in.Now)
	return refusal.Reason.String(), object{"created": r.Created, "keyId": r.KeyID, "nonce": r.Nonce}
}

// vectorTail is how vectors write a tail.
type vectorTail struct {
	Index   uint32 `json:"index"`
	Payword binary `json:"payword,omitempty"`
}

func (v vectorTail) tail(tb testing.TB) payword.Tail {
	tb.Helper()
	if v.Index == 0 && v.Payword == nil {
		return payword.Tail{}
	}
	return payword.Tail{Index: v.Index, Payword: v.Payword.word(tb)}
}

func runClaim(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Token string
		Key   binary
	}
	decodeStrictly(tb, input, &in)
	c, refusal := payword.ParseClaim(in.Token, ed25519.PublicKey(in.Key))
	tails := []vectorTail{}
	for _, tail := range c.Tails {
		member := vectorTail{Index: tail.Index}
		if tail.Index > 0 {
			member.Payword = tail.Payword[:]
		}
		tails = append(tails, member)
	}
	return refusal.Reason.String(), object{"vendor": c.Vendor, "broker": c.Broker, "commitment": c.Commitment, "tails": tails,
		"amount": c.Amount, "final": c.Final, "issuedAt": c.IssuedAt}
}

func runRedemption(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Commitment string
		Brokers    vectorBrokers
		Before     struct {
			Paid  money.Amount
			Tails []vectorTail
		}
		Claim struct {
			Vendor, Broker string
			Commitment     payword.CommitmentID
			Tails          []vectorTail
			Amount         money.Amount
		}
		Ceiling money.Amount
	}
	decodeStrictly(tb, input, &in)
	m := in.Brokers.commitment(tb, in.Commitment)
	before := payword.NewRedeemed(m)
	before.Paid = in.Before.Paid
	for k, tail := range in.Before.Tails {
		if tail.Index > 0 {
			before.Tails[k] = tail.tail(tb)
		}
	}
	claim := payword.Claim{Vendor: in.Claim.Vendor, Broker: in.Claim.Broker, Commitment: in.Claim.Commitment, Amount: in.Claim.Amount}
	for _, tail := range in.Claim.Tails {
		claim.Tails = append(claim.Tails, tail.tail(tb))
	}
	after, due, refusal := payword.JudgeClaim(m, before, &claim, in.Ceiling)
	if refusal.Refused() && (after != before || due != 0) {
		tb.Errorf("a refused claim changed something")
	}
	indices := []uint32{}
	for k := range m.Chains {
		indices = append(indices, after.Tails[k].Index)
	}
	return refusal.Reason.String(), object{"paid": after.Paid, "due": due, "indices": indices}
}

func runJudge(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Commitment string
		Brokers    vectorBrokers
		Known      vectorTail
		Payment    struct {
			Commitment payword.CommitmentID
			Chain      uint8
			Index      uint32
			Payword    binary
			Number     uint64
			Max        money.Amount
		}
		Terms payword.Terms
	}
	decodeStrictly(tb, input, &in)
	p := payword.Payment{Commitment: in.Payment.Commitment, Chain: in.Payment.Chain, Index: in.Payment.Index,
		Payword: in.Payment.Payword.word(tb), Number: in.Payment.Number, Max: in.Payment.Max}
	verdict := payword.Judge(in.Brokers.commitment(tb, in.Commitment), in.Known.tail(tb), &p, in.Terms)
	output := object{"proved": verdict.Proved, "steps": verdict.Steps}
	if verdict.Proved {
		output["tail"] = verdict.Tail.Index
	}
	return verdict.Reason.String(), output
}

// vectorStep is one call on a State.
type vectorStep struct {
	Do            string
	Chain         uint8
	Index         uint32
	Number        uint64
	Request       string
	Price, Amount money.Amount
	Unsafe        bool
	Single        bool
	OverMax       bool
	Now           int64
	Sequence      uint32
}

func runState(tb testing.TB, input json.RawMessage) (string, any) {
	var in struct {
		Commitment string
		Brokers    vectorBrokers
		Cap        money.Amount
		Steps      []vectorStep
	}
	decodeStrictly(tb, input, &in)
	m := in.Brokers.commitment(tb, in.Commitment)
	state := payword.NewState(m, in.Cap, 1)
	last := payword.Accepted
	var outcomes []object
	for _, step := range in.Steps {
		came := object{}
		switch step.Do {
		case "charge":
			outcome := state.Charge(m, &payword.Charge{Chain: step.Chain, Tail: payword.Tail{Index: step.Index}, Number: step.Number,
				Fingerprint: payword.NewFingerprint("GET", step.Request, "", ""), Price: step.Price, Unsafe: step.Unsafe,
				Single: step.Single, OverMax: step.OverMax, Now: step.Now})
			came["reason"], came["repeat"], last = outcome.Reason, outcome.Repeat, outcome.Reason
		case "give-back":
			came["returned"] = state.GiveBack(step.Number, step.Now)
		case "top-up":
			came["changed"] = state.TopUp(m, step.Amount, step.Sequence)
		case "close":
			state.Closed = true
		case "claimable":
			came["claimable"] = state.Claimable(step.Now, payword.RefundSeconds)
		default:
			tb.Fatalf("a step that does %q", step.Do)
		}
		came["spent"], came["credit"] = state.Spent(), state.Credit(m)
		outcomes = append(outcomes, came)
	}
	return last.String(), object{"outcomes": outcomes}
}
