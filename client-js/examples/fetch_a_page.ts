import { FileStorage, maxMicros, payFetch, Wallet } from 'payword/node'

/** Reads an article with the wallet that `npx payword open` made. */
export async function readArticle(url: string, walletFile: string): Promise<string> {
  const wallet = await Wallet.open({ storage: new FileStorage(walletFile) })
  if (!wallet) throw new Error(`${walletFile} is no wallet: make one with npx payword open`)
  const fetchPaid = payFetch({
    payer: wallet,
    budget: { perRequest: 10_000n, perSite: 1_000_000n, perDay: 500_000n, total: maxMicros },
    onReceipt: receipt => console.error(`paid ${receipt.amount} micros to ${receipt.vendor}`),
  })
  const answer = await fetchPaid(url)
  const article = await answer.text()
  await wallet.close()
  return article
}
