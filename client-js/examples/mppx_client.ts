import { Mppx } from 'mppx/client'
import { maxMicros, type Payer } from 'payword'
import { paywordForMppx } from 'payword/mppx'

/** A `fetch` of mppx that pays with payword; other methods may stand beside it. */
export function mppxFetch(payer: Payer): typeof fetch {
  const payword = paywordForMppx({
    payer, budget: { perRequest: 10_000n, perSite: maxMicros, perDay: 500_000n, total: maxMicros },
  })
  const client = Mppx.create({ methods: [payword.method], fetch: payword.fetch, polyfill: false })
  return client.fetch as typeof fetch
}
