package caddymodule

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
)

// TestNetworkTurn checks that on one processor a turn lets run for whom
// something came from outside, and that without an eventfd it is a turn still.
func TestNetworkTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	var came atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer read.Close()
		for buffer := make([]byte, 1); ; came.Add(1) {
			if _, err := read.Read(buffer); err != nil {
				return
			}
		}
	}()
	turn := networkTurn{}
	if turn.open(); turn.conn == nil {
		t.Fatal("this system has no eventfd")
	}
	const rounds = 100
	soon := 0
	for k := range int64(rounds) {
		if _, err := write.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		turns := 0
		for ; came.Load() <= k; turns++ {
			turn.take()
		}
		if turns <= 10 {
			soon++
		}
	}
	// With Gosched alone nothing looks at the network for 10 ms, which is thousands of
	// turns. Another thread that looks at it may be kept from running for as long.
	if soon < rounds/2 {
		t.Errorf("%d of %d times what came by the network had run within 10 turns, want a half at least", soon, rounds)
	}
	turn.close()
	turn.close()
	turn.take()
	(&networkTurn{}).close()
	write.Close()
	<-ended
}
