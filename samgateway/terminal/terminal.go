// Package terminal moves money between purse cards, a SAM, clearing and the
// broker. It writes down what it is about to do before it sends anything, and
// afterwards finds out what became of it, so that a card that was pulled, or a
// process that was killed, loses nothing and creates nothing.
package terminal
