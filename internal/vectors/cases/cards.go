package cases

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"strings"
)

// The material of the published trace of the purse protocol PWP1.
var (
	purseMKP = bytes.Repeat([]byte{0x11}, 32)
	purseMKL = bytes.Repeat([]byte{0x22}, 32)
	purseKZD = bytes.Repeat([]byte{0x33}, 32)

	purseCard     = unhex("C100000000000001")
	purseHolder   = unhex("A000000000000007")
	purseMerchant = unhex("4D00000000000009")
	purseSAMRand  = unhex("808182838485868788898A8B8C8D8E8F")
	purseCardRand = unhex("404142434445464748494A4B4C4D4E4F")
)

// unhex reads hexadecimal digits that stand in this package.
func unhex(text string) []byte {
	decoded, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // it stands right here
	}
	return decoded
}

func joined(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func be32(number uint32) []byte { return binary.BigEndian.AppendUint32(nil, number) }

// cmac is AES-CMAC as SP 800-38B writes it down, with numbers for bits.
func cmac(key []byte, message ...[]byte) []byte {
	cipher, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the keys stand in this package
	}
	text := joined(message...)
	encrypted := make([]byte, 16)
	cipher.Encrypt(encrypted, encrypted)
	modulus := new(big.Int).Lsh(big.NewInt(1), 128)
	double := func(n *big.Int) *big.Int {
		n = new(big.Int).Lsh(n, 1)
		if n.Bit(128) == 1 {
			n.Xor(n.Mod(n, modulus), big.NewInt(0x87))
		}
		return n
	}
	mask := double(new(big.Int).SetBytes(encrypted))
	if len(text) == 0 || len(text)%16 != 0 {
		mask = double(mask)
		text = append(text, 0x80)
		text = append(text, make([]byte, (16-len(text)%16)%16)...)
	}
	state := new(big.Int)
	for i := 0; i < len(text); i += 16 {
		state.Xor(state, new(big.Int).SetBytes(text[i:i+16]))
		if i+16 == len(text) {
			state.Xor(state, mask)
		}
		result := make([]byte, 16)
		cipher.Encrypt(result, state.FillBytes(make([]byte, 16)))
		state.SetBytes(result)
	}
	return state.FillBytes(make([]byte, 16))
}

// kdf is one block of SP 800-108 in counter mode.
func kdf(key []byte, label string, context ...[]byte) []byte {
	return cmac(key, []byte{1}, []byte(label), []byte{0}, joined(context...), []byte{0, 128})
}

func proofKey(card []byte) []byte { return kdf(purseKZD, "KZC", []byte{1}, card) }

func merchantKey(merchant []byte) []byte { return kdf(purseKZD, "KZM", []byte{1}, merchant) }

// purseProof is a proof of payment with its MACZ.
func purseProof(card []byte, tno, sno, amount, balance uint32) []byte {
	key := proofKey(card)
	pad := binary.BigEndian.Uint32(cmac(key, []byte{0xA6, 1}, purseMerchant, be32(tno), be32(sno)))
	proof := joined([]byte{1}, be32(amount), unhex("0840FE"), be32(0x65000001), purseMerchant, be32(tno),
		card, purseHolder, []byte{1}, be32(sno), be32(1), be32(balance^pad))
	return joined(proof, cmac(key, []byte{0xA3, 1}, proof))
}

// purseCancellation is what a card says of taking payment sno-1 back, with its
// MACZ.
func purseCancellation(tno, sno, amount, balance, paidTNo uint32) []byte {
	key := proofKey(purseCard)
	proof := purseProof(purseCard, tno, sno, amount, balance)[:53]
	proof[0] = 2
	said := joined(proof, be32(paidTNo), be32(sno-1))
	return joined(said, cmac(key, []byte{0xA8, 1}, said))
}

// purseBatch is a batch that is being made.
type purseBatch struct {
	number, first uint32
	bodies        [][]byte // of the records, without MACM
	alter         func(records [][]byte)
	alterTotal    func(total []byte) []byte
}

func paymentBody(batch uint32, proof []byte) []byte { return joined([]byte{1}, be32(batch), proof) }

func cancellationBody(batch uint32, said []byte) []byte { return joined([]byte{3}, be32(batch), said) }

func voidBody(batch, tno uint32, proved byte) []byte {
	return joined([]byte{2}, be32(batch), purseMerchant, be32(tno), be32(50), be32(0x65000002), purseCard, be32(2), []byte{proved})
}

