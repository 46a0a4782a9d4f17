package cases

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// publishedTrace is a load, a payment, two recoveries and a batch, as they were
// first tried out: who gets the command, the command, and the answer.
const publishedTrace = `
card 00A4040009F0505750555253450100 6F0B8409F050575055525345019000
sam 00A4040009F0505753414D00000100 6F0B8409F0505753414D0000019000
card 00200080043437313100 9000
card 8050000013000013880840FE650000004D0000000000000900 C100000000000001A000000000000007010000000100000000404142434445464748494A4B4C4D4E4F60AB63CE7BBA8D02467D4D85A6FCEC279000
card 805200002000000000000000010000000100001388EB28040A40BB94160D78E53F0E19069600 0000000100001388B30C985090BA6FA46C7CA6D3D45937489000
sam 803000000B0000007B0840FE6500000100 4D000000000000090000000101808182838485868788898A8B8C8D8E8F9000
card 803200001D4D000000000000090000000101808182838485868788898A8B8C8D8E8F00 C100000000000001A00000000000000701000000010840FE404142434445464748494A4B4C4D4E4FA8BB2C0A34F757AF75DC5CA3A3363E249000
sam 8034000038C100000000000001A00000000000000701000000010840FE404142434445464748494A4B4C4D4E4FA8BB2C0A34F757AF75DC5CA3A3363E2400 4D000000000000090000000100000001C1000000000000010000007B0840FE650000015C7A2B385F0366432BC53DDDF4EBA45D9000
card 80360000334D000000000000090000000100000001C1000000000000010000007B0840FE650000015C7A2B385F0366432BC53DDDF4EBA45D00 010000007B0840FE650000014D0000000000000900000001C100000000000001A00000000000000701000000010000000114DECE9354BD9E41BC55AE4BF5F04E3C037A3DFD3839970C713EE3902CE57F7C163503EF9000
sam 8038000055010000007B0840FE650000014D0000000000000900000001C100000000000001A00000000000000701000000010000000114DECE9354BD9E41BC55AE4BF5F04E3C037A3DFD3839970C713EE3902CE57F7C163503EF00 0100000001010000007B0840FE650000014D0000000000000900000001C100000000000001A00000000000000701000000010000000114DECE9354BD9E41BC55AE4BF5F04E3C037A3DFD0F94859D7717F912DAF18C445C5C1D3C9000
card 803C0000204D000000000000090000000100000001EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE00 01010000007B0840FE650000014D0000000000000900000001C100000000000001A00000000000000701000000010000000114DECE9354BD9E41BC55AE4BF5F04E3C037A3DFD3839970C713EE3902CE57F7C163503EF9000
card 803C0000204D000000000000090000000200000002EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE00 0000000001C83A3EE4F15249524955761F57DBD0E59000
sam 8060000000 4D000000000000090000000100000001000000010000000100000000000000000000007B0F94859D7717F912DAF18C445C5C1D3C54C8F83DFA86E52CA85CCDEF37E6BC569000
sam 80620000109D161B55048FB7D173258DB7CD9938EE00 9000
`

// cardTrace is commands and answers that are being put together.
type cardTrace struct{ exchanges []object }

func (c *cardTrace) add(to string, command, answer []byte) {
	c.exchanges = append(c.exchanges, object{"to": to, "command": b64(command), "answer": b64(answer)})
}

// say adds a command of short form and its answer, with 9000.
func (c *cardTrace) say(to, head string, data, answer []byte) {
	command := unhex(head)
	if len(data) > 0 {
		command = joined(command, []byte{byte(len(data))}, data)
	}
	c.add(to, append(command, 0), joined(answer, unhex("9000")))
}

// refuse adds a command and the status that refuses it.
func (c *cardTrace) refuse(to, head string, data []byte, status string) {
	c.say(to, head, data, nil)
	c.exchanges[len(c.exchanges)-1]["answer"] = b64(unhex(status))
}

// published adds the first exchanges of the published trace.
func (c *cardTrace) published(count int) {
	for _, line := range strings.Split(strings.TrimSpace(publishedTrace), "\n")[:count] {
		words := strings.Fields(line)
		c.add(words[0], unhex(words[1]), unhex(words[2]))
	}
}

