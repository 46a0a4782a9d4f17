// Package house holds the tests of the house rules, which a compiler does not
// check: who may import whom, how long a function may be, what must be
// documented, and what must not stand in the source. It has no code of its own.
// CONTRIBUTING.md gives the reasons.
package house
