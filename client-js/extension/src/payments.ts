import { BrokerError, BudgetError, PaywordError, RefusedError } from '../../src/errors.js'
import { readResult, writeResult } from '../../src/extension_payer.js'
import { formatPayment, parseStatus } from '../../src/header.js'
import type { Offer, Payer, Status, Ticket } from '../../src/payer.js'
import { Refusal as ProtocolRefusal } from '../../src/reason.js'
import { budgetFor, decide, maxComplaints } from './policy.js'
import type { Decision, Refusal } from './policy.js'
import { addRules, canMatch, keepRules, paymentHeaders, removeRules } from './rules.js'
import type { PaymentHeaders } from './rules.js'
import { settingsStore } from './settings.js'
import { matchPattern } from './site.js'
import { attemptKey, forgetOld, stateStore, underWaySeconds } from './state.js'
import type { Attempt, State } from './state.js'
import { checkVendor } from './vendors.js'
import { theWallet } from './wallets.js'

// One payment for one URL in one tab, step by step. Each step is stored before
// the next one is made, so that another worker can go on where one was stopped.

/** The page that asks, by the browser's word. */
export interface Asker {
  tabId: number
  origin: string
}

/** The most tickets for one URL in one tab, until it is granted or given up. */
const maxTries = 3

/** Of this worker's life: what another one was taking was left lying. */
const thisWorker = crypto.randomUUID()

/** Seconds since 1970. */
export function seconds(): number {
  return Math.floor(Date.now() / 1000)
}

/**
 * Takes the turn to pay for a URL in a tab: nobody else has it then. Undefined
 * if somebody has, if it was tried, or if the policy says no; `refused` is told
 * which.
 */
export async function begin(asker: Asker, url: string, offer: Offer, isPart: boolean, refused: (decision: Decision) => void): Promise<Attempt | undefined> {
  const settings = await settingsStore.read()
  return stateStore.update(state => {
    const now = seconds()
    forgetOld(state, now)
    const key = attemptKey(asker.tabId, url)
    const before = state.attempts[key]
    if (before !== undefined && !mayTryAgain(before)) return undefined
    if (!isPart && unheardOf(state, asker, url) >= maxUnheardOf) {
      refused({ action: 'refuse', refusal: { kind: 'stalled', price: String(offer.price) } })
      return undefined
    }
    const once = state.once[asker.tabId]
    const isOnce = !isPart && once?.url === url
    const lately = state.lately[asker.origin] ?? []
    const decision = decide({
      settings, origin: asker.origin, offer, once: isOnce ? { price: BigInt(once.price) } : undefined, lately: lately.length,
    })
    if (decision.action !== 'pay') {
      delete state.attempts[key]
      refused(decision)
      return undefined
    }
    state.lately[asker.origin] = [...lately, now]
    const attempt: Attempt = {
      phase: 'taking', tabId: asker.tabId, url, origin: asker.origin, isPart, isOnce, at: now, worker: thisWorker,
      tries: (before?.tries ?? 0) + 1, price: String(offer.price), forfeited: before?.forfeited ?? '0',
    }
    state.attempts[key] = attempt
    return structuredClone(attempt)
  })
}

/**
 * The most documents of one tab that were paid for and of which nothing was heard
 * since. A page may go on to the next address before its script here is run, and
 * would be paid for nothing at one address after the other without a complaint.
 */
const maxUnheardOf = 3

function unheardOf({ attempts }: State, { tabId, origin }: Asker, url: string): number {
  return Object.values(attempts).filter(attempt => attempt.tabId === tabId && attempt.origin === origin && attempt.url !== url
    && !attempt.isPart && ['sent', 'unseen', 'cookie', 'proved'].includes(attempt.phase)).length
}

function mayTryAgain({ phase, tries, worker }: Attempt): boolean {
  if (phase === 'paid') return true
  if (tries >= maxTries) return false
  return phase === 'refused' || phase === 'taking' && worker !== thisWorker
}

/**
 * Debits the wallet for an attempt. Rejects if it was not; then the attempt is
 * forgotten, and the page may ask again.
 */
export async function debit(attempt: Attempt, offer: Offer): Promise<Ticket> {
  try {
    await checkVendor(offer, attempt.isOnce)
    const settings = await settingsStore.read()
    const once = attempt.isOnce ? { price: BigInt(attempt.price) } : undefined
    const decision = decide({ settings, origin: attempt.origin, offer, once, lately: 0 })
    if (decision.action !== 'pay') throw new PaywordError('refused', 'the owner does not allow it any more')
    const wallet = await theWallet()
    return await wallet.take(offer, {
      budget: budgetFor(settings, attempt.origin, once),
      deposit: decision.deposit, forfeited: BigInt(attempt.forfeited), fingerprint: await fingerprint(attempt.url),
    })
  } catch (error) {
    await stateStore.update(({ attempts }) => {
      delete attempts[attemptKey(attempt.tabId, attempt.url)]
    })
    throw error
  }
}

