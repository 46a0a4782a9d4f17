package caddymodule

import (
	"os"
	"runtime"
	"syscall"
)

// networkTurn lets all run that are ready, those among them for whom something
// came by the network. runtime.Gosched alone lets only those run that are known
// to be ready, and Go looks at the network when nobody is. So who takes such a
// turn waits for the network as well, for what is there already: an eventfd that
// he has written to.
type networkTurn struct {
	event *os.File
	conn  syscall.RawConn // of event; nil: the turn is Gosched alone
}

// open gets an eventfd. Without one a turn is Gosched alone.
func (t *networkTurn) open() {
	descriptor, _, failed := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if failed != 0 {
		return
	}
	t.event = os.NewFile(descriptor, "eventfd")
	if conn, err := t.event.SyscallConn(); err == nil {
		t.conn = conn
	}
}

// close gives back what open got. It does nothing without it.
func (t *networkTurn) close() {
	t.event.Close() // of nil it fails, and does nothing
	t.conn = nil
}

// take lets all run that are ready.
func (t *networkTurn) take() {
	if t.conn != nil {
		t.waitForNetwork()
	}
	runtime.Gosched()
}

// waitForNetwork waits for a look at the network.
func (t *networkTurn) waitForNetwork() {
	hasWritten := false
	// The function is called until it returns true, and before each further time
	// the network is waited for.
	t.conn.Read(func(descriptor uintptr) bool {
		count := [8]byte{1} // a number of the processor's own byte order, above 0
		if !hasWritten {
			hasWritten = true
			_, err := syscall.Write(int(descriptor), count[:])
			return err != nil // then nothing would come
		}
		_, err := syscall.Read(int(descriptor), count[:])
		return err != syscall.EAGAIN
	})
}
