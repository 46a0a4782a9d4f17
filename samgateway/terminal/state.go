package terminal

// State is how far something in the journal has come.
type State string

// The states of a payment or a cancellation, in their order. Each is written
// before what follows it is sent.
const (
	// Initiated: its number is written down; the SAM may have begun it. No order
	// left the SAM, nothing is taken.
	Initiated State = "initiated"
	// Ordered: the SAM's order may have come to the card. Only the card knows.
	Ordered State = "ordered"
	// Proved: the card's answer is here, and the SAM may not have it yet.
	Proved State = "proved"
	// Recorded: the SAM has the record. It ends a payment that nothing follows,
	// and every cancellation.
	Recorded State = "recorded"
	// Booked: clearing has booked it online. It ends one that is online alone.
	Booked State = "booked"
	// Funded: the account has the money. It is the end.
	Funded State = "funded"
	// Cashed: the cash may be handed out. It is the end.
	Cashed State = "cashed"
	// Cancelled: a later transaction cancelled it. It is the end.
	Cancelled State = "cancelled"
	// Voided: the SAM has a void, and it is proved that the card did not pay. It
	// is the end.
	Voided State = "voided"
	// Unproved: the SAM has a void, and the card may have paid. It is kept until
	// the card comes.
	Unproved State = "unproved"
	// Claiming: the card showed that it paid what is void; clearing is to give it
	// back.
	Claiming State = "claiming"
	// Claimed: clearing gives it back, or has a dispute about it. It is the end.
	Claimed State = "claimed"
	// RefusedForGood: clearing says no for good. It is the end, and somebody has to look.
	RefusedForGood State = "refused"
	// Lost: nobody here can know it any more. It is the end, and somebody has to
	// look.
	Lost State = "lost"
)

// The states of a load, in their order.
const (
	// Asked: the card began it, and clearing may have authorised it.
	Asked State = "asked"
	// Authorised: the value may have come to the card. Only the card knows.
	Authorised State = "authorised"
	// Credited: the card's receipt is here, and clearing may not have it yet.
	Credited State = "credited"
	// Answered: the card's answer to LOAD STATUS, or to a script, is here, and
	// clearing may not have it yet.
	Answered State = "answered"
	// Loaded: the card took it, and clearing knows. It is the end.
	Loaded State = "loaded"
	// NotLoaded: the card did not take it and never will, and clearing knows. It
	// is the end.
	NotLoaded State = "not-loaded"
	// Settled: clearing knows by itself what became of it. It is the end.
	Settled State = "settled"
	// Scripted: the card has done what its issuer wanted. It is the end.
	Scripted State = "scripted"
)
