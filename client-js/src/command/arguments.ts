import { maxMicros, parseDecimal, type Micros } from '../amount.js'
import { MalformedError } from '../malformed.js'

/** A mistake in how the command was called. `message` is a sentence without its full stop. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The flags of one command by name, such as `wallet`: whether they take a value. */
export type Flags = Readonly<Record<string, 'value' | 'switch'>>

/** Arguments that were read. */
export interface Arguments {
  /** Of flags that take a value. */
  values: Map<string, string>
  /** Switches that are on. */
  switches: Set<string>
  /** The other arguments, as many as there are names for them; '' for those that were left out. */
  operands: string[]
}

/** Names of operands; those that end in `?` may be left out. */
export type Operands = readonly string[]

/**
 * Reads arguments: flags as `--name value`, `--name=value` or `-n value`, before
 * and after the others; after `--` nothing is a flag.
 *
 * @throws {@link UsageError}
 */
export function parseArguments(given: readonly string[], flags: Flags, names: Operands): Arguments {
  const read: Arguments = { values: new Map(), switches: new Set(), operands: [] }
  const rest = [...given]
  let areFlagsOver = false
  for (let one = rest.shift(); one !== undefined; one = rest.shift()) {
    if (one === '--' && !areFlagsOver) areFlagsOver = true
    else if (areFlagsOver || one === '-' || !one.startsWith('-')) read.operands.push(one)
    else readFlag(one, rest, flags, read)
  }
  checkOperands(read, names)
  return read
}

function readFlag(one: string, rest: string[], flags: Flags, read: Arguments): void {
  const [, dashes = '', name = '', assigned] = /^(--?)([^=]*)(?:=([^]*))?$/.exec(one) ?? []
  const kind = Object.hasOwn(flags, name) ? flags[name] : undefined
  if (kind === undefined || (name.length > 1) !== (dashes === '--')) {
    const names = Object.keys(flags).map(known => known.length > 1 ? `--${known}` : `-${known}`)
    throw new UsageError(`${cut(one.split('=')[0] ?? '')} is no flag of this command${didYouMean(`--${name}`, names)}`)
  }
  if (read.values.has(name) || read.switches.has(name)) throw new UsageError(`${dashes}${name} was given twice`)
  if (kind === 'switch') {
    if (assigned !== undefined) throw new UsageError(`${dashes}${name} takes no value`)
    read.switches.add(name)
    return
  }
  const value = assigned ?? rest.shift()
  if (value === undefined || value === '') throw new UsageError(`want a value after ${dashes}${name}`)
  read.values.set(name, value)
}

function checkOperands(read: Arguments, names: Operands): void {
  const extra = read.operands[names.length]
  if (extra !== undefined) throw new UsageError(`${cut(extra)} is one argument too many`)
  const missing = names.slice(read.operands.length).filter(name => !name.endsWith('?'))
  if (missing.length > 0) throw new UsageError(`want ${missing.join(' and ')}`)
  while (read.operands.length < names.length) read.operands.push('')
}

/** Quotes what was typed, at most 80 characters of it, without what would move the cursor. */
export function cut(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

/** Returns `, did you mean x?` if one of the words that are known is close to the one that was typed; else ''. */
export function didYouMean(typed: string, known: readonly string[]): string {
  let best = ''
  let least = Math.max(1, Math.floor(typed.replace(/^-+/, '').length / 3)) + 1
  for (const word of known) {
    const edits = distance(typed, word)
    if (edits < least) [best, least] = [word, edits]
  }
  return best === '' ? '' : `: did you mean ${best}?`
}

/** How many letters have to be changed, added, left out or swapped with the next. Long words are not looked at. */
function distance(a: string, b: string): number {
  if (a.length > 40 || b.length > 40) return 40
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, k) => k)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let least = Math.min((rows[i - 1]?.[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (rows[i - 1]?.[j - 1] ?? 0) + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, (rows[i - 2]?.[j - 2] ?? 0) + 1)
      row.push(least)
    }
    rows.push(row)
  }
  return rows[a.length]?.[b.length] ?? 40
}

/**
 * Reads an amount in whole units of the wallet's currency, such as `0.01`, or `none`.
 *
 * @throws {@link UsageError}
 */
export function readLimit(read: Arguments, name: string, otherwise: Micros): Micros {
  const text = read.values.get(name)
  if (text === undefined) return otherwise
  if (text === 'none') return maxMicros
  try {
    return parseDecimal(text)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new UsageError(`--${name} ${cut(text)}: want an amount such as 0.01, with at most six digits after the point, or none`)
  }
}
