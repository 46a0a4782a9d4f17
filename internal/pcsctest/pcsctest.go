// Package pcsctest gives tests card readers: those of a real pcscd, with the
// virtual reader of vsmartcard, into which a test puts cards that are functions.
//
// A package calls Main from its TestMain, and takes readers from New:
//
//	func TestMain(m *testing.M) { os.Exit(pcsctest.Main(m)) }
//
// Main runs the test program once more in namespaces of its own for mounts and
// for the network, with a pcscd of its own. So nothing listens where others reach
// it, no socket or port is somebody else's, two runs at once do not meet, and
// nothing is left when the program ends. It works for root and for ordinary users,
// on Linux alone. What is missing is said, and fails the tests.
package pcsctest
