package caddymodule

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// fileSync makes what was written to a file durable, and its size, but not its
// times: that saves a second write.
//
// fdatasync blocks its thread, and with it all of Go where GOMAXPROCS is 1, until
// the runtime notices, which takes up to 10 ms. So on one processor the kernel is
// asked to do it by its asynchronous interface, and tells by an eventfd, for which
// the runtime waits as for a socket. With more processors that is slower, because
// another thread of the kernel has to be woken.
type fileSync struct {
	mutex      sync.Mutex // one at a time
	isTried    bool
	context    uintptr  // of the kernel; 0: none
	event      *os.File // counts what is done
	descriptor int      // of event
}

// The kernel's interface, include/uapi/linux/aio_abi.h.
type ioRequest struct {
	data       uint64
	key        uint32
	flagsOfIO  uint32
	operation  uint16
	priority   int16
	descriptor uint32
	buffer     uint64
	bytes      uint64
	offset     int64
	_          uint64
	flags      uint32
	event      uint32 // descriptor of an eventfd
}

type ioResult struct {
	data, request uint64
	result        int64 // 0, or a negative error number
	_             int64
}

const (
	ioFdatasync  = 3 // IOCB_CMD_FDSYNC
	ioTellsEvent = 1 // IOCB_FLAG_RESFD
)

// errNotAsked means that the kernel did not take a request.
var errNotAsked = errors.New("the kernel has no asynchronous fdatasync here")

// sync is fdatasync.
func (s *fileSync) sync(file *os.File) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.isTried {
		s.isTried = true
		if isOnOneProcessor() {
			s.open()
		}
	}
	descriptor := file.Fd()
	err := s.ask(descriptor)
	if errors.Is(err, errNotAsked) {
		s.close()
		err = block(descriptor)
	}
	runtime.KeepAlive(file)
	return os.NewSyscallError("fdatasync", err)
}

// stopsAll reports whether nothing else in the process runs during a sync. It is
// known after the first.
func (s *fileSync) stopsAll() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.context == 0 && runtime.GOMAXPROCS(0) == 1
}

// block is fdatasync by the calling thread.
func block(descriptor uintptr) error {
	for {
		if err := syscall.Fdatasync(int(descriptor)); err != syscall.EINTR {
			return err
		}
	}
}

// open gets a context from the kernel and an eventfd. Without both there is none.
func (s *fileSync) open() {
	descriptor, _, failed := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if failed != 0 {
		return
	}
	if _, _, failed := syscall.Syscall(syscall.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.context)), 0); failed != 0 {
		syscall.Close(int(descriptor))
		return
	}
	s.event, s.descriptor = os.NewFile(descriptor, "eventfd"), int(descriptor)
}

// close gives back what open got.
func (s *fileSync) close() {
	if s.context != 0 {
		syscall.Syscall(syscall.SYS_IO_DESTROY, s.context, 0, 0)
		s.event.Close()
	}
	s.context = 0
}

// ask has the kernel do it, and waits until it is done.
func (s *fileSync) ask(descriptor uintptr) error {
	if s.context == 0 {
		return errNotAsked
	}
	request := &ioRequest{operation: ioFdatasync, descriptor: uint32(descriptor), flags: ioTellsEvent, event: uint32(s.descriptor)}
	taken, _, _ := syscall.RawSyscall(syscall.SYS_IO_SUBMIT, s.context, 1, uintptr(unsafe.Pointer(&request)))
	if taken != 1 {
		return errNotAsked
	}
	var count [8]byte
	if _, err := s.event.Read(count[:]); err != nil {
		return err
	}
	var done ioResult
	if found, _, failed := syscall.RawSyscall6(syscall.SYS_IO_GETEVENTS, s.context, 1, 1, uintptr(unsafe.Pointer(&done)), 0, 0); found != 1 {
		return failed
	}
	if done.result < 0 {
		return syscall.Errno(-done.result)
	}
	return nil
}
