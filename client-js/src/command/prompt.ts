import { readFileSync } from 'node:fs'
import type { Streams } from './command.js'

/** Bounds a passphrase and every other line that is asked for, in bytes. */
const maxLineBytes = 1024

/** Bounds what is read of standard input that is piped in: a few lines. */
const maxInputBytes = 64 << 10

const endOfText = '\u0003'
const endOfTransmission = '\u0004'

/** What is read of standard input. A terminal may be a fake in tests. */
export interface Terminal {
  isTTY?: boolean
  setRawMode?(isRaw: boolean): unknown
  setEncoding(encoding: 'utf8'): unknown
  on(event: 'data', listener: (chunk: string) => void): unknown
  on(event: 'end', listener: () => void): unknown
  off(event: 'data', listener: (chunk: string) => void): unknown
  off(event: 'end', listener: () => void): unknown
  resume(): unknown
  pause(): unknown
}

/** Asks for what only a person or a pipe has. */
export class Prompt {
  readonly #streams: Streams
  #typedAhead = ''
  #isOver = false

  constructor(streams: Streams) {
    this.#streams = streams
  }

  /** Asks for a secret, which is not shown while it is typed. @throws Error where nobody can type it */
  async secret(question: string, instead: string): Promise<string> {
    if (!this.#streams.stdin.isTTY) throw new Error(`${instead}, or call this from a terminal`)
    this.#streams.stderr.write(question)
    this.#streams.stdin.setRawMode?.(true)
    try {
      return await this.#line()
    } finally {
      this.#streams.stdin.setRawMode?.(false)
      this.#streams.stderr.write('\n')
    }
  }

  /** Asks for a line, which may be typed or piped in. '' at the end of standard input. */
  async line(question: string): Promise<string> {
    this.#streams.stderr.write(question)
    const line = await this.#line()
    if (!this.#streams.stdin.isTTY) this.#streams.stderr.write('\n') // as whoever types ends the line
    return line.trim()
  }

  /** Reads up to the end of a line; in raw mode, keys are characters. */
  #line(): Promise<string> {
    const { stdin } = this.#streams
    stdin.setEncoding('utf8')
    return new Promise((resolve, reject) => {
      let isFinished = false
      const finish = (done: () => void): void => {
        if (isFinished) return
        isFinished = true
        stdin.off('data', read)
        stdin.off('end', end)
        stdin.pause()
        done()
      }
      const take = (): void => {
        if (this.#typedAhead.includes(endOfText)) return finish(() => reject(new Error('nothing was done: it was interrupted')))
        const found = /^([^\r\n\u0004]*)(\r\n?|\n|\u0004)/.exec(this.#typedAhead)
        const line = withoutErased(found?.[1] ?? this.#typedAhead)
        if (new TextEncoder().encode(line).length > maxLineBytes || this.#typedAhead.length > maxInputBytes) {
          return finish(() => reject(new Error(`want lines of at most ${maxLineBytes} bytes`)))
        }
        if (!found && !this.#isOver) return
        this.#typedAhead = found ? this.#typedAhead.slice(found[0].length) : ''
        finish(() => resolve(line))
      }
      const read = (chunk: string): void => {
        this.#typedAhead += chunk
        take()
      }
      const end = (): void => {
        this.#isOver = true
        take()
      }
      stdin.on('data', read)
      stdin.on('end', end)
      if (this.#typedAhead !== '' || this.#isOver) take()
      if (!isFinished) stdin.resume()
    })
  }
}

/** Returns a line without the characters that a later Backspace took back. */
function withoutErased(typed: string): string {
  const kept: string[] = []
  for (const character of typed) {
    if (character === '\u007f' || character === '\b') kept.pop()
    else if (character !== endOfTransmission) kept.push(character)
  }
  return kept.join('')
}

/** The first line of the file that PAYWORD_PASSPHRASE_FILE names; undefined if it is not set. @throws Error */
export function passphraseFromFile(environment: Readonly<Record<string, string | undefined>>): string | undefined {
  const path = environment.PAYWORD_PASSPHRASE_FILE
  if (path === undefined || path === '') return undefined
  const [line = ''] = readFileSync(path, 'utf8').split(/\r?\n/, 1)
  if (line === '' || new TextEncoder().encode(line).length > maxLineBytes) throw new Error(`${path}: want 1 to ${maxLineBytes} bytes in its first line`)
  return line
}

/** Asks for a new passphrase, twice. @throws Error if the two differ */
export async function newPassphrase(prompt: Prompt): Promise<string> {
  const instead = 'a new passphrase has to be typed: name a file in PAYWORD_PASSPHRASE_FILE'
  const first = await prompt.secret('New passphrase: ', instead)
  const second = await prompt.secret('The same again: ', instead)
  if (first === '' || first !== second) throw new Error('the passphrase is empty, or the two are not the same')
  return first
}
