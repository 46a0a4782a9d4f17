package payword

// The limits of the protocol. They are part of it: a commitment beyond one of
// them is malformed everywhere, whoever is asked.
const (
	// MaxChains is the most chains that one commitment holds. Eight chains, a
	// factor of ten apart, span seven orders of magnitude of value.
	MaxChains = 8

	// MaxChainLength is the most steps that a chain has, 2^20. It bounds what a
	// broker ever hashes for one chain (about a tenth of a second).
	MaxChainLength = 1 << 20

	// MaxStale is how many steps a payword may be behind the tail and still be
	// checked, by hashing from the tail down to it. A browser that has thirty
	// requests in flight stays far below; beyond it the payword is stale.
	MaxStale = 256

	// DefaultMaxStep is how many hashes a gate computes for one request unless
	// it is configured otherwise, about half a millisecond's work.
	DefaultMaxStep = 4096

	// WindowSize is how far a request number may be behind the highest one seen
	// and still be told from a repeat.
	WindowSize = 1024

	// MaxRepeats is how often one request may be asked for again without being
	// charged: enough for any honest retry, too few to be a free mirror.
	MaxRepeats = 8

	// MaxNumber is the largest request number: the largest integer of a
	// structured field (RFC 9651, section 3.3.1).
	MaxNumber = 999_999_999_999_999

	// MaxHeaderBytes bounds the compact Payword header. The longest canonical
	// one takes 135 bytes; the rest is room for white space.
	MaxHeaderBytes = 256

	// MaxCertificateBytes bounds a certificate, so that it fits a commitment
	// with eight chains.
	MaxCertificateBytes = 1024

	// MaxCommitmentBytes bounds a commitment, so that a request that opens one
	// stays under 4 KB with everything.
	MaxCommitmentBytes = 3072

	// MaxReservationBytes bounds a reservation, for the same reason.
	MaxReservationBytes = 640

	// MaxClaimBytes bounds a vendor's claim: eight tails and two origins.
	MaxClaimBytes = 2048

	// MaxStatusListBytes bounds the statuses of a hot list when they are
	// unpacked: eight million certificates of one bit. A broker that has more
	// begins another list.
	MaxStatusListBytes = 1 << 20

	// MaxStatusListTokenBytes bounds a hot list as it travels: base64url twice
	// around statuses that do not shrink takes sixteen ninths of their size.
	MaxStatusListTokenBytes = 2 << 20

	// MaxCredentialBytes bounds the value of an Authorization field. The
	// Payment scheme asks servers to take 4 KB (section 9.4 of its draft); a
	// credential that opens a commitment of the largest size, for a URL of 2 KB,
	// needs this.
	MaxCredentialBytes = 12288

	// MaxChallengeBytes bounds one challenge (section 9.4 of the draft).
	MaxChallengeBytes = 8192

	// MaxOriginBytes bounds a vendor's and a broker's name: "https://", the
	// longest DNS name and a port.
	MaxOriginBytes = 270

	// MaxSubjectBytes bounds a user's pseudonym.
	MaxSubjectBytes = 64

	// MaxBrokers is how many brokers a challenge names.
	MaxBrokers = 16

	// MaxAddressPrefixes is how many address prefixes one certificate names.
	MaxAddressPrefixes = 4
)

// The times of the protocol, in seconds.
const (
	// SkewSeconds is how far in the future a commitment may say it was made:
	// clocks differ.
	SkewSeconds = 60

	// RepeatSeconds is how long a request is remembered, so that asking for the
	// same again under the same number is free.
	RepeatSeconds = 60

	// RefundSeconds is how long a charge can still be given back. Only what was
	// charged longer ago is claimed from the broker.
	RefundSeconds = 900
)
