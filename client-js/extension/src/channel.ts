import type { Answer, PageMessages } from './messages.js'

/** Sends a message to the worker. A worker that was stopped before it answered is started by asking again. Undefined: there is no answer. */
export async function send<T extends keyof PageMessages>(type: T, sent: PageMessages[T]['sent']): Promise<PageMessages[T]['back'] | undefined> {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const answer: Answer<T> | undefined = await chrome.runtime.sendMessage({ type, sent })
      if (answer !== undefined) return answer.ok ? answer.back : undefined
    } catch {
      // The worker is gone: once more.
    }
  }
  return undefined
}

/** What the gate said of the payment that this page's request brought; '' if nothing. */
export function stateIn(entry: PerformanceResourceTiming | undefined): string {
  return entry?.serverTiming?.find(({ name }) => name === 'payword')?.description ?? ''
}
