// Package client pays for web requests out of a wallet, inside a budget.
//
// A Wallet is one file. Transport is an http.RoundTripper that answers a 402 of
// the payword method by itself:
//
//	wallet, err := client.OpenWallet(client.WalletConfig{Path: "wallet.json"})
//	...
//	defer wallet.Close()
//	budget := client.Budget{
//		PerRequest: 10_000,        // 0.01
//		PerSite:    money.Unit,    // 1.00
//		PerDay:     2 * money.Unit,
//		Total:      client.NoLimit,
//	}
//	http := &http.Client{Transport: &client.Transport{Wallet: wallet, Budget: budget}}
//	answer, err := http.Get("https://news.example/today")
//
// # What a wallet guarantees
//
// Debit first: the index of a payword, the request's number and what they count
// against the budget are on disk before the payword leaves the process. After a
// crash at any moment the wallet has spent at most what its file says. That holds
// for the newest file. One restored from an older copy finds its place again by
// itself where the vendor proves with the wallet's own payword how far it was;
// the budgets count that from then on.
//
// Budgets count what was released, not what a server says it charged, because a
// dishonest vendor can redeem all that was released. A server cannot make the
// wallet release more by anything it says than every limit allows. A request adds
// its price, or somewhat more where only a larger step of a chain is left; if the
// server loses, denies or throws away what it got, the request may be paid for
// again, but all that it releases is at most Budget.PerRequest. What a vendor
// gives back (an upstream error, a repeat) stays as credit with it and pays for
// the next request there. A vendor that goes on taking paywords and serves
// nothing for them is paid no more: see StalledError.
//
// # Accounts
//
// Several wallets may have one account, each with a seed of its own: they spend
// from one balance by chains of their own. A sub-account is an account with a
// budget of its own, for an agent. Either begins with one line of text each way
// (Invite, Join, and AddDevice or OpenSubAccount), so that the wallets may be on
// two machines. Status tells what the broker says of the account; for everything
// else that it offers to owners there is Ask.
//
// # Without the broker
//
// The broker is needed to open an account, to issue certificates and to reserve
// an amount for a commitment. It is not asked while pages are paid for: an open
// commitment keeps working with the broker down. With spare certificates in the
// wallet (Wallet.Certificates), a vendor that takes unreserved commitments can
// even be paid for the first time while the broker is down.
package client
