package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// commitmentsPerTransaction is how many redeemed commitments are written at
	// once: some 30 MB of evidence.
	commitmentsPerTransaction = 10_000

	// shortChain and mostSpent are of the commitments that are settled: what is
	// measured is the settlement, not hashing.
	shortChain = 20
	mostSpent  = 20

	// graceSeconds is how long after its end a commitment is redeemed.
	graceSeconds = 30 * 24 * 3600
)

// evidence is one commitment that was redeemed, with everything that was signed.
type evidence struct {
	user, vendor int
	m            payword.Commitment
	claim        payword.Claim
}

// fillRedeemed writes commitments that were redeemed as if the vendors had
// claimed them one by one: the signatures are real, the requests are left out.
func fillRedeemed(ctx context.Context, s settings, stdout io.Writer) error {
	db, err := ledger.Open(ctx, s.database, ledger.Options{Mode: ledger.Existing})
	if err != nil {
		return err
	}
	var present int
	err = db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_commitments`).Scan(&present)
	})
	if err != nil || present >= s.settled {
		return errors.Join(err, db.Close()) // they are there already
	}
	began := time.Now()
	err = db.Update(ctx, func(tx *ledger.Tx) error { return fillDestinations(ctx, tx, s.vendors) })
	for from := 0; err == nil && from < s.settled; from += commitmentsPerTransaction {
		var part []evidence
		if part, err = makeEvidence(ctx, s, from, min(from+commitmentsPerTransaction, s.settled)); err == nil {
			err = db.Update(ctx, func(tx *ledger.Tx) error { return fillPart(ctx, tx, part) })
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "filled in %d redeemed commitments in %s\n", s.settled, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// makeEvidence signs a part of the commitments on all processors.
func makeEvidence(ctx context.Context, s settings, from, to int) ([]evidence, error) {
	all := make([]evidence, to-from)
	group, _ := errgroup.WithContext(ctx)
	share := (len(all) + runtime.NumCPU() - 1) / runtime.NumCPU()
	for start := 0; start < len(all); start += share {
		group.Go(func() error {
			for k := start; k < min(start+share, len(all)); k++ {
				var err error
				if all[k], err = makeOne(s, from+k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all, group.Wait()
}

// makeOne is the commitment of a number.
func makeOne(s settings, number int) (e evidence, err error) {
	random := mathrand.New(mathrand.NewPCG(s.seed, uint64(number)))
	e.user, e.vendor = number%s.users, random.IntN(s.vendors)
	now := time.Now().Unix()
	key, nonce := keyOf("user", e.user), payword.Nonce(nonceOf(number))
	certificate, err := payword.SignCertificate(payword.Certificate{
		Issuer: issuer, Subject: subjectOf(number), Key: publicKey(key), IssuedAt: now - 3600, Expires: now + 7*24*3600,
		ID: nonce, Currency: currency, Limit: 100 * money.Unit,
	}, brokerKey)
	if err != nil {
		return e, err
	}
	seed := payword.Seed(derive("seed", e.user))
	e.m = payword.Commitment{
		Vendor: vendorOrigin(e.vendor), Certificate: certificate, IssuedAt: now - 3000, Expires: now + 24*3600, Nonce: nonce,
		Currency: currency, Limit: shortChain * unit, Chains: []payword.ChainTerms{{Unit: unit, Length: shortChain}},
	}
	tip, err := seed.Tip(e.m.Vendor, e.m.Nonce, 0, shortChain)
	if err != nil {
		return e, err
	}
	e.m.Chains[0].Root = tip.Walk(shortChain)
	if e.m, err = payword.SignCommitment(e.m, key); err != nil {
		return e, err
	}
	index := uint32(1 + random.IntN(mostSpent))
	e.claim, err = payword.SignClaim(payword.Claim{
		Vendor: e.m.Vendor, Broker: issuer, Commitment: e.m.ID, Amount: money.Amount(index) * unit, IssuedAt: now,
		Tails: []payword.Tail{{Index: index, Payword: tip.Walk(shortChain - index)}}, Final: true,
	}, keyOf("vendor", e.vendor))
	return e, err
}

// brokerKey signs all certificates, and is made once.
var brokerKey = keyOf("broker", 0)

func nonceOf(number int) []byte {
	raw := derive("nonce", number)
	return raw[:payword.NonceBytes]
}

func subjectOf(number int) string { return base64.RawURLEncoding.EncodeToString(nonceOf(number)) }

// fillPart writes commitments and what was paid on them.
func fillPart(ctx context.Context, tx *ledger.Tx, part []evidence) error {
	now := tx.Now().UnixMicro()
	certificates := &table{into: "broker_certificates (subject, account, key_id, expires, created)", columns: 5}
	commitments := &table{into: `broker_commitments (id, token, account, vendor, reserved, held, paid, sequence, redeem_by, day,
		reservation, tails, claim, closed, version, created)`, columns: 16}
	roots := &table{into: "broker_roots (account, root, commitment)", columns: 3}
	transfers := &table{
		into:    "transfers (id, phase, debit, credit, amount, currency, kind, reference, expires, created)",
		columns: 10,
	}
	changes := make(map[string]money.Amount)
	for _, e := range part {
		account, id := accountID(e.user), e.m.ID.String()
		available, payable := "user:"+account+":available", "vendor:"+e.m.Vendor+":payable"
		changes[available] -= e.claim.Amount
		changes[payable] += e.claim.Amount
		err := errors.Join(
			certificates.add(ctx, tx, e.m.Certificate.Subject, account, payword.Thumbprint(e.m.Certificate.Key), e.m.Certificate.Expires, now),
			commitments.add(ctx, tx, id, e.m.Token, account, e.m.Vendor, 0, 0, int64(e.claim.Amount), 0, e.m.Expires+graceSeconds, 0,
				"", encodeTails(e.claim.Tails), e.claim.Token, 1, 1, now),
			roots.add(ctx, tx, account, e.m.Chains[0].Root[:], id),
			transfers.add(ctx, tx, fmt.Sprintf("redeem/%s/%d", id, e.claim.Amount), "single", available, payable,
				int64(e.claim.Amount), string(currency), "redeem", id, 0, now))
		if err != nil {
			return err
		}
	}
	err := errors.Join(certificates.flush(ctx, tx), commitments.flush(ctx, tx), roots.flush(ctx, tx), transfers.flush(ctx, tx))
	for account, change := range changes {
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE accounts SET balance = balance + ? WHERE id = ?`, int64(change), account)
		}
	}
	return err
}

// encodeTails is the broker's form of them.
func encodeTails(tails []payword.Tail) []byte {
	encoded := make([]byte, payword.MaxChains*(4+payword.PaywordBytes))
	for k, tail := range tails {
		part := encoded[k*(4+payword.PaywordBytes):]
		binary.BigEndian.PutUint32(part, tail.Index)
		copy(part[4:], tail.Payword[:])
	}
	return encoded
}

// fillDestinations gives every vendor a bank account.
func fillDestinations(ctx context.Context, tx *ledger.Tx, vendors int) error {
	for vendor := range vendors {
		_, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET destination = ? WHERE vendor = ?`,
			"iban:"+ibanOf(vendor), vendorOrigin(vendor))
		if err != nil {
			return err
		}
	}
	return nil
}

// ibanOf is a German account number with right check digits (ISO 7064, MOD
// 97-10) at a bank that does not exist.
func ibanOf(number int) string {
	bban := fmt.Sprintf("00000000%010d", number)
	digits, _ := new(big.Int).SetString(bban+"131400", 10) // DE is 13 14; it is all digits
	check := 98 - new(big.Int).Mod(digits, big.NewInt(97)).Int64()
	return fmt.Sprintf("DE%02d%s", check, bban)
}
