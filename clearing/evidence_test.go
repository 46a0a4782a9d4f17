package clearing_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
)

// published returns all statements of a run by their parties, and checks each.
func (d *day) published(run string, clearingKey ed25519.PrivateKey) map[string]string {
	d.t.Helper()
	s, err := clearing.OpenStatements(d.t.Context(), d.db, run)
	if err != nil {
		d.t.Fatal(err)
	}
	o := statement.Options{Keys: d.keys(), Issuer: bankIssuer}
	if clearingKey != nil {
		o.DayKeys = map[string]ed25519.PublicKey{payword.Thumbprint(publicOf(clearingKey)): publicOf(clearingKey)}
	}
	texts := map[string]string{}
	for _, kind := range []statement.Kind{statement.Vendor, statement.User} {
		names, err := s.Parties(d.t.Context(), kind, "", 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, name := range names {
			var text bytes.Buffer
			if err := s.Write(d.t.Context(), &text, kind, name); err != nil {
				d.t.Fatal(err)
			}
			report, err := statement.Verify(bytes.NewReader(text.Bytes()), o)
			if err != nil || report.UncheckedClaims > 0 || report.Party != name {
				d.t.Errorf("statement of %s: %v, %d claims unchecked\n%s", name, err, report.UncheckedClaims, text.String())
			}
			texts[name] = text.String()
		}
	}
	return texts
}

func noStep(string) {}

// What a real broker was asked to redeem comes out as statements that prove
// themselves, period by period.
func TestStatementsOfABroker(t *testing.T) {
	d, key := newDay(t), newKey()
	d.trade()
	d.insertRun("run-1")
	if err := clearing.Publish(t.Context(), d.db, "run-1", key, 500, noStep); err != nil {
		t.Fatal(err)
	}
	first := d.published("run-1", key)
	if len(first) != len(d.sellers)+len(d.payers) {
		t.Errorf("got %d statements, want one of each vendor and user", len(first))
	}
	d.wantSums(first, "run-1")
	// The next period: one vendor claims more on a commitment that was paid before.
	promise := d.payers[0].commit(d.sellers[0].origin, 1000)
	d.sellers[0].redeem(d.sellers[0].claim(promise, 5000, 5))
	d.insertRun("run-2")
	d.sellers[0].redeem(d.sellers[0].claim(promise, 8000, 8)) // too late for the second
	if err := clearing.Publish(t.Context(), d.db, "run-2", key, 500, noStep); err != nil {
		t.Fatal(err)
	}
	d.insertRun("run-3")
	if err := clearing.Publish(t.Context(), d.db, "run-3", key, 500, noStep); err != nil {
		t.Fatal(err)
	}
	for run, want := range map[string]string{
		"run-2": `"paidBefore":"0","paid":"5000","cumulative":"5000"`,
		"run-3": `"paidBefore":"5000","paid":"3000","cumulative":"8000"`,
	} {
		texts := d.published(run, key)
		if len(texts) != 2 || !strings.Contains(texts[d.sellers[0].origin], want) || !strings.Contains(texts[d.payers[0].account], want) {
			t.Errorf("%s: want %s in both statements of\n%v", run, want, texts)
		}
	}
	d.wantDays(key)
	if again := d.published("run-1", key); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Error("the statements of the first run are not the same after the others")
	}
}

// wantSums compares the totals with the ledger's.
func (d *day) wantSums(texts map[string]string, run string) {
	d.t.Helper()
	for _, s := range d.sellers {
		report, err := statement.Verify(strings.NewReader(texts[s.origin]), statement.Options{Keys: d.keys()})
		if err != nil {
			d.t.Fatal(err)
		}
		var vendor payword.Vendor
		d.call(s.key, "GET", "/v1/vendor?vendor="+s.origin, nil, &vendor)
		if int64(report.Paid) != int64(vendor.Payable) || report.Run != run || report.Hashes == 0 {
			d.t.Errorf("statement of %s: got %+v, want %s paid", s.origin, report, vendor.Payable.Decimal())
		}
	}
}

