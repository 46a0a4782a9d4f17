package broker

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const pathCommitmentPages = "/admin/commitments"

func registerRecordPages(p *pages) {
	p.page("GET "+pathCommitmentPages, (*visit).commitmentList)
	p.page("GET "+pathCommitmentPages+"/{commitment}", (*visit).commitmentPage)
	p.page("GET /admin/frauds", (*visit).fraudList)
	p.page("GET /admin/health", (*visit).healthPage)
}

// commitment returns the record of a commitment, or errNotFound.
func (s *store) commitment(ctx context.Context, id payword.CommitmentID) (found record, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		if found, err = loadRecord(ctx, tx, id); err != nil {
			return err
		}
		if found.version == 0 {
			return errNotFound
		}
		return nil
	})
	return found, err
}

type commitmentListView struct {
	Commitments []commitmentRow
	Account     string // whose they are; "": all
	Next        int64  // what the next page is before; 0: this is the last
	IsFirst     bool
}

func (v *visit) commitmentList() {
	before, account := adminpage.NumberIn(v.R, "before"), v.R.URL.Query().Get("account")
	data := commitmentListView{Account: account, IsFirst: before == 0}
	if before == 0 {
		before = 1<<63 - 1
	}
	err := v.pages.broker.store.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		if account != "" {
			data.Commitments, err = commitmentRows(v.R.Context(), tx, `WHERE account = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, account, before, rowsPerPage+1)
			return err
		}
		data.Commitments, err = commitmentRows(v.R.Context(), tx, `WHERE seq < ? ORDER BY seq DESC LIMIT ?`, before, rowsPerPage+1)
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	if len(data.Commitments) > rowsPerPage {
		data.Commitments = data.Commitments[:rowsPerPage]
		data.Next = data.Commitments[rowsPerPage-1].Seq
	}
	v.Show(http.StatusOK, "commitments", view{Title: "Commitments", Section: "commitments", Data: data})
}

// finding is one thing that was checked of the evidence.
type finding struct {
	What string
	Good bool
	Text string // what was found
}

// chainRow is a chain of a commitment with what is proved on it.
type chainRow struct {
	Number  int
	Unit    money.Amount // micros
	Length  uint32
	Root    string
	Index   uint32 // how many paywords the claim proves
	Payword string
	Value   money.Amount // micros
}

// commitmentView is a commitment with everything that explains what was paid on
// it.
type commitmentView struct {
	Row         commitmentRow
	Commitment  payword.Commitment
	Key         string // id of the user's key in the certificate
	Reservation *payword.Reservation
	Claim       *payword.Claim
	ClaimKey    string // id of the vendor's key that the claim names
	RedeemBy    int64  // seconds since 1970
	Chains      []chainRow
	Proved      money.Amount // by the paywords of the claim, micros
	Findings    []finding
	IsProved    bool
	Transfers   []ledger.Transfer
	Tokens      []formValue // as they were signed
}

func (v *visit) commitmentPage() {
	var id payword.CommitmentID
	if id.UnmarshalText([]byte(v.R.PathValue("commitment"))) != nil {
		v.NotFound()
		return
	}
	data, err := v.pages.broker.explain(v.R.Context(), id)
	if err != nil {
		v.Failed(err)
		return
	}
	v.Show(http.StatusOK, "commitment", view{Title: "Commitment " + id.String(), Section: "commitments", Data: data})
}

// explain collects the evidence for what was paid on a commitment and checks it
// anew, as somebody would who trusts nobody.
func (b *Broker) explain(ctx context.Context, id payword.CommitmentID) (data commitmentView, err error) {
	stored, err := b.store.commitment(ctx, id)
	if err != nil {
		return data, err
	}
	var keys []ed25519.PublicKey
	err = b.store.db.View(ctx, func(tx *ledger.Tx) error {
		rows, err := commitmentRows(ctx, tx, `WHERE id = ?`, id.String())
		if err != nil {
			return err
		}
		data = commitmentView{Row: rows[0], RedeemBy: stored.redeemBy}
		for _, word := range []string{"reserve/", "redeem/"} {
			found, err := tx.Below(ctx, word+id.String(), ledger.MaxPage)
			if err != nil {
				return err
			}
			data.Transfers = append(data.Transfers, found...)
		}
		released, err := tx.Transfer(ctx, "release/"+id.String())
		switch {
		case err == nil:
			data.Transfers = append(data.Transfers, released)
		case !errors.Is(err, ledger.ErrNotFound):
			return err
		}
		keys, err = vendorKeys(ctx, tx, stored.vendor)
		return err
	})
	if err != nil {
		return data, err
	}
	if data.Commitment, err = payword.UnverifiedCommitment(stored.token); err != nil {
		return data, err
	}
	data.Key = payword.Thumbprint(data.Commitment.Certificate.Key)
	data.Tokens = append(data.Tokens, formValue{"Commitment", stored.token})
	brokers, err := b.everTrusted(ctx)
	if err != nil {
		return data, err
	}
	_, refusal := payword.ParseCommitment(stored.token, brokers)
	data.find("The certificate is signed by this broker, and the commitment by the key in it", refusal, "both signatures are right")
	explainReservation(stored, brokers, &data)
	return data, b.explainClaim(ctx, stored, keys, &data)
}

// find adds what was found of one thing.
func (c *commitmentView) find(what string, refusal payword.Refusal, good string) {
	text := good
	if refusal.Refused() {
		text = refusal.String()
	}
	c.Findings = append(c.Findings, finding{what, !refusal.Refused(), text})
}

// everTrusted returns all keys that this broker has published and not withdrawn:
// evidence outlives the keys that it is signed with.
func (b *Broker) everTrusted(ctx context.Context) (payword.Brokers, error) {
	known, err := b.store.brokerKeys(ctx)
	trusted := make(map[string]ed25519.PublicKey)
	for id, key := range known {
		if !key.withdrawn {
			trusted[id] = key.key
		}
	}
	return payword.Brokers{b.config.Issuer: trusted}, err
}

func explainReservation(stored record, brokers payword.Brokers, data *commitmentView) {
	if stored.reservation == "" {
		return
	}
	reservation, refusal := payword.ParseReservation(stored.reservation, &data.Commitment, brokers)
	data.find("The reservation is signed by this broker and fits the commitment", refusal, "the signature is right")
	data.Tokens = append(data.Tokens, formValue{"Reservation", stored.reservation})
	if !refusal.Refused() {
		data.Reservation = &reservation
	}
}

// explainClaim checks the claim that was paid: who signed it, and what its
// paywords prove.
func (b *Broker) explainClaim(ctx context.Context, stored record, keys []ed25519.PublicKey, data *commitmentView) error {
	for k, terms := range data.Commitment.Chains {
		data.Chains = append(data.Chains, chainRow{Number: k, Unit: terms.Unit, Length: terms.Length, Root: encodeWord(terms.Root)})
	}
	if stored.claim == "" {
		data.IsProved = stored.redeemed.Paid == 0
		return nil
	}
	data.Tokens = append(data.Tokens, formValue{"Claim", stored.claim})
	data.ClaimKey = keyIDOf(stored.claim)
	claim, refusal := parseClaim(stored.claim, keys, (*payword.Verifier)(nil))
	data.find("The claim is signed by a key that the vendor has registered", refusal, "by the key "+data.ClaimKey)
	if claim.Token == "" {
		return nil // the vendor has changed its key since
	}
	data.Claim = &claim
	select { // hashing takes a processor
	case b.hashing <- struct{}{}:
		defer func() { <-b.hashing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	after, _, refusal := payword.JudgeClaim(&data.Commitment, payword.NewRedeemed(&data.Commitment), &claim, data.Commitment.Limit)
	for k := range data.Chains {
		row := &data.Chains[k]
		row.Index = after.Tails[k].Index
		if row.Index > 0 {
			row.Payword = encodeWord(after.Tails[k].Payword)
		}
		row.Value = row.Unit.MulCapped(uint64(row.Index), data.Commitment.Limit)
		data.Proved = min(data.Proved+row.Value, data.Commitment.Limit)
	}
	data.find("Each payword of the claim leads to the root of its chain", refusal, "together they prove "+adminpage.GroupedDecimal(data.Proved)+" "+b.store.currency.Code())
	paid := payword.Refusal{}
	if stored.redeemed.Paid > claim.Amount {
		paid = refuse(payword.ClaimOverTails, "%s were paid", stored.redeemed.Paid.Decimal())
	}
	data.find("What was paid is at most what was claimed", paid, adminpage.GroupedDecimal(stored.redeemed.Paid)+" of "+adminpage.GroupedDecimal(claim.Amount)+" "+b.store.currency.Code())
	data.find("The transfers to the vendor sum to what was paid", data.checkTransfers(stored.redeemed.Paid), adminpage.GroupedDecimal(stored.redeemed.Paid)+" "+b.store.currency.Code())
	data.IsProved = true
	for _, f := range data.Findings {
		data.IsProved = data.IsProved && f.Good
	}
	return nil
}

// checkTransfers compares what was paid with the ledger.
func (c *commitmentView) checkTransfers(paid money.Amount) payword.Refusal {
	var moved money.Amount
	for _, t := range c.Transfers {
		if t.Credit == payableAccount(c.Row.Vendor) {
			moved += t.Amount
		}
	}
	if moved != paid {
		return refuse(payword.ClaimOverTails, "they sum to %s", moved.Decimal())
	}
	return payword.Refusal{}
}

func encodeWord(word payword.Payword) string { return base64.RawURLEncoding.EncodeToString(word[:]) }

// keyIDOf returns the id of the key that a token says it is signed by, whether
// or not it is; "" if it says none.
func keyIDOf(token string) string {
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return ""
	}
	var named struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(raw, &named) != nil {
		return ""
	}
	return named.KeyID
}

// fraudRow is a root that was paid on twice.
type fraudRow struct {
	Root, Commitment, Earlier, Account, Vendor string
	Created                                    int64 // microseconds since 1970
}

type fraudListView struct {
	Frauds []fraudRow
	Next   int64 // microseconds since 1970; 0: this is the last page
}

func (v *visit) fraudList() {
	before := adminpage.NumberIn(v.R, "before")
	if before == 0 {
		before = 1<<63 - 1
	}
	data := fraudListView{}
	var err error
	if data.Frauds, err = v.pages.broker.store.fraudRows(v.R.Context(), before); err != nil {
		v.Unavailable(err)
		return
	}
	if len(data.Frauds) > rowsPerPage {
		data.Frauds = data.Frauds[:rowsPerPage]
		// Several of one moment may be cut apart: they are shown again.
		data.Next = data.Frauds[rowsPerPage-1].Created + 1
	}
	v.Show(http.StatusOK, "frauds", view{Title: "Frauds", Section: "frauds", Data: data})
}

func (s *store) fraudRows(ctx context.Context, before int64) (found []fraudRow, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = nil
		rows, err := tx.QueryContext(ctx, `SELECT root, commitment, earlier, account, vendor, created FROM broker_frauds
			WHERE created < ? ORDER BY created DESC LIMIT ?`, before, rowsPerPage+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row fraudRow
			var root []byte
			if err := rows.Scan(&root, &row.Commitment, &row.Earlier, &row.Account, &row.Vendor, &row.Created); err != nil {
				return err
			}
			row.Root = base64.RawURLEncoding.EncodeToString(root)
			found = append(found, row)
		}
		return rows.Err()
	})
	return found, err
}

// migrationRow is a change of the tables that was applied.
type migrationRow struct {
	Namespace, Name string
	Number, Applied int64 // Applied: microseconds since 1970
}

type healthView struct {
	Version    []formValue
	Migrations []migrationRow
	Rounds     []round // of the background work; none: it does not run in this process
	Summed     int64   // microseconds since 1970: up to there the journal is summed
	IsReady    bool
	Settings   []formValue
}

func (v *visit) healthPage() {
	b := v.pages.broker
	data := healthView{Version: versionOf(), IsReady: b.store.ready(v.R.Context()) == nil}
	data.Rounds = b.background.rounds()
	data.Settings = []formValue{
		{"Issuer", b.config.Issuer},
		{"Currency", b.store.currency.Code()},
		{"Grace after a commitment's expiry", b.config.Grace.String()},
		{"Life of a certificate", b.config.CertificateLife.String()},
		{"Limit of a certificate", adminpage.GroupedDecimal(b.config.CertificateLimit) + " " + b.store.currency.Code()},
	}
	for _, key := range b.keys(v.R.Context()).published {
		data.Settings = append(data.Settings, formValue{"Published key", payword.Thumbprint(key)})
	}
	err := b.store.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		if _, data.Summed, err = sumProgress(v.R.Context(), tx); err == nil {
			data.Migrations, err = migrationRows(v.R.Context(), tx)
		}
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "health", view{Title: "Health", Section: "health", Data: data})
}

// migrationRows returns the newest changes of the tables of each namespace.
func migrationRows(ctx context.Context, tx *ledger.Tx) (found []migrationRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT namespace, number, name, applied FROM payword_migrations ORDER BY namespace, number DESC LIMIT 100`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row migrationRow
		if err := rows.Scan(&row.Namespace, &row.Number, &row.Name, &row.Applied); err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

// versionOf returns what is known of the program.
func versionOf() []formValue {
	info, found := debug.ReadBuildInfo()
	if !found {
		return []formValue{{"Version", "unknown"}}
	}
	rows := []formValue{{"Version", info.Main.Version}, {"Go", info.GoVersion}}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			rows = append(rows, formValue{"Revision", setting.Value})
		case "GOOS", "GOARCH":
			rows = append(rows, formValue{setting.Key, setting.Value})
		}
	}
	return rows
}
