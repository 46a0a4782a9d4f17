import { parseAmount, parseCurrency, type Currency, type Micros } from './amount.js'
import { fromBase64urlFixed, type Base64url } from './encoding.js'
import { MalformedError, within } from './malformed.js'

// JSON as docs/protocol.md, section 2, wants it: JSON.parse would take an object
// that has a member twice, and would not tell 1.0 from 1.

/** A value as {@link parseJSON} returns it. */
export type Json = null | boolean | number | string | Json[] | JsonObject

/** An object: its members by their exact names. */
export type JsonObject = Map<string, Json>

/** How deep values may be nested: no document of the protocol goes past 5. */
const maxDepth = 32

const blank = /[ \t\n\r]*/y
const number = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y
// Up to a quote, a backslash or a control character, which may not stand there.
// eslint-disable-next-line no-control-regex
const plain = /[^"\\\u0000-\u001f]*/y
const escapes: Record<string, string> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

class Reader {
  private readonly text: string
  private at = 0

  constructor(text: string) {
    this.text = text
  }

  document(): Json {
    const value = this.value(0)
    this.take(blank)
    if (this.at < this.text.length) this.fail('want nothing after the value')
    return value
  }

  private fail(want: string): never {
    throw new MalformedError(`not JSON of the protocol: ${want} at character ${this.at}`)
  }

  private take(pattern: RegExp): string {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)?.[0] ?? ''
    this.at += found.length
    return found
  }

  private skips(wanted: string): boolean {
    this.take(blank)
    const isThere = this.text.startsWith(wanted, this.at)
    if (isThere) this.at += wanted.length
    return isThere
  }

  private value(depth: number): Json {
    if (depth > maxDepth) this.fail(`want at most ${maxDepth} levels`)
    if (this.skips('{')) return this.object(depth)
    if (this.skips('[')) return this.list(depth)
    if (this.skips('"')) return this.string()
    if (this.skips('true')) return true
    if (this.skips('false')) return false
    if (this.skips('null')) return null
    return this.number()
  }

  private number(): number {
    const text = this.take(number)
    if (text === '') this.fail('want a value')
    const value = Number(text)
    // Whoever wants a number wants a whole one, in digits.
    return /[.eE]/.test(text) || !Number.isSafeInteger(value) || Object.is(value, -0) ? NaN : value
  }

  private object(depth: number): JsonObject {
    const members: JsonObject = new Map()
    if (this.skips('}')) return members
    do {
      if (!this.skips('"')) this.fail('want the name of a member')
      const name = this.string()
      if (members.has(name)) this.fail('want each member once, not twice,')
      if (!this.skips(':')) this.fail('want a colon')
      members.set(name, this.value(depth + 1))
    } while (this.skips(','))
    if (!this.skips('}')) this.fail('want a comma or the end of the object')
    return members
  }

  private list(depth: number): Json[] {
    const items: Json[] = []
    if (this.skips(']')) return items
    do items.push(this.value(depth + 1))
    while (this.skips(','))
    if (!this.skips(']')) this.fail('want a comma or the end of the list')
    return items
  }

  private string(): string {
    let value = ''
    for (;;) {
      value += this.take(plain)
      const mark = this.text[this.at++]
      if (mark === '"') return value
      if (mark !== '\\') this.fail('want a string without control characters and with an end')
      value += this.escape()
    }
  }

  private escape(): string {
    const letter = this.text[this.at++] ?? ''
    if (letter === 'u') {
      const digits = this.text.slice(this.at, this.at + 4)
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail('want four hexadecimal digits')
      this.at += 4
      return String.fromCharCode(parseInt(digits, 16))
    }
    const character = Object.hasOwn(escapes, letter) ? escapes[letter] : undefined
    return character ?? this.fail('want an escape of JSON')
  }
}

/**
 * Reads JSON (RFC 8259). An object that has a member twice is refused. A number
 * that is not spelt as a whole one, or is not exact in JavaScript, becomes NaN,
 * which no reader of a member takes.
 *
 * @throws {@link MalformedError}
 */
export function parseJSON(text: string): Json {
  return new Reader(text).document()
}

/** A JSON object whose members are read by name and type. Members that nobody asks for are passed over. */
export class Members {
  private readonly members: JsonObject

  /** @throws {@link MalformedError} if the value is no object. */
  constructor(value: Json | undefined) {
    if (!(value instanceof Map)) throw new MalformedError('want a JSON object')
    this.members = value
  }

  /**
   * Reads a document that is an object.
   *
   * @throws {@link MalformedError}
   */
  static parse(text: string): Members {
    return new Members(parseJSON(text))
  }

  /** How many members there are. */
  get size(): number {
    return this.members.size
  }

  /** Whether there is such a member. */
  has(name: string): boolean {
    return this.members.has(name)
  }

  /** The names of the members. */
  names(): string[] {
    return [...this.members.keys()]
  }

  /** Reads a member by a function, whose MalformedError is given the member's name. */
  read<T>(name: string, read: (value: Json | undefined) => T): T {
    return within(name, () => read(this.members.get(name)))
  }

  /** Reads a member if it is there. */
  optional<T>(name: string, read: (name: string) => T): T | undefined {
    return this.members.has(name) ? read(name) : undefined
  }

  /** A string. */
  text(name: string): string {
    return this.read(name, value => {
      if (typeof value !== 'string') throw new MalformedError('want a string')
      return value
    })
  }

  /** A whole number from `least` to `most`. */
  integer(name: string, least: number, most: number = Number.MAX_SAFE_INTEGER): number {
    return this.read(name, value => {
      if (typeof value !== 'number' || !(value >= least && value <= most)) {
        throw new MalformedError(most === Number.MAX_SAFE_INTEGER
          ? `want a whole number of at least ${least}` : `want a whole number from ${least} to ${most}`)
      }
      return value
    })
  }

  /** True or false. */
  boolean(name: string): boolean {
    return this.read(name, value => {
      if (typeof value !== 'boolean') throw new MalformedError('want true or false')
      return value
    })
  }

  /** An amount, in micros: a string of digits. */
  amount(name: string): Micros {
    const text = this.text(name)
    return within(name, () => parseAmount(text))
  }

  /** A currency, such as `usd-micro`. */
  currency(name: string): Currency {
    const text = this.text(name)
    return within(name, () => parseCurrency(text))
  }

  /** Exactly `size` bytes in base64url, as they stand there. */
  binary(name: string, size: number): Base64url {
    const text = this.text(name)
    within(name, () => fromBase64urlFixed(text, size))
    return text
  }

  /** An object. */
  object(name: string): Members {
    return this.read(name, value => new Members(value))
  }

  /** A list of `least` to `most` items. */
  list(name: string, least: number, most: number): Json[] {
    return this.read(name, value => {
      if (!Array.isArray(value) || value.length < least || value.length > most) {
        throw new MalformedError(`want a list of ${least} to ${most}`)
      }
      return value
    })
  }

  /** A list of strings. */
  texts(name: string, least: number, most: number): string[] {
    return this.list(name, least, most).map((item, k) => {
      if (typeof item !== 'string') throw new MalformedError(`${name}: ${k}: want a string`)
      return item
    })
  }
}
