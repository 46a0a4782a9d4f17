import type { Refusal } from './policy.js'

// The badge of the extension's button: what was paid today, or a mark.

const plainColor = '#0b5c46'
const noticeColor = '#8a4b00'
const alertColor = '#8a2412'

/** Shows today's spend and whether a limit is nearly used. Titles are the button's tooltip and its name for screen readers. */
export async function showToday({ spentToday, currency, notices }: { spentToday: bigint, currency: string, notices: string[] }): Promise<void> {
  await chrome.action.setBadgeText({ text: badgeText(spentToday) })
  await chrome.action.setBadgeBackgroundColor({ color: notices.length > 0 ? noticeColor : plainColor })
  await chrome.action.setBadgeTextColor({ color: '#ffffff' })
  const spent = `${decimal(spentToday)} ${currency.replace('-micro', '').toUpperCase()}`
  const title = notices.length > 0
    ? said('actionNotice', `payword: ${spent} today; a limit is nearly used`, [spent])
    : said('actionToday', `payword: ${spent} today`, [spent])
  await chrome.action.setTitle({ title })
}

/** Marks a tab whose page was not paid for; undefined takes the mark away. */
export async function markTab(tabId: number, refusal: Refusal | undefined): Promise<void> {
  try {
    if (refusal === undefined) {
      // An empty text would hide the browser-wide one; Chromium and Firefox both take null for none.
      await chrome.action.setBadgeText({ tabId, text: null as unknown as string })
      await chrome.action.setTitle({ tabId, title: '' })
      return
    }
    await chrome.action.setBadgeText({ tabId, text: '!' })
    await chrome.action.setBadgeBackgroundColor({ tabId, color: alertColor })
    await chrome.action.setTitle({ tabId, title: said('actionRefused', 'payword: this page was not paid for', []) })
  } catch {
    // The tab is gone.
  }
}

/** At most four characters: the badge has no room for more. Less than half a cent is a dot. */
export function badgeText(micros: bigint): string {
  if (micros === 0n) return ''
  if (micros < 5000n) return '·'
  const cents = (micros + 5000n) / 10_000n
  const whole = cents / 100n
  if (whole >= 10_000n) return '9999'
  if (whole >= 100n) return String(whole)
  const rest = String(cents % 100n).padStart(2, '0')
  return whole >= 10n ? `${whole}.${rest[0]}` : `${whole}.${rest}`
}

function decimal(micros: bigint): string {
  const digits = String(micros).padStart(7, '0')
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/0{1,4}$/, '')
}

/** A text in the owner's language; `text` if the languages have none of that key. */
function said(key: string, text: string, given: string[]): string {
  return chrome.i18n.getMessage(key, given) || text
}
