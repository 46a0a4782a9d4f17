import { element } from './element.js'
import { money, text, utcDay } from './language.js'

/** What was paid on one day: the day counted since 1970 (UTC), and micros. */
export interface DaySpent {
  day: number
  spent: string
}

const svgNamespace = 'http://www.w3.org/2000/svg'
/** Units of the picture: one column is 10 wide, 7 of them ink; the highest is 100. */
const [columnWidth, inkWidth, height] = [10, 7, 100]

function svg(tag: string, attributes: Record<string, string>): SVGElement {
  const made = document.createElementNS(svgNamespace, tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

function sum(days: DaySpent[]): bigint {
  return days.reduce((all, day) => all + BigInt(day.spent), 0n)
}

function columns(days: DaySpent[], most: bigint, currency: string): SVGElement {
  const picture = svg('svg', { viewBox: `0 0 ${days.length * columnWidth} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' })
  days.forEach(({ day, spent }, index) => {
    const micros = BigInt(spent)
    const high = most === 0n || micros === 0n ? 1 : Math.max(2, Number(micros * BigInt(height) / most))
    const column = svg('rect', {
      x: String(index * columnWidth + (columnWidth - inkWidth) / 2), y: String(height - high), width: String(inkWidth), height: String(high),
      class: micros === 0n ? 'none' : 'column',
    })
    const tip = svg('title', {})
    tip.textContent = `${utcDay(day)}: ${money(spent, currency)}`
    column.append(tip)
    picture.append(column)
  })
  return picture
}

/** A picture of what was paid by day, and the same as a table for those who do not see it, or want the numbers. */
export function makeChart(days: DaySpent[], currency: string): HTMLElement {
  const highest = days.reduce((best, day) => BigInt(day.spent) > BigInt(best.spent) ? day : best, days[0] ?? { day: 0, spent: '0' })
  const most = BigInt(highest.spent)
  const all = money(sum(days), currency)
  const summary = most === 0n ? text('chart_nothing') : text('chart_summary', { all, most: money(most, currency), day: utcDay(highest.day) })
  const [first, last] = [days[0]?.day ?? 0, days.at(-1)?.day ?? 0]
  const figure = element('figure', { class: 'chart' },
    element('figcaption', {}, summary),
    element('div', { class: 'plot', 'aria-hidden': 'true' },
      element('span', { class: 'top' }, most === 0n ? '' : money(most, currency)),
      columns(days, most, currency) as unknown as Node,
      element('p', { class: 'axis' }, element('span', {}, utcDay(first, 'short')), element('span', {}, utcDay(last, 'short')))))
  const rows = days.filter(day => day.spent !== '0').reverse().map(({ day, spent }) =>
    element('tr', {}, element('th', { scope: 'row' }, utcDay(day)), element('td', { class: 'figure' }, money(spent, currency))))
  if (rows.length > 0) {
    figure.append(element('details', {}, element('summary', {}, text('chart_table')),
      element('table', {}, element('caption', { class: 'unseen' }, text('chart_caption')),
        element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, text('column_day')), element('th', { scope: 'col', class: 'figure' }, text('column_paid')))),
        element('tbody', {}, ...rows))))
  }
  return figure
}
