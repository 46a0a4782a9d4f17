package faults

import (
	"io"
	"net"
	"slices"
	"sync"
)

// balancer hands each connection on to one of the gates in turn, as a load balancer
// before the nodes of a site does.
type balancer struct {
	listener net.Listener

	mutex sync.Mutex
	gates []string // guarded by mutex, as is turn
	turn  int
}

func newBalancer() (*balancer, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: listener}
	go b.serve()
	return b, nil
}

func (b *balancer) address() string { return b.listener.Addr().String() }

func (b *balancer) close() { b.listener.Close() }

func (b *balancer) add(gate string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if !slices.Contains(b.gates, gate) {
		b.gates = append(b.gates, gate)
	}
}

func (b *balancer) next() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.gates) == 0 {
		return ""
	}
	b.turn++
	return b.gates[b.turn%len(b.gates)]
}

func (b *balancer) serve() {
	for {
		from, err := b.listener.Accept()
		if err != nil {
			return
		}
		go b.join(from)
	}
}

// join copies both ways until either side ends.
func (b *balancer) join(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", b.next())
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		defer from.Close()
		defer to.Close()
		io.Copy(from, to)
	}()
	io.Copy(to, from)
}