// made returns the case. The card is issued with the PIN and the limits that
// stand there, the random numbers are the same each time.
func (c *cardTrace) made(name, comment string) Case {
	return Case{Name: name, Comment: comment, Expect: accepted, Input: object{
		"operation": "trace", "masters": purseMasters(), "exchanges": c.exchanges,
		"issue": object{"card": b64(purseCard), "holder": b64(purseHolder), "merchant": b64(purseMerchant), "pin": "4711",
			"unit": b64(unhex("0840FE")), "maxBalance": 20_000, "maxPayment": 10_000, "samLimit": 100_000,
			"cardRandom": b64(purseCardRand), "samRandom": b64(purseSAMRand)},
	}}
}

// The published trace ends with the batch; its first five exchanges are the load,
// the next five the payment.
const (
	publishedLoad    = 5
	publishedPayment = 10
	publishedWhole   = 14
)

func publishedCase() Case {
	c := &cardTrace{}
	c.published(publishedWhole)
	return c.made("trace", "The published trace: a load, a payment, two recoveries, and a batch that is acknowledged.")
}

// start adds INIT with what the SAM is told, START and its answer, and returns
// the session's key.
func (c *cardTrace) start(initHead string, initData []byte, tno, sno uint32) (session, started []byte) {
	key := kdf(purseMKP, "SKC", []byte{1}, purseCard)
	opening := joined(purseMerchant, be32(tno), []byte{1}, purseSAMRand)
	c.say("sam", initHead, initData, opening)
	head := joined(purseCard, purseHolder, []byte{1}, be32(sno), unhex("0840FE"), purseCardRand)
	started = joined(head, cmac(key, []byte{0xA1, 1}, purseMerchant, be32(tno), purseSAMRand, head))
	c.say("card", "80320000", opening, started)
	return kdf(key, "KS", purseSAMRand, purseCardRand, be32(sno), purseMerchant, be32(tno)), started
}

// purseOrder is the 35 bytes.
func purseOrder(tno, sno, amount, time uint32) []byte {
	return joined(purseMerchant, be32(tno), be32(sno), purseCard, be32(amount), unhex("0840FE"), be32(time))
}

// cancelTrace takes the published payment back.
func cancelTrace() Case {
	c := &cardTrace{}
	c.published(publishedPayment)
	session, started := c.start("80310000", joined(be32(1), be32(0x65000002)), 2, 2)
	order := joined(purseOrder(2, 2, 123, 0x65000002), be32(1), be32(1))
	order = joined(order, cmac(session, []byte{0xA7, 1}, order))
	c.say("sam", "80340000", started, order)
	key := proofKey(purseCard)
	pad := binary.BigEndian.Uint32(cmac(key, []byte{0xA6, 1}, purseMerchant, be32(2), be32(2)))
	said := joined([]byte{2}, be32(123), unhex("0840FE65000002"), purseMerchant, be32(2), purseCard, purseHolder, []byte{1},
		be32(2), be32(1), be32(5000^pad), be32(1), be32(1))
	said = joined(said, cmac(key, []byte{0xA8, 1}, said))
	said = joined(said, cmac(session, []byte{0xA9, 1}, said))
	c.say("card", "80400000", order, said)
	c.refuse("card", "80400000", order, "6985")
	first := unhex(strings.Fields(strings.Split(strings.TrimSpace(publishedTrace), "\n")[publishedPayment-1])[2])
	merchant := merchantKey(purseMerchant)
	record := joined([]byte{3}, be32(1), said[:61+16])
	record = joined(record, cmac(merchant, []byte{0xB1, 1}, record, first[len(first)-18:len(first)-2]))
	c.say("sam", "80380000", said, record)
	c.say("card", "803C0000", joined(purseMerchant, be32(2), be32(2), bytes.Repeat([]byte{0xEE}, 16)), joined([]byte{1}, said))
	c.refuse("sam", "80310000", joined(be32(1), be32(0x65000003)), "6985")
	total := joined(purseMerchant, be32(1), be32(1), be32(2), be32(2), be32(0), make([]byte, 8), record[len(record)-16:])
	c.say("sam", "80600000", nil, joined(total, cmac(merchant, []byte{0xB2, 1}, total)))
	return c.made("trace-cancel", "A load and a payment, which is taken back, once; the record of it, and a batch that comes to nothing.")
}

