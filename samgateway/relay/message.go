package relay

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// messageType says what a message is.
type messageType string

const (
	typeHello   messageType = "hello"
	typeOffer   messageType = "offer"
	typeBegin   messageType = "begin"
	typeCommand messageType = "command"
	typeAnswer  messageType = "answer"
	typeTorn    messageType = "torn"
	typeResult  messageType = "result"
	typeRefused messageType = "refused"
)

// message is one of either end. Which members it has is decided by its type.
type message struct {
	Type     messageType `json:"type"`
	Hello    *Hello      `json:"hello,omitempty"`
	Offer    *Offer      `json:"offer,omitempty"`
	Number   int         `json:"number,omitempty"` // of a command, from 1; an answer has that of its command
	Bytes    hexBytes    `json:"bytes,omitempty"`
	Result   *Result     `json:"result,omitempty"`
	Sentence string      `json:"sentence,omitempty"` // why it is refused
}

// hexBytes are written as upper-case hexadecimal digits.
type hexBytes []byte

// MarshalText writes the digits.
func (b hexBytes) MarshalText() ([]byte, error) {
	return bytes.ToUpper(hex.AppendEncode(nil, b)), nil
}

// UnmarshalText reads the digits.
func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

// parseMessage reads a message and checks that it has what its type needs, and
// nothing else. What a hello and an offer say is checked where it is known what
// is right.
func parseMessage(text []byte) (message, error) {
	var m message
	if len(text) > maxMessageBytes {
		return message{}, fmt.Errorf("a message of more than %d bytes", maxMessageBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return message{}, errors.New("a message is not the JSON that it should be")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return message{}, errors.New("a message has more than one JSON object")
	}
	if m.members() != wanted[m.Type] {
		return message{}, fmt.Errorf("a message of type %.20q has not the members that it should have", m.Type)
	}
	switch {
	case m.Number < 0 || m.Number > maxCommands || len(m.Bytes) > 0 && (len(m.Bytes) < 2 || len(m.Bytes) > maxAnswerBytes+3):
		return message{}, errors.New("a message has a number or bytes that cannot be")
	case m.Result != nil:
		return m, m.Result.check()
	case m.Sentence != "":
		return m, CheckText("sentence", m.Sentence, 1, maxSentenceLetters)
	}
	return m, nil
}

// The members that a message can have besides its type.
const (
	hasHello = 1 << iota
	hasOffer
	hasNumber
	hasBytes
	hasResult
	hasSentence
	isUnknown
)

var wanted = map[messageType]int{
	typeHello: hasHello, typeOffer: hasOffer, typeBegin: 0, typeCommand: hasNumber | hasBytes, typeAnswer: hasNumber | hasBytes,
	typeTorn: hasNumber, typeResult: hasResult, typeRefused: hasSentence,
}

func (m message) members() (has int) {
	if _, known := wanted[m.Type]; !known {
		return isUnknown
	}
	for member, is := range map[int]bool{
		hasHello: m.Hello != nil, hasOffer: m.Offer != nil, hasNumber: m.Number != 0, hasBytes: len(m.Bytes) > 0,
		hasResult: m.Result != nil, hasSentence: m.Sentence != "",
	} {
		if is {
			has |= member
		}
	}
	return has
}