async function fingerprint(url: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`GET\n${url}\n`)))
  return [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('')
}

/** An attempt with its ticket, as long as it is under way. */
export interface Debited {
  attempt: Attempt
  ticket: Ticket
}

/**
 * Has the browser put the payments on the requests, in one step each of the
 * state and of the rules. Where the browser lets no rule do that, throws: the
 * state then says that they are to go by cookie.
 */
export async function arm(debited: Debited[]): Promise<void> {
  const rules = await stateStore.update(state => debited.map(({ attempt, ticket }) => {
    const id = state.nextRule++
    put(state, { ...attempt, phase: 'sent', at: seconds(), rule: id, ticket: writeResult('take', ticket) })
    return { id, tabId: attempt.tabId, url: attempt.url, part: attempt.isPart ? 'part' as const : 'document' as const, headers: headersOf(ticket) }
  }))
  for (const one of debited) await proveSteps(one)
  await addRules(rules)
}

/** Hands the payment to the content script, which proves it by a HEAD. */
export async function handOver({ attempt, ticket }: Debited): Promise<PaymentHeaders> {
  await stateStore.update(state => {
    const { rule: _, ...rest } = attempt
    put(state, { ...rest, phase: 'cookie', at: seconds(), ticket: writeResult('take', ticket) })
  })
  await proveSteps({ attempt, ticket })
  return headersOf(ticket)
}

/** How long a vendor has for all that goes before one payment, in milliseconds. */
const stepsTimeout = 5_000

/** Proves paywords on the way to a vendor that is too far behind for the payment. If one is lost, the payment itself is refused. */
async function proveSteps({ attempt, ticket }: Debited): Promise<void> {
  const signal = AbortSignal.timeout(stepsTimeout)
  for (const step of ticket.steps ?? []) {
    const headers = { Payword: formatPayment(step) }
    await fetch(attempt.url, { method: 'HEAD', headers, credentials: 'omit', cache: 'no-store', redirect: 'manual', signal }).catch(() => undefined)
  }
}

function headersOf(ticket: Ticket): PaymentHeaders {
  return paymentHeaders(ticket, formatPayment(ticket.payment))
}

/** Reports whether a rule can reach the requests of an attempt. */
export async function canArm(attempt: Attempt): Promise<boolean> {
  const { sites } = await settingsStore.read()
  if (sites[attempt.origin]?.usesCookie && !attempt.isPart) return false
  return await canMatch(attempt.url) && chrome.permissions.contains({ origins: [matchPattern(attempt.origin)] })
}

/** The ticket of a stored attempt. */
export function ticketOf(attempt: Attempt): Ticket {
  return readResult('take', attempt.ticket)
}

function put(state: State, attempt: Attempt): void {
  state.attempts[attemptKey(attempt.tabId, attempt.url)] = attempt
}

/** Reads what the gate said of a payment; undefined if it said nothing that can be read. */
export function readState(state: string): Status | undefined {
  if (state === '') return undefined
  const status = parseStatus(state)
  return status instanceof ProtocolRefusal ? undefined : status
}

/**
 * What becomes of an attempt when the answer is known.
 *
 * - `paid`: it was served.
 * - `again`: it was refused, and another ticket may be taken.
 * - `unseen`: the server does not say that it saw a payment, and another way can be tried with the same one.
 * - `over`: nothing was served, and the price was given back, or the same number can be asked for again.
 * - `failed`: nothing was served for what was paid.
 */
export type Outcome = 'paid' | 'again' | 'unseen' | 'over' | 'failed'

/** What was answered to a request that a payment went along with. */
export interface Answered {
  status: number
  state: string
}

/** Tells the wallet what came of a payment, and takes its rule away. */
export async function conclude(attempt: Attempt, answered: Answered): Promise<Outcome> {
  const outcome = await tellWallet(attempt, answered)
  if (attempt.rule !== undefined) await removeRules([attempt.rule])
  await stateStore.update(state => {
    const key = attemptKey(attempt.tabId, attempt.url)
    const stored = state.attempts[key]
    if (outcome.name === 'over') delete state.attempts[key]
    if (stored === undefined || outcome.name === 'over') return
    delete stored.rule
    stored.at = seconds()
    stored.phase = outcome.name === 'again' ? 'refused' : outcome.name
    stored.forfeited = outcome.forfeited
    if (outcome.name !== 'unseen') delete stored.ticket
  })
  if (outcome.name === 'failed') await complain(attempt)
  return outcome.name
}