// made returns total and records.
func (b purseBatch) made() (total, records []byte) {
	key := merchantKey(purseMerchant)
	chain := make([]byte, 16)
	var payments, voids uint32
	var sum uint64
	var all [][]byte
	for _, body := range b.bodies {
		chain = cmac(key, []byte{0xB1, 1}, body, chain)
		all = append(all, joined(body, chain))
		switch body[0] {
		case 1:
			payments++
			sum += uint64(binary.BigEndian.Uint32(body[6:]))
		case 3:
			payments++
			sum -= uint64(binary.BigEndian.Uint32(body[6:]))
		default:
			voids++
		}
	}
	last := b.first + uint32(len(b.bodies)) - 1
	total = joined(purseMerchant, be32(b.number), be32(b.first), be32(last), be32(payments), be32(voids),
		binary.BigEndian.AppendUint64(nil, sum), chain)
	if b.alterTotal != nil {
		total = b.alterTotal(total)
	}
	total = joined(total, cmac(key, []byte{0xB2, 1}, total))
	if b.alter != nil {
		b.alter(all)
	}
	return total, joined(all...)
}

func purseMasters() object {
	return object{"MKP": b64(purseMKP), "MKL": b64(purseMKL), "KZD": b64(purseKZD)}
}

// cards returns the cases of the purse protocol.
func cards() []Case {
	all := append(cmacCases(), deriveCases()...)
	all = append(all, proofCases()...)
	all = append(all, loadCases()...)
	all = append(all, batchCases()...)
	all = append(all, batchRefusals()...)
	all = append(all, cancellationRefusals()...)
	return append(all, sessionCase(), publishedCase(), cancelTrace(), voidTrace(), scriptTrace())
}

func cmacCases() []Case {
	message := unhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	var all []Case
	for _, c := range []struct {
		name, comment, key, mac string
		length                  int
	}{
		{"cmac-128-0", "RFC 4493, example 1: nothing.", "2b7e151628aed2a6abf7158809cf4f3c", "bb1d6929e95937287fa37d129b756746", 0},
		{"cmac-128-16", "RFC 4493, example 2: one whole block.", "2b7e151628aed2a6abf7158809cf4f3c", "070a16b46b4d4144f79bdd9dd04a287c", 16},
		{"cmac-128-40", "RFC 4493, example 3: two blocks and a half.", "2b7e151628aed2a6abf7158809cf4f3c", "dfa66747de9ae63030ca32611497c827", 40},
		{"cmac-128-64", "RFC 4493, example 4: four whole blocks.", "2b7e151628aed2a6abf7158809cf4f3c", "51f0bebf7e3b9d92fc49741779363cfe", 64},
		{"cmac-256-0", "SP 800-38B, AES-256: nothing.", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "028962f61b7bf89efc6b551f4667d983", 0},
		{"cmac-256-16", "SP 800-38B, AES-256: one whole block.", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "28a7023f452e8f82bd4bf28d8c37c35c", 16},
		{"cmac-256-40", "SP 800-38B, AES-256: two blocks and a half.", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "aaf3d8f1de5640c232f5b169b9c911e6", 40},
		{"cmac-256-64", "SP 800-38B, AES-256: four whole blocks.", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "e1992190549f6ed5696a2c056c315410", 64},
	} {
		all = append(all, Case{Name: c.name, Comment: c.comment, Expect: accepted,
			Input:  object{"operation": "cmac", "key": b64(unhex(c.key)), "message": b64(message[:c.length])},
			Output: object{"mac": b64(unhex(c.mac))}})
	}
	return all
}

func deriveCases() []Case {
	var all []Case
	for _, c := range []struct {
		key, comment string
		id, master   []byte
	}{
		{"SKC", "The key of a card and the SAMs.", purseCard, purseMKP},
		{"KLC", "The key of a card and its issuer.", purseCard, purseMKL},
		{"KZC", "The key of a card and clearing.", purseCard, purseKZD},
		{"KZM", "The key of a SAM and clearing.", purseMerchant, purseKZD},
	} {
		// Keys do not come out of the package; what they sign does.
		key := kdf(c.master, c.key, []byte{1}, c.id)
		all = append(all, Case{Name: "derive-" + strings.ToLower(c.key), Comment: c.comment, Expect: accepted,
			Input:  object{"operation": "derive", "masters": purseMasters(), "key": c.key, "keyVersion": 1, "id": b64(c.id), "message": b64(c.id)},
			Output: object{"derived": b64(key), "mac": b64(cmac(key, c.id))}})
	}
	return all
}

func proofCases() []Case {
	good := purseProof(purseCard, 1, 1, 123, 4877)
	in := func(proof []byte) object {
		return object{"operation": "proof", "masters": purseMasters(), "proof": b64(proof[:len(proof)-16]), "macz": b64(proof[len(proof)-16:])}
	}
	altered := func(at int, to byte) []byte {
		proof := bytes.Clone(good)
		proof[at] = to
		return proof
	}
	return []Case{
		{Name: "proof", Comment: "The published payment of 1.23 dollars, after which 48.77 are left.", Expect: accepted, Input: in(good), Output: object{"balance": 4877}},
		{Name: "proof-forged-amount", Comment: "A cent more than the card signed.", Expect: "proof-mac", Input: in(altered(4, 124))},
		{Name: "proof-version", Comment: "A version that is not known.", Expect: failed, Input: in(altered(0, 2))},
		{Name: "proof-currency", Comment: "A currency that no card holds.", Expect: failed, Input: in(altered(6, 0x41))},
		{Name: "proof-exponent", Comment: "Thousands of dollars are no unit.", Expect: failed, Input: in(altered(7, 3))},
		{Name: "proof-nothing", Comment: "A payment of nothing.", Expect: failed, Input: in(altered(4, 0))},
		{Name: "proof-short", Comment: "52 bytes.", Expect: failed, Input: in(good[1:])},
	}
}