// voidTrace ends three transactions without a payment, for each proof that there
// is none.
func voidTrace() Case {
	c := &cardTrace{}
	c.published(publishedLoad)
	merchant, chain := merchantKey(purseMerchant), make([]byte, 16)
	record := func(tno uint32, card []byte, sno uint32, proved byte) []byte {
		body := joined([]byte{2}, be32(1), purseMerchant, be32(tno), be32(50), be32(0x65000001), card, be32(sno), []byte{proved})
		chain = cmac(merchant, []byte{0xB1, 1}, body, chain)
		return joined(body, chain)
	}
	request := joined(be32(50), unhex("0840FE65000001"))
	c.say("sam", "80300000", request, joined(purseMerchant, be32(1), []byte{1}, purseSAMRand))
	c.say("sam", "803A0000", be32(1), record(1, make([]byte, 8), 0, 2))
	random := bytes.Repeat([]byte{0xEE}, 16)
	c.order(request, 2)
	mac := cmac(kdf(purseMKP, "SKC", []byte{1}, purseCard), []byte{0xA5, 1}, purseMerchant, be32(2), be32(1), random, be32(0))
	denied := joined([]byte{0}, be32(0), mac)
	c.say("card", "803C0000", joined(purseMerchant, be32(2), be32(1), random), denied)
	c.say("sam", "803A0000", joined(be32(2), denied, random), record(2, purseCard, 1, 1))
	c.order(request, 3)
	c.say("sam", "803A0000", be32(3), record(3, purseCard, 1, 0))
	return c.made("trace-void", "Three transactions without a payment: no order left the SAM, the card denies it, and nobody proves it.")
}

// order adds a transaction up to AUTHORIZE.
func (c *cardTrace) order(request []byte, tno uint32) {
	session, started := c.start("80300000", request, tno, 1)
	order := purseOrder(tno, 1, 50, 0x65000001)
	c.say("sam", "80340000", started, joined(order, cmac(session, []byte{0xA2, 1}, order)))
}

// scriptTrace blocks the card, lets it go on, sets its limits and its PIN.
func scriptTrace() Case {
	c := &cardTrace{}
	c.published(publishedLoad)
	key := kdf(purseMKL, "KLC", []byte{1}, purseCard)
	script := func(kind byte, count uint32, data []byte) {
		mac := cmac(key, []byte{0xD1, 1}, purseCard, []byte{kind}, be32(count), data)
		answer := joined(be32(count), cmac(key, []byte{0xD2, 1}, purseCard, []byte{kind}, be32(count)))
		c.say("card", fmt.Sprintf("8070%02X00", kind), joined(data, be32(count), mac), answer)
	}
	state := func(isBlocked byte, count uint32) {
		c.say("card", "80CA0100", nil, joined([]byte{isBlocked}, be32(count)))
	}
	numbers := func(most, atOnce uint32, tries byte) {
		c.say("card", "80CA0000", nil, joined(purseCard, purseHolder, []byte{1}, unhex("0840FE"), be32(5000), be32(most), be32(atOnce), be32(0), be32(1), []byte{tries}))
	}
	state(0, 0)
	numbers(20_000, 10_000, 3)
	script(1, 1, nil)
	script(1, 1, nil)
	state(1, 1)
	c.refuse("card", "80320000", joined(purseMerchant, be32(1), []byte{1}, purseSAMRand), "6984")
	script(2, 2, nil)
	script(3, 3, joined(be32(6000), be32(2500)))
	plain := joined([]byte{6}, []byte("271828"), bytes.Repeat([]byte{0xFF}, 9))
	for i, pad := range cmac(key, []byte{0xD3, 1}, purseCard, be32(4)) {
		plain[i] ^= pad
	}
	script(4, 4, plain)
	c.add("card", joined(unhex("0020008004"), []byte("4711")), unhex("63C2"))
	numbers(6000, 2500, 2)
	c.add("card", joined(unhex("0020008006"), []byte("271828")), unhex("9000"))
	numbers(6000, 2500, 3)
	state(0, 4)
	return c.made("trace-scripts", "Scripts that block, unblock, set limits and a PIN; the first comes twice, as when its answer was lost.")
}
