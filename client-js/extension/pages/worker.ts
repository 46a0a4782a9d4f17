import type { Answer, OwnerMessages, WireError } from '../src/messages.js'

/** What the worker said no with. `kind` is `worker` if it did not answer at all. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError'
  readonly kind: string
  readonly reason: string | undefined
  readonly limit: string | undefined

  constructor(error: WireError) {
    super(error.message)
    this.kind = error.kind
    this.reason = error.reason
    this.limit = error.limit
  }
}

/** Sends a message to the worker and returns what came back. Rejects with a {@link WorkerError}. */
export async function ask<T extends keyof OwnerMessages>(type: T, sent: OwnerMessages[T]['sent']): Promise<OwnerMessages[T]['back']> {
  let answer: Answer<T> | undefined
  try {
    answer = await chrome.runtime.sendMessage({ type, sent })
  } catch (cause) {
    throw new WorkerError({ kind: 'worker', message: String(cause) })
  }
  if (!answer) throw new WorkerError({ kind: 'worker', message: 'the worker gave no answer' })
  if (!answer.ok) throw new WorkerError(answer.error)
  return answer.back
}
