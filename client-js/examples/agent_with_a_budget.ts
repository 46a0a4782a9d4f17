import { BudgetError, FileStorage, formatDecimal, payFetch, PaywordError, Wallet } from 'payword/node'

/** Reads sources for an agent until they are read or its allowance is used up. */
export async function research(urls: string[], walletFile: string): Promise<{ found: string[], spent: string }> {
  const wallet = await Wallet.open({ storage: new FileStorage(walletFile) })
  if (!wallet) throw new Error(`${walletFile} is no wallet`)
  const { released } = await wallet.summary()
  const allowance = 2_000n
  const fetchPaid = payFetch({
    payer: wallet,
    // The total counts over the life of the wallet, so the allowance is added to what was released before.
    budget: { perRequest: 1_000n, perSite: 100_000n, perDay: 100_000n, total: released + allowance },
  })
  const found: string[] = []
  for (const url of urls) {
    try {
      const answer = await fetchPaid(url)
      if (answer.ok) found.push(await answer.text())
    } catch (error) {
      if (error instanceof BudgetError && error.limit === 'total') break // nothing more can be read
      if (!(error instanceof PaywordError)) throw error
      console.error(error.message) // too dear, or refused: the next source may do
    }
  }
  const { released: now } = await wallet.summary()
  await wallet.close()
  return { found, spent: formatDecimal(now - released) }
}
