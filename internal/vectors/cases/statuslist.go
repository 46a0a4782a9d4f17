package cases

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/adler32"
)

const (
	typeStatusList = "statuslist+jwt"
	statusURI      = brokerOrigin + "/v1/status/1"
)

// stored returns data under zlib without compressing it (RFC 1950 and section
// 3.2.4 of RFC 1951), which comes out the same whoever does it.
func stored(data []byte) []byte {
	packed := []byte{0x78, 0x01, 1}
	packed = binary.LittleEndian.AppendUint16(packed, uint16(len(data)))
	packed = binary.LittleEndian.AppendUint16(packed, ^uint16(len(data)))
	packed = append(packed, data...)
	return binary.BigEndian.AppendUint32(packed, adler32.Checksum(data))
}

// zeros is what zlib makes of 1 048 576 zeros, and one more if over is set.
func zeros(over bool) []byte {
	packed, err := hex.DecodeString("78daedc13101000000c2a0f54f6d085fa0")
	if err != nil {
		panic(err) // it stands right here
	}
	packed = append(packed, bytes.Repeat([]byte{0}, 1016)...)
	if over {
		return append(packed, 0x4e, 0x03, 0x00, 0xf1, 0x00, 0x01)
	}
	return append(packed, 0x3e, 0x03, 0x00, 0xf0, 0x00, 0x01)
}

func statusPayload(bits int, packed []byte) object {
	return object{"sub": statusURI, "iat": issued, "exp": expires, "ttl": 300,
		"status_list": object{"bits": bits, "lst": b64(packed)}}
}

func signedList(payload object) string {
	return sign(header(typeStatusList, "broker"), encode(payload), "broker")
}