async function tellWallet(attempt: Attempt, { status, state }: Answered): Promise<{ name: Outcome, forfeited: string }> {
  const { forfeited } = attempt
  const wallet: Payer = await theWallet()
  const ticket = ticketOf(attempt)
  const said = readState(state)
  if (status === 402 && said === undefined) {
    if (attempt.phase === 'sent' && !attempt.isPart) return { name: 'unseen', forfeited }
    await wallet.lose(ticket, true)
    return { name: 'failed', forfeited }
  }
  if (said !== undefined && said.reason !== 'accepted') {
    const { shouldRetry, forfeited: gone } = await wallet.refused(ticket, said)
    const name = shouldRetry && attempt.tries < maxTries ? 'again' : 'failed'
    return { name, forfeited: String(BigInt(forfeited) + gone) }
  }
  if (status === 503 || status === 0) {
    await wallet.lose(ticket, true)
    return { name: 'over', forfeited }
  }
  const isServed = status >= 200 && status < 300
  const charged = said === undefined || !isServed ? 0n : said.price < ticket.payment.max ? said.price : ticket.payment.max
  await wallet.settle(ticket, { url: attempt.url, amount: charged, isWhole: true, ...said === undefined ? {} : { status: said } })
  if (isServed) return { name: 'paid', forfeited }
  // Who says that it took the payment and asks for another one would do so for ever.
  return { name: status === 402 ? 'failed' : 'over', forfeited }
}

/** Gives up on attempts whose answer will not be heard of. */
export async function abandon(attempts: Attempt[]): Promise<void> {
  const wallet = attempts.length > 0 ? await theWallet() : undefined
  await removeRules(attempts.flatMap(({ rule }) => rule ?? []))
  for (const attempt of attempts) {
    if (attempt.ticket !== undefined) await wallet?.lose(ticketOf(attempt), true)
  }
  await stateStore.update(state => {
    for (const { tabId, url } of attempts) delete state.attempts[attemptKey(tabId, url)]
  })
}

/** Takes away rules that belong to no attempt. */
export async function removeStrayRules(): Promise<void> {
  const { attempts } = await stateStore.read()
  await keepRules(Object.values(attempts).flatMap(({ rule }) => rule ?? []))
}

/** How long the answer to a payment is waited for, in seconds. */
const answerSeconds = 120

/**
 * Ends what nothing came of in time: takes the rules away, and later gives the
 * payments up. Resolves with whether something is still under way.
 */
export async function endOverdue(): Promise<boolean> {
  const now = seconds()
  const { attempts } = await stateStore.read()
  const underWay = Object.values(attempts).filter(({ ticket }) => ticket !== undefined)
  const isOver = ({ at }: Attempt, after: number): boolean => now - at >= after || at > now + answerSeconds // a clock that was set back
  const overdue = underWay.filter(attempt => isOver(attempt, underWaySeconds))
  await removeRules(overdue.flatMap(({ rule }) => rule ?? []))
  await stateStore.update(state => {
    for (const { tabId, url } of overdue) delete state.attempts[attemptKey(tabId, url)]?.rule
  })
  const late = overdue.filter(attempt => isOver(attempt, answerSeconds))
  await abandon(late)
  for (const attempt of late) if (!attempt.isPart) await complain(attempt)
  return underWay.length > late.length
}

/** Notes that a site served nothing for what it was paid, and stops it if that goes on. */
export async function complain({ origin }: Attempt): Promise<void> {
  await settingsStore.update(({ sites }) => {
    const site = sites[origin]
    if (site === undefined) return
    site.complaints++
    if (site.complaints >= maxComplaints) site.stopped ??= 'not-served'
  })
}

/** Notes that a site served what it was paid for. */
export async function praise(origin: string): Promise<void> {
  const { sites } = await settingsStore.read()
  if (!sites[origin]?.complaints) return
  await settingsStore.update(({ sites }) => {
    const site = sites[origin]
    if (site !== undefined) site.complaints = 0
  })
}

/** Why nothing was paid, as it is shown to the owner. */
export function refusalOf(error: unknown, price: bigint | undefined): Refusal {
  const shown = price === undefined ? {} : { price: String(price) }
  if (error instanceof BudgetError) return { kind: 'budget', limit: error.limit, ...shown }
  if (error instanceof RefusedError) return { kind: 'refused', reason: error.reason, ...shown }
  if (error instanceof BrokerError && error.reason !== undefined) return { kind: 'broker', reason: error.reason, ...shown }
  if (error instanceof PaywordError) return { kind: error.kind, ...shown }
  return { kind: 'storage', ...shown }
}
