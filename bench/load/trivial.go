package load

import (
	"bytes"
	"net"
)

// ServeTrivial answers every request that arrives with the same bytes, without a
// look at it. It shows how much a generator can send.
func ServeTrivial(listener net.Listener, answer []byte) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go answerAll(connection, answer)
	}
}

// answerAll answers requests that come one after the other, each in one packet
// or in several.
func answerAll(connection net.Conn, answer []byte) {
	defer connection.Close()
	text := make([]byte, 16<<10)
	have := 0
	for {
		n, err := connection.Read(text[have:])
		have += n
		if bytes.HasSuffix(text[:have], headEnd) {
			if _, err := connection.Write(answer); err != nil {
				return
			}
			have = 0
		}
		if err != nil || have == len(text) {
			return
		}
	}
}
