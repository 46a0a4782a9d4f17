import { contentDigest } from './signature.js'

/**
 * The most of a stream that is held in memory so that it can be sent again after
 * a 402, in bytes. A longer one can be sent once only.
 */
export const maxBufferedBytes = 1 << 20

/** A request's body, and how often it can be sent. */
export class RequestBody {
  /** `Content-Digest` of the body; undefined if it is too long to say. */
  readonly digest: string | undefined
  readonly #again: BodyInit | null | undefined
  #once: ReadableStream<Uint8Array<ArrayBuffer>> | undefined

  constructor(content: { again: BodyInit | null, digest: string | undefined } | { once: ReadableStream<Uint8Array<ArrayBuffer>> }) {
    this.digest = 'again' in content ? content.digest : undefined
    this.#again = 'again' in content ? content.again : undefined
    this.#once = 'once' in content ? content.once : undefined
  }

  /** Whether the body can be sent now. */
  get canSend(): boolean {
    return this.#again !== undefined || this.#once !== undefined
  }

  /** The body for one more sending, as members of what `fetch` takes. Only after `canSend`. */
  next(): { body?: BodyInit, duplex?: 'half' } {
    if (this.#once === undefined) return this.#again ? { body: this.#again } : {}
    const body = this.#once
    this.#once = undefined
    return { body, duplex: 'half' }
  }
}

/** The body of a request that has none. */
export async function emptyBody(): Promise<RequestBody> {
  return new RequestBody({ again: null, digest: await digestOf(new Blob()) })
}

/**
 * Reads the body of `request`, which was made from `given`, the body that the
 * caller passed. Streams are read up to {@link maxBufferedBytes}. All else is
 * kept as a Blob, which browsers hold outside of memory where it is long.
 */
export async function readBody(request: Request, given: unknown): Promise<RequestBody> {
  if (request.body === null || given === null) return emptyBody()
  if (isStream(given) && request.body) return readStream(request.body)
  const content = await request.blob()
  // What a form is written as has its boundary in the request's Content-Type, so the Blob's own type says nothing new.
  return new RequestBody({ again: content.size === 0 ? null : content, digest: await digestOf(content) })
}

/** How the body of an answer ended. */
export interface Watcher {
  /** Looks at a piece before it is passed on. What it throws ends the body after that piece. */
  piece?(content: Uint8Array): Promise<void>
  /** Runs while a piece is waited for; what it returns is called when one came. */
  waiting?(): () => void
  /** What went wrong beside the body, to be told to its reader when it ends. */
  failure?(): { error: unknown } | undefined
  /** It came whole, or its reader did not want the rest. */
  ended(): void
  /** It broke off. Resolves with the error for the reader. */
  brokeOff(error: unknown): Promise<unknown>
}

/** Passes a body on as it is read, piece by piece, and tells once how it ended. It holds no more than one piece. */
export function watchBody(source: ReadableStream<Uint8Array<ArrayBuffer>>, watcher: Watcher): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = source.getReader()
  let failure: { error: unknown } | undefined
  return new ReadableStream({
    async pull(controller) {
      if (failure) {
        void reader.cancel().catch(() => {})
        controller.error(await watcher.brokeOff(failure.error))
        return
      }
      const came = watcher.waiting?.()
      const read = await reader.read().catch(async (error: unknown) => {
        controller.error(await watcher.brokeOff(error))
        return undefined
      }).finally(came)
      if (read === undefined) return
      failure = read.done ? watcher.failure?.() : undefined
      if (failure) {
        controller.error(await watcher.brokeOff(failure.error))
        return
      }
      if (read.done) {
        watcher.ended()
        controller.close()
        return
      }
      await watcher.piece?.(read.value).catch((error: unknown) => {
        failure = { error }
      })
      controller.enqueue(read.value)
    },
    async cancel(reason) {
      watcher.ended()
      await reader.cancel(reason)
    },
  }, { highWaterMark: 0 })
}

// How much of an answer that nobody will see is read, in bytes, so that its
// connection can be used again.
const maxDrainedBytes = 65_536

/** Reads the rest of an answer that nobody will see. */
export async function drain(answer: Response): Promise<void> {
  const reader = answer.body?.getReader()
  if (reader === undefined) return
  try {
    for (let left = maxDrainedBytes; left > 0;) {
      const { done, value } = await reader.read()
      if (done) return
      left -= value.length
    }
    await reader.cancel()
  } catch {
    // What is not read costs a connection, nothing else.
  }
}

/** An answer's text, at most so many bytes of it; undefined if it is longer. Rejects if it breaks off. */
export async function readText(answer: Response, maxBytes: number): Promise<string | undefined> {
  const reader = answer.body?.getReader()
  if (reader === undefined) return ''
  const { start, rest } = await readStart(reader, maxBytes)
  if (!rest) return new TextDecoder().decode(start)
  await reader.cancel()
  return undefined
}

function isStream(given: unknown): boolean {
  return given instanceof ReadableStream || typeof given === 'object' && given !== null && Symbol.asyncIterator in given && !(given instanceof Blob)
}

async function readStream(source: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<RequestBody> {
  const reader = source.getReader()
  const { start, rest } = await readStart(reader, maxBufferedBytes)
  if (!rest) return new RequestBody({ again: start, digest: await digestOf(new Blob([start])) })
  const once = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: controller => controller.enqueue(start),
    async pull(controller) {
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: reason => reader.cancel(reason),
  })
  return new RequestBody({ once })
}

/** Reads until the end, or until more than `most` bytes came; `rest` says whether there is more. */
async function readStart(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, most: number): Promise<{ start: Uint8Array<ArrayBuffer>, rest: boolean }> {
  const pieces: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  let isOver = false
  while (!isOver && size <= most) {
    const { done, value } = await reader.read()
    if (!done) {
      pieces.push(value)
      size += value.length
    }
    isOver = done
  }
  const start = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    start.set(piece, at)
    at += piece.length
  }
  return { start, rest: !isOver }
}

/** The `Content-Digest` (RFC 9530) of a body that is short enough to be held in memory. */
async function digestOf(content: Blob): Promise<string | undefined> {
  if (content.size > maxBufferedBytes) return undefined
  return contentDigest(new Uint8Array(await content.arrayBuffer()))
}
