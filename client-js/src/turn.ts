/** What newer browsers have, and the types of none yet. */
interface Scheduler {
  yield?: () => Promise<void>
}

/**
 * Resolves in a later turn of the event loop, after what else waits for the thread:
 * input, painting, messages. Without a timer, which browsers hold back for 4 ms, and
 * for seconds in a tab that is not seen.
 */
export async function letOthersRun(): Promise<void> {
  const { scheduler } = globalThis as { scheduler?: Scheduler }
  if (scheduler?.yield) return scheduler.yield()
  const { port1, port2 } = new MessageChannel()
  await new Promise(resolve => {
    port1.onmessage = resolve
    port2.postMessage(undefined)
  })
  port1.close()
}
