package statement

import _ "embed"

// Page is the page that checks a statement in a browser: one file of HTML that asks
// nothing of the network, to be served or opened from a disk. It makes the same
// checks as Verify, in the same order and with the same words.
//
//go:embed verify.html
var Page []byte
