package cases

import (
	"bytes"
	"encoding/binary"
)

// batchInput is what clearing is given: the batch, and how far the merchant's
// batches were taken before.
func batchInput(total, records []byte, batch, transaction uint32) object {
	return object{"operation": "batch", "masters": purseMasters(), "keyVersion": 1, "total": b64(total), "records": b64(records),
		"previous": object{"batch": batch, "transaction": transaction}}
}

// threeRecords are two payments with a void between them.
func threeRecords(batch, first uint32) [][]byte {
	return [][]byte{
		paymentBody(batch, purseProof(purseCard, first, 1, 123, 4877)),
		voidBody(batch, first+1, 0),
		paymentBody(batch, purseProof(purseCard, first+2, 2, 77, 4800)),
	}
}

func batchCases() []Case {
	var all []Case
	for _, c := range []struct {
		name, comment string
		batch         purseBatch
		balances      []int
	}{
		{"batch-published", "The published batch of one payment.",
			purseBatch{number: 1, first: 1, bodies: [][]byte{paymentBody(1, purseProof(purseCard, 1, 1, 123, 4877))}}, []int{4877}},
		{"batch-with-void", "Two payments and a void; balances are those of the payments.",
			purseBatch{number: 1, first: 1, bodies: threeRecords(1, 1)}, []int{4877, 4800}},
		{"batch-second", "It goes on where the first one ended.",
			purseBatch{number: 2, first: 8, bodies: threeRecords(2, 8)}, []int{4877, 4800}},
		{"batch-with-cancellation", "A payment of 1.23 is taken back, and another one is made; the sum is that of the second.",
			purseBatch{number: 1, first: 1, bodies: takenBack(123, 1)}, []int{4877, 5000, 4900}},
		{"batch-unproved-cancellation", "The card may have taken the payment back: the sum has it still, and clearing knows.",
			purseBatch{number: 1, first: 1, bodies: [][]byte{takenBack(50, 1)[0], voidBody(1, 2, 3)}}, []int{4950}},
		{"batch-of-voids", "Nobody paid.", purseBatch{number: 1, first: 1, bodies: [][]byte{voidBody(1, 1, 1), voidBody(1, 2, 2)}}, []int{}},
	} {
		total, records := c.batch.made()
		ack := cmac(merchantKey(purseMerchant), []byte{0xB3, 1}, total)
		all = append(all, Case{Name: c.name, Comment: c.comment, Expect: accepted,
			Input:  batchInput(total, records, c.batch.number-1, c.batch.first-1),
			Output: object{"ack": b64(ack), "balances": c.balances}})
	}
	return all
}

// number writes a number of four bytes into a total before it is signed.
func number(at int, value uint32) func([]byte) []byte {
	return func(total []byte) []byte {
		binary.BigEndian.PutUint32(total[at:], value)
		return total
	}
}

// batchRefusals each have one fault; the SAM signed the total of most.
func batchRefusals() []Case {
	three := func() purseBatch { return purseBatch{number: 1, first: 1, bodies: threeRecords(1, 1)} }
	var all []Case
	add := func(name, comment, reason string, record int, b purseBatch) {
		total, records := b.made()
		all = append(all, Case{Name: name, Comment: comment, Expect: reason,
			Input: batchInput(total, records, 0, 0), Output: object{"record": record}})
	}
	altered := func(alter func(records [][]byte)) purseBatch {
		b := three()
		b.alter = alter
		return b
	}
	totalled := func(alter func([]byte) []byte) purseBatch {
		b := three()
		b.alterTotal = alter
		return b
	}
	made := func(bodies ...[]byte) purseBatch { return purseBatch{number: 1, first: 1, bodies: bodies} }

	add("batch-skipped", "Batch 2 before batch 1.", "batch-number", 0, purseBatch{number: 2, first: 1, bodies: threeRecords(2, 1)})
	add("batch-first", "It begins with transaction 2.", "first-transaction", 0, purseBatch{number: 1, first: 2, bodies: threeRecords(1, 2)})
	add("batch-backwards", "It ends before it begins.", "last-transaction", 0, totalled(number(16, 0)))
	add("batch-too-many", "2001 transactions.", "too-many", 0, totalled(number(16, 2001)))
	add("batch-dropped", "A record in the middle is left out.", "transaction-gap", 2, altered(func(r [][]byte) { r[1] = nil }))
	add("batch-dropped-last", "The last record is left out.", "last-transaction", 0, altered(func(r [][]byte) { r[2] = nil }))
	add("batch-reordered", "The first two records changed places.", "transaction-gap", 1, altered(func(r [][]byte) { r[0], r[1] = r[1], r[0] }))
	add("batch-replayed", "A record comes twice.", "transaction-gap", 2, altered(func(r [][]byte) { r[1] = r[0] }))
	add("batch-gap", "The SAM left out a transaction.", "transaction-gap", 2, made(threeRecords(1, 1)[0], threeRecords(1, 1)[2]))
	add("batch-altered-void", "A void says something else than the SAM signed.", "chain", 2, altered(func(r [][]byte) { r[1][30]++ }))
	add("batch-foreign-record", "A record of another merchant.", "other-merchant", 2, altered(func(r [][]byte) { r[1][5]++ }))
	add("batch-other-batch", "A record of another batch.", "other-batch", 2, made(threeRecords(1, 1)[0], voidBody(2, 2, 0)))
	add("batch-forged-amount", "The SAM signed more than the card did.", "proof-mac", 1, made(forgedAmount()))
	add("batch-key-version", "The card has a key version that clearing does not.", "key-version", 1, made(otherKeyVersion()))
	add("batch-proved", "A void that is proved otherwise than 0 to 3.", "malformed", 1, made(voidBody(1, 1, 4)))
	add("batch-type", "A record that is neither payment nor void nor cancellation.", "malformed", 2, altered(func(r [][]byte) { r[1][0] = 4 }))
	add("batch-cut", "The last record is cut short.", "malformed", 3, altered(func(r [][]byte) { r[2] = r[2][:89] }))
	add("batch-empty", "A total without records.", "last-transaction", 0, altered(func(r [][]byte) { clear(r) }))
	add("batch-count", "The total counts three payments.", "count", 0, totalled(number(20, 3)))
	add("batch-voids", "The total counts no void.", "count", 0, totalled(number(24, 0)))
	add("batch-sum", "The total has a cent more.", "sum", 0, totalled(number(32, 201)))
	add("batch-end", "The total ends with another MACM.", "chain-end", 0, totalled(number(36, 7)))
	return append(all, unsignedTotals()...)
}

