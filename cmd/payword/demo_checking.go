package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
)

// demoAnswer is what a bank says of a payment that it has made (camt.054): id and
// amount of the payment, and the day.
const demoAnswer = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"><BkToCstmrDbtCdtNtfctn>
<GrpHdr><MsgId>DEMO-1</MsgId><CreDtTm>2026-11-23T06:00:00Z</CreDtTm></GrpHdr>
<Ntfctn><Id>1</Id><Acct><Id><Othr><Id>121042882</Id></Othr></Id></Acct>
<Ntry><Amt Ccy="USD">%[2]s</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-23</Dt></BookgDt><BkTxCd/>
<NtryDtls><TxDtls><Refs><EndToEndId>%[1]s</EndToEndId></Refs></TxDtls></NtryDtls></Ntry></Ntfctn></BkToCstmrDbtCdtNtfctn></Document>`

// hearBank reads what the bank says of the payment, twice.
func (d *demo) hearBank(ctx context.Context) error {
	endToEnd, amount, err := d.payment()
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.path("camt.054.xml"), fmt.Appendf(nil, demoAnswer, endToEnd, amount), 0o600); err != nil {
		return err
	}
	for round := range 2 {
		said, err := d.clearing(ctx, "import", "--db", d.path("broker.db"), "--file", d.path("camt.054.xml"), "--json")
		if err != nil {
			return err
		}
		var imported struct {
			Files []struct {
				Known              bool
				Matched, Unmatched int
			}
		}
		if err := json.Unmarshal([]byte(said), &imported); err != nil || len(imported.Files) != 1 {
			return fmt.Errorf("the import says %q (%w)", said, err)
		}
		if file := imported.Files[0]; round == 0 {
			d.expect(file.Matched == 1 && file.Unmatched == 0, "the bank has paid %s USD: its answer is matched with the order %.12s…", amount, endToEnd)
		} else {
			d.expect(file.Known, "reading the same answer again changes nothing")
		}
	}
	_, err = d.clearing(ctx, "booked", "--db", d.path("broker.db"), "--run", demoRun, "--method", "list", "--note", "paid by hand")
	d.expect(err == nil, "the till is paid by hand, and somebody says so")
	d.row("paid", "%s USD, as the bank says", amount)
	return err
}

// payment returns the id and the amount of the payment of the run that is in the
// bank's file.
func (d *demo) payment() (endToEnd, amount string, err error) {
	file, err := os.Open(d.path("settlement/payments-" + demoRun + ".csv"))
	if err != nil {
		return "", "", err
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) == 0 {
		return "", "", fmt.Errorf("%d rows of payments, want a header and two: %w", len(rows), err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	for _, row := range rows[1:] {
		if row[column("method")] == "ach" {
			return row[column("end_to_end")], row[column("amount")], nil
		}
	}
	return "", "", fmt.Errorf("of %d payments none is for the bank's file", len(rows)-1)
}

// checkPaid checks the site's statement without the broker's books, changes one
// digit of it and checks again, and then the books from the evidence.
func (d *demo) checkPaid(ctx context.Context) error {
	if err := d.fetchKeys(ctx); err != nil {
		return err
	}
	if _, err := d.clearing(ctx, "statement", "--db", d.path("broker.db"), "--vendor", d.siteURL, "--out", d.path("site.jsonl")); err != nil {
		return err
	}
	status, said := d.verify(ctx, "site.jsonl")
	d.expect(status == 0, "the site checks its statement, every signature and every hash, without the broker")
	for _, line := range strings.Split(strings.TrimRight(said, "\n"), "\n") {
		d.say("│ %s", line)
	}
	statement, err := os.ReadFile(d.path("site.jsonl"))
	if err != nil {
		return err
	}
	at := bytes.Index(statement, []byte(`"index":`)) + len(`"index":`)
	statement[at] = '1' + (statement[at]-'0')%9
	if err := os.WriteFile(d.path("changed.jsonl"), statement, 0o600); err != nil {
		return err
	}
	status, _ = d.verify(ctx, "changed.jsonl")
	d.expect(status == 1, "one digit of it changed, and it does not agree any more")
	if _, err := d.clearing(ctx, "check", "--db", d.path("broker.db")); err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	status = broker.Main(ctx, []string{"check", "--db", d.path("broker.db")}, nil, &stdout, &stderr)
	d.expect(status == 0, "every balance follows from the transfers, and what is reserved and redeemed from the evidence")
	_, err = d.clearing(ctx, "audit", "--db", d.path("broker.db"), "--keys", d.path("jwks.json"), "--card-keys", d.path("card-keys"))
	d.expect(err == nil, "an audit that shares nothing with the books computes the same from what was signed")
	if err == nil {
		d.row("audited", "nothing disagrees")
	}
	return err
}

// fetchKeys writes the public keys of the broker and of its clearing to files.
func (d *demo) fetchKeys(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.brokerOrigin+"/.well-known/jwks.json", nil)
	if err != nil {
		return err
	}
	response, err := d.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	keys, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("the broker's keys: status %d: %w", response.StatusCode, err)
	}
	if err := os.WriteFile(d.path("jwks.json"), keys, 0o600); err != nil {
		return err
	}
	dayKeys, err := d.clearing(ctx, "key", "public", "--key", d.path("clearing.key"))
	if err != nil {
		return err
	}
	return os.WriteFile(d.path("day-jwks.json"), []byte(dayKeys), 0o600)
}

// verify runs "payword verify-statement".
func (d *demo) verify(ctx context.Context, name string) (status int, said string) {
	var stdout, stderr bytes.Buffer
	status = clearing.VerifyMain(ctx, []string{d.path(name), "--keys", d.path("jwks.json"), "--day-keys", d.path("day-jwks.json")}, nil, &stdout, &stderr)
	return status, stdout.String() + stderr.String()
}
