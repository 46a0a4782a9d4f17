import { element } from './element.js'
import { money, number, percent, text } from './language.js'

/** From which part on the owner is told that a limit is nearly used. */
const noticePercent = 80n

/** A budget as a bar, with the same in words. Amounts in micros. */
export function budgetBar(label: string, used: string, limit: string, currency: string): HTMLElement {
  const [usedMicros, limitMicros] = [BigInt(used), BigInt(limit)]
  const hundredths = limitMicros === 0n ? 100n : usedMicros * 100n / limitMicros
  const shown = Number(hundredths > 100n ? 100n : hundredths)
  const words = text('bar_of', { used: number(used, currency), limit: money(limit, currency) })
  const fill = element('div', { class: 'fill' })
  fill.style.inlineSize = `${shown}%` // the page's policy allows no style attributes, but this
  const isFull = usedMicros >= limitMicros
  const isNearlyFull = hundredths >= noticePercent
  const root = element('div', { class: isNearlyFull ? 'bar nearly' : 'bar' },
    element('p', { class: 'bar-words' }, element('span', {}, label), ' ', element('span', { class: 'figure' }, words)),
    element('div', {
      class: 'track', role: 'meter', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100',
      'aria-valuenow': String(shown), 'aria-valuetext': words,
    }, fill))
  if (isNearlyFull) root.append(element('p', { class: 'bar-notice' }, isFull ? text('bar_full') : text('bar_nearly', { part: percent(Number(hundredths) / 100) })))
  return root
}
