// The limits of the protocol (limits.go). They are part of it: a commitment beyond
// one of them is malformed everywhere, whoever is asked.

/** The most chains that one commitment holds. */
export const maxChains = 8
/** The most steps that a chain has, 2^20. */
export const maxChainLength = 1_048_576
/** How many steps a payword may be behind the tail and still be checked. */
export const maxStale = 256
/** How many hashes a gate computes for one request unless it is configured otherwise. */
export const defaultMaxStep = 4096
/** How far a request number may be behind the highest one and still be told from a repeat. */
export const windowSize = 1024
/** How often one request may be asked for again free. */
export const maxRepeats = 8
/** The largest request number: the largest integer of a structured field (RFC 9651). */
export const maxNumber = 999_999_999_999_999
/** Bounds the compact Payword header, in bytes. */
export const maxHeaderBytes = 256
/** Bounds the Payword-State header, with room for members that later versions add. */
export const maxStatusBytes = 512
/** Bounds a certificate, so that it fits a commitment with eight chains. */
export const maxCertificateBytes = 1024
/** Bounds a commitment, so that a request that opens one stays under 4 KB. */
export const maxCommitmentBytes = 3072
/** Bounds a reservation, for the same reason. */
export const maxReservationBytes = 640
/** Bounds a vendor's claim: eight tails and two origins. */
export const maxClaimBytes = 2048
/** Bounds the statuses of a hot list when they are unpacked. */
export const maxStatusListBytes = 1_048_576
/** Bounds a hot list as it travels. */
export const maxStatusListTokenBytes = 2_097_152
/** Bounds the value of an Authorization field. */
export const maxCredentialBytes = 12_288
/** Bounds one challenge (section 9.4 of the Payment draft). */
export const maxChallengeBytes = 8192
/** Bounds a receipt that a client reads. */
export const maxReceiptBytes = 4096
/** Bounds problem details that a client reads. */
export const maxProblemBytes = 16_384
/** Bounds a discovery document that a client reads. */
export const maxDiscoveryBytes = 16_384
/** Bounds a key set that a client reads: 64 keys of less than 1 KB. */
export const maxKeySetBytes = 65_536
/** How many keys a key set has at most. */
export const maxKeys = 64
/** Bounds a vendor's and a broker's name. */
export const maxOriginBytes = 270
/** Bounds a user's pseudonym. */
export const maxSubjectBytes = 64
/** How many brokers a challenge names. */
export const maxBrokers = 16
/** How many address prefixes one certificate names. */
export const maxAddressPrefixes = 4

/** How far in the future a commitment may say that it was made: clocks differ. */
export const skewSeconds = 60
/** How long asking for the same again under the same number is free. */
export const repeatSeconds = 60
/** How long a charge can be given back. */
export const refundSeconds = 900
/** How far from the broker's clock a signed request may say that it was made, either way. */
export const requestMaxAgeSeconds = 300

/** The size of a payword, in bytes. */
export const paywordBytes = 32
/** The size of a wallet's seed, in bytes. */
export const seedBytes = 32
/** The size of the random number in certificates, commitments and signed requests, in bytes. */
export const nonceBytes = 16
/** The size of a commitment's id, in bytes. */
export const commitmentIdBytes = 16
/** The size of an Ed25519 key, in bytes. */
export const publicKeyBytes = 32
/** The size of an Ed25519 signature, in bytes. */
export const signatureBytes = 64
