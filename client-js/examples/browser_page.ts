import { extensionPayer, IndexedDbStorage, payFetch, Wallet, type Payer } from 'payword'

/** Who pays for this page: the reader's extension if there is one, or else a wallet of the page's own. */
async function findPayer(broker: string): Promise<Payer> {
  const extension = await extensionPayer()
  if (extension) return extension
  const options = { storage: new IndexedDbStorage() }
  const wallet = await Wallet.open(options) ?? await Wallet.create(options)
  if (!await wallet.account()) {
    const { account } = await wallet.openAccount(broker)
    document.body.dataset.account = account // the reader is asked to fund it
  }
  return wallet
}

/** Shows an article that costs money. */
export async function showArticle(url: string, broker: string): Promise<void> {
  const payer = await findPayer(broker)
  const fetchPaid = payFetch({
    payer, budget: { perRequest: 5_000n, perSite: 500_000n, perDay: 100_000n, total: 1_000_000n },
  })
  const answer = await fetchPaid(url)
  document.body.textContent = await answer.text()
}