func loadCases() []Case {
	request := unhex("000013880840FE650000004D00000000000009")
	answer := unhex("C100000000000001A000000000000007010000000100000000404142434445464748494A4B4C4D4E4F60AB63CE7BBA8D02467D4D85A6FCEC27")
	reference := unhex("0000000000000001")
	receipt := unhex("0000000100001388B30C985090BA6FA46C7CA6D3D4593748")
	key := kdf(purseMKL, "KLC", []byte{1}, purseCard)
	challenge := bytes.Repeat([]byte{0xEE}, 16)
	in := func(operation string, more object) object {
		input := object{"operation": operation, "masters": purseMasters(), "request": b64(request), "answer": b64(answer), "reference": b64(reference)}
		for name, value := range more {
			input[name] = value
		}
		return input
	}
	forged := bytes.Clone(request)
	forged[3]++
	other := bytes.Clone(receipt)
	other[7]--
	status := func(lno, balance uint32, reference []byte, amount uint32) string {
		head := joined(purseCard, be32(lno), be32(balance), reference, be32(amount))
		return b64(joined(head, cmac(key, []byte{0xC4, 1}, challenge, head)))
	}
	asked := object{"challenge": b64(challenge)}
	with := func(status string) object { return object{"challenge": asked["challenge"], "status": status} }
	return []Case{
		{Name: "load", Comment: "The published load of 50 dollars; credit is the data of CREDIT.", Expect: accepted, Input: in("load", nil),
			Output: object{"credit": b64(unhex("00000000000000010000000100001388EB28040A40BB94160D78E53F0E190696"))}},
		{Name: "load-forged-amount", Comment: "A cent more than the card signed for.", Expect: "load-mac", Input: in("load", object{"request": b64(forged)})},
		{Name: "load-short", Comment: "An answer of 56 bytes.", Expect: failed, Input: in("load", object{"answer": b64(answer[1:])})},
		{Name: "receipt", Comment: "The card took the value.", Expect: accepted, Input: in("receipt", object{"receipt": b64(receipt)})},
		{Name: "receipt-forged", Comment: "Another balance than the card signed.", Expect: "load-mac", Input: in("receipt", object{"receipt": b64(other)})},
		{Name: "receipt-other-load", Comment: "The receipt of another load.", Expect: "load-mac",
			Input: in("receipt", object{"receipt": b64(receipt), "reference": b64(unhex("0000000000000002"))})},
		{Name: "status-taken", Comment: "The last load is this one.", Expect: accepted, Input: in("status", with(status(1, 5000, reference, 5000))), Output: object{"taken": true}},
		{Name: "status-not-taken", Comment: "The card never took a load.", Expect: accepted, Input: in("status", with(status(0, 0, make([]byte, 8), 0))), Output: object{"taken": false}},
		{Name: "status-replayed", Comment: "The answer to another challenge.", Expect: "load-mac",
			Input: in("status", object{"challenge": b64(purseCardRand), "status": status(0, 0, make([]byte, 8), 0)})},
	}
}

func sessionCase() Case {
	key := kdf(purseMKP, "SKC", []byte{1}, purseCard)
	start := joined(purseCard, purseHolder, []byte{1}, be32(1), unhex("0840FE"), purseCardRand)
	session := kdf(key, "KS", purseSAMRand, purseCardRand, be32(1), purseMerchant, be32(1))
	order := joined(purseMerchant, be32(1), be32(1), purseCard, be32(123), unhex("0840FE65000001"))
	proof := purseProof(purseCard, 1, 1, 123, 4877)
	random := bytes.Repeat([]byte{0xEE}, 16)
	return Case{Name: "session", Comment: "The MACs of the published payment between card and SAM, and the denial of a second one.", Expect: accepted,
		Input: object{"operation": "session", "masters": purseMasters(), "start": b64(start), "samRandom": b64(purseSAMRand),
			"merchant": b64(purseMerchant), "transaction": 1, "order": b64(order), "proof": b64(proof[:53]), "macz": b64(proof[53:]),
			"denied": object{"transaction": 2, "payment": 2, "next": 1, "random": b64(random)}},
		Output: object{
			"mac1": b64(cmac(key, []byte{0xA1, 1}, purseMerchant, be32(1), purseSAMRand, start)),
			"mac2": b64(cmac(session, []byte{0xA2, 1}, order)),
			"mac3": b64(cmac(session, []byte{0xA4, 1}, proof)),
			"macn": b64(cmac(key, []byte{0xA5, 1}, purseMerchant, be32(2), be32(2), random, be32(1))),
		}}
}
