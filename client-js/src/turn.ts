/**
 * Resolves in a later turn of the event loop, after what else waits for the thread.
 * By a message: timers are held back for 4 ms, and for a second in a tab that is not
 * seen, and who comes back from `scheduler.yield` goes before timers and answers.
 */
export async function letOthersRun(): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  await new Promise(resolve => {
    port1.onmessage = resolve
    port2.postMessage(undefined)
  })
  port1.close()
}
