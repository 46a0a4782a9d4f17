package caddymodule

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxyFault is what a redisProxy does to what passes through it.
type proxyFault int32

const (
	proxyFine      proxyFault = iota
	proxyCutAnswer            // what is asked arrives; instead of the answer the connection breaks
	proxyCutAsked             // what is asked does not arrive, and the connection breaks
	proxySilent               // nothing arrives any more, and nobody says so
	proxySlow                 // answers come two seconds late
)

// redisProxy stands between a node and Redis, and can go wrong.
type redisProxy struct {
	address string
	fault   atomic.Int32
	every   atomic.Int32 // of how many messages each time one is concerned; 0: all
	passed  atomic.Int32
	hits    atomic.Int32 // how often the fault came to pass
	delay   atomic.Int64 // nanoseconds that everything takes in each direction, of connections made from now on

	target   atomic.Pointer[string]
	listener net.Listener
	done     chan struct{}
	pipes    sync.WaitGroup
	mutex    sync.Mutex
	open     map[net.Conn]bool
}

func startProxy(tb testing.TB, target string) *redisProxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &redisProxy{address: listener.Addr().String(), listener: listener, done: make(chan struct{}), open: map[net.Conn]bool{}}
	p.retarget(target)
	p.pipes.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			p.pipes.Go(func() { p.serve(near) })
		}
	})
	tb.Cleanup(p.close)
	return p
}

func (p *redisProxy) close() {
	close(p.done)
	p.listener.Close()
	p.cutAll()
	p.pipes.Wait()
}

// retarget leads the connections that come elsewhere, and breaks those that
// stand.
func (p *redisProxy) retarget(target string) {
	p.target.Store(&target)
	p.cutAll()
}

// cutAll breaks all connections.
func (p *redisProxy) cutAll() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for connection := range p.open {
		connection.Close()
	}
}

func (p *redisProxy) set(fault proxyFault, every int32) {
	p.every.Store(every)
	p.fault.Store(int32(fault))
}

// strikes reports whether the fault concerns this message.
func (p *redisProxy) strikes(fault proxyFault) bool {
	if proxyFault(p.fault.Load()) != fault {
		return false
	}
	if every := p.every.Load(); every > 0 && p.passed.Add(1)%every != 0 {
		return false
	}
	p.hits.Add(1)
	return true
}

func (p *redisProxy) serve(near net.Conn) {
	far, err := net.Dial("tcp", *p.target.Load())
	if err != nil {
		near.Close()
		return
	}
	if delay := time.Duration(p.delay.Load()); delay > 0 {
		near, far = delayed(near, delay), delayed(far, delay)
	}
	p.mutex.Lock()
	p.open[near], p.open[far] = true, true
	p.mutex.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pipe(far, near, proxyCutAsked) })
	both.Go(func() { p.pipe(near, far, proxyCutAnswer) })
	both.Wait()
	p.mutex.Lock()
	delete(p.open, near)
	delete(p.open, far)
	p.mutex.Unlock()
}

// pipe carries what from sends to to, until one of them ends.
func (p *redisProxy) pipe(to, from net.Conn, cut proxyFault) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 1<<20)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.strikes(cut) {
			return
		}
		if p.strikes(proxySilent) {
			io.Copy(io.Discard, from)
			return
		}
		if cut == proxyCutAnswer && p.strikes(proxySlow) {
			select {
			case <-time.After(2 * time.Second):
			case <-p.done:
			}
		}
		if _, err := to.Write(buffer[:count]); err != nil {
			return
		}
	}
}

// delayedConn writes everything some time later, in order, and keeps nobody
// waiting meanwhile.
type delayedConn struct {
	net.Conn
	delay  time.Duration
	writes chan delayedWrite
	closed chan struct{}
	once   sync.Once
}

type delayedWrite struct {
	due  time.Time
	text []byte
}

func delayed(conn net.Conn, delay time.Duration) net.Conn {
	d := &delayedConn{Conn: conn, delay: delay, writes: make(chan delayedWrite, 1024), closed: make(chan struct{})}
	go d.run()
	return d
}

func (d *delayedConn) Write(text []byte) (int, error) {
	select {
	case d.writes <- delayedWrite{time.Now().Add(d.delay), slices.Clone(text)}:
		return len(text), nil
	case <-d.closed:
		return 0, net.ErrClosed
	}
}

func (d *delayedConn) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Conn.Close()
}

func (d *delayedConn) run() {
	for {
		select {
		case write := <-d.writes:
			<-time.After(time.Until(write.due))
			if _, err := d.Conn.Write(write.text); err != nil {
				return
			}
		case <-d.closed:
			return
		}
	}
}