// takenBack are a payment, its cancellation, which names transaction paidTNo,
// and another payment.
func takenBack(amount, paidTNo uint32) [][]byte {
	return [][]byte{
		paymentBody(1, purseProof(purseCard, 1, 1, amount, 5000-amount)),
		cancellationBody(1, purseCancellation(2, 2, amount, 5000, paidTNo)),
		paymentBody(1, purseProof(purseCard, 3, 3, 100, 4900)),
	}
}

// cancellationRefusals each have one fault in what takes a payment back.
func cancellationRefusals() []Case {
	var all []Case
	add := func(name, comment, reason string, record int, alterTotal func([]byte) []byte, bodies ...[]byte) {
		total, records := purseBatch{number: 1, first: 1, bodies: bodies, alterTotal: alterTotal}.made()
		all = append(all, Case{Name: name, Comment: comment, Expect: reason,
			Input: batchInput(total, records, 0, 0), Output: object{"record": record}})
	}
	payment := takenBack(123, 1)[0]
	again := cancellationBody(1, purseCancellation(3, 2, 123, 5123, 1))
	asPayment := bytes.Clone(takenBack(123, 1)[1])
	copy(asPayment[5+61:], cmac(proofKey(purseCard), []byte{0xA3, 1}, asPayment[5:5+61]))
	add("cancellation-twice", "A payment is taken back twice.", "cancellation", 3, nil, payment, takenBack(123, 1)[1], again)
	add("cancellation-of-nothing", "No payment of the batch is taken back.", "cancellation", 2, nil, voidBody(1, 1, 0), takenBack(123, 1)[1])
	add("cancellation-of-more", "More is taken back than was paid.", "cancellation", 2, nil, payment, takenBack(124, 1)[1])
	add("cancellation-of-itself", "It names its own transaction.", "malformed", 2, nil, payment, takenBack(123, 2)[1])
	add("cancellation-other-transaction", "It names another transaction than the card's payment was.", "cancellation", 3, nil,
		payment, voidBody(1, 2, 0), cancellationBody(1, purseCancellation(3, 2, 123, 5000, 2)))
	add("cancellation-other-card", "It is another card's payment that it takes back.", "cancellation", 2, nil,
		paymentBody(1, purseProof(purseMerchant, 1, 1, 123, 4877)), takenBack(123, 1)[1])
	gap := purseCancellation(2, 3, 123, 5000, 1)
	binary.BigEndian.PutUint32(gap[57:], 1)
	copy(gap[61:], cmac(proofKey(purseCard), []byte{0xA8, 1}, gap[:61]))
	add("cancellation-late", "The card paid something else in between.", "malformed", 2, nil, payment, cancellationBody(1, gap))
	add("cancellation-mac", "The MACZ is one of payments.", "proof-mac", 2, nil, payment, asPayment)
	add("cancellation-sum", "The total sums up as if nothing was taken back.", "sum", 0, number(32, 123), payment, takenBack(123, 1)[1])
	add("cancellation-unproved", "Nothing was paid that might have been taken back.", "cancellation", 2, nil, payment, voidBody(1, 2, 3))
	return all
}

func forgedAmount() []byte {
	body := bytes.Clone(threeRecords(1, 1)[0])
	body[9]++
	return body
}

func otherKeyVersion() []byte {
	body := bytes.Clone(threeRecords(1, 1)[0])
	body[5+40] = 2
	return body
}

// unsignedTotals are not signed by the merchant's SAM.
func unsignedTotals() []Case {
	total, records := purseBatch{number: 1, first: 1, bodies: threeRecords(1, 1)}.made()
	forged := bytes.Clone(total)
	forged[35]++
	foreign := bytes.Clone(total)
	foreign[0]++
	in := func(total []byte) object { return batchInput(total, records, 0, 0) }
	atTotal := object{"record": 0}
	return []Case{
		{Name: "batch-forged-total", Comment: "A cent more, and no MAC for it.", Expect: "total-mac", Input: in(forged), Output: atTotal},
		{Name: "batch-foreign-total", Comment: "Another merchant's name above it.", Expect: "total-mac", Input: in(foreign), Output: atTotal},
		{Name: "batch-short-total", Comment: "67 bytes.", Expect: "malformed", Input: in(total[:67]), Output: atTotal},
	}
}
