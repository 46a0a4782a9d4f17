package purse_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// binary is base64url in JSON.
type binary []byte

func (b *binary) UnmarshalJSON(text []byte) (err error) {
	var encoded string
	if err := json.Unmarshal(text, &encoded); err != nil {
		return err
	}
	*b, err = base64.RawURLEncoding.DecodeString(encoded)
	return err
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// vector is one file, with the inputs of all operations.
type vector struct {
	Name, Area, Comment, Expect string
	Input                       input
	Output                      map[string]any
}

type input struct {
	Operation                                                     string
	Masters                                                       map[string]binary
	Key                                                           json.RawMessage
	KeyVersion                                                    byte
	ID, Message, Proof, MACZ, Request, Answer, Reference, Receipt binary
	Challenge, Status, Total, Records, Start, Merchant, Order     binary
	SAMRandom                                                     binary
	Transaction                                                   uint32
	Denied                                                        struct {
		Transaction, Payment, Next uint32
		Random                     binary
	}
	Previous  struct{ Batch, Transaction uint32 }
	Exchanges []struct {
		To              string
		Command, Answer binary
	}
	Issue struct {
		Card, Holder, Merchant, Unit, CardRandom, SAMRandom binary
		PIN                                                 string
		MaxBalance, MaxPayment                              uint32
		SAMLimit                                            uint64
	}
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "testdata", "vectors", "cards", "*.json"))
	if err != nil || len(names) < 50 {
		t.Fatalf("%d vectors (%v): run make vectors", len(names), err)
	}
	vectors := make([]vector, len(names))
	for i, name := range names {
		content, err := os.ReadFile(name)
		if err == nil {
			decoder := json.NewDecoder(bytes.NewReader(content))
			decoder.DisallowUnknownFields()
			err = decoder.Decode(&vectors[i])
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return vectors
}

// keys returns the masters of the input, of version 1.
func (in input) keys(t testing.TB) *purse.Keys {
	t.Helper()
	keys := &purse.Keys{}
	for name, secret := range in.Masters {
		if err := keys.Add(name, 1, secret); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// runners return what a vector expects, and its output.
var runners = map[string]func(t *testing.T, in input) (string, map[string]any){
	"cmac": runCMAC, "derive": runDerive, "proof": runProof, "load": runLoad, "receipt": runLoad, "status": runLoad,
	"session": runSession, "batch": runBatch, "trace": runTrace,
}

func TestVectors(t *testing.T) {
	seen := make(map[string]bool)
	for _, v := range readVectors(t) {
		seen[v.Expect] = true
		t.Run(v.Name, func(t *testing.T) {
			run := runners[v.Input.Operation]
			if run == nil {
				t.Fatalf("no test of operation %q", v.Input.Operation)
			}
			expect, output := run(t, v.Input)
			if expect != v.Expect || !reflect.DeepEqual(normal(t, output), normal(t, v.Output)) {
				t.Errorf("%s\ngot %s %v\nwant %s %v", v.Comment, expect, output, v.Expect, v.Output)
			}
		})
	}
	for _, reason := range []purse.Reason{
		purse.Malformed, purse.OtherMerchant, purse.WrongTotalMAC, purse.WrongBatch, purse.OtherBatch, purse.WrongFirst,
		purse.TransactionGap, purse.BrokenChain, purse.NoKey, purse.WrongProof, purse.WrongLast, purse.WrongCount,
		purse.WrongSum, purse.WrongEnd, purse.TooMany, purse.NoPayment,
	} {
		if !seen[string(reason)] {
			t.Errorf("no vector is refused for %s", reason)
		}
	}
}

// normal reads a value again, so that numbers are of one type.
func normal(t *testing.T, value map[string]any) any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(encoded, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

func runCMAC(t *testing.T, in input) (string, map[string]any) {
	var secret binary
	if err := json.Unmarshal(in.Key, &secret); err != nil {
		t.Fatal(err)
	}
	key, err := purse.NewKey(secret)
	if err != nil {
		return "error", nil
	}
	mac := key.MAC(in.Message)
	// In parts of every length it is the same.
	for length := 1; length <= len(in.Message); length++ {
		var parts [][]byte
		for rest := []byte(in.Message); len(rest) > 0; rest = rest[min(length, len(rest)):] {
			parts = append(parts, rest[:min(length, len(rest))], nil)
		}
		if got := key.MAC(parts...); got != mac {
			t.Errorf("in parts of %d bytes: %s, in one %s", length, got, mac)
		}
	}
	return "accepted", map[string]any{"mac": b64(mac[:])}
}

func runDerive(t *testing.T, in input) (string, map[string]any) {
	keys := in.keys(t)
	var label string
	if err := json.Unmarshal(in.Key, &label); err != nil {
		t.Fatal(err)
	}
	derive := map[string]func(byte, purse.ID) (*purse.Key, error){
		"SKC": keys.CardKey, "KLC": keys.LoadKey, "KZC": keys.ProofKey, "KZM": keys.MerchantKey,
	}[label]
	key, err := derive(in.KeyVersion, purse.ID(in.ID))
	if err != nil {
		return "error", nil
	}
	mac := key.MAC(in.Message)
	// The key itself stays inside; that of the published vectors is written down.
	published := map[string]string{
		"SKC": "11A46CE2751DF41C7AD4C9863BFCA33A", "KLC": "0DEA1FBE9766D861F205C1222C6BEB9E",
		"KZC": "5C85C4C35E617FDA0BCBE4BE0D7351EB", "KZM": "5FDDC63D85FE91FCE00871B7DBD0F6AB",
	}[label]
	plain, err := purse.NewKey(unhex(t, published))
	if err != nil || plain.MAC(in.Message) != mac {
		t.Errorf("%s is not the published key", label)
	}
	return "accepted", map[string]any{"derived": b64(unhex(t, published)), "mac": b64(mac[:])}
}

func runProof(t *testing.T, in input) (string, map[string]any) {
	proof, err := purse.ParseProof(in.Proof)
	if err != nil {
		return "error", nil
	}
	if got := proof.Append(nil); !bytes.Equal(got, in.Proof) {
		t.Errorf("written again it is %x", got)
	}
	key, err := in.keys(t).ProofKey(proof.KeyVersion, proof.Card)
	if err != nil {
		return "error", nil
	}
	if !proof.IsProved(key, purse.MAC(in.MACZ)) {
		return string(purse.WrongProof), nil
	}
	return "accepted", map[string]any{"balance": proof.Balance(key)}
}

func runLoad(t *testing.T, in input) (string, map[string]any) {
	load, err := purse.ParseLoad(in.Request, in.Answer)
	if err != nil {
		return "error", nil
	}
	key, err := in.keys(t).LoadKey(load.Answer.KeyVersion, load.Answer.Card)
	if err != nil {
		return "error", nil
	}
	if !load.IsSigned(key) {
		return "load-mac", nil
	}
	reference := purse.ID(in.Reference)
	switch in.Operation {
	case "receipt":
		receipt, err := purse.ParseReceipt(in.Receipt)
		if err != nil || !bytes.Equal(receipt.Append(nil), in.Receipt) {
			return "error", nil
		}
		if !load.IsReceipt(key, reference, receipt) {
			return "load-mac", nil
		}
		return "accepted", nil
	case "status":
		status, err := purse.ParseStatus(in.Status)
		if err != nil || !bytes.Equal(status.Append(nil), in.Status) {
			return "error", nil
		}
		if !status.IsSigned(key, purse.Random(in.Challenge)) {
			return "load-mac", nil
		}
		return "accepted", map[string]any{"taken": status.LNo == load.Answer.LNo && status.Reference == reference}
	}
	return "accepted", map[string]any{"credit": b64(load.Credit(key, reference))}
}

func runSession(t *testing.T, in input) (string, map[string]any) {
	keys := in.keys(t)
	proof, err := purse.ParseProof(in.Proof)
	if err != nil {
		return "error", nil
	}
	start := purse.Start{Card: proof.Card, Holder: proof.Holder, KeyVersion: 1, SNo: proof.SNo, Unit: proof.Unit, Random: purse.Random(in.Start[24:])}
	order := purse.Order{Merchant: proof.Merchant, TNo: proof.TNo, SNo: proof.SNo, Card: proof.Card, Amount: proof.Amount, Unit: proof.Unit, Time: proof.Time}
	if !bytes.Equal(start.Append(nil), in.Start) || !bytes.Equal(order.Append(nil), in.Order) {
		t.Errorf("start %x and order %x", start.Append(nil), order.Append(nil))
	}
	key, err := keys.CardKey(1, proof.Card)
	if err != nil {
		return "error", nil
	}
	merchant, random := purse.ID(in.Merchant), purse.Random(in.SAMRandom)
	session := start.Session(key, merchant, in.Transaction, random)
	output := make(map[string]any)
	for name, mac := range map[string]purse.MAC{
		"mac1": start.Identify(key, merchant, in.Transaction, random),
		"mac2": order.Sign(session),
		"mac3": proof.Confirm(session, purse.MAC(in.MACZ)),
		"macn": purse.Deny(key, merchant, in.Denied.Transaction, in.Denied.Payment, purse.Random(in.Denied.Random), in.Denied.Next),
	} {
		output[name] = b64(mac[:])
	}
	return "accepted", output
}

func runBatch(t *testing.T, in input) (string, map[string]any) {
	previous := purse.Position{Batch: in.Previous.Batch, TNo: in.Previous.Transaction}
	batch, refusals, err := purse.CheckBatch(in.keys(t), in.KeyVersion, previous, in.Total, in.Records)
	switch {
	case err != nil:
		return "error", nil
	case len(refusals) > 0:
		return string(refusals[0].Reason), map[string]any{"record": refusals[0].Record}
	}
	if got := batch.Total.Append(nil); !bytes.Equal(got, in.Total) {
		t.Errorf("the total written again is %x", got)
	}
	balances, again := []uint32{}, []byte(nil)
	for _, entry := range batch.Entries {
		again = entry.Append(again)
		if !entry.IsVoid {
			balances = append(balances, entry.Balance)
		}
	}
	if !bytes.Equal(again, in.Records) {
		t.Errorf("the records written again are %x", again)
	}
	return "accepted", map[string]any{"ack": b64(batch.Ack[:]), "balances": balances}
}