func statusLists() []Case {
	in := func(token string) object {
		return object{"token": token, "issuer": brokerOrigin, "uri": statusURI, "brokers": brokers(), "indices": []int{}}
	}
	plain := statusPayload(1, stored([]byte{0xB9, 0xA3}))
	var all []Case
	for _, c := range mutations(typeStatusList, "broker", encode(plain)) {
		if c.Name == "oversize" {
			continue // it would take two megabytes
		}
		token := c.Input["token"].(string)
		c.Expect, c.Input = failed, in(token)
		all = append(all, c)
	}
	refused := func(name, comment string, changes object) {
		all = append(all, Case{Name: name, Comment: comment, Expect: failed, Input: in(signedList(with(plain, changes)))})
	}
	list := func(bits any, packed []byte) object {
		return object{"status_list": object{"bits": bits, "lst": b64(packed)}}
	}
	read := func(name, comment string, payload object, indices []int, statuses []any, ttl, size int) {
		input := in(signedList(payload))
		input["indices"] = indices
		all = append(all, Case{Name: name, Comment: comment, Expect: accepted, Input: input, Output: object{
			"issuedAt": issued, "expires": expires, "ttlSeconds": ttl, "size": size, "statuses": statuses}})
	}
	read("one-bit", "The first status is the lowest bit of the first byte; past the end the list says nothing.", plain,
		[]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16}, []any{1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, nil}, 300, 2)
	read("two-bits", "Valid, invalid, suspended, and one for applications.", statusPayload(2, stored([]byte{0xC9, 0x44, 0xF9})),
		[]int{0, 1, 2, 3, 11, 12}, []any{1, 2, 0, 3, 3, nil}, 300, 3)
	read("four-bits", "Two to a byte.", statusPayload(4, stored([]byte{0x21, 0xF0})), []int{0, 1, 2, 3, 4}, []any{1, 2, 0, 15, nil}, 300, 2)
	read("eight-bits", "One to a byte.", statusPayload(8, stored([]byte{0, 1, 255})), []int{0, 1, 2, 3}, []any{0, 1, 255, nil}, 300, 3)
	read("compressed", "The bytes of one-bit, as the draft has them compressed.",
		with(plain, list(1, []byte{0x78, 0xDA, 0xDB, 0xB9, 0x18, 0x00, 0x02, 0x17, 0x01, 0x5D})), []int{0, 1}, []any{1, 0}, 300, 2)
	read("largest", "A list of the largest size.", with(plain, list(1, zeros(false))), []int{8388607, 8388608, 4294967295}, []any{0, nil, nil}, 300, 1048576)
	read("no-ttl", "How long to keep it need not be said.", with(plain, object{"ttl": without}), []int{0}, []any{1}, 0, 2)
	read("issuer", "The issuer may be named.", with(plain, object{"iss": brokerOrigin}), []int{0}, []any{1}, 300, 2)
	read("aggregation", "Members that are not listed are passed over.",
		with(plain, object{"status_list": object{"bits": 1, "lst": b64(stored([]byte{1})), "aggregation_uri": "https://broker.example/all"}}),
		[]int{0}, []any{1}, 300, 1)

	refused("unpacks-to-too-much", "A list of one byte too many, in a kilobyte.", list(1, zeros(true)))
	refused("bits-3", "A status takes 1, 2, 4 or 8 bits.", list(3, stored([]byte{0})))
	refused("bits-missing", "They have to be said.", object{"status_list": object{"lst": b64(stored([]byte{0}))}})
	refused("bits-text", "They are a number.", list("1", stored([]byte{0})))
	refused("list-empty", "A list has at least one byte.", list(1, stored(nil)))
	refused("list-missing", "There is a list in it.", object{"status_list": without})
	refused("list-not-compressed", "The bytes are compressed with zlib.", list(1, []byte{0xB9, 0xA3}))
	refused("list-checksum", "The checksum of zlib fits.", list(1, append(stored([]byte{0xB9, 0xA3})[:9], 0, 0, 0, 0)))
	refused("list-cut-off", "The bytes are all there.", list(1, stored([]byte{0xB9, 0xA3})[:8]))
	refused("list-trailing", "Nothing follows them.", list(1, append(stored([]byte{0xB9, 0xA3}), 0)))
	refused("list-padding", "There is no padding.", object{"status_list": object{"bits": 1, "lst": b64(stored([]byte{1})) + "="}})
	refused("sub-other", "It is the list of another address.", object{"sub": brokerOrigin + "/v1/status/2"})
	refused("sub-missing", "A list says whose it is.", object{"sub": without})
	refused("iss-other", "It is the list of another broker.", object{"iss": otherBroker})
	refused("exp-missing", "A list says how long it counts.", object{"exp": without})
	refused("exp-before-iat", "A list counts for a time.", object{"exp": issued})
	refused("iat-missing", "A list says when it was made: the newer one counts.", object{"iat": without})
	refused("ttl-zero", "The time is at least one second.", object{"ttl": 0})
	refused("ttl-fraction", "It is in whole seconds.", object{"ttl": 0.5})
	return append(all, foreignLists(in, plain)...)
}

// foreignLists are those of somebody else.
func foreignLists(in func(token string) object, plain object) []Case {
	elsewhere := in(signedList(with(plain, object{"sub": "https://stranger.example/1"})))
	elsewhere["uri"] = "https://stranger.example/1"
	return []Case{
		Case{Name: "uri-of-another-origin", Comment: "A list lies under the issuer's own origin.", Expect: failed, Input: elsewhere},
		Case{Name: "unknown-kid", Comment: "The broker has no such key.", Expect: failed,
			Input: in(sign(header(typeStatusList, "user"), encode(plain), "user"))},
		Case{Name: "other-brokers-key", Comment: "A broker's key speaks for that broker alone.", Expect: failed,
			Input: in(sign(header(typeStatusList, "other broker"), encode(plain), "other broker"))},
		Case{Name: "signature-wrong", Comment: "A signature over other bytes.", Expect: failed, Input: in(forged(signedList(plain)))},
	}
}
