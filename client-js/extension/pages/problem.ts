import type { TabView } from '../src/messages.js'
import { element } from './element.js'
import { isKey, money, text, type Key } from './language.js'
import { WorkerError } from './worker.js'

/** Why something was not done, and what to do about it, for people. */
export interface Problem {
  sentence: string
  /** A word or a sentence of the program, for those who help. */
  detail?: string | undefined
}

/** Which text tells of a reason of docs/protocol.md, section 11; the gate's page says the same. */
const reasonTexts: Record<string, string> = {
  'malformed-header': 'unreadable', 'malformed-credential': 'unreadable', 'malformed-commitment': 'unreadable',
  'malformed-certificate': 'unreadable', 'malformed-reservation': 'unreadable', 'method-unsupported': 'unreadable',
  'several-payments': 'unreadable', 'insecure-transport': 'insecure', 'invalid-challenge': 'offer', 'challenge-expired': 'offer',
  'challenge-used': 'offer', 'wrong-resource': 'offer', 'unknown-broker': 'broker', 'bad-certificate': 'forged',
  'certificate-expired': 'certificate_expired', 'certificate-revoked': 'revoked', 'wrong-address': 'address', blocked: 'blocked',
  'bad-commitment': 'forged', 'commitment-expired': 'ended', 'commitment-not-yet-valid': 'clock', 'over-certificate-limit': 'limit',
  'wrong-vendor': 'wrong_site', 'wrong-currency': 'currency', 'bad-reservation': 'forged', 'reservation-mismatch': 'forged',
  'reservation-required': 'reserve', 'credit-limit': 'credit', 'unknown-commitment': 'unknown', 'commitment-closed': 'ended',
  'unknown-chain': 'forged', 'chain-exhausted': 'ended', 'stale-payword': 'used', 'step-too-far': 'step', 'forged-payword': 'forged',
  'stale-number': 'used', 'already-used': 'used', 'already-executed': 'done', 'price-over-max': 'price', 'insufficient-credit': 'more',
  'rate-limited': 'wait', 'insufficient-funds': 'funds', 'unknown-account': 'account', 'account-closed': 'account_closed',
  'over-account-limit': 'account_limit', 'not-permitted': 'not_permitted', 'bad-voucher': 'voucher', 'bad-signature': 'clock_or_client',
  'vendor-blocked': 'vendor_blocked',
}

function reasonSentence(reason: string): string {
  return text(`reason_${reasonTexts[reason] ?? 'other'}` as Key)
}

function limitSentence(limit: string | undefined): string {
  const key = `limit_reached_${limit ?? ''}`
  return text(isKey(key) ? key : 'limit_reached_other')
}

/** Says an error of the worker. */
export function describe(error: unknown): Problem {
  if (!(error instanceof WorkerError)) return { sentence: text('error_other'), detail: error instanceof Error ? error.message : undefined }
  if (error.kind === 'budget') return { sentence: limitSentence(error.limit) }
  if (error.reason !== undefined) return { sentence: reasonSentence(error.reason), detail: error.reason }
  const key = `error_${error.kind}`
  return { sentence: text(isKey(key) ? key : 'error_other'), detail: error.message }
}

/** Says why the page in a tab was not paid for. `currency` is undefined where there is no account. */
export function describeRefusal(refusal: NonNullable<TabView['refusal']>, currency: string | undefined): Problem {
  const price = refusal.price !== undefined && currency !== undefined
    ? text('refusal_price', { price: money(refusal.price, currency) }) : ''
  const why = describe(new WorkerError({ message: '', ...refusal }))
  return { sentence: [why.sentence, price].filter(part => part !== '').join(' '), detail: why.detail === '' ? undefined : why.detail }
}

/** Shows a problem in `area`, whose role tells screen readers of it; undefined empties it. */
export function showProblem(area: HTMLElement, problem: Problem | undefined): void {
  area.classList.toggle('problem', problem !== undefined)
  if (!problem) {
    area.replaceChildren()
    return
  }
  area.replaceChildren(element('p', {}, problem.sentence))
  if (problem.detail) area.append(element('p', { class: 'support' }, text('problem_support'), ' ', element('code', { dir: 'ltr' }, problem.detail)))
}
