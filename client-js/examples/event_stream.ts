import { payFetch, type Payer } from 'payword'

/** Follows a stream that costs money by the event. It is paid on while it is read. */
export async function follow(url: string, payer: Payer, count: number): Promise<string[]> {
  const fetchPaid = payFetch({
    payer, budget: { perRequest: 50_000n, perSite: 1_000_000n, perDay: 500_000n, total: 1_000_000n },
  })
  const answer = await fetchPaid(url, { headers: { Accept: 'text/event-stream' } })
  const events: string[] = []
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of answer.body ?? []) {
    text += decoder.decode(piece, { stream: true })
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      events.push(text.slice(0, end))
      text = text.slice(end + 2)
      if (events.length === count) return events // leaving the loop ends the stream, and the payments
    }
  }
  return events
}
