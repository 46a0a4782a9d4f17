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
	for k := range int64(100) {
		if _, err := write.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		// With Gosched alone nothing looks at the network for 10 ms.
		turns := 0
		for ; came.Load() <= k && turns < 100; turns++ {
			turn.take()
		}
		if came.Load() <= k {
			t.Fatalf("after %d turns what came by the network had not run", turns)
		}
	}
	turn.close()
	turn.close()
	turn.take()
	(&networkTurn{}).close()
	write.Close()
	<-ended
}
