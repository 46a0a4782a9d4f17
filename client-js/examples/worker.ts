import { IndexedDbStorage, payFetch, Wallet } from 'payword'

/** In a worker: fetches what the page asks for, with the wallet that the page made. */
async function fetchFor(url: string): Promise<string> {
  const wallet = await Wallet.open({ storage: new IndexedDbStorage() })
  if (!wallet) throw new Error('there is no wallet')
  const fetchPaid = payFetch({
    payer: wallet, budget: { perRequest: 5_000n, perSite: 500_000n, perDay: 100_000n, total: 1_000_000n },
  })
  const answer = await fetchPaid(url)
  return answer.text()
}

self.addEventListener('message', (event: MessageEvent<string>) => {
  fetchFor(event.data).then(text => self.postMessage(text), (error: unknown) => self.postMessage(String(error)))
})
