package caddymodule

import (
	"errors"
	"math/rand"
	"os"
	"slices"
	"sync"
)

var errPower = errors.New("the power is gone")

// fakeDisk is a directory in memory that knows what is durable: it can lose
// its power before any operation, and fail one.
type fakeDisk struct {
	mutex      sync.Mutex
	names      map[string]*fakeFile
	durable    map[string]*fakeFile // names after the last sync
	unsynced   []func(names map[string]*fakeFile)
	operations int // that change something
	powerAt    int // the power is gone before this operation; 0: never

	// failing says whether an operation fails, and whether it is done all the
	// same; nil: none does. It may block.
	failing func(operation, name string) (fails, done bool)
}

// fakeFile is a file of a fakeDisk.
type fakeFile struct {
	disk     *fakeDisk
	name     string // that it was made with
	content  []byte
	durable  []byte
	unsynced []func(content []byte, keep func() bool) []byte
}

func newFakeDisk() *fakeDisk {
	return &fakeDisk{names: map[string]*fakeFile{}, durable: map[string]*fakeFile{}}
}

// change counts an operation and does it, unless it fails.
func (d *fakeDisk) change(operation, name string, do func()) error {
	d.mutex.Lock()
	failing := d.failing
	d.mutex.Unlock()
	fails, done := false, true
	if failing != nil {
		fails, done = failing(operation, name)
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.operations++
	if d.powerAt > 0 && d.operations >= d.powerAt {
		return errPower
	}
	if done || !fails {
		do()
	}
	if fails {
		return errFault
	}
	return nil
}

// changeNames changes names now, and durably at the next sync.
func (d *fakeDisk) changeNames(do func(names map[string]*fakeFile)) {
	do(d.names)
	d.unsynced = append(d.unsynced, do)
}

func (d *fakeDisk) list() ([]string, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	names := []string{"lost+found"}
	for name := range d.names {
		names = append(names, name)
	}
	return names, nil
}

func (d *fakeDisk) create(name string) (diskFile, error) {
	file := &fakeFile{disk: d, name: name}
	err := d.change("create", name, func() {
		d.changeNames(func(names map[string]*fakeFile) { names[name] = file })
	})
	return file, err
}

func (d *fakeDisk) open(name string) (diskFile, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if file := d.names[name]; file != nil {
		return file, nil
	}
	return nil, os.ErrNotExist
}

func (d *fakeDisk) rename(from, to string) error {
	return d.change("rename", from, func() {
		file := d.names[from]
		d.changeNames(func(names map[string]*fakeFile) {
			names[to] = file
			delete(names, from)
		})
	})
}

func (d *fakeDisk) remove(name string) error {
	return d.change("remove", name, func() {
		d.changeNames(func(names map[string]*fakeFile) { delete(names, name) })
	})
}

func (d *fakeDisk) sync() error {
	return d.change("sync", "", func() {
		for _, do := range d.unsynced {
			do(d.durable)
		}
		d.unsynced = nil
	})
}

func (d *fakeDisk) Close() error { return nil }

func (f *fakeFile) ReadAt(target []byte, offset int64) (int, error) {
	f.disk.mutex.Lock()
	defer f.disk.mutex.Unlock()
	if offset >= int64(len(f.content)) {
		return 0, errors.New("reading past the end")
	}
	count := copy(target, f.content[offset:])
	if count < len(target) {
		return count, errors.New("reading past the end")
	}
	return count, nil
}

// sectorBytes is what a disk writes wholly or not at all.
const sectorBytes = 512

func (f *fakeFile) WriteAt(source []byte, offset int64) (int, error) {
	err := f.disk.change("write", f.name, func() {
		f.content = writeSectors(f.content, source, offset, nil)
		kept := slices.Clone(source)
		f.unsynced = append(f.unsynced, func(content []byte, keep func() bool) []byte {
			return writeSectors(content, kept, offset, keep)
		})
	})
	if err != nil {
		return 0, err
	}
	return len(source), nil
}

// writeSectors writes those sectors of source that keep wants; nil wants all.
func writeSectors(content, source []byte, offset int64, keep func() bool) []byte {
	if keep == nil {
		content = resize(content, max(int64(len(content)), offset+int64(len(source))))
		copy(content[offset:], source)
		return content
	}
	for len(source) > 0 {
		size := min(int64(len(source)), sectorBytes-offset%sectorBytes)
		if keep() {
			content = resize(content, max(int64(len(content)), offset+size))
			copy(content[offset:], source[:size])
		}
		source, offset = source[size:], offset+size
	}
	return content
}

func resize(content []byte, size int64) []byte {
	if size <= int64(len(content)) {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}

func (f *fakeFile) Truncate(size int64) error {
	return f.disk.change("truncate", f.name, func() {
		f.content = slices.Clone(resize(f.content, size))
		f.unsynced = append(f.unsynced, func(content []byte, keep func() bool) []byte {
			if keep == nil || keep() {
				content = slices.Clone(resize(content, size))
			}
			return content
		})
	})
}

func (f *fakeFile) Size() (int64, error) {
	f.disk.mutex.Lock()
	defer f.disk.mutex.Unlock()
	return int64(len(f.content)), nil
}

func (f *fakeFile) Sync() error {
	return f.disk.change("sync", f.name, func() {
		for _, write := range f.unsynced {
			f.durable = write(f.durable, nil)
		}
		f.unsynced = nil
	})
}

func (f *fakeFile) Close() error { return nil }

// afterKill returns the disk as another process finds it.
func (d *fakeDisk) afterKill() *fakeDisk {
	return d.copy(d.names, func(f *fakeFile) []byte { return f.content })
}

// again returns the disk as another process finds it, with what is not synced
// still to be lost.
func (d *fakeDisk) again() *fakeDisk {
	fresh := &fakeDisk{names: map[string]*fakeFile{}, durable: map[string]*fakeFile{}}
	copies := map[*fakeFile]*fakeFile{}
	copyNames := func(to, from map[string]*fakeFile) {
		for name, file := range from {
			if copies[file] == nil {
				copies[file] = &fakeFile{
					disk: fresh, name: name, content: slices.Clone(file.content),
					durable: slices.Clone(file.durable), unsynced: slices.Clone(file.unsynced),
				}
			}
			to[name] = copies[file]
		}
	}
	copyNames(fresh.names, d.names)
	copyNames(fresh.durable, d.durable)
	// A name that was made and is not synced would lead to the old disk.
	fresh.unsynced = nil
	for name, file := range fresh.names {
		fresh.unsynced = append(fresh.unsynced, func(names map[string]*fakeFile) { names[name] = file })
	}
	for name := range fresh.durable {
		if fresh.names[name] == nil {
			fresh.unsynced = append(fresh.unsynced, func(names map[string]*fakeFile) { delete(names, name) })
		}
	}
	return fresh
}

// afterPowerLoss returns the disk as it may be when the power is back: what was
// not synced is there or not, sector by sector.
func (d *fakeDisk) afterPowerLoss(random *rand.Rand) *fakeDisk {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	names := map[string]*fakeFile{}
	for name, file := range d.durable {
		names[name] = file
	}
	for _, do := range d.unsynced {
		if random.Intn(2) > 0 {
			do(names)
		}
	}
	odds := random.Intn(4)
	return d.copy(names, func(f *fakeFile) []byte {
		content := slices.Clone(f.durable)
		for _, write := range f.unsynced {
			content = write(content, func() bool { return random.Intn(3) < odds })
		}
		return content
	})
}

func (d *fakeDisk) copy(names map[string]*fakeFile, content func(*fakeFile) []byte) *fakeDisk {
	fresh := newFakeDisk()
	for name, file := range names {
		bytes := slices.Clone(content(file))
		fresh.names[name] = &fakeFile{disk: fresh, name: name, content: bytes, durable: slices.Clone(bytes)}
		fresh.durable[name] = fresh.names[name]
	}
	return fresh
}
