//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package keyfile

import "golang.org/x/sys/unix"

const readTermios, writeTermios = unix.TIOCGETA, unix.TIOCSETA