// wantDays wants three days that follow each other.
func (d *day) wantDays(key ed25519.PrivateKey) {
	d.t.Helper()
	days, err := clearing.Days(d.t.Context(), d.db, 0, 10)
	if err != nil {
		d.t.Fatal(err)
	}
	var tokens []string
	for _, day := range days {
		tokens = append(tokens, day.Token)
	}
	found, err := statement.CheckDays(tokens, map[string]ed25519.PublicKey{payword.Thumbprint(publicOf(key)): publicOf(key)})
	if err != nil || len(found) != 3 || found[0].Number != 1 || found[0].Leaves != 7 {
		d.t.Errorf("got days %+v (%v)", found, err)
	}
}

// A publication that dies after any of its steps goes on where it stopped, and
// comes to the same bytes.
func TestPublicationDies(t *testing.T) {
	d, key := newDay(t), newKey()
	d.trade()
	d.insertRun("run-1")
	var names []string
	for died := true; died; {
		died = false
		func() {
			defer func() {
				if recovered := recover(); recovered != nil {
					c, isCrash := recovered.(crash)
					if !isCrash {
						panic(recovered)
					}
					names, died = append(names, c.step), true
				}
			}()
			err := clearing.Publish(t.Context(), d.db, "run-1", key, 2, func(name string) {
				if len(names) == 0 || names[len(names)-1] != name {
					panic(crash{name})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}()
	}
	if len(names) < 10 || names[len(names)-1] != "day" {
		t.Errorf("died after %q", names)
	}
	texts := d.published("run-1", key)
	d.wantSums(texts, "run-1")
	days, err := clearing.Days(t.Context(), d.db, 0, 10)
	if err != nil || len(days) != 1 {
		t.Errorf("got %d days (%v), want one", len(days), err)
	}
	// Another page size makes no difference.
	if err := clearing.Publish(t.Context(), d.db, "run-1", key, 500, noStep); err != nil {
		t.Fatal(err)
	}
	if again := d.published("run-1", key); fmt.Sprint(again) != fmt.Sprint(texts) {
		t.Error("the statements differ")
	}
}

// Without a key the statements are made all the same, and are in no day.
func TestPublicationWithoutAKey(t *testing.T) {
	d := newDay(t)
	d.trade()
	d.insertRun("run-1")
	if _, err := clearing.OpenStatements(t.Context(), d.db, "run-1"); !errors.Is(err, clearing.ErrNoStatement) {
		t.Errorf("before it is published: got %v, want ErrNoStatement", err)
	}
	if err := clearing.Publish(t.Context(), d.db, "run-1", nil, 500, noStep); err != nil {
		t.Fatal(err)
	}
	for name, text := range d.published("run-1", nil) {
		if strings.Contains(text, `"day"`) {
			t.Errorf("%s: has a day", name)
		}
	}
	s, err := clearing.OpenStatements(t.Context(), d.db, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), new(bytes.Buffer), statement.Vendor, "https://nobody.example"); !errors.Is(err, clearing.ErrNoStatement) {
		t.Errorf("a vendor that sold nothing: got %v, want ErrNoStatement", err)
	}
	if err := s.Write(t.Context(), new(bytes.Buffer), statement.User, d.sellers[0].origin); !errors.Is(err, clearing.ErrNoStatement) {
		t.Errorf("a vendor as user: got %v, want ErrNoStatement", err)
	}
}

// Whoever looks on sees it go forward, to the end.
func TestPublicationProgress(t *testing.T) {
	d := newDay(t)
	d.trade()
	var seen []clearing.Progress
	settle(t, d.db, clearing.Config{RunID: "november", Progress: func(p clearing.Progress) {
		if p.Phase == clearing.PhasePublish && p.Steps > 0 {
			seen = append(seen, p)
		}
	}})
	for k, p := range seen {
		if k > 0 && p.Step < seen[k-1].Step || p.Step > p.Steps {
			t.Errorf("step %d of %d after %+v", p.Step, p.Steps, seen[max(0, k-1)])
		}
	}
	if last := len(seen) - 1; last < 1 || seen[last].Step != seen[last].Steps {
		t.Errorf("got %+v, want the last step at the end", seen)
	}
}
