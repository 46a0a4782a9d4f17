// Package payword is a payment protocol for the web that one hash can check:
// PayWord (Rivest and Shamir, 1996) on today's HTTP.
//
// This comment is the protocol in short. docs/protocol.md is the same at
// length, for those who write it in another language, and testdata/vectors
// holds its cases as files. The package is pure: no I/O, no clock, no logger,
// no goroutine. Time and randomness come in as arguments.
//
// # Chains
//
// A user picks W_N at random and hashes it N times, W_(i-1) = SHA-256(W_i),
// down to the root W_0. Each payword is worth one unit. Whoever knows W_0 can
// check W_i with i hashes, and with one hash if W_(i-1) was seen before; nobody
// can go the other way. [Seed.Tip] derives W_N from a wallet's seed; [Chain]
// releases paywords in order with about log2(N) stored values; [Payword.Walk]
// checks.
//
// # Signed objects
//
// All are compact JWS (RFC 7515) with EdDSA, whose header holds alg, kid and typ
// and nothing else.
//
//   - A [Certificate], C_U, is the broker's word that a user may spend.
//   - A [Commitment], M, is the user's promise to one vendor to pay for every
//     payword released to it: 1 to 8 chains, each with root, unit and length,
//     and a limit over all. The certificate is inside. Its id is the first 16
//     bytes of the SHA-256 of its exact bytes.
//   - A [Reservation] is the broker's word that an amount is set aside for one
//     commitment.
//   - A [Claim] is what a vendor asks the broker for: a cumulative amount, and
//     the tails that prove at least that much.
//
// # Paying
//
// A [Payment], P, says: "I have released up to index i of chain c; take up to
// max for my request number n." It travels in the compact header
//
//	Payword: id=:…:, c=0, i=57, w=:…:, n=31, max=1500
//
// ([ParsePayment]; the first request carries commitment and reservation in
// headers of their own) or in a credential of the Payment authentication scheme
// ([ParseCredential], draft-httpauth-payment-01), whose challenge [Challenge]
// names the price.
//
// What was accepted and what was spent are two numbers. [Judge] verifies a
// payment against the deepest payword known: every cheap check first, then a
// bounded number of hashes. [State.Charge] then takes the price of the request
// in one atomic step: accepted is what the tails prove, spent is what was
// charged and not given back, and a request is served if accepted - spent
// covers its price. So requests may arrive in any order, thirty at a time; a
// number that was seen is the same request again, which is free, or another
// one, which is refused; and [State.GiveBack] returns the price where nothing
// was delivered.
//
// # Refusing
//
// A refusal is a value: a [Reason] from one closed list, whose words are the
// same everywhere, and a sentence. It is answered with 402 and what it takes to
// go on ([Status], [Problem]). An error means that something could not be told,
// and is answered with 503: a 402 would make people pay again.
//
// # Redeeming
//
// The vendor sends the commitment, its reservation and a claim. [JudgeClaim]
// hashes from the tails that are known and says what is newly due. The same
// claim gives the same answer for ever.
//
// # Limits
//
// Every length, count and time is bounded, in limits.go, with its reason.
package payword
